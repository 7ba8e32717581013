#!/usr/bin/env bash
# emoclim bench loader: figures for both types, nothing left behind however it ends, errors that name the folder.
set -eu
. "$(dirname "$0")/../support/shell.sh"
mkdir made

bench() { # ARGUMENTS...: into out
    "$emoclim" bench loader --rows 3000 --width 40 --repeats 5 --folder made --json "$@" >out
    for key in reader_rows_per_s loader_rows_per_s cold_rows_per_s cold_unchecked_rows_per_s cpu_ns_per_row; do
        grep -Eq "\"$key\": [1-9][0-9]*\.[0-9]" out || fail "no positive $key: $(cat out)"
    done
}
for type in float32 float16; do
    bench --batch 48 --dtype $type
    says out "\"dtype\": \"$type\""
done
bench --batch 2000 --dtype float16 --half --threads 3 --sampling shuffled --step 1e6
says out '"threads": 3'
says out '"sampling": "shuffled"'
says out '"needed_rows_per_s": 4.0'
"$emoclim" bench loader --rows 500 --width 8 --folder made --step 1e6 >out
matches out "loader, in memory *[0-9]"
says out "the loader keeps up"
"$emoclim" bench loader --rows 500 --width 8 --folder made --step 1e-6 >out
says out "it would wait"
[ -z "$(ls -A made)" ] || fail "left behind: $(ls -R made)"

# Stopped while the file is made, which it would be for long: its folder goes first.
"$emoclim" bench loader --rows 20000000 --width 64 --folder made >out 2>&1 &
for ((i = 0; i < 1000; i++)); do [ -z "$(ls -A made)" ] || break; sleep 0.01; done
[ -n "$(ls -A made)" ] || fail "no folder: $(cat out)"
kill -TERM $!
code=0
wait $! || code=$?
[ "$code" -eq 143 ] || fail "exit code $code after TERM: $(cat out)"
[ -z "$(ls -A made)" ] || fail "left behind after TERM: $(ls -R made)"

# Killed while it measures: the file has no name any more.
"$emoclim" bench loader --rows 500 --width 8 --repeats 1000 --batch 8192 --folder made >out 2>&1 &
measures() { ls -l "/proc/$!/fd" 2>/dev/null | grep -q 'emoclim-bench-.*(deleted)' && [ -z "$(ls -A made)" ]; }
for ((i = 0; i < 1000; i++)); do ! measures || break; sleep 0.01; done
[ "$i" -lt 1000 ] || fail "the file kept its name: $(cat out)"
kill -KILL $!
wait $! 2>/dev/null || true
[ -z "$(ls -A made)" ] || fail "left behind after KILL: $(ls -R made)"

refuses 4 "made/absent" bench loader --folder made/absent
finish
