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

run_ctest() { # FOLDER ARGS...: tests of build/FOLDER
    local none=error
    [ ${#labels[@]} -eq 0 ] || none=ignore # few labels have tests of both kinds, see below
    ctest --test-dir "build/$1" -j 2 --output-on-failure --no-tests=$none "${@:2}" 2>&1
}

# Adds up what ctest said.
count() { # LOG
    local total bad out
    [ ${#labels[@]} -eq 0 ] || ! grep -q '^No tests were found' "$1" || return 0
    total=$(sed -n 's/.* tests failed out of \([0-9]*\)$/\1/p' "$1")
    bad=$(sed -n 's/.*, \([0-9]*\) tests failed out of [0-9]*$/\1/p' "$1")
    if [ -z "$total" ]; then # ctest itself did not come to an end
        failed=$((failed + 1))
        return
    fi
    out=$(grep -c '\*\*\*Skipped' "$1")
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
pattern= without=slow
for label in unit golden dist cli fault cuemu gpu cluster slow; do
    if wanted $label; then pattern="${pattern:+$pattern|}^$label\$"; fi
done
! wanted slow || without=none

# Most tests wait, for clocks and for each other. What only computes (label "computing"), and what has to be built,
# takes the time that they leave, and gives way to them.
meanwhile() { # NAME COMMAND...: what it says is left in $work/NAME, and how it ended in $work/NAME.status
    local status=0
    "${@:2}" >"$work/$1" 2>&1 || status=$?
    echo $status >"$work/$1.new"
    mv "$work/$1.new" "$work/$1.status"
}
has_succeeded() { # NAME: waits for its end
    until [ -e "$work/$1.status" ]; do sleep 0.1; done
    [ "$(cat "$work/$1.status")" -eq 0 ] || { cat "$work/$1"; return 1; }
}
sanitized='^(unit|numeric)\.|^cuemu\.(emulation|.*\.0)$|^dist\.test_comm\.2$'
compute() {
    renice -n 19 -p $BASHPID >/dev/null
    ! wanted fuzz || meanwhile fuzz tests/fuzz/run.sh build &
    ! wanted sanitize || meanwhile asan launch/build.sh asan sanitized
    # In a folder of its own: two at a time would write the same notes.
    [ -z "$pattern" ] || meanwhile computed run_ctest release/tests -L "$pattern" -L '^computing$' -LE "^$without\$"
    if wanted sanitize && [ "$(cat "$work/asan.status")" -eq 0 ]; then
        meanwhile sanitized run_ctest asan/tests -L '^computing$' -R "$sanitized"
    fi
    wait
}
compute &
meanwhile=$!

if [ -n "$pattern" ]; then
    run_ctest release -L "$pattern" -LE "^($without|computing)\$" | tee "$log"
    count "$log"
fi
if wanted sanitize; then
    echo "== Under AddressSanitizer and UndefinedBehaviorSanitizer: unit, golden, emulated CUDA and one test on ranks"
    if has_succeeded asan; then
        run_ctest asan -LE '^computing$' -R "$sanitized" | tee "$log"
        count "$log"
    else
        failed=$((failed + 1))
    fi
fi
if wanted fuzz; then
    echo "== Readers of foreign files, fuzzed"
    fuzz() { has_succeeded fuzz && tests/fuzz/run.sh; }
    run_part fuzz
fi
wait "$meanwhile"
if [ -n "$pattern" ]; then
    echo "== Meanwhile, what only computes"
    cat "$work/computed"
    count "$work/computed"
fi
if [ -e "$work/asan.status" ] && [ "$(cat "$work/asan.status")" -eq 0 ]; then
    echo "== The same under sanitizers"
    cat "$work/sanitized"
    count "$work/sanitized"
fi
if wanted valgrind; then
    echo "== Under valgrind"
    run_part tests/valgrind.sh
fi
echo
echo "tests: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
