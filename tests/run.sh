#!/usr/bin/env bash
# The whole test suite in one command: installs what is missing where it can, builds, runs, prints a summary.
#
#   tests/run.sh            everything that fits into a few minutes on 2 cores (what CI runs)
#   tests/run.sh LABEL...   only the tests of these labels: unit golden dist cli sanitize fuzz slow
set -eu
cd "$(dirname "$0")/.."
labels=("$@")
wanted() { # LABEL: is it asked for?
    [ ${#labels[@]} -eq 0 ] && [ "$1" != slow ] && return 0
    local l
    for l in "${labels[@]+"${labels[@]}"}"; do [ "$l" = "$1" ] && return 0; done
    return 1
}
pattern=$(for l in unit golden dist fault cli slow; do wanted $l && printf '^%s$|' $l; done || true)
pattern=${pattern%|}

launch/build.sh release
if [ -n "$pattern" ]; then
    ctest --test-dir build/release -L "$pattern" -j 2 --output-on-failure --no-tests=error
fi
if wanted sanitize; then
    launch/build.sh asan
    echo "The same under AddressSanitizer and UndefinedBehaviorSanitizer: unit, golden and one test on ranks"
    ctest --test-dir build/asan -L '^unit$|^golden$' -j 2 --output-on-failure --no-tests=error
    ctest --test-dir build/asan -R 'dist\.test_comm\.2' --output-on-failure --no-tests=error
fi
if wanted fuzz; then
    tests/fuzz/run.sh
fi
