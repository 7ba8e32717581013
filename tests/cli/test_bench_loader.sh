#!/usr/bin/env bash
# emoclim bench loader: figures for both types, nothing left behind, errors that name the folder.
set -eu
program=$1 work=$2
rm -rf "$work"
mkdir -p "$work"

for type in float32 float16; do
    "$program" bench loader --rows 3000 --width 40 --batch 48 --dtype $type --repeats 5 --folder "$work" --json >"$work/out"
    for key in reader_rows_per_s loader_rows_per_s cold_rows_per_s cold_unchecked_rows_per_s; do
        grep -Eq "\"$key\": [1-9][0-9]*\.[0-9]" "$work/out" || { echo "no positive $key:"; cat "$work/out"; exit 1; }
    done
    grep -q "\"dtype\": \"$type\"" "$work/out"
done
"$program" bench loader --rows 500 --width 8 --folder "$work" | grep -q "loader, in memory *[0-9]"
rm "$work/out"
[ -z "$(ls -A "$work")" ] || { echo "left behind:"; ls -R "$work"; exit 1; }

status=0
"$program" bench loader --folder "$work/absent" 2>"$work/err" || status=$?
[ $status = 4 ] && grep -q "$work/absent" "$work/err" || { echo "exit code $status"; cat "$work/err"; exit 1; }
