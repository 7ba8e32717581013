#!/usr/bin/env bash
# emoclim eval retrieval: the same figures on any number of ranks, and files in the original's layout; where rank 0 cannot
# write them, all ranks end with its error and none is left waiting.
# usage: test_eval_ranks.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$programs/make_caches" . 300 24 16
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 24, output_dim: 16}
training: {batch_size: 48, max_steps: 10, steps_per_epoch: 10}
logging: {folder: run}
YAML
"$emoclim" train run.yaml >train.log 2>&1 || complain "training failed: $(tail -c 600 train.log)"
eval_on() { # RANKS [ARGUMENTS...]
    local ranks=$1
    shift
    timeout 60 "$mpirun" "$ranks" "$emoclim" eval retrieval -c run/checkpoints/best.h5 "$@" </dev/null
}

for ranks in 1 2 3; do
    eval_on "$ranks" --json --out "out$ranks" >"eval$ranks.json" 2>"eval$ranks.log" ||
        complain "$ranks ranks failed: $(tail -c 600 "eval$ranks.log")"
    cmp "eval1.json" "eval$ranks.json" || complain "$ranks ranks have other figures than 1"
    diff -r out1 "out$ranks" || complain "$ranks ranks write other files than 1"
done
grep -q '"image2music"' eval1.json || complain "no image2music in $(head -c 300 eval1.json)"
grep -q '"k=10"' out1/per_class/music2image_retrieval.json || complain "per_class/music2image_retrieval.json lacks k=10"

echo "a file" >taken
for ranks in 1 2; do
    code=0
    eval_on "$ranks" --out taken >taken.out 2>taken.log || code=$?
    [ "$code" -eq 4 ] || complain "$ranks ranks, --out a file: exit code $code, expected 4: $(tail -c 600 taken.log)"
    grep -q taken taken.log || complain "the message does not name the folder: $(tail -c 600 taken.log)"
done
finish
