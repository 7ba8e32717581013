#!/usr/bin/env bash
# Every command has a help text that fits a terminal, and names that are nearly right get a suggestion.
# usage: test_help.sh PROGRAM WORK_FOLDER
set -eu
emoclim=$1
work=$2
mkdir -p "$work"
wrong=0 seen=0
complain() {
    echo "$*"
    wrong=$((wrong + 1))
}

# run CODE COMMAND...: output in $work/out and $work/err
run() {
    local expected=$1 code=0
    shift
    "$emoclim" "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "emoclim $*: exit code $code, expected $expected: $(head -c 300 "$work/err")"
}

says() { # FILE TEXT
    grep -qF -- "$2" "$work/$1" || complain "$1 does not say \"$2\" but: $(head -c 300 "$work/$1")"
}

# Walks over a command and its sub-commands.
visit() {
    run 0 "$@" --help
    seen=$((seen + 1))
    [ "$(head -c "$(printf 'usage: emoclim %s' "$*" | wc -c)" "$work/out")" = "usage: emoclim $*" ] ||
        [ $# -eq 0 ] || complain "emoclim $* --help begins with: $(head -1 "$work/out")"
    [ ! -s "$work/err" ] || complain "emoclim $* --help writes to stderr"
    awk 'length > 80 { exit 1 }' "$work/out" || complain "emoclim $* --help is wider than 80 columns"
    if grep -q '^commands:$' "$work/out"; then
        local name names
        names=$(awk '/^commands:$/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }' "$work/out")
        run 2 "$@"
        says err "which command?"
        run 2 "$@" --nonsense
        run 2 "$@" xqzw
        says err 'unknown command "xqzw"'
        for name in $names; do
            visit "$@" "$name"
            run 2 "$@" "${name}x"
            says err "did you mean \"$(printf '%s ' emoclim "$@" "$name" | sed 's/ $//')\"?"
        done
    else
        run 0 "$@" -h
        run 2 "$@" --nonsense-option
        says err "emoclim $*: unknown option --nonsense-option"
        run 2 "$@" --jsno
        says err "did you mean --json?"
        run 2 "$@" -Z
        run 2 "$@" --log-level=loud --help
        says err "--log-level: found \"loud\", expected one of debug, info, warn, error"
        run 2 "$@" --json=yes --help
        says err "option --json takes no value"
    fi
}
visit
[ "$seen" -ge 5 ] || complain "only $seen commands were found"

run 0 --version
grep -qE '^emoclim [0-9]+\.[0-9]+\.[0-9]+$' "$work/out" || complain "--version says: $(cat "$work/out")"
run 0 version --json
says out '"version"'
run 2 version surplus
says err 'unexpected argument "surplus"'

# Results that cannot be written are an error, not silence.
code=0
"$emoclim" --help >/dev/full 2>"$work/err" || code=$?
[ "$code" -eq 4 ] || complain "a full device: exit code $code"
says err "cannot write to standard output"

if [ "$wrong" -gt 0 ]; then
    echo "$wrong wrong"
    exit 1
fi
echo "$seen help texts"
