#!/usr/bin/env bash
# emoclim bench step: a result in both modes, for both kinds of heads; exit code 2 for a plan that cannot be.
set -eu
. "$(dirname "$0")/../support/shell.sh"

for mode in fast reproducible; do
    "$emoclim" bench step --batch 40 --mode $mode --threads 2 --repeats 5 --json >out.json || fail "exit code $?"
    grep -q "\"mode\": \"$mode\"" out.json || fail "no mode in $(cat out.json)"
    grep -Eq '"ms": [0-9]*\.[0-9]*[1-9]' out.json || fail "no positive time in $(cat out.json)"
done
"$emoclim" bench step --batch 24 --multi-task --accumulate 2 --hidden-dim 32 --repeats 5 | grep -q 'training step, G 24' ||
    fail "multi-task heads"

refuses 2 '128 virtual shards' bench step --batch 64 --shards 128
refuses 2 'accumulate is 9' bench step --batch 64 --accumulate 9
refuses 2 'mode' bench step --mode slow
finish
