# To be sourced by the batch scripts of this folder: how a job starts, stops, and comes back.
#
# A job that gets USR1 (the scheduler's warning before the time limit or a preemption) passes it on; the ranks agree,
# write a checkpoint and exit with 75; the job then requeues itself and goes on with --resume auto. So does a job that
# broke off in another way that may pass (a lost host), but only three times in a row without progress. Wrong
# configurations, data and environments (exit codes 2, 3, 4) are never requeued.

root=${EMOCLIM_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # the folder that holds this one
emoclim=${EMOCLIM:-$root/build/release/emoclim}
[ -x "$emoclim" ] || [ -n "${EMOCLIM:-}" ] || emoclim=$(command -v emoclim) || emoclim=$root/build/release/emoclim
job_tries=${EMOCLIM_TRIES:-3} # starts in a row without progress
[ -z "${EMOCLIM_ENVIRONMENT:-}" ] || . "$EMOCLIM_ENVIRONMENT" # "module load ..." of the site
. "$root/launch/machine.sh"
. "$root/launch/verdict.sh"

job_fail() { # EXIT_CODE TEXT...
    local code=$1
    shift
    echo "emoclim: $*" >&2
    exit "$code"
}

# The value of a key of the resolved configuration: job_configured SECTION KEY CONFIG [KEY=VALUE ...].
job_configured() {
    local section=$1 key=$2
    shift 2
    "$emoclim" config print "$@" |
        awk -v section="$section:" -v key="$key:" '
            /^[^ ]/ { in_it = $1 == section } in_it && $1 == key { sub(/^[^:]*: /, ""); print; exit }' |
        sed '/^".*"$/ { s/^"//; s/"$//; s/\\\(.\)/\1/g; }' # a text with spaces comes in quotes
}

# Checks program and configuration before anything is started, and finds the folders that show progress.
job_prepare() { # COMMAND CONFIG [KEY=VALUE ...]
    local command=$1
    shift
    job_ranks=${SLURM_NTASKS:-1}
    job_threads=${SLURM_CPUS_PER_TASK:-1}
    job_node_ranks=$(tr ',' '\n' <<<"${SLURM_TASKS_PER_NODE:-1}" | sed 's/(.*//' | sort -n | tail -n 1) # at most
    [ -x "$emoclim" ] || job_fail 4 "$emoclim is missing: run launch/build.sh release, or set EMOCLIM"
    if [ "$command" = train ]; then
        "$emoclim" config check "$@" --ranks "$job_ranks" || exit
    else
        "$emoclim" config check "$@" || exit
    fi
    job_check_gpus "$(job_configured distributed device "$@")"
    job_folder=$(job_configured logging folder "$@")
    job_watched=("$(job_configured checkpoint folder "$@")")
    if [ "$command" != train ]; then
        local cache
        job_watched=()
        for cache in image_cache audio_cache; do
            cache=$(job_configured dataset $cache "$@")
            job_watched+=("$cache" "$cache.building")
        done
    fi
    mkdir -p "$job_folder" || job_fail 4 "the run's folder $job_folder cannot be made"
}

# One task a GPU, where the job has GPUs and the program is to use them. All tasks of a node see all of its GPUs, and
# the program takes the one of its rank on the node.
job_check_gpus() { # DEVICE
    local gpus=${SLURM_GPUS_ON_NODE:-0} tasks=$job_node_ranks module
    module=$(cuda_module "$emoclim")
    if [ "$1" = cuda ]; then
        [ -n "$module" ] || job_fail 4 "distributed.device is cuda, but $emoclim has no libemoclim_cuda.so beside it"
        [ "$gpus" -gt 0 ] ||
            job_fail 2 "distributed.device is cuda, but the job has no GPUs: #SBATCH --gpus-per-node=$tasks"
    fi
    if [ "$gpus" -eq 0 ] || [ "$1" = cpu ] || [ -z "$module" ]; then
        [ "$gpus" -eq 0 ] || echo "emoclim: $gpus GPUs a node are not used:" \
            "$([ "$1" = cpu ] && echo "distributed.device is cpu" || echo "$emoclim is built without CUDA")" >&2
        return 0
    fi
    [ "$tasks" -le "$gpus" ] ||
        job_fail 2 "$tasks tasks cannot share the $gpus GPUs of a node: as many --ntasks-per-node as --gpus-per-node"
    # mpirun's helper on the other nodes is one task, and would have one GPU for all of its ranks.
    [ -z "${SLURM_GPUS_PER_TASK:-}" ] || job_fail 2 "ask for --gpus-per-node=$tasks, not for --gpus-per-task"
    set_nccl ""
    echo "emoclim: one task a GPU, $tasks of $gpus GPUs a node; $nccl" >&2
}

# What is there, by name and size. It changes whenever a checkpoint is written or rows are encoded.
job_state() { find "${job_watched[@]}" -type f ! -name '*.tmp*' -printf '%p %s\n' 2>/dev/null | sort | cksum; }

# Counts starts without progress in FOLDER/restarts: "COUNT STATE". Submitted by hand, it begins anew.
job_count_start() {
    local file=$job_folder/restarts count=0 before=none now
    now=$(job_state)
    if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [ -r "$file" ]; then read -r count before <"$file" || true; fi
    if [ "$before" = "$now" ]; then count=$((count + 1)); else count=0; fi
    echo "$count $now" >"$file"
    if [ "$count" -ge "$job_tries" ]; then
        job_fail 1 "started $((count + 1)) times without a new checkpoint or row: not again. The log above says why; submit anew"
    fi
}

# Runs a launcher; USR1 and TERM of this script become USR1 of the launcher. Sets $job_code. A second USR1 is passed on
# and stops the ranks at once; a TERM after it is the scheduler's, and the ranks may be writing their checkpoint.
job_run() { # COMMAND...
    local code launched signals=0 asked= asked_us= ending_us= at_once=
    "$@" &
    launched=$!
    trap 'pass_on USR1' USR1
    trap 'if [ "$signals" -eq 0 ]; then pass_on USR1; else signals=$((signals + 1)); fi' TERM
    await
    trap '' USR1
    trap - TERM
    judge "$1" "$code" "$at_once"
    job_code=$verdict
}

# Requeues or ends, by $job_code.
job_finish() {
    # Of an array only this task: the number of its last task is that of the whole.
    local state job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
    job=${job:-$SLURM_JOB_ID}
    case $job_code in
    0)
        rm -f "$job_folder/restarts"
        exit 0
        ;;
    2 | 3 | 4) job_fail "$job_code" "exit code $job_code: this would fail again; not requeued" ;;
    esac
    if command -v scontrol >/dev/null; then
        # A job that scancel or the scheduler is ending is not running any more, and would come back if requeued here.
        state=$(scontrol -o show job "$job" | sed -n 's/.* JobState=\([A-Z_]*\).*/\1/p')
        [ "$state" = RUNNING ] || job_fail "$job_code" "exit code $job_code in a job that is $state; not requeued here"
    fi
    local how="exit code 75 for RequeueExit"
    ! command -v scontrol >/dev/null || how=requeued
    if [ "$job_code" -eq 75 ]; then
        echo "emoclim: stopped with everything saved; $how" >&2
    else
        echo "emoclim: broke off with exit code $job_code; $how, unless $job_tries starts make no progress" >&2
    fi
    if command -v scontrol >/dev/null; then
        scontrol requeue "$job" && sleep 60 # Slurm ends this script
    fi
    exit 75 # where there is no scontrol: RequeueExit=75 in slurm.conf does it
}

