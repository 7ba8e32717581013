#!/usr/bin/env bash
# What can be said of cluster/emoclim.def and cluster/spack without Apptainer and Spack: every section is a shell script
# that parses, every argument has a value, every file is there; the recipe names options that CMakeLists.txt
# has, and all libraries.
# usage: test_recipes.sh PROGRAM WORK_FOLDER
set -eu
. "$(dirname "$0")/../support/shell.sh"

definition=$root/cluster/emoclim.def
section() { "$root/tests/support/definition.sh" "$definition" "$@"; } # STAGE SECTION
[ "$(grep '^Stage:' "$definition" | tr '\n' ' ')" = "Stage: build Stage: final " ] || complain "the stages are others"
for stage in build final; do
    section $stage header >header || complain "$stage: header"
    grep -qE '^From: [a-z/]+:[a-z0-9.-]+$' header || complain "$stage: $(cat header)"
    for part in post test environment runscript; do
        section $stage $part >$part.sh || complain "$stage: $part"
        sh -n $part.sh || complain "$stage: $part does not parse"
    done
done
section build post >post.sh
[ "$(wc -l <post.sh)" -ge 5 ] || complain "what builds is: $(cat post.sh)"
# Names of sections that Apptainer does not know would be refused there.
for name in $(sed -nE 's/^%([a-z]+).*/\1/p' "$definition" | sort -u); do
    case $name in arguments | files | post | environment | runscript | test | labels | help) ;;
    *) complain "a section %$name" ;; esac
done
copied=0
while read -r file _; do
    copied=$((copied + 1))
    [ -e "$root/$file" ] || complain "there is no $file"
done < <(section build files)
[ "$copied" -gt 8 ] || complain "only $copied files are copied"
# All that a build reads is copied: what git has at the top, but tests and hidden files.
for file in "$root"/*; do
    file=${file##*/}
    case $file in tests | build | shared) continue ;; esac
    section build files | grep -qE "^ *$file " || complain "$file is not copied"
done
if section final post nothing=1 2>err | grep -q '{{'; then complain "an argument without a value"; fi

command -v python3 >/dev/null || finish "no python3: the recipe for Spack was not looked at"
python3 "$root/tests/support/spack_recipe.py" "$root" >out 2>err || complain "the recipe for Spack: $(cat err out)"
finish
