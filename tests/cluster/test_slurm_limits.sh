#!/usr/bin/env bash
# ctest: slow
# What takes its time, on a throw-away Slurm with four nodes: the warning before a time limit, a node that is lost, a rank
# that is killed, an administrator's requeue, a user who does not want to wait.
# usage: test_slurm_limits.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
nodes=4
. "$(dirname "$0")/../support/batch_jobs.sh"
restarts() { scontrol -o show job "$1" | grep -oE 'Restarts=[0-9]+' | cut -d= -f2; }
requeued() { # NAME JOB: waits until it was, once, and the ranks of its first life save nothing any more
    local i
    for ((i = 0; i < 1200; i++)); do
        [ "$(restarts "$2")" -eq 0 ] || pgrep -f "^$EMOCLIM train .*$PWD/$1.yaml" >/dev/null || return 0
        sleep 0.1
    done
    complain "$1 is not requeued after 120 s: $(tail -c 800 "$1.log")"
}

# Two minutes' limit. Slurm looks at the clock twice a minute and warns when no more than 95 seconds are left: a busy
# machine then has half a minute to start the ranks, and more than a minute to end them.
for file in train train-srun; do
    edit $file.sbatch limit-$file
    sed -i -e 's|--time=12:00:00|--time=2|' -e 's|B:USR1@180|B:USR1@95|' cluster/limit-$file.sbatch
    submit limit-$file
    [ $file = train ] && limit=$job || limit_srun=$job
done

# Killed where it stands and put back into the queue: it goes on from its last checkpoint.
edit train.sbatch killed checkpoint.every_steps=50
submit killed
killed=$job

# Asked to stop, and again after a while, with a rank that cannot come to the step's end: it is ended and requeued.
edit train.sbatch twice checkpoint.every_steps=50
submit twice
twice=$job

# A rank is killed: exit code 5, whatever mpirun and srun make of it.
edit train.sbatch rank-mpirun checkpoint.every_steps=50
submit rank-mpirun
rank_mpirun=$job
edit train-srun.sbatch rank-srun checkpoint.every_steps=50
submit rank-srun
rank_srun=$job
for name in limit-train limit-train-srun killed twice rank-mpirun rank-srun; do appears $name.log '^step '; done
saved killed twice rank-mpirun rank-srun
scontrol requeue "$killed"
requeued killed "$killed"
ends_soon killed
process_of() { # NAME: that of its rank 1
    local process
    for process in $(pgrep -f "^$EMOCLIM train .*$PWD/$1.yaml"); do
        ! tr '\0' '\n' </proc/"$process"/environ | grep -qxE '(OMPI_COMM_WORLD|PMIX)_RANK=1' || echo "$process"
    done
}
for launcher in mpirun srun; do
    kill -KILL "$(process_of rank-$launcher)"
    appears rank-$launcher.log "^$launcher ended with 137: a rank.* was killed .SIGKILL.; exit code 5"
    appears rank-$launcher.log '^emoclim: broke off with exit code 5; requeued'
done
kill -STOP "$(process_of twice)"
scancel -b -s USR1 "$twice"
sleep 2
[ "$(state "$twice")" = RUNNING ] || complain "the first signal did not wait for the step's end"
scancel -b -s USR1 "$twice"
requeued twice "$twice"
ends_soon twice
requeued rank-mpirun "$rank_mpirun"
ends_soon rank-mpirun
requeued rank-srun "$rank_srun"
ends_soon rank-srun
appears twice.log 'broke off with exit code'

for name in limit-train limit-train-srun; do stops $name; done
goes_on limit-train "$limit"
goes_on limit-train-srun "$limit_srun"
goes_on killed "$killed" checkpoint.every_steps=50
goes_on twice "$twice" checkpoint.every_steps=50
goes_on rank-mpirun "$rank_mpirun" checkpoint.every_steps=50
goes_on rank-srun "$rank_srun" checkpoint.every_steps=50

# A node is lost: Slurm ends the job, puts it back, and it goes on when the node is there again (soon, since its daemon
# answers).
edit train-srun.sbatch lost checkpoint.every_steps=50
submit lost
lost=$job
saved lost
scontrol update nodename=n3 state=down reason=test
requeued lost "$lost"
ends_soon lost
goes_on lost "$lost" checkpoint.every_steps=50

finish
