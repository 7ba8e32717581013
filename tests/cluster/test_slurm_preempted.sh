#!/usr/bin/env bash
# A more urgent job takes the nodes of a throw-away Slurm away from running jobs, under mpirun and under srun: they
# stop, wait, go on, and have the weights of runs in one piece.
# usage: test_slurm_preempted.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/batch_jobs.sh"

edit train.sbatch mpirun
submit mpirun
mpirun=$job
edit train-srun.sbatch srun
submit srun
srun=$job
for name in mpirun srun; do appears $name.log '^step '; done
urgent=$(sbatch --parsable -p urgent -N 2 --exclusive -o /dev/null --wrap 'sleep 1')
for name in mpirun srun; do stops $name; done
goes_on mpirun "$mpirun"
goes_on srun "$srun"
[ "$(state "$urgent")" = COMPLETED ] || complain "the urgent job is $(state "$urgent")"

finish
