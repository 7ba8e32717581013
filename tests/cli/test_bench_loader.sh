#!/usr/bin/env bash
# emoclim bench loader: figures for both types, nothing left behind, errors that name the folder.
set -eu
. "$(dirname "$0")/../support/shell.sh"
mkdir made

for type in float32 float16; do
    "$emoclim" bench loader --rows 3000 --width 40 --batch 48 --dtype $type --repeats 5 --folder made --json >out
    for key in reader_rows_per_s loader_rows_per_s cold_rows_per_s cold_unchecked_rows_per_s; do
        grep -Eq "\"$key\": [1-9][0-9]*\.[0-9]" out || fail "no positive $key: $(cat out)"
    done
    says out "\"dtype\": \"$type\""
done
"$emoclim" bench loader --rows 500 --width 8 --folder made | grep -q "loader, in memory *[0-9]"
[ -z "$(ls -A made)" ] || fail "left behind: $(ls -R made)"

refuses 4 "made/absent" bench loader --folder made/absent
finish
