#!/usr/bin/env bash
# A block of a cache that does not have its checksum, found in the middle of training, where the cache is too large to be
# read at the start, or at the start: it is named, and training stops or goes on with other rows, as configured; with the
# same weights on any number of ranks, and whenever the block was found.
# usage: test_corrupt.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
. "$(dirname "$0")/../support/fault.sh"

"$programs/make_caches" . 4000 64 48
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8}
training: {batch_size: 4, max_steps: 40, steps_per_epoch: 10, learning_rate: 0.01, validate_every: 0, seed: 20}
distributed: {shards: 4, deadline_s: 60, threads: 1}
checkpoint: {every_steps: 1, keep_last: 100}
logging: {every: 1}
YAML
echo "MemAvailable: 100 kB" >meminfo
digest() { "$emoclim" checkpoint digest "$1/checkpoints/step-000000000040.h5" 2>&1; }
train() { # RANKS NAME MEMORY ARGUMENTS...: MEMORY large or small
    local ranks=$1 name=$2 memory=()
    [ "$3" = large ] || memory=("FAULT_MEMINFO=$work/meminfo")
    shift 3
    what="$name"
    run_ranks "$ranks" "$name.log" "${memory[@]}" -- train run.yaml "logging.folder=$name" "$@"
}
ends() { [ "$code" -eq "$1" ] || complain "exit code $code, expected $1: $(tail -c 800 "$what.log")"; }

train 1 sound large
ends 0

flip() { # FILE AT: another byte there
    printf "$(printf '\\%03o' $(($(od -An -tu1 -j "$2" -N 1 "$1") ^ 16)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>dd.log
}

# One byte in the middle of the pictures' features.
cp images.h5 first.h5
at=$(($(stat -c %s images.h5) / 2))
flip images.h5 "$at"
"$emoclim" cache verify images.h5 >verify.log 2>&1 && complain "the damage is not found"
named=$(grep -oE "images.h5 is corrupt: block [0-9]+ \(rows [0-9]+ to [0-9]+\) has checksum" verify.log)
[ -n "$named" ] || complain "the block is not named: $(cat verify.log)"
named=${named//[()]/.}

# Found at the start, training does not begin.
train 1 early large
ends 3
matches early.log "$named"
[ ! -e early/checkpoints ] || [ -z "$(ls early/checkpoints)" ] || complain "checkpoints of a run that did not begin"

# Found on the way, it ends with what it has, and goes on when it may.
for ranks in 1 2; do
    train "$ranks" "stop$ranks" small
    ends 3
    matches "stop$ranks.log" "$named"
    matches "stop$ranks.log" "step 5/40"
    [ -e "stop$ranks/checkpoints/step-000000000005.h5" ] || complain "the checkpoint before the damage is lost"
    no_orphans
    mv "stop$ranks" "skip$ranks"
    train "$ranks" "skip$ranks" small --resume auto dataset.on_corrupt=skip
    ends 0
    matches "skip$ranks.log" "warning: .*$named.*; its rows are left out"
    [ "$(grep -c "rows are left out" "skip$ranks.log")" -le "$ranks" ] || complain "a block is named again and again"
done
train 4 skip4 large dataset.on_corrupt=skip
ends 0
for ranks in 1 2 4; do
    what="skipped on $ranks ranks"
    [ "$(digest "skip$ranks")" = "$(digest skip1)" ] || complain "other weights: $(digest "skip$ranks"), $(digest skip1)"
done
what="skipped"
[ "$(digest skip1)" != "$(digest sound)" ] || complain "the damaged block is never drawn: this test tests nothing"

# Validation leaves the same rows out on any number of ranks.
for ranks in 1 2; do
    train "$ranks" "valid$ranks" small dataset.on_corrupt=skip training.validate_every=1
    ends 0
    grep validation "valid$ranks/metrics.jsonl" | sed -E 's/"seconds":[^,}]*//' >"valid$ranks.figures"
done
[ "$(digest valid1)" = "$(digest valid2)" ] || complain "other weights with validation"
[ -s valid1.figures ] && cmp -s valid1.figures valid2.figures || complain "other figures: $(diff valid1.figures valid2.figures)"

# Rows that a file names have no others to take their place.
block=$(sed -nE 's/.*block ([0-9]+) .*/\1/p' verify.log)
flip first.h5 $((at - block * 65536)) # now in the first block, with row 0
cp music.h5 rows.h5
for name in image_index audio_index; do "$programs/bad_file" add rows.h5 "$name" i32 40 4; done
train 1 indices small dataset.image_cache=first.h5 dataset.on_corrupt=skip training.indices=rows.h5
ends 3
matches indices.log "first.h5 is corrupt: block 0 .rows 0 to"
finish
