#!/usr/bin/env bash
# Batch files as a user would submit them, on a throw-away Slurm with two nodes: stopped and requeued, and preempted.
# usage: test_slurm.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/batch_jobs.sh"

# A run that has no end was stopped and waits to be started again: it gets an end 60 steps on, goes on to it, and has the
# digest of a run to there in one piece. So nothing here depends on how fast anything is.
goes_on() { # NAME JOB
    local name=$1 step end
    appears "$name.log" 'stopped by a signal; .* is written'
    step=$(sed -nE 's/.*step-0*([0-9]+)\.h5 is written.*/\1/p' "$name.log" | head -n 1)
    end=$((${step:-0} + 60))
    sed -i "s/max_steps: 1000000/max_steps: $end/" "$name.yaml"
    finished "$name" "$2" 0
    appears "$name.log" "going on after step $step from"
    "$EMOCLIM" train run.yaml "logging.folder=$name.whole" "training.max_steps=$end" >"$name.whole.log" 2>&1 ||
        complain "$name.whole: $(tail -c 400 "$name.whole.log")"
    [ "$(digest "$name")" = "$(digest "$name.whole")" ] || complain "$name: other weights than in one piece"
    [ ! -e "$name/restarts" ] || complain "$name: a finished run keeps its count of restarts"
}

# Stopped by USR1 to the batch script, requeued by itself, gone on with.
edit train.sbatch stopped
submit stopped
appears stopped.log '^step '
scancel -b -s USR1 "$job"
goes_on stopped "$job"

# srun starts the ranks; a more urgent job takes the nodes away meanwhile.
edit train-srun.sbatch preempted
submit preempted
appears preempted.log '^step '
urgent=$(sbatch --parsable -p urgent -N 2 --ntasks-per-node=2 -o /dev/null --wrap 'sleep 1')
goes_on preempted "$job"
[ "$(state "$urgent")" = COMPLETED ] || complain "the urgent job is $(state "$urgent")"

[ "$wrong" -eq 0 ] || { echo "$wrong complaints"; exit 1; }
