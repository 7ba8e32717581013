#!/usr/bin/env bash
# Feeds random bytes to every reader of foreign files for a few seconds each: tests/fuzz/run.sh [SECONDS]
# ("build" instead of SECONDS: only builds)
# Needs clang with its sanitizer runtime; says so and fails where it is missing and cannot be installed.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-10}
if ! { command -v clang && echo 'int LLVMFuzzerTestOneInput(void){return 0;}' | clang -x c -fsanitize=fuzzer - -o /dev/null; } >/dev/null 2>&1; then
    echo "Fuzzing needs clang and its runtime (Debian 12: clang libclang-rt-14-dev)" >&2
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || exit 4
    export DEBIAN_FRONTEND=noninteractive
    install="apt-get install -y -q --no-install-recommends clang libclang-rt-14-dev"
    { $install || { apt-get update -q && $install; }; } >&2
fi
[ -f build/fuzz/build.ninja ] || cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -- --quiet
[ "$seconds" != build ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

fuzz() { # FUZZER: leaves its exit status in $work/NAME.status and what it said in $work/NAME.log
    local name=${1##*/} status=0
    mkdir -p "$work/$name"
    # shellcheck disable=SC2046
    "$1" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -artifact_prefix="$work/$name-" "$work/$name" \
        $(ls -d tests/fuzz/corpus/"${name#fuzz_}" 2>/dev/null) >"$work/$name.log" 2>&1 || status=$?
    echo $status >"$work/$name.status"
}

names=()
for fuzzer in build/fuzz/fuzz_*; do
    [ -x "$fuzzer" ] && [ -f "$fuzzer" ] || continue
    names+=("${fuzzer##*/}")
    [ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n
    fuzz "$fuzzer" &
done
wait
for name in "${names[@]}"; do
    if [ "$(cat "$work/$name.status")" -eq 0 ]; then
        passed=$((passed + 1))
        echo "$name: $(grep -o 'Done [0-9]* runs' "$work/$name.log" || echo done)"
    else
        failed=$((failed + 1))
        tail -40 "$work/$name.log"
        echo "$name: FAILED"
    fi
done
echo "fuzzers: $passed without a finding, $failed with one"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
