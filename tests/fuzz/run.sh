#!/usr/bin/env bash
# Feeds random bytes to every reader of foreign files for a few seconds each: tests/fuzz/run.sh [SECONDS]
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
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
for fuzzer in build/fuzz/fuzz_*; do
    [ -x "$fuzzer" ] && [ -f "$fuzzer" ] || continue
    name=$(basename "$fuzzer")
    mkdir -p "$work/$name"
    if "$fuzzer" -max_total_time="$seconds" -max_len=4096 -rss_limit_mb=2048 -artifact_prefix="$work/$name-" \
        "$work/$name" $(ls -d tests/fuzz/corpus/"${name#fuzz_}" 2>/dev/null) >"$work/log" 2>&1; then
        passed=$((passed + 1))
        echo "$name: $(grep -o 'Done [0-9]* runs' "$work/log" || echo done)"
    else
        failed=$((failed + 1))
        tail -40 "$work/log"
        echo "$name: FAILED"
    fi
done
echo "fuzzers: $passed without a finding, $failed with one"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
