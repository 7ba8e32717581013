# To be sourced by launchers and batch scripts: the exit code of mpirun or srun as one of emoclim's, and the signals of a
# launcher, which stays beside mpirun to give that code.

# Says and sets $verdict: emoclim's own codes stand, and 1, by which mpirun and srun refuse their options. All others mean
# that a rank or a host was lost, which is 5; unless who started this told it to stop at once.
judge() { # PROGRAM CODE [SIGNAL by which it was told so]
    local lost='a host or a rank was lost'
    verdict=$2
    case $2 in
    0 | 1 | 2 | 3 | 4 | 5 | 70 | 75) [ "$2" -eq 1 ] && [ -n "${3:-}" ] || return 0 ;;
    esac
    if [ -n "${3:-}" ]; then
        verdict=$((128 + $(kill -l "$3")))
        return 0
    fi
    case $2 in
    126 | 127) verdict=4 lost="$1 cannot be started" ;;
    132 | 134) verdict=5 lost="a rank was killed (SIG$(kill -l $(($2 - 128)))), or could not be started" ;; # Open MPI 4
    137) verdict=5 lost="a rank$([ "$1" != mpirun ] || echo ', or mpirun itself,') was killed (SIGKILL)" ;;
    129 | 13[0-9] | 14[0-3]) verdict=5 lost="a rank was killed (SIG$(kill -l $(($2 - 128))))" ;;
    *) verdict=5 ;;
    esac
    echo "$1 ended with $2: $lost; exit code $verdict" >&2
}

# Microseconds of a clock; of whole seconds before bash 5.
now_us() {
    local now=${EPOCHREALTIME:-$SECONDS.000000}
    echo "${now/[.,]/}"
}

# A signal came. The first asks the ranks for a checkpoint and a stop, the second, of its kind and not within a second
# (senders may signal a process and then its group), stops them at once.
pass_on() { # SIGNAL
    local now
    now=$(now_us)
    signals=$((signals + 1))
    [ "$signals" -gt 1 ] || echo "$1: the ranks are asked to stop, training saves a checkpoint; once more ends them at once" >&2
    asked=${asked:-$1}
    case $1 in
    USR1 | USR2)
        [ -z "$asked_us" ] || [ $((now - asked_us)) -le 1000000 ] || at_once=$1
        asked_us=${asked_us:-$now}
        kill "-$1" "$launched" 2>/dev/null || true
        ;;
    *)
        if [ -z "$ending_us" ]; then
            ending_us=$now
            kill -USR1 "$launched" 2>/dev/null || true
        elif [ $((now - ending_us)) -gt 1000000 ]; then
            at_once=$1
            kill -TERM "$launched" 2>/dev/null || true
        fi
        ;;
    esac
}

# Waits for $launched, also where a signal breaks off the wait, and sets $code. This and pass_on work on the caller's
# variables.
await() {
    local seen again
    code=0 seen=$signals
    wait "$launched" || code=$?
    while [ "$signals" -gt "$seen" ]; do
        seen=$signals again=0
        wait "$launched" || again=$?
        [ "$again" -eq 127 ] || code=$again # 127: it had ended before
    done
}

# Runs mpirun and exits with its verdict. It has a process group of its own, so that signals reach it through this script
# only, and a guard that ends it should this script be killed.
run_mpirun() { # COMMAND...
    local signal code launched signals=0 asked= asked_us= ending_us= at_once= guard guard_PID
    for signal in INT TERM HUP USR1 USR2; do trap "pass_on $signal" "$signal"; done
    set -m
    "$@" &
    launched=$!
    coproc guard { read -r _ || kill -TERM "$launched"; } 2>/dev/null # the pipe ends with this script
    disown "$guard_PID"
    set +m
    await
    kill "$guard_PID" 2>/dev/null || true
    # What cannot stop half-way ends by the request itself.
    case ${asked:+$code} in
    $((128 + $(kill -l USR1))) | $((128 + $(kill -l USR2)))) at_once=${at_once:-$asked} ;;
    esac
    judge mpirun "$code" "$at_once"
    exit "$verdict"
}
