#!/usr/bin/env bash
# Whatever ends a training run, no rank stays behind, the one that failed is named, and --resume auto goes on to the same
# weights as if nothing had been: a rank killed, a rank that hangs, TERM, a checkpoint cut short, a disk that refuses.
# usage: test_kill.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
one_of() { # VALUE CHOICES...: a complaint unless VALUE is among them
    local value=$1
    shift
    case " $* " in *" $value "*) ;; *) complain "exit code $value, expected one of: $*" ;; esac
}

"$programs/make_caches" . 1000 48 32
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 24, output_dim: 16}
training: {batch_size: 48, max_steps: 1000000, steps_per_epoch: 97, learning_rate: 0.001, validate_every: 0}
distributed: {shards: 8, deadline_s: 60}
checkpoint: {every_steps: 25, keep_last: 3}
logging: {every: 10}
YAML
newest() { ls "$1"/checkpoints/step-*.h5 | tail -n 1; } # FOLDER
step_of() { echo $((10#$(basename "$1" | tr -dc 0-9 | head -c 12))); } # CHECKPOINT

# Starts 4 ranks and waits until two checkpoints are written: $pid is the launcher, $mpi its mpirun, ${rank[i]} the
# process of rank i.
start() { # FOLDER [ARGUMENTS...]
    local folder=$1 child
    shift
    "$root/launch/ranks.sh" 4 "$emoclim" train run.yaml "logging.folder=$folder" "$@" >"$folder.log" 2>&1 </dev/null &
    pid=$!
    for ((i = 0; i < 600; i++)); do
        if [ "$(ls "$folder"/checkpoints/step-*.h5 2>/dev/null | wc -l)" -ge 2 ] || ! kill -0 "$pid" 2>/dev/null; then break; fi
        sleep 0.05
    done
    rank=()
    mpi=$(pgrep -x -P "$pid" mpirun) || true
    for child in $(ps -o pid= --ppid "${mpi:-none}"); do
        rank[$(tr '\0' '\n' <"/proc/$child/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p')]=$child
    done
    [ "${#rank[@]}" -eq 4 ] || complain "$folder: ${#rank[@]} ranks run, expected 4: $(tail -c 800 "$folder.log")"
}

# Waits for the end of it all, at most 15 s: $code is the launcher's exit code.
wait_for_end() {
    local left=300 alive=1
    code=0
    while [ "$alive" -gt 0 ] && [ "$left" -gt 0 ]; do
        alive=0
        for process in "$pid" $mpi "${rank[@]}"; do
            case $(ps -o stat= -p "$process") in '' | Z*) ;; *) alive=$((alive + 1)) ;; esac
        done
        [ "$alive" -eq 0 ] || sleep 0.05
        left=$((left - 1))
    done
    [ "$alive" -eq 0 ] || complain "$alive processes are left after 15 s"
    [ "$alive" -eq 0 ] || kill -KILL "$pid" $mpi "${rank[@]}" 2>/dev/null || true
    wait "$pid" || code=$?
}

# Goes on from where a run ended, for 30 steps, and compares with a run that was never disturbed.
goes_on() { # FOLDER
    local from end name code=0
    from=$(newest "$1")
    end=$(($(step_of "$from") + 30))
    name=$(printf 'checkpoints/step-%012d.h5' "$end")
    "$mpirun" 2 "$emoclim" train run.yaml "logging.folder=$1" "training.max_steps=$end" --resume auto >"$1.on" 2>&1 || code=$?
    [ "$code" -eq 0 ] || complain "going on ends with exit code $code: $(tail -c 800 "$1.on")"
    "$emoclim" train run.yaml "logging.folder=$1.whole" "training.max_steps=$end" >"$1.whole.log" 2>&1
    [ "$("$emoclim" checkpoint digest "$1/$name")" = "$("$emoclim" checkpoint digest "$1.whole/$name")" ] ||
        complain "the run that went on has other weights after $end steps"
    ! ls "$1"/checkpoints/*.tmp* >/dev/null 2>&1 || complain "temporary files are left: $(ls "$1"/checkpoints)"
}

what="a rank killed"
start killed
kill -KILL "${rank[2]}"
wait_for_end
one_of "$code" 5
matches killed.log "^mpirun ended with 137: a rank, or mpirun itself, was killed \(SIGKILL\); exit code 5"
matches killed.log "waited .* \(collective [0-9]+, step [0-9]+\); not arrived: rank 2 on $(hostname) \(its process has ended\)"
goes_on killed
matches killed.on "going on after step [0-9]+ from "

what="a rank that hangs"
start hangs distributed.deadline_s=2
kill -STOP "${rank[1]}"
wait_for_end
one_of "$code" 5
matches hangs.log "rank 0 on .* \(collective [0-9]+, step [0-9]+\); not arrived: rank 1 on $(hostname) \(no answer for 2\."
goes_on hangs

what="TERM to the launcher"
start term
kill -TERM "$pid"
wait_for_end
one_of "$code" 75
matches term.log "stopped by a signal; .* is written"
goes_on term

what="TERM to mpirun"
start second
kill -TERM "$mpi"
wait_for_end
one_of "$code" 1
goes_on second

what="the launcher killed"
start orphans
kill -KILL "$pid"
wait_for_end
one_of "$code" 137
goes_on orphans

what="TERM to one rank"
start one
kill -TERM "${rank[3]}"
wait_for_end
one_of "$code" 75
matches one.log "stopped by a signal; .*$(basename "$(newest one)") is written; --resume auto goes on"
goes_on one

what="the newest checkpoint cut short"
cut=$(newest one)
head -c 3000 "$cut" >short && mv short "$cut"
"$emoclim" train run.yaml logging.folder=one "training.max_steps=$(step_of "$cut")" --resume auto >cut.log 2>&1 ||
    complain "exit code $?: $(tail -c 800 cut.log)"
matches cut.log "warning: .*$(basename "$cut") cannot be used \(.*\); trying the one before"
[ "$("$emoclim" checkpoint digest "$cut")" = "$("$emoclim" checkpoint digest "one.whole/checkpoints/$(basename "$cut")")" ] ||
    complain "the step made again has other weights"

# A run does not begin where another's checkpoints are.
refused() { # EXIT_CODE TEXT ARGUMENTS...
    local expected=$1 text=$2 code=0
    shift 2
    "$mpirun" 2 "$emoclim" train run.yaml training.max_steps=60 "$@" >refused.log 2>&1 || code=$?
    [ "$code" -eq "$expected" ] || complain "$*: exit code $code, expected $expected: $(tail -c 800 refused.log)"
    matches refused.log "$text"
}
refused 2 "checkpoints holds checkpoints of an earlier run, up to step $(step_of "$cut").*--resume auto" logging.folder=one
refused 2 "holds checkpoints of an earlier run" logging.folder=one --resume "$(ls one/checkpoints/step-*.h5 | head -n 1)"
refused 3 "absent.h5" logging.folder=new --resume absent.h5
refused 3 "is not a checkpoint" logging.folder=new --resume images.h5
refused 3 "absent.h5" logging.folder=new dataset.image_cache=absent.h5
refused 4 "/dev/null/run" logging.folder=/dev/null/run
refused 4 "/proc/checkpoints" logging.folder=new checkpoint.folder=/proc/checkpoints

what="a disk that refuses"
code=0
(
    ulimit -f 16 # kilobytes: the caches are read, a checkpoint is larger
    exec "$emoclim" train run.yaml logging.folder=full training.max_steps=60
) >full.log 2>&1 || code=$?
one_of "$code" 4
matches full.log "step-000000000025\.h5.*: cannot write .*File too large"
[ -z "$(ls full/checkpoints)" ] || complain "files are left: $(ls full/checkpoints)"

finish
