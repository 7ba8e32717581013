#!/usr/bin/env bash
# emoclim bench step: a result in both modes, for both kinds of heads; exit code 2 for a plan that cannot be.
set -eu
program=$1 work=$2
rm -rf "$work" && mkdir -p "$work" && cd "$work"

fail() { echo "FAILED: $*" >&2; exit 1; }

for mode in fast reproducible; do
    "$program" bench step --batch 40 --mode $mode --threads 2 --repeats 5 --json >out.json || fail "exit code $?"
    grep -q "\"mode\": \"$mode\"" out.json || fail "no mode in $(cat out.json)"
    grep -Eq '"ms": [0-9]*\.[0-9]*[1-9]' out.json || fail "no positive time in $(cat out.json)"
done
"$program" bench step --batch 24 --multi-task --accumulate 2 --hidden-dim 32 --repeats 5 | grep -q 'training step, G 24' ||
    fail "multi-task heads"

expect() { # text command...
    local text=$1 got=0
    shift
    "$program" "$@" >out 2>err || got=$?
    [ "$got" = 2 ] || fail "$*: exit code $got, not 2"
    grep -q -- "$text" err || fail "$*: no \"$text\" in $(cat err)"
}
expect '128 virtual shards' bench step --batch 64 --shards 128
expect 'accumulate is 9' bench step --batch 64 --accumulate 9
expect 'mode' bench step --mode slow
