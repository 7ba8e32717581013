#!/usr/bin/env bash
# emoclim checkpoint digest | show | verify on a checkpoint of format version 1, whole and damaged.
# usage: test_checkpoint.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"

# Computed from the file by another program, after the definition in train/checkpoint.h.
digest=16ce1f7927d173e46f49122f907c1cd26aa2adc782517bdbd0b3aff16d49dfe9

cp "$root/tests/data/checkpoint-v1.h5" good.h5
run 0 checkpoint digest good.h5
[ "$(cat out)" = "$digest" ] || complain "the digest is $(cat out), expected $digest"
silent err
run 0 checkpoint digest --json good.h5
says out "\"digest\": \"$digest\""
run 0 checkpoint verify good.h5 good.h5
says out "good.h5: good"
run 0 checkpoint show good.h5
for line in "step: 1200" "epoch: 12" "seed: 42" "ranks: 2" "best metric: 0.625" "digest: $digest" \
    "  params/image_projector.0.weight: float32 (3,2)" "  batch_size: 64" \
    "  buffers/image_projector.1.num_batches_tracked: int64 ()"; do
    says out "$line"
done
run 0 checkpoint show --json good.h5
says out '"sampler_position": 3'
says out '"name": "optimizer/exp_avg/image_projector.0.weight"'

size=$(stat -c %s good.h5)
for place in 20 $((size / 3)) $((size / 2)); do
    head -c "$place" good.h5 >short.h5
    run 3 checkpoint verify short.h5
    says err "short.h5"
    run 3 checkpoint digest short.h5
    silent out
done
run 3 checkpoint show "$root/tests/data/cache-v1.h5"
says err 'is not a checkpoint but of the format "emoclim feature cache"'
run 3 checkpoint digest absent.h5
says err "absent.h5"
run 2 checkpoint digest

finish
