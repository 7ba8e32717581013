#!/usr/bin/env bash
# emoclim bench supcon: the keys that programs read, a ragged shape, a small temperature, and what cannot be.
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$emoclim" bench supcon --batch 70 --dim 20 --classes 3 --temperature 0.07 --threads 2 --repeats 5 --json >out.json ||
    fail "exit code $?"
for key in ms median min repeats peak_mb gflops gemm_gflops fma_gflops; do
    grep -Eq "\"$key\": [0-9]*[1-9]" out.json || grep -Eq "\"$key\": 0\.[0-9]*[1-9]" out.json ||
        fail "no positive $key in $(cat out.json)"
done
grep -q '"batch": 70' out.json && grep -q '"threads": 2' out.json && grep -q '"ranks": 1' out.json || fail "$(cat out.json)"
grep -q '"gather": "whole"' out.json || fail "$(cat out.json)"
"$emoclim" bench supcon -b 33 -d 5 -t 0.01 -n 1 -r 5 >out || fail "exit code $? at a small temperature"
grep -q 'G 33, D 5' out || fail "$(cat out)"

refuses 2 'temperature' bench supcon --temperature 0
refuses 2 'batch' bench supcon --batch 0
refuses 2 'needs a GPU' bench supcon --batch 8 --device cpu --gather streamed
refuses 2 'one row' bench supcon --batch 1
finish