# mpirun in the allocation: it finds the hosts by itself. EMOCLIM_BIND=none leaves ranks unbound (shared nodes). Slurm's
# processors may be threads of a core, of which mpirun would find too few: a rank then gets its share of the cores.
job_mpirun() { # ARGUMENTS of emoclim...
    local placed=(--bind-to none) cores
    cores=$(($(count_cores) / job_node_ranks))
    [ "$cores" -le "$job_threads" ] || cores=$job_threads
    if [ "$cores" -eq 0 ] || [ "${EMOCLIM_BIND:-core}" = none ]; then
        echo "emoclim: ranks are not bound to cores" >&2
    else
        placed=(--map-by "slot:PE=$cores" --bind-to core)
    fi
    if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
    # mpirun notices a lost node in about ten seconds; by default it takes minutes. The second name is
    # meant for Open MPI 5.
    local setting
    for setting in time=4 intvl=1 probes=3; do
        export "OMPI_MCA_oob_tcp_keepalive_$setting" "PRTE_MCA_oob_tcp_keepalive_$setting"
    done
    job_count_start
    job_run mpirun -np "$job_ranks" "${placed[@]}" "$emoclim" "$@" "distributed.threads=$job_threads"
    job_finish
}

# The same by srun, which speaks PMIx with MPI. How its daemons gather what ranks tell each other at the start: by default
# Slurm mixes two ways, and with 22.05 on busy nodes one start in seven then crashed in MPI_Init, of any program.
job_srun() { # ARGUMENTS of emoclim...
    export SLURM_PMIX_FENCE=${SLURM_PMIX_FENCE:-tree}
    job_count_start
    job_run srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task="$job_threads" --ntasks="$job_ranks" \
        "$emoclim" "$@" "distributed.threads=$job_threads"
    job_finish
}
