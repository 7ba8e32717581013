#!/usr/bin/env bash
# The documents name files that exist: every path in the text that begins with a folder of this repository, and every
# relative link.
set -eu
cd "$(dirname "$0")/../.."
wrong=0
paths=0
links=0
complain() {
    echo "$*"
    wrong=$((wrong + 1))
}

for document in *.md docs/*.md; do
    # A path may be a pattern, if something matches it. NAME stands for any file.
    while IFS= read -r path; do
        path=${path%.}
        case $path in *NAME*) continue ;; esac
        paths=$((paths + 1))
        compgen -G "$path" >/dev/null || complain "$document names $path, which does not exist"
    done < <(grep -oE '(^|[^A-Za-z0-9_./-])(src|tests|docs|launch|cluster|configs|data|include)/[A-Za-z0-9_.*/-]+' "$document" |
        sed -E 's/^[^a-z]//' | sort -u)
    while IFS= read -r link; do
        case $link in *://* | '#'* | mailto:*) continue ;; esac
        links=$((links + 1))
        file=${link%%#*}
        [ -e "$(dirname "$document")/$file" ] || complain "$document links to $link, which does not exist"
        if [ "$file" != "$link" ]; then
            # An anchor is a heading in lower case, blanks as hyphens, without other punctuation.
            sed -nE 's/^#+ //p' "$(dirname "$document")/$file" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9_\n-' |
                grep -qxF -- "${link#*#}" || complain "$document links to $link: there is no such heading"
        fi
    done < <(grep -oE '\]\([^) ]+\)' "$document" | sed -E 's/^\]\(//; s/\)$//' | sort -u)
done
[ "$paths" -gt 50 ] && [ "$links" -gt 5 ] || complain "only $paths paths and $links links were found: is the pattern right?"
[ "$wrong" -eq 0 ]
