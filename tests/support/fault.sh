# For tests of the label fault, sourced: runs under fault/inject.c, and what must be true after any of them.
# usage of such a test: test_*.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/shell.sh"
grace=0 # seconds between TERM and KILL that mpirun gives the other ranks when one has failed; by itself it takes 1

# Runs the program on some ranks; $code is the exit code, all output goes to FILE. "FAULT_X=Y" arguments before "--" are
# the faults of inject.c; the process ids are in the folder pids.
run_ranks() { # RANKS FILE [FAULT_X=Y...] -- ARGUMENTS...
    local ranks=$1 file=$2 faults=()
    shift 2
    while [ "$1" != -- ]; do
        faults+=("$1")
        shift
    done
    shift
    rm -rf pids
    mkdir pids
    # AddressSanitizer wants to be the first library; it may come after one that only passes calls on.
    local command=(env "LD_PRELOAD=$programs/inject.so" "FAULT_PIDS=$work/pids" "${faults[@]}"
        "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0" "$emoclim" "$@")
    code=0
    if [ "$ranks" -eq 1 ]; then "${command[@]}" >"$file" 2>&1 </dev/null || code=$?
    else OMPI_MCA_odls_base_sigkill_timeout=$grace "$mpirun" "$ranks" "${command[@]}" >"$file" 2>&1 </dev/null || code=$?; fi
}

# No rank of the last run_ranks is left, 15 s after its end at the latest.
no_orphans() {
    local left=300 alive process
    while :; do
        alive=
        for process in $(cat pids/* 2>/dev/null); do
            case $(ps -o stat= -p "$process") in '' | Z*) ;; *) alive="$alive $process" ;; esac
        done
        if [ -z "$alive" ] || [ "$left" -eq 0 ]; then break; fi
        sleep 0.05
        left=$((left - 1))
    done
    [ -z "$alive" ] || complain "processes are left after 15 s:$alive"
    [ -z "$alive" ] || kill -KILL $alive 2>/dev/null || true
}
