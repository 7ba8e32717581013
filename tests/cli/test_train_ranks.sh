#!/usr/bin/env bash
# Training has the same bits on any number of ranks and threads, in any number of pieces, and whether it was stopped and
# gone on with elsewhere or not. Numbers of ranks that cannot share the batch are refused by name.
# usage: test_train_ranks.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$programs/make_caches" . 2000 48 32
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 24, output_dim: 16, base_output_dim: 20}
training: {batch_size: 48, max_steps: 200, steps_per_epoch: 97, learning_rate: 0.001, validation_batches: 2}
distributed: {shards: 8, deadline_s: 60}
logging: {every: 10}
YAML

train() { # EXIT_CODE RANKS FOLDER [ARGUMENTS...]
    local expected=$1 ranks=$2 folder=$3 code=0
    shift 3
    "$mpirun" "$ranks" "$emoclim" train run.yaml "logging.folder=$folder" "$@" >"$folder.log" 2>&1 </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "$ranks ranks, $folder: exit code $code, expected $expected: $(tail -c 600 "$folder.log")"
}
newest() { ls "$1"/checkpoints/step-*.h5 | tail -n 1; } # FOLDER
digest() { "$emoclim" checkpoint digest "$(newest "$1")"; }
same() { # FOLDER FOLDER: digests
    local a b
    a=$(digest "$1") b=$(digest "$2")
    [ "$a" = "$b" ] || complain "$1 ended with $a, $2 with $b"
}

# Ranks, threads, pieces; then multi-task heads, and shards that only some other numbers divide.
for ranks in 1 2 4 8; do train 0 "$ranks" "ranks$ranks"; done
for ranks in 2 4 8; do same ranks1 "ranks$ranks"; done
train 0 2 pieces training.accumulate=2
same ranks1 pieces
train 0 1 threads distributed.threads=2
train 0 1 thread distributed.threads=1
same ranks1 threads
same ranks1 thread
train 0 4 plain distributed.comm=mpi-plain training.max_steps=40
train 0 1 plain1 training.max_steps=40
same plain1 plain
for ranks in 1 4; do train 0 "$ranks" "multi$ranks" full_model.multi_task=true training.max_steps=40; done
same multi1 multi4
[ "$(digest multi1)" != "$(digest plain1)" ] || complain "the digest does not tell one model from another"
for ranks in 1 3 6; do train 0 "$ranks" "six$ranks" distributed.shards=6 training.max_steps=40; done
same six1 six3
same six1 six6
for ranks in 5 7; do
    train 0 "$ranks" "fast$ranks" distributed.reduction=fast training.batch_size=70 training.max_steps=10
done

for ranks in 3 5 6 7; do
    train 2 "$ranks" refused
    matches refused.log "$ranks ranks cannot share distributed.shards = 8 evenly"
    matches refused.log "legal numbers of ranks: 1, 2, 4, 8"
done
train 2 8 refused training.accumulate=2
matches refused.log "legal numbers of ranks: 1, 2, 4$"

# Starts a run in the background and asks mpirun for a stop as soon as one more line of steps is told.
stopped_run() { # RANKS FOLDER [ARGUMENTS...]
    local ranks=$1 folder=$2 code=0 pid
    shift 2
    : >"$folder.log"
    "$mpirun" "$ranks" "$emoclim" train run.yaml "logging.folder=$folder" training.max_steps=1000000 "$@" \
        >"$folder.log" 2>&1 </dev/null &
    pid=$!
    for ((i = 0; i < 600; i++)); do
        if grep -q '^step ' "$folder.log" || ! kill -0 "$pid" 2>/dev/null; then break; fi
        sleep 0.05
    done
    kill -USR1 "$pid" || true
    wait "$pid" || code=$?
    [ "$code" -eq 75 ] || complain "$ranks ranks after USR1: exit code $code, expected 75: $(tail -c 600 "$folder.log")"
}

# 8 ranks, stop, 2 ranks, stop, 4 ranks to the end, through epochs that are passes over the data; then the same length
# in one go.
order=training.sampling=shuffled
rows=training.steps_per_epoch=0 # 1400 pictures: an epoch has 29 steps
stopped_run 8 chain $order $rows
first=$(newest chain)
stopped_run 2 chain $order $rows --resume auto
matches chain.log "going on after step [0-9]+ from .*$(basename "$first")"
second=$(newest chain)
[ "$first" != "$second" ] || complain "the second part of the chain made no steps"
step=$((10#$(basename "$second" | tr -dc 0-9 | head -c 12)))
end=$((step < 180 ? 200 : step + 20))
train 0 4 chain $order $rows "training.max_steps=$end" --resume auto
train 0 1 whole $order $rows "training.max_steps=$end"
same whole chain
grep -q '"event":"validation"' chain/metrics.jsonl || complain "no validation in metrics.jsonl"
train 0 2 chain $order $rows "training.max_steps=$end" --resume auto
matches chain.log "nothing to do: $end of $end steps are made"

# What a run that goes on may not change is named.
train 2 2 chain $order $rows "training.max_steps=$((end + 20))" --resume auto training.learning_rate=0.002
matches chain.log "training.learning_rate"

finish
