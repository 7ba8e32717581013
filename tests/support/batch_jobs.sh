# To be sourced by tests of the batch files, with the arguments of the test: starts a throw-away Slurm of two nodes, or
# $nodes, that is gone when the test ends, makes caches and a configuration in the work folder, and has the words to
# submit and to wait. Slurm takes its time between a job's lives: tests submit all of theirs, and then wait.
. "$(dirname "${BASH_SOURCE[0]}")/shell.sh"
export EMOCLIM=$emoclim EMOCLIM_ROOT=$root
support=$root/tests/support
mkdir cluster

slurm=$(mktemp -d) # short: the socket's path has a limit
trap '"$support/mini_slurm.sh" stop "$slurm"' EXIT
"$support/mini_slurm.sh" start "$slurm" "${nodes:-2}" 8
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

cat >waits <<'SH'
while [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && ls "$folder"{,-[0-9]}/checkpoints/step-*.h5 2>/dev/null | grep -q . &&
    grep -qsr 'max_steps: 1000000' "$CONFIG"; do sleep 0.1; done
SH

# The two lines that a user edits. Where a user writes an absolute path, so does this. Lines of the test's own let a job
# that comes back, and has saved something, wait until its run was given an end, however late on a busy machine.
edit() { # FILE NAME OVERRIDE...: cluster/FILE with a configuration of its own
    local file=$1 name=$2
    shift 2
    "$EMOCLIM" config print run.yaml "logging.folder=$name" "$@" >"$name.yaml"
    sed -e "s|^CONFIG=.*|CONFIG=$PWD/$name.yaml|" -e "/^CONFIG=/r waits" -e "/^set -eu/a folder=$PWD/$name" \
        -e "s|--nodes=. --ntasks-per-node=4|--nodes=${nodes:-2} --ntasks-per-node=1|" \
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
    for ((i = 0; i < 1500; i++)); do
        s=$(state "$2")
        case $s in COMPLETED | FAILED | CANCELLED | NODE_FAIL | TIMEOUT) break ;; esac
        sleep 0.1
    done
    case $s in
    COMPLETED | FAILED)
        scontrol -o show job "$2" | grep -q " ExitCode=$3:0 " ||
            complain "$1: $s, $(scontrol -o show job "$2" | grep -oE ' ExitCode=[0-9:]+'), expected $3: $(tail -c 800 "$1.log")"
        ;;
    *) complain "$1: $s after 150 s: $(tail -c 800 "$1.log")" ;;
    esac
}
appears() { # FILE PATTERN
    local i
    for ((i = 0; i < 1800; i++)); do
        ! grep -qE -- "$2" "$1" 2>/dev/null || return 0
        sleep 0.05
    done
    complain "$1 does not say \"$2\" in 90 s but: $(tail -c 800 "$1")"
}
newest() { ls "$1"/checkpoints/step-*.h5 2>/dev/null | tail -n 1; }  # FOLDER: a checkpoint, if there is one
step_of() { echo $((10#0$(basename "${1:-0}" .h5 | tr -dc 0-9))); } # CHECKPOINT
digest() { "$EMOCLIM" checkpoint digest "$(newest "$1")"; }
saved() { # NAME...: waits until each has a checkpoint
    local i name
    for name in "$@"; do
        for ((i = 0; i < 900; i++)); do
            [ -z "$(newest "$name")" ] || continue 2
            sleep 0.1
        done
        complain "$name has no checkpoint after 90 s: $(tail -c 800 "$name.log")"
    done
}

# A run without an end is not running, and waits to be started again: it gets an end 60 steps after its newest
# checkpoint. So nothing here depends on how fast anything is.
ends_soon() { # NAME
    sed -i --follow-symlinks "s/max_steps: 1000000/max_steps: $(($(step_of "$(newest "$1")") + 60))/" "$1.yaml"
}
# It was stopped by a signal, and gets its end.
stops() { # NAME
    local step
    appears "$1.log" 'stopped by a signal; .* is written'
    step=$(sed -nE 's/.*step-0*([0-9]+)\.h5 is written.*/\1/p' "$1.log" | head -n 1)
    sed -i --follow-symlinks "s/max_steps: 1000000/max_steps: $((${step:-0} + 60))/" "$1.yaml"
}
# It goes on to its end, and has the digest of a run to there in one piece.
goes_on() { # NAME JOB [OVERRIDE...]
    local name=$1 job=$2 end
    shift 2
    end=$(sed -n 's/^ *max_steps: //p' "$name.yaml")
    finished "$name" "$job" 0
    appears "$name.log" "going on after step [0-9]+ from"
    "$EMOCLIM" train run.yaml "logging.folder=$name.whole" "training.max_steps=$end" "$@" >"$name.whole.log" 2>&1 ||
        complain "$name.whole: $(tail -c 400 "$name.whole.log")"
    if [ "$(step_of "$(newest "$name")")" -ne "$end" ]; then
        complain "$name: its newest checkpoint is \"$(newest "$name")\", its end is step $end: weights were not compared"
    elif [ "$(digest "$name")" != "$(digest "$name.whole")" ]; then
        complain "$name: other weights than in one piece"
    fi
    [ ! -e "$name/restarts" ] || complain "$name: a finished run keeps its count of restarts"
}
