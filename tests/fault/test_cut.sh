#!/usr/bin/env bash
# A cache that is cut while training reads it, as it is when its disk fails: file and byte are named, all ranks end in time
# with the exit code of bad data, and when the file is there again the run goes on. Corrupt blocks may be skipped, but not
# those that were sound when steps used them.
# usage: test_cut.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
. "$(dirname "$0")/../support/fault.sh"

"$programs/make_caches" . 4000 64 48
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8}
training: {batch_size: 16, max_steps: 1000000, steps_per_epoch: 1000, validate_every: 0}
distributed: {shards: 4, deadline_s: 100, threads: 1}
checkpoint: {every_steps: 20, keep_last: 3}
YAML
cp images.h5 whole.h5
page=$(getconf PAGESIZE)
cut=$(($(stat -c %s images.h5) / 2 / page * page)) # the first byte that is gone

for way in '1 stop' '2 stop' '2 skip'; do
    read -r ranks action <<<"$way"
    what="$ranks ranks, on_corrupt: $action"
    name=cut$ranks$action
    cp whole.h5 images.h5
    begin=$SECONDS
    (
        for ((i = 0; i < 600; i++)); do
            ! ls $name/checkpoints/step-*.h5 >/dev/null 2>&1 || break
            sleep 0.05
        done
        truncate -s "$cut" images.h5
    ) &
    run_ranks "$ranks" "$name.log" -- train run.yaml "logging.folder=$name" dataset.on_corrupt=$action
    wait
    [ "$code" -eq 3 ] || complain "exit code $code, expected 3: $(tail -c 800 "$name.log")"
    [ $((SECONDS - begin)) -lt 60 ] || complain "it took $((SECONDS - begin)) s"
    no_orphans
    matches "$name.log" "reading .*images.h5 at byte [0-9]+ failed: the file was cut, or its disk fails"
    at=$(sed -nE 's/.*images.h5 at byte ([0-9]+) failed.*/\1/p' "$name.log" | head -n 1)
    [ "${at:-0}" -ge "$cut" ] && [ "${at:-0}" -lt "$(stat -c %s whole.h5)" ] ||
        complain "byte ${at:-none} is named, one of $cut to $(stat -c %s whole.h5) expected"
    cp whole.h5 images.h5
    end=$(($(ls "$name"/checkpoints/step-*.h5 | tail -n 1 | sed -E 's/.*step-0*([0-9]+)\.h5/\1/') + 20))
    run_ranks "$ranks" "on-$name.log" -- train --resume auto run.yaml "logging.folder=$name" dataset.on_corrupt=$action "training.max_steps=$end"
    [ "$code" -eq 0 ] || complain "going on ends with exit code $code: $(tail -c 800 "on-$name.log")"
done
finish
