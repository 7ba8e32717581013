#!/usr/bin/env bash
# Prints one section of an Apptainer definition, with the arguments put in: definition.sh FILE STAGE SECTION [NAME=VALUE ...]
# "header" is what stands before the first section. An argument without a value is an error.
set -eu
file=$1 stage=$2 section=$3
shift 3
part() { # SECTION
    awk -v stage="$stage" -v section="$1" '
        /^#/ { next }
        /^Bootstrap:/ { header = $0; inside = "header"; current = ""; next }
        /^Stage:/ && inside == "header" { current = $2 }
        /^%/ { inside = substr($0, 2); next }
        inside == "header" { header = header "\n" $0; if (current == stage && section == "header") last = header; next }
        current == stage && inside == section
        END { if (section == "header" && last) print last }' "$file"
}
text=$(part "$section")
while read -r pair; do set -- "$@" "$pair"; done < <(part arguments | sed 's/^ *//' | grep =) # the first given one counts
for pair in "$@"; do
    text=$(sed "s|{{ *${pair%%=*} *}}|${pair#*=}|g" <<<"$text")
done
case $text in *'{{'*) echo "$file: no value for $(grep -o '{{[^}]*}}' <<<"$text" | head -n 1)" >&2; exit 1 ;; esac
printf '%s\n' "$text"
