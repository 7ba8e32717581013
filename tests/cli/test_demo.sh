#!/usr/bin/env bash
# emoclim demo: writes a set with manifests, says what it wrote, refuses what it cannot do with the right exit code.
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$emoclim" demo --out set --images 6 --tracks 2 --seed 3 --json >out.json 2>err.txt || fail "demo failed"
grep -q '"images": *6' out.json || fail "no JSON result"
[ "$(wc -l <set/images.csv)" = 7 ] || fail "images.csv does not have 6 entries"
[ "$(wc -l <set/music.csv)" = 3 ] || fail "music.csv does not have 2 entries"
tail -n +2 -q set/images.csv set/music.csv | while IFS=, read -r path label split; do
    [ -s "set/$path" ] || fail "$path is missing"
    case $path in */"$label"_*) ;; *) fail "$path is labelled $label" ;; esac
    case $split in train | valid | test) ;; *) fail "$path is in split $split" ;; esac
done
[ -s "set/README.txt" ] || fail "no README.txt"

refuses 2 "say where" demo
refuses 2 "not empty" demo --out set
refuses 2 "--images: found -1" demo --out x --images -1
refuses 4 "/dev/null/x" demo --out /dev/null/x
finish
