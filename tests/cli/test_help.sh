#!/usr/bin/env bash
# Every command has a help text that fits a terminal, and names that are nearly right get a suggestion.
# usage: test_help.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"
seen=0

# Walks over a command and its sub-commands.
visit() {
    run 0 "$@" --help
    seen=$((seen + 1))
    [ "$(head -c "$(printf 'usage: emoclim %s' "$*" | wc -c)" out)" = "usage: emoclim $*" ] ||
        [ $# -eq 0 ] || complain "emoclim $* --help begins with: $(head -1 out)"
    [ ! -s err ] || complain "emoclim $* --help writes to stderr"
    awk 'length > 80 { exit 1 }' out || complain "emoclim $* --help is wider than 80 columns"
    if grep -q '^commands:$' out; then
        local name names
        names=$(awk '/^commands:$/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }' out)
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
grep -qE '^emoclim [0-9]+\.[0-9]+\.[0-9]+$' out || complain "--version says: $(cat out)"
run 0 version --json
says out '"version"'
run 2 version surplus
says err 'unexpected argument "surplus"'

# Results that cannot be written are an error, not silence.
code=0
"$emoclim" --help >/dev/full 2>err || code=$?
[ "$code" -eq 4 ] || complain "a full device: exit code $code"
says err "cannot write to standard output"

finish "$seen help texts"
