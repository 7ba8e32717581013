#!/usr/bin/env bash
# Ranks that run another program or another configuration than the others are named before anything is computed.
# usage: test_consistency.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$programs/make_caches" . 200 16 12
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 8, output_dim: 8, base_output_dim: 8}
training: {batch_size: 16, max_steps: 3, steps_per_epoch: 3}
distributed: {shards: 4, deadline_s: 30}
logging: {folder: run}
YAML
sed 's/max_steps: 3/max_steps: 3, seed: 7/' run.yaml >other.yaml
cp "$emoclim" another
printf '\0' >>another # runs the same, and is another file
host=$(hostname)

expect() { # EXIT_CODE PATTERN MPIRUN-ARGUMENTS...
    local expected=$1 pattern=$2 code=0
    shift 2
    "$mpirun" "$@" >log 2>&1 </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "$*: exit code $code, expected $expected: $(tail -c 600 log)"
    grep -qE -- "$pattern" log || complain "$*: no \"$pattern\" in: $(tail -c 600 log)"
}

# The odd one is named, whichever rank it is; of two that differ, the one that is not rank 0.
expect 4 "^\[rank 2\] .*host $host \(rank 2\) runs another program than host $host \(rank 0\): SHA-256 [0-9a-f]{12}" \
    2 "$emoclim" train run.yaml : -np 1 ./another train run.yaml
expect 4 "host $host \(rank 0\) runs another program than host $host \(rank 1\)" \
    1 ./another cache build run.yaml : -np 2 "$emoclim" cache build run.yaml
expect 2 "host $host \(rank 1\) runs another configuration than host $host \(rank 0\)" \
    1 "$emoclim" train run.yaml : -np 1 "$emoclim" train other.yaml
expect 2 "host $host \(rank 0\) runs another configuration than host $host \(rank 1\)" \
    1 "$emoclim" cache build run.yaml training.seed=7 : -np 3 "$emoclim" cache build run.yaml
[ ! -e run ] || complain "a refused run left a folder"

# What changes only speed or places may differ.
expect 0 "step 3/3" 1 "$emoclim" train run.yaml distributed.threads=1 : -np 1 "$emoclim" train run.yaml distributed.threads=2

finish
