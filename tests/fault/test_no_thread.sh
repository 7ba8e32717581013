#!/usr/bin/env bash
# A rank that cannot start a thread, while the communicator is opened or later: it says so, and no rank waits for it.
# usage: test_no_thread.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
. "$(dirname "$0")/../support/fault.sh"
"$programs/make_caches" . 100 16 12
cat >train.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8}
training: {batch_size: 16, max_steps: 4, validate_every: 0}
distributed: {shards: 4, threads: 1}
YAML
# Rank 1 starts one thread that watches, and later one that loads.
for thread in "1:rank 1 cannot join the others: cannot start the thread that watches over ranks" "2:cannot start the loader's thread"; do
    what="thread ${thread%%:*}"
    run_ranks 2 train.log FAULT_RANK=1 "FAULT_NO_THREAD=${thread%%:*}" -- train train.yaml
    [ "$code" -eq 4 ] || complain "exit code $code, expected 4: $(tail -c 800 train.log)"
    says train.log "${thread#*:}: Resource temporarily unavailable"
    no_orphans
done
finish
