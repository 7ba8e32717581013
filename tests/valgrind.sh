#!/usr/bin/env bash
# The unit tests, some of the golden ones and one test on ranks under valgrind: reads of memory that nobody wrote, and
# what AddressSanitizer does not see in libraries that were not built with it.
# usage: tests/valgrind.sh [NAME...]    NAME: of a test program in build/release/tests (default: those listed here)
#
# valgrind shows programs a processor without AVX-512, so those kernels are not met here. Left out are the golden tests
# of products by oneDNN: their last bits, and with them ties of rankings, are others on that processor.
set -u
cd "$(dirname "$0")/.."
root=$PWD
command -v valgrind >/dev/null || { echo "valgrind is not installed"; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export ONEDNN_MAX_CPU_ISA=AVX2 DNNL_MAX_CPU_ISA=AVX2
options=(-q --error-exitcode=99 --keep-debuginfo=yes --num-callers=40 "--suppressions=$root/tests/support/valgrind.supp")
for openmpi in /usr/share/openmpi/openmpi-valgrind.supp /usr/local/share/openmpi/openmpi-valgrind.supp; do
    [ ! -f "$openmpi" ] || options+=("--suppressions=$openmpi")
done
bad=0 good=0

try() { # NAME COMMAND...
    local name=$1 code=0 start=$SECONDS
    shift
    timeout -k 10 900 "$@" >"$log" 2>&1 || code=$?
    if [ "$code" -eq 0 ]; then
        good=$((good + 1))
        printf '%-32s good  %4d s\n' "$name" $((SECONDS - start))
    else
        bad=$((bad + 1))
        printf '%-32s exit status %d\n' "$name" "$code"
        tail -60 "$log"
    fi
}

programs=("$@")
if [ $# -eq 0 ]; then
    for program in build/release/tests/unit_test_*; do programs+=("$(basename "$program")"); done
    programs+=(numeric_test_tagging numeric_test_resample numeric_test_preprocess dist_test_comm)
fi
for name in "${programs[@]}"; do
    case $name in
    dist_*) try "$name on 2 ranks" tests/support/mpirun.sh 2 valgrind "${options[@]}" "build/release/tests/$name" ;;
    *) try "$name" valgrind "${options[@]}" "build/release/tests/$name" ;;
    esac
done
echo "valgrind: $good good, $bad bad"
[ "$bad" -eq 0 ]
