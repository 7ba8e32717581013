#!/usr/bin/env bash
# The whole test suite in one command: installs what is missing where it can, builds, runs, prints a summary.
#
#   tests/run.sh            everything that fits into a few minutes on 2 cores (what CI runs)
#   tests/run.sh LABEL...   only these: unit golden dist cli fault cuemu cluster sanitize fuzz; slow, gpu and valgrind only
#                         when named (gpu: on a machine that has one; cluster: as root; its packages are installed where
#                         that can be, else it is skipped)
#
# A part that fails does not keep the next from running; the last line sums up, and the exit status tells.
set -u
cd "$(dirname "$0")/.."
labels=("$@")
passed=0 failed=0 skipped=0
work=$(mktemp -d)
log=$work/log
trap 'rm -rf "$work"' EXIT

wanted() { # LABEL: is it asked for?
    local l
    if [ ${#labels[@]} -eq 0 ]; then
        [ "$1" != slow ] && [ "$1" != gpu ] && [ "$1" != valgrind ]
        return
    fi
    for l in "${labels[@]}"; do [ "$l" = "$1" ] && return 0; done
    return 1
}

# Adds up what a test program said of itself.
run_ctest() { # PRESET JOBS ARGS...
    local preset=$1 jobs=$2 total bad
    shift 2
    ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure --no-tests=error "$@" 2>&1 | tee "$log"
    total=$(sed -n 's/.* tests failed out of \([0-9]*\)$/\1/p' "$log")
    bad=$(sed -n 's/.*, \([0-9]*\) tests failed out of [0-9]*$/\1/p' "$log")
    if [ -z "$total" ]; then # ctest itself did not come to an end
        failed=$((failed + 1))
        return
    fi
    local out
    out=$(grep -c '\*\*\*Skipped' "$log")
    passed=$((passed + total - bad - out))
    failed=$((failed + bad))
    skipped=$((skipped + out))
}

run_part() { # COMMAND...: a part that counts as one test
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

launch/build.sh release || exit 1
if wanted cluster && [ "$(id -u)" -eq 0 ]; then
    launch/setup.sh --cluster || echo "Not all packages for the cluster tests could be installed; tests say what they miss" >&2
fi
# What later parts need is built meanwhile, in the time that tests leave: many wait for clocks and for each other.
declare -A builds=()
build_meanwhile() { # NAME COMMAND...
    nice -n 19 "${@:2}" >"$work/$1" 2>&1 &
    builds[$1]=$!
}
is_built() { # NAME
    wait "${builds[$1]}" || { cat "$work/$1"; return 1; }
}
! wanted sanitize || build_meanwhile asan launch/build.sh asan sanitized
! wanted fuzz || build_meanwhile fuzz tests/fuzz/run.sh build

pattern= without=(-LE '^slow$')
! wanted slow || without=()
for label in unit golden dist cli fault cuemu gpu cluster slow; do
    if wanted $label; then pattern="${pattern:+$pattern|}^$label\$"; fi
done
[ -z "$pattern" ] || run_ctest release 2 -L "$pattern" "${without[@]}"

if wanted sanitize; then
    echo "== Under AddressSanitizer and UndefinedBehaviorSanitizer: unit, golden, emulated CUDA and one test on ranks"
    if is_built asan; then
        run_ctest asan 2 -R '^(unit|numeric)\.|^cuemu\.(emulation|.*\.0)$|^dist\.test_comm\.2$'
    else
        failed=$((failed + 1))
    fi
fi
if wanted fuzz; then
    echo "== Readers of foreign files, fuzzed"
    fuzz() { is_built fuzz && tests/fuzz/run.sh; }
    run_part fuzz
fi
if wanted valgrind; then
    echo "== Under valgrind"
    run_part tests/valgrind.sh
fi
echo
echo "tests: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
