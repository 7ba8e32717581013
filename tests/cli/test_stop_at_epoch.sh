#!/usr/bin/env bash
# A run that is stopped exactly at the end of an epoch, before the validation that is due there, and goes on: it has the
# validations, and the best checkpoint, of a run in one piece.
# usage: test_stop_at_epoch.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"

"$programs/make_caches" . 300 32 24
# Every step is an epoch, so wherever it is stopped a validation is due.
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8, base_output_dim: 8}
training: {batch_size: 32, max_steps: 1000000, steps_per_epoch: 1, validation_batches: 2, learning_rate: 0.001}
checkpoint: {keep_last: 3}
logging: {every: 1}
YAML
validations() { grep '"event":"validation"' "$1/metrics.jsonl" | sed -E 's/"(seconds|time)":[^,}]*,?//g'; } # FOLDER
digest() { "$emoclim" checkpoint digest "$1"; }

"$emoclim" train run.yaml logging.folder=parts >first.log 2>&1 &
pid=$!
for ((i = 0; i < 600; i++)); do
    ! grep -q '^validation' first.log || break
    sleep 0.02
done
kill -USR1 "$pid"
code=0
wait "$pid" || code=$?
[ "$code" -eq 75 ] || complain "stopped: exit code $code: $(tail -c 600 first.log)"
stop=$((10#$(ls parts/checkpoints/step-*.h5 | tail -n 1 | tr -dc 0-9 | sed 's/5$//')))
[ "$(validations parts | wc -l)" -eq $((stop - 1)) ] || complain "not stopped before a validation: $(tail -n 3 first.log)"

# Nothing is left to do but that validation; then two epochs more.
for end in "$stop" $((stop + 2)); do
    "$emoclim" train run.yaml logging.folder=parts "training.max_steps=$end" --resume auto >"to$end.log" 2>&1 ||
        complain "to $end: exit code $?: $(tail -c 600 "to$end.log")"
    "$emoclim" train run.yaml "logging.folder=whole$end" "training.max_steps=$end" >"whole$end.log" 2>&1
    [ "$(validations parts)" = "$(validations "whole$end")" ] ||
        complain "to $end: other validations than in one piece: $(diff <(validations parts) <(validations "whole$end"))"
    [ "$(digest parts/checkpoints/best.h5)" = "$(digest "whole$end/checkpoints/best.h5")" ] ||
        complain "to $end: another best checkpoint than in one piece"
done

# It is made once only.
before=$(validations parts | wc -l)
"$emoclim" train run.yaml logging.folder=parts "training.max_steps=$end" --resume auto >again.log 2>&1
[ "$(validations parts | wc -l)" -eq "$before" ] || complain "a validation was made again: $(cat again.log)"

finish
