#!/usr/bin/env bash
# Ranks that read copies of a cache, as from the disks of their hosts, with dataset.on_corrupt: skip: damage that is the same
# on all is skipped, with the weights of one rank; damage of one copy ends the run, names both hosts, and nothing that was
# trained on other rows is saved.
# usage: test_copies.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
. "$(dirname "$0")/../support/fault.sh"

"$programs/make_caches" . 4000 64 48
cat >run.yaml <<'YAML'
dataset: {image_cache: /proc/self/fd/9, audio_cache: music.h5, on_corrupt: skip}
full_model: {hidden_dim: 16, output_dim: 8}
training: {batch_size: 4, max_steps: 40, steps_per_epoch: 10, learning_rate: 0.01, validate_every: 0, seed: 20}
distributed: {shards: 4, deadline_s: 60, threads: 1}
checkpoint: {every_steps: 1, keep_last: 100}
logging: {every: 1}
YAML
echo "MemAvailable: 100 kB" >meminfo
digest() { "$emoclim" checkpoint digest "$1"; }
newest() { ls "$1"/checkpoints/step-*.h5 2>/dev/null | tail -n 1; }

# Every rank reads its own file under the name that the configuration gives.
cat >own.sh <<SCRIPT
#!/usr/bin/env bash
exec $emoclim "\$@" 9<"$work/copy\${OMPI_COMM_WORLD_RANK:-0}.h5"
SCRIPT
chmod +x own.sh
program=$emoclim
train() { # RANKS NAME MEMORY ARGUMENTS...: MEMORY large or small
    local ranks=$1 name=$2 memory=()
    [ "$3" = large ] || memory=("FAULT_MEMINFO=$work/meminfo")
    shift 3
    what="$name"
    emoclim=$work/own.sh
    run_ranks "$ranks" "$name.log" "${memory[@]}" -- train run.yaml "logging.folder=$name" "$@"
    emoclim=$program
}
ends() { [ "$code" -eq "$1" ] || complain "exit code $code, expected $1: $(tail -c 800 "$what.log")"; }
flip() { # FILE AT: another byte there
    printf "$(printf '\\%03o' $(($(od -An -tu1 -j "$2" -N 1 "$1") ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>dd.log
}

# The same damage in two files.
cp images.h5 copy0.h5
at=$(($(stat -c %s images.h5) / 2))
flip copy0.h5 "$at"
cp copy0.h5 copy1.h5
train 1 alone small
ends 0
for memory in small large; do
    train 2 "alike-$memory" "$memory"
    ends 0
    [ "$(digest "$(newest "alike-$memory")")" = "$(digest "$(newest alone)")" ] || complain "other weights than on one rank"
done

# Damage in one of them, found on the way and at the start.
cp images.h5 sound.h5
for bad in 0 1; do
    cp sound.h5 copy0.h5
    cp sound.h5 copy1.h5
    flip "copy$bad.h5" "$at"
    says="fd/9: block [0-9]+ .rows [0-9]+ to [0-9]+. is corrupt on $(hostname) .rank $bad. and sound on $(hostname) .rank $((1 - bad)).; "
    train 2 "one$bad" small
    ends 3
    matches "one$bad.log" "$says"
    matches "one$bad.log" "step 1/40"
    no_orphans
    last=$(newest "one$bad")
    cp sound.h5 copy0.h5
    train 1 "whole$bad" small
    [ "$(digest "$last")" = "$(digest "whole$bad/checkpoints/$(basename "$last")")" ] ||
        complain "a checkpoint was trained on rows that took the place of others"
    [ "$bad" -eq 1 ] || flip copy0.h5 "$at"
    train 2 "early$bad" large
    ends 3
    matches "early$bad.log" "$says"
    [ -z "$(newest "early$bad")" ] || complain "checkpoints of a run that did not begin"
done
finish
