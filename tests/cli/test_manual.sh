#!/usr/bin/env bash
# The manual page: no warning of a formatter, every command and option of the help texts, sections, exit codes.
# usage: test_manual.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"

run 2 manual --json
run 0 manual
silent err
cp out emoclim.1

# Formatted, and without the overstriking that makes letters bold.
formatted=false
if command -v man >/dev/null; then
    MANWIDTH=1000 MANPAGER=cat man --warnings -E ascii -l emoclim.1 >page 2>warnings || complain "man: exit code $?"
    silent warnings
    formatted=true
elif command -v groff >/dev/null; then
    groff -man -Tascii -ww -rLL=1000n -P-c emoclim.1 2>warnings | sed 's/.\x08//g' >page
    silent warnings
    formatted=true
fi
if command -v mandoc >/dev/null; then
    mandoc -Tlint -W warning emoclim.1 >warnings || true
    silent warnings
fi
$formatted || skip "neither man nor groff is here"

leaves=0
visit() { # COMMAND...
    local names name
    "$emoclim" "$@" --help >help
    names=$(awk '/^commands:$/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }' help)
    for name in $names; do visit "$@" "$name"; done
    [ -z "$names" ] || return 0
    leaves=$((leaves + 1))
    # From the heading of this command to the next heading.
    awk -v head="   emoclim $*" '$0 == head { on = 1; next } /^ ? ? ?[A-Za-z]/ { on = 0 } on' page >part
    [ -s part ] || complain "no part for emoclim $*"
    says part "$(sed -n '1s/^usage: //p' help)"
    awk '/^options:$/ { on = 1; next } /^$/ { on = 0 } on' help | grep -oE '^  (-., |    )--[a-z0-9-]+( [^ ]+)?' |
        sed 's/^ *//' >options || true
    while IFS= read -r name; do
        says part "       $name"
    done <options
}
visit
[ "$leaves" -gt 12 ] || complain "only $leaves commands were found"
says page "emoclim $("$emoclim" --version | sed 's/emoclim //')"
for section in NAME SYNOPSIS DESCRIPTION COMMANDS 'COMMON OPTIONS' CONFIGURATION 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
    grep -qx "$section" page || complain "no section $section"
done
for section in $(sed -nE 's/^## ([a-z_]+)$/\1/p' "$root/docs/configuration.md"); do
    says page "       $section"
done
says page "75 stopped by a signal with a checkpoint written"
finish "$leaves commands"
