#!/usr/bin/env bash
# emoclim bench encode: a result on stdout, the warning about random weights on stderr, exit codes of what cannot be.
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$emoclim" bench encode --encoder shortchunk --batch 2 --threads 1 --repeats 5 --json >out.json 2>err || fail "exit code $?"
grep -q '"encoder": "shortchunk"' out.json || fail "no encoder in $(cat out.json)"
grep -q '"random_weights": true' out.json || fail "no word about random weights"
grep -q 'RANDOM weights' err || fail "no warning: $(cat err)"

refuses 3 'cannot open missing.safetensors' bench encode --weights missing.safetensors
refuses 2 'float32 only' bench encode --encoder shortchunk --precision bf16
refuses 2 'encoder' bench encode --encoder vgg
printf '\002\000\000\000\000\000\000\000{}' >empty.safetensors
refuses 3 'empty.safetensors: visual.conv1.weight is missing' bench encode --weights empty.safetensors
refuses 3 'empty.safetensors: layer1.conv_1.weight is missing' bench encode --encoder shortchunk --weights empty.safetensors
finish
