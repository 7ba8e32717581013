#!/usr/bin/env bash
# The batch files as a user would submit them, on a throw-away Slurm with two nodes: to the end, stopped and requeued,
# preempted, refused, and broken.
# usage: test_slurm.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
export EMOCLIM=$1
work=$2
programs=$3
EMOCLIM_ROOT=$(cd "$(dirname "$0")/../.." && pwd)
export EMOCLIM_ROOT
support=$EMOCLIM_ROOT/tests/support
rm -rf "$work"
mkdir -p "$work/cluster"
cd "$work"
wrong=0
complain() {
    echo "$*"
    wrong=$((wrong + 1))
}

slurm=$(mktemp -d) # short: the socket's path has a limit
trap '"$support/mini_slurm.sh" stop "$slurm"' EXIT
"$support/mini_slurm.sh" start "$slurm" 2 2
export SLURM_CONF=$slurm/slurm.conf
# Two nodes of one machine: everything goes over the loopback, and both have the same cores.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export OMPI_MCA_mpi_yield_when_idle=1 EMOCLIM_BIND=none OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

"$programs/make_caches" . 600 32 24
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8, base_output_dim: 8}
training: {batch_size: 32, max_steps: 1000000, steps_per_epoch: 100000}
distributed: {shards: 4, deadline_s: 60}
checkpoint: {every_steps: 1000}
logging: {every: 10}
YAML

# The two lines that a user edits. Where a user writes an absolute path, so does this.
edit() { # FILE NAME OVERRIDE...: cluster/FILE with a configuration of its own
    local file=$1 name=$2
    shift 2
    "$EMOCLIM" config print run.yaml "logging.folder=$name" "$@" >"$name.yaml"
    sed -e "s|^CONFIG=.*|CONFIG=$PWD/$name.yaml|" -e 's|--nodes=. --ntasks-per-node=4|--nodes=2 --ntasks-per-node=1|' \
        "$EMOCLIM_ROOT/cluster/$file" >"cluster/$name.sbatch"
}
submit() { # NAME [SBATCH-OPTIONS...]: sets $job
    local name=$1
    shift
    job=$(sbatch --parsable -o "$name.log" "$@" "cluster/$name.sbatch")
}
state() { scontrol -o show job "$1" | grep -oE 'JobState=[A-Z_]+' | cut -d= -f2; }
finished() { # NAME JOB EXIT_CODE: waits for the job's end
    local i s=
    for ((i = 0; i < 400; i++)); do
        s=$(state "$2")
        case $s in COMPLETED | FAILED | CANCELLED | NODE_FAIL | TIMEOUT) break ;; esac
        sleep 0.1
    done
    case $s in
    COMPLETED | FAILED)
        scontrol -o show job "$2" | grep -q " ExitCode=$3:0 " ||
            complain "$1: $s, $(scontrol -o show job "$2" | grep -oE ' ExitCode=[0-9:]+'), expected $3: $(tail -c 800 "$1.log")"
        ;;
    *) complain "$1: $s after 40 s: $(tail -c 800 "$1.log")" ;;
    esac
}
appears() { # FILE PATTERN
    local i
    for ((i = 0; i < 300; i++)); do
        ! grep -qE -- "$2" "$1" 2>/dev/null || return 0
        sleep 0.05
    done
    complain "$1 does not say \"$2\" but: $(tail -c 800 "$1")"
}
digest() { "$EMOCLIM" checkpoint digest "$(ls "$1"/checkpoints/step-*.h5 | tail -n 1)"; }
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

# Numbers of ranks that cannot share the batch, and files that are not there: told once, not requeued.
edit train.sbatch refused distributed.shards=1 training.batch_size=33
submit refused
finished refused "$job" 2
appears refused.log '2 ranks cannot share distributed.shards = 1 evenly'
edit train.sbatch missing dataset.image_cache=nowhere.h5
submit missing
finished missing "$job" 3
appears missing.log 'nowhere.h5'
[ "$(grep -c 'not requeued' missing.log)" -eq 1 ] || complain "a missing cache: $(cat missing.log)"

# A program that breaks off before any progress is started again so many times only.
cat >broken.sh <<SCRIPT
#!/bin/sh
[ "\$1" != train ] || exit 5
exec $EMOCLIM "\$@"
SCRIPT
chmod +x broken.sh
edit train.sbatch broken
EMOCLIM=$PWD/broken.sh EMOCLIM_TRIES=1 submit broken
finished broken "$job" 1
appears broken.log 'started 2 times without a new checkpoint'
[ "$(grep -c 'broke off with exit code 5' broken.log)" -eq 1 ] || complain "not started once more: $(cat broken.log)"

[ "$wrong" -eq 0 ] || { echo "$wrong complaints"; exit 1; }
