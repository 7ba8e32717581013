#!/usr/bin/env bash
# emoclim cache verify | info on a cache of format version 1, whole and damaged.
# usage: test_cache_check.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"

cp "$root/tests/data/cache-v1.h5" good.h5
run 0 cache verify good.h5
says out "good.h5: good"
run 0 cache info good.h5
silent err
for line in "modality: image" "rows: 3 of 1 x 8 float16" "encoder: clip_vit with random weights" \
    'preprocessing: {"size":32}' "  train: 2" "  test: 1" "  joy: 2" "  sadness: 1" "  c/3.jpg: not an image"; do
    says out "$line"
done
run 0 cache info --json good.h5
says out '"rows": 3'
says out '"reason": "not an image"'
says out '"size": 32'

# Damage among the features (they begin at byte 24576) is found; the good file beside it is still called good.
size=$(stat -c %s good.h5)
cp good.h5 damaged.h5
printf '\x77' | dd of=damaged.h5 bs=1 seek=24580 conv=notrunc 2>/dev/null
run 3 cache verify damaged.h5 good.h5
says out "good.h5: good"
says err "damaged.h5 is corrupt: block 0 (rows 0 to 2)"
run 3 cache verify --json damaged.h5 good.h5
says out '"good": false'
says out '"good": true'
head -c $((size / 2)) good.h5 >short.h5
run 3 cache verify short.h5
says err "short.h5"
silent out
run 3 cache info short.h5
run 3 cache info absent.h5
says err "absent.h5"
run 3 cache info "$root/tests/data/checkpoint-v1.h5"
says err 'is not a feature cache but of the format "emoclim checkpoint"'
run 2 cache info
run 2 cache verify

finish
