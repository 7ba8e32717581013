#!/usr/bin/env bash
# emoclim demo: writes a set with manifests, says what it wrote, refuses what it cannot do with the right exit code.
set -eu
program=$1
work=$2
rm -rf "$work"
mkdir -p "$work"
fail() {
    echo "$1"
    exit 1
}

"$program" demo --out "$work/set" --images 6 --tracks 2 --seed 3 --json >"$work/out.json" 2>"$work/err.txt" || fail "demo failed"
grep -q '"images": *6' "$work/out.json" || fail "no JSON result"
[ "$(wc -l <"$work/set/images.csv")" = 7 ] || fail "images.csv does not have 6 entries"
[ "$(wc -l <"$work/set/music.csv")" = 3 ] || fail "music.csv does not have 2 entries"
tail -n +2 -q "$work/set/images.csv" "$work/set/music.csv" | while IFS=, read -r path label split; do
    [ -s "$work/set/$path" ] || fail "$path is missing"
    case $path in */"$label"_*) ;; *) fail "$path is labelled $label" ;; esac
    case $split in train | valid | test) ;; *) fail "$path is in split $split" ;; esac
done
[ -s "$work/set/README.txt" ] || fail "no README.txt"

code() { # EXPECTED ARGUMENTS...
    local want=$1 got=0
    shift
    "$program" demo "$@" >"$work/out.txt" 2>"$work/err.txt" || got=$?
    [ "$got" = "$want" ] || fail "demo $* ended with $got, not $want"
}
code 2
code 2 --out "$work/set"
grep -q 'not empty' "$work/err.txt" || fail "no reason for the refusal"
code 2 --out "$work/x" --images -1
code 4 --out /dev/null/x
