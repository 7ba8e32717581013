#!/usr/bin/env bash
# The program with the CUDA back end beside the program on the CPU: losses, norms of gradients, validation and
# evaluation, with single- and multi-task heads, sums as the library likes and products of lower precision. The emulation
# plays the GPU; EMOCLIM_TEST_MODULE names the real module instead, of which ranks then share one GPU.
# usage: test_train.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
EMOCLIM_MODULE_PATH=${EMOCLIM_TEST_MODULE:-$(dirname "$emoclim")/libemoclim_cuemu.so}
export EMOCLIM_MODULE_PATH EMOCLIM_CUEMU_DEVICES=2
# The emulation sums in the order of the CPU, nearly; a card need not. Which item is nearest may hang on that.
close=2e-6 events='step|validation'
if [ -n "${EMOCLIM_TEST_MODULE:-}" ]; then
    export EMOCLIM_SHARE_GPU=1
    close=1e-4 events=step
    "$emoclim" doctor >doctor.log
    if grep '^gpu  *none' doctor.log; then exit 77; fi
fi

"$programs/make_caches" . 300 20 12
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8, base_output_dim: 12}
training: {batch_size: 16, max_steps: 6, steps_per_epoch: 3, learning_rate: 0.001, validation_batches: 2, gradient_clip: 5}
distributed: {shards: 4, device: cuda}
logging: {every: 1}
YAML

train() { # EXIT_CODE RANKS FOLDER [ARGUMENTS...]
    local expected=$1 ranks=$2 folder=$3 code=0
    shift 3
    "$mpirun" "$ranks" "$emoclim" train run.yaml "logging.folder=$folder" "$@" >"$folder.log" 2>&1 </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "$ranks ranks, $folder: exit code $code, expected $expected: $(tail -c 600 "$folder.log")"
}
digest() { "$emoclim" checkpoint digest "$(ls "$1"/checkpoints/step-*.h5 | tail -n 1)"; }
# Every loss, norm and metric, one a line, in order.
numbers() { sed -E 's/,"(step_ms|wait_ms|samples_per_s|seconds)":[0-9.e+-]*//g' "$1/metrics.jsonl" |
    grep -E "\"event\":\"($events)\"" | grep -oE '"[A-Za-z0-9_@]+":-?[0-9.e+-]+'; }
near() { # FOLDER FOLDER LIMIT: of the difference relative to the larger number
    numbers "$1" >a.txt
    numbers "$2" >b.txt
    [ "$(wc -l <a.txt)" -gt 30 ] || complain "$1 has too few numbers to compare"
    paste -d: a.txt b.txt | awk -F: -v limit="$3" -v names="$1 and $2" '
        { d = $2 - $4; if (d < 0) d = -d; m = $2 > 0 ? $2 : -$2
          if ($1 != $3 || d > limit * m) { print names " differ: " $0; bad = 1 } }
        END { exit bad }' || wrong=$((wrong + 1))
}

train 0 1 cpu distributed.device=cpu
train 0 1 cuda
near cpu cuda "$close"
matches cuda/config.yaml 'device: cuda'
[ "$(digest cuda)" != "$(digest cpu)" ] || complain "the CPU computed what the GPU was asked for"
# A step is started before the result of the one before it is read, unless there is something to do in between.
train 0 1 paused checkpoint.every_steps=1
near cuda paused 0
[ "$(digest cuda)" = "$(digest paused)" ] || complain "a checkpoint after every step changes the run"
# Without CUDA graphs, for where they cannot be had: the same bits.
EMOCLIM_CUDA_GRAPH=0 train 0 1 graphless
[ "$(digest cuda)" = "$(digest graphless)" ] || complain "a CUDA graph changes the run"
train 0 1 multi-cpu full_model.multi_task=true distributed.device=cpu
train 0 1 multi full_model.multi_task=true
near multi-cpu multi "$close"
train 0 2 fast distributed.reduction=fast
near cpu fast 1e-4
for precision in tf32 bf16; do
    train 0 1 "$precision" distributed.precision=$precision
    near cpu "$precision" 5e-2
    [ "$(digest "$precision")" != "$(digest cuda)" ] || complain "$precision changes nothing"
done

# A rank that does without the kernels for compute capability 9.0 takes the others along, of which rank 0 then is spared
# what would come of its faulty ones.
if [ -z "${EMOCLIM_TEST_MODULE:-}" ]; then
    cat >odd_one.sh <<'SH'
#!/usr/bin/env bash
export EMOCLIM_SUPCON=hopper EMOCLIM_CUEMU_FAULT=wgmma
[ "${OMPI_COMM_WORLD_RANK:-}" != 1 ] || EMOCLIM_SUPCON=portable
exec "$@"
SH
    code=0
    "$mpirun" 2 bash odd_one.sh "$emoclim" train run.yaml logging.folder=odd distributed.precision=bf16 >odd.log 2>&1 \
        </dev/null || code=$?
    [ "$code" -eq 0 ] || complain "ranks with other kernels: exit code $code: $(tail -c 600 odd.log)"
    matches odd.log "host $(uname -n) \(rank 1\) does without the SupCon kernels for compute capability 9\.0: so do all"
    EMOCLIM_SUPCON=portable train 0 2 portable distributed.precision=bf16
    [ "$(digest odd)" = "$(digest portable)" ] || complain "ranks with other kernels computed other bits"
    if grep "does without" portable.log; then complain "ranks with the same kernels are told of others"; fi
fi

# Evaluation, where "auto" takes the GPU: the items are so few that no rank among them hangs on last bits.
checkpoint=$(ls cuda/checkpoints/step-*.h5 | tail -n 1)
"$emoclim" eval retrieval --json -c "$checkpoint" >eval
"$mpirun" 2 "$emoclim" eval retrieval --json -c "$checkpoint" >eval2
EMOCLIM_MODULE_PATH= "$emoclim" eval retrieval --json -c "$checkpoint" >eval-cpu
matches eval '"MAP"'
cmp eval eval-cpu || complain "evaluation differs between CPU and GPU"
cmp eval eval2 || complain "evaluation differs between one GPU and two"

finish
