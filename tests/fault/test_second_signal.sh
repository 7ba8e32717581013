#!/usr/bin/env bash
# One signal asks for a checkpoint and a stop; a second one stops at once. Tried on ranks that cannot come to a step's end,
# since one of them is stopped.
# usage: test_second_signal.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$programs/make_caches" . 400 24 16
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8}
training: {batch_size: 16, max_steps: 1000000, steps_per_epoch: 100, validate_every: 0}
distributed: {shards: 4, deadline_s: 60}
logging: {every: 10}
YAML

running() { case $(ps -o stat= -p "$1") in '' | Z*) return 1 ;; esac; }
start() { # FOLDER [LAUNCHER]: $pid is mpirun or the launcher; $first trains and waits for $held, which is stopped
    local folder=$1 child i mpi
    "${2:-$mpirun}" 2 "$emoclim" train run.yaml "logging.folder=$folder" >"$folder.log" 2>&1 </dev/null &
    pid=$!
    for ((i = 0; i < 600; i++)); do
        ! grep -q '^step ' "$folder.log" || break
        sleep 0.05
    done
    first= held=
    mpi=$(pgrep -x -P "$pid" mpirun) || mpi=$pid
    for child in $(ps -o pid= --ppid "$mpi"); do
        case $(tr '\0' '\n' <"/proc/$child/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p') in
        0) first=$child ;;
        1) held=$child ;;
        esac
    done
    [ -n "$first" ] && [ -n "$held" ] || { echo "$folder: no two ranks: $(tail -c 800 "$folder.log")"; exit 1; }
    kill -STOP "$held"
}
waits() { # WHAT: rank 0 is still there after a while
    sleep 0.4
    running "$first" || complain "$1: rank 0 did not wait for the step's end: $(tail -c 800 "$1.log")"
}
gone() { # WHAT: rank 0 is gone, long before the deadline
    local i
    code=0
    for ((i = 0; i < 60; i++)); do
        running "$first" || break
        sleep 0.05
    done
    ! running "$first" || complain "$1: rank 0 goes on waiting"
    kill -KILL "$held" "$first" 2>/dev/null || true
    wait "$pid" || code=$?
    [ "$code" -ne 0 ] && [ "$code" -ne 75 ] || complain "$1: exit code $code"
}

start usr
kill -USR1 "$first"
kill -USR2 "$first" # within a second it is the same request, passed on twice
waits usr
kill -TERM "$first" # the scheduler's, at a time limit
waits usr
sleep 0.4
kill -USR1 "$first"
gone usr

start term
kill -TERM "$first"
waits term
kill -INT "$first"
gone term

# A launcher asks the ranks at the first, and ends mpirun at the second.
start launched "$root/launch/ranks.sh"
kill -TERM "$pid"
waits launched
sleep 0.8 # within a second it is the same request
kill -TERM "$pid"
gone launched
[ "$code" -eq 143 ] || complain "launched: exit code $code, expected 143"

finish
