#!/usr/bin/env bash
# The reference run trace.h5 through the program: caches, initial weights and the rows of every batch from files, 200
# steps on one rank and on two, evaluation of the result. Losses, weights, embeddings and metrics agree with the file.
# usage: test_trace.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
"$programs/trace_data" .
steps=$(sed -n 's/^  max_steps: //p' trace.yaml)
last=$(printf 'checkpoints/step-%012d.h5' "$steps")

check() { # FOLDER
    "$emoclim" eval retrieval --checkpoint "$1/$last" --split all --json >"$1/retrieval.json"
    "$programs/trace_check" "$1/$last" "$1/metrics.jsonl" "$1/retrieval.json"
}
"$emoclim" train trace.yaml logging.folder=one >log 2>&1 || { cat log; exit 1; }
check one
if grep -q 'shards: [2468]' trace.yaml; then
    "$mpirun" 2 "$emoclim" train trace.yaml logging.folder=two >log 2>&1 || { cat log; exit 1; }
    check two
    [ "$("$emoclim" checkpoint digest "one/$last")" = "$("$emoclim" checkpoint digest "two/$last")" ] || {
        echo "one rank and two have different weights"
        exit 1
    }
fi

# A run that asks for more batches than the file has is refused before it begins.
code=0
"$emoclim" train trace.yaml logging.folder=more training.max_steps=$((steps + 1)) >out 2>err || code=$?
[ "$code" -eq 2 ] && grep -q "has batches for $steps steps" err || { echo "exit code $code: $(cat err)"; exit 1; }
