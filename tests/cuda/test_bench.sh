#!/usr/bin/env bash
# emoclim bench encode and bench step with the CUDA back end, on networks that the emulation can compute, in both modes.
# usage: test_bench.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
EMOCLIM_MODULE_PATH=${EMOCLIM_TEST_MODULE:-$(dirname "$emoclim")/libemoclim_cuemu.so}
export EMOCLIM_MODULE_PATH
if [ -n "${EMOCLIM_TEST_MODULE:-}" ]; then
    "$emoclim" doctor >doctor.log
    if grep '^gpu  *none' doctor.log; then exit 77; fi
fi

encode() { # MODE ARGUMENTS...
    local mode=$1
    shift
    "$emoclim" bench encode --device cuda --mode "$mode" --repeats 5 --json "$@" >out.json 2>err || fail "$*: exit code $?: $(cat err)"
    for key in per_second gemm_gflops median; do
        grep -Eq "\"$key\": [0-9.e+-]*[1-9]" out.json || fail "$*: no $key in $(cat out.json)"
    done
    grep -q "\"mode\": \"$mode\"" out.json || fail "$*: not $mode: $(cat out.json)"
    grep -q '"device": "cuda"' out.json || fail "$*: not on cuda: $(cat out.json)"
}
encode reproducible --width 64 --layers 1 --resolution 64 --batch 9
encode fast --width 64 --layers 1 --resolution 64 --batch 9 --precision bf16
encode fast --encoder shortchunk --width 1 --batch 2
refuses 2 'mode' bench encode --mode slow

# A repetition is several steps, of which two are under way; the time is that of one.
seconds=$(date +%s%N)
"$emoclim" bench step --device cuda -b 16 --image-dim 16 --audio-dim 16 --hidden-dim 16 --output-dim 16 -r 3 --json \
    >out.json || fail "bench step"
elapsed_ms=$((($(date +%s%N) - seconds) / 1000000))
for key in ms median min max; do
    told=$(sed -n "s/.*\"$key\": \([0-9.]*\).*/\1/p" out.json | head -n 1)
    awk -v t="$told" -v most="$elapsed_ms" \
        'BEGIN { exit !(t > 0 && t * 8 < most) }' || fail "$key of a step beside $elapsed_ms ms for all: $(cat out.json)"
done
finish
