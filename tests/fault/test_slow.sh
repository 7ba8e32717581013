#!/usr/bin/env bash
# A rank that is slow is waited for, longer than the deadline, and named; but not for ever. An error that one rank meets
# alone ends all at once, also where ranks have nothing but messages.
# usage: test_slow.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
. "$(dirname "$0")/../support/fault.sh"

"$programs/make_caches" . 4000 64 48
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8}
training: {batch_size: 4, max_steps: 60, steps_per_epoch: 100, learning_rate: 0.01, validate_every: 0, seed: 20}
distributed: {shards: 4, deadline_s: 1, patience_s: 60, threads: 1}
checkpoint: {every_steps: 20, keep_last: 9}
logging: {every: 5}
YAML
host=$(hostname)
digest() { "$emoclim" checkpoint digest "$1/checkpoints/step-000000000060.h5" 2>&1; }
ends() { [ "$code" -eq "$1" ] || complain "exit code $code, expected $1: $(tail -c 800 "$2")"; }
"$emoclim" train run.yaml logging.folder=quick >quick.log 2>&1

# Rank 0 waits for its disk: the checkpoint before is not written when the next one is due.
slow_disk="warning: rank 1 on $host has waited 1\.[0-9] s in [a-z_]+ \(collective [0-9]+, step [0-9]+\) for rank 0 on $host \(alive, saving a checkpoint for [0-9] s, step [0-9]+\); it goes on up to 60 s"
disk=("FAULT_KINDS=sync" "FAULT_AT=1" "FAULT_DO=sleep")
for comm in mpi mpi-plain; do
    what="a slow disk, $comm"
    run_ranks 2 "$comm.log" "FAULT_UNDER=$work/$comm/checkpoints" "${disk[@]}" FAULT_SECONDS=3 -- \
        train run.yaml "logging.folder=$comm" "distributed.comm=$comm"
    ends 0 "$comm.log"
    matches "$comm.log" "$slow_disk"
    [ "$(digest "$comm")" = "$(digest quick)" ] || complain "other weights than with a quick disk"
done

what="a disk that is too slow"
run_ranks 2 dead.log "FAULT_UNDER=$work/dead/checkpoints" "${disk[@]}" FAULT_SECONDS=60 -- \
    train run.yaml logging.folder=dead distributed.patience_s=2
ends 5 dead.log
matches dead.log "error: rank 1 on $host waited 2\.[0-9] s in .*; not arrived: rank 0 on $host \(alive, saving a checkpoint for 2 s"
no_orphans

# Rows that one rank cannot read, in the middle of training, with a deadline that is not the cause of any end.
what="an error of one rank"
at=$(($(stat -c %s images.h5) / 2))
printf "$(printf '\\%03o' $(($(od -An -tu1 -j "$at" -N 1 images.h5) ^ 16)))" | dd of=images.h5 bs=1 seek="$at" conv=notrunc 2>dd.log
echo "MemAvailable: 100 kB" >meminfo
for comm in mpi mpi-plain; do
    begin=$SECONDS
    run_ranks 4 "alone-$comm.log" "FAULT_MEMINFO=$work/meminfo" -- train run.yaml "logging.folder=alone-$comm" \
        distributed.deadline_s=100 "distributed.comm=$comm"
    ends 3 "alone-$comm.log"
    [ $((SECONDS - begin)) -lt 30 ] || complain "$comm: it took $((SECONDS - begin)) s"
    matches "alone-$comm.log" "^step 5/60"
    matches "alone-$comm.log" "\[rank [0-9]\] error: .*images.h5 is corrupt: block [0-9]+ .* \(ending all ranks with exit code 3\)"
    no_orphans
done
finish
