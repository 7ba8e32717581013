#!/usr/bin/env bash
# Training on GPUs: the same bits on any number of ranks, across stop and resume, and close to what the CPU computes; a rank
# that stops is named, and the run ends. The emulation plays the GPUs; EMOCLIM_TEST_MODULE names the real module instead,
# of which the ranks then share one GPU.
# usage: test_train_gpu.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
EMOCLIM_MODULE_PATH=${EMOCLIM_TEST_MODULE:-$(dirname "$emoclim")/libemoclim_cuemu.so}
export EMOCLIM_MODULE_PATH EMOCLIM_CUEMU_DEVICES=4
if [ -n "${EMOCLIM_TEST_MODULE:-}" ]; then
    export EMOCLIM_SHARE_GPU=1
    "$emoclim" doctor >doctor.log
    if grep '^gpu  *none' doctor.log; then exit 77; fi
fi

"$programs/make_caches" . 400 48 32
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 24, output_dim: 16, base_output_dim: 20}
training: {batch_size: 48, max_steps: 4, steps_per_epoch: 4, learning_rate: 0.001, validation_batches: 1}
distributed: {shards: 8, device: cuda, deadline_s: 60}
logging: {every: 1}
YAML

train() { # EXIT_CODE RANKS FOLDER [ARGUMENTS...]
    local expected=$1 ranks=$2 folder=$3 code=0
    shift 3
    "$mpirun" "$ranks" "$emoclim" train run.yaml "logging.folder=$folder" "$@" >"$folder.log" 2>&1 </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "$ranks ranks, $folder: exit code $code, expected $expected: $(tail -c 900 "$folder.log")"
}
digest() { "$emoclim" checkpoint digest "$(ls "$1"/checkpoints/step-*.h5 | tail -n 1)"; } # FOLDER
same() { # FOLDER FOLDER...: digests
    local first=$1 a b
    a=$(digest "$1")
    shift
    for other; do
        b=$(digest "$other")
        [ "$a" = "$b" ] || complain "$first ended with $a, $other with $b"
    done
}

# Ranks, and the order in which streams and threads run; pieces; leaves that do not lie in the tree as ranks do.
for ranks in 1 2 4; do EMOCLIM_CUEMU_SEED=$ranks train 0 "$ranks" "ranks$ranks"; done
train 0 2 pieces training.accumulate=2
same ranks1 ranks2 ranks4 pieces
for ranks in 1 3; do train 0 "$ranks" "six$ranks" distributed.shards=6; done
same six1 six3
# Two losses; on two ranks each gets the embeddings of the other rank in blocks, which no result shows.
train 0 1 multi1 full_model.multi_task=true
train 0 2 multi2 full_model.multi_task=true distributed.gather=streamed
same multi1 multi2
train 2 1 refused distributed.gather=streamed distributed.device=cpu
matches refused.log 'distributed.gather = streamed needs a GPU'

# float16 features go to the GPU as they are: the same bits as the same numbers in float32.
for type in float16 rounded; do
    mkdir -p "$type"
    "$programs/make_caches" "$type" 400 47 33 "$type"
    train 0 2 "as-$type" dataset.image_cache="$type/images.h5" dataset.audio_cache="$type/music.h5"
done
same as-float16 as-rounded

# Stopped after two steps, gone on with on other ranks.
train 0 4 moved training.max_steps=2
train 0 2 moved --resume auto
same ranks1 moved

# Asked to stop while a step is under way behind the one whose line was told: that one is made, told and saved too.
"$mpirun" 2 "$emoclim" train run.yaml logging.folder=asked training.max_steps=1000000 >asked.log 2>&1 </dev/null &
run=$! code=0
for _ in $(seq 300); do
    if grep -q '^step 2/' asked.log; then break; fi
    sleep 0.1
done
kill -USR1 "$run"
wait "$run" || code=$?
[ "$code" -eq 75 ] || complain "asked to stop: exit code $code instead of 75: $(tail -c 900 asked.log)"
made=$((10#$(basename "$(ls asked/checkpoints/step-*.h5 | tail -n 1)" | tr -dc 0-9 | head -c 12)))
[ "$(grep -c '"event":"step"' asked/metrics.jsonl)" -eq "$made" ] || complain "$made steps are saved, others are told"
train 0 1 unasked "training.max_steps=$made"
same asked unasked

# The CPU's losses, to four digits; and those of the library's own sums.
loss() { sed -nE 's/^step 4.* loss ([0-9.]+) .*/\1/p' "$1.log"; }
train 0 1 cpu distributed.device=cpu
train 0 2 fast distributed.reduction=fast
for run in cpu fast; do
    awk -v a="$(loss ranks2)" -v b="$(loss "$run")" 'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (1e-4 * a) ^ 2) }' ||
        complain "loss $(loss ranks2) on 2 ranks with GPUs, $(loss "$run") in the run $run"
done

# Two ranks and one GPU: refused, unless they are asked to share it.
if [ -z "${EMOCLIM_TEST_MODULE:-}" ]; then
    EMOCLIM_CUEMU_DEVICES=1 train 4 2 shared
    matches shared.log 'ranks 0 and 1 both use GPU 0000:01:00.0 of host '
    EMOCLIM_CUEMU_DEVICES=1 EMOCLIM_SHARE_GPU=1 train 0 2 shared
    same ranks1 shared
fi

# One rank is stopped in the middle.
cat >stop_one.sh <<'SH'
#!/usr/bin/env bash
[ "${OMPI_COMM_WORLD_RANK:-}" != 1 ] || echo $$ >pid
exec "$@"
SH
code=0
"$mpirun" 2 bash stop_one.sh "$emoclim" train run.yaml logging.folder=stopped training.max_steps=1000000 \
    distributed.deadline_s=1 >stopped.log 2>&1 </dev/null &
run=$!
for _ in $(seq 300); do
    if grep -q '^step 2/' stopped.log; then break; fi
    sleep 0.1
done
kill -STOP "$(cat pid)"
began=$SECONDS
wait "$run" || code=$?
[ "$code" -eq 5 ] || complain "a stopped rank: exit code $code instead of 5: $(tail -c 900 stopped.log)"
[ $((SECONDS - began)) -le 16 ] || complain "it took $((SECONDS - began)) s until all had ended"
matches stopped.log 'rank 0 on .* waited [0-9.]+ s in .*step [0-9]+\); not arrived: rank 1 on .* \(no answer for 1\.'

# A plan measures what GPUs exchange, in their own memory.
code=0
"$mpirun" 2 "$emoclim" plan run.yaml -n 2 --flops 1 --memory 1 --operation 1 >plan.log 2>&1 </dev/null || code=$?
[ "$code" -eq 0 ] || complain "plan: exit code $code: $(tail -c 600 plan.log)"
matches plan.log '^machine: 1 GFLOPS, exchange [0-9.]+ GB/s, 1\.00 us an operation, [0-9]*[1-9][0-9]*\.[0-9] us an exchange'

# On a machine without one it takes constants for all that it would measure, and needs as much memory as with one.
given=(--flops 60000 --memory 2000 --operation 3 --json)
"$emoclim" plan run.yaml "${given[@]}" >with.json 2>with.err || complain "plan with a GPU: $(cat with.err)"
sizes() { sed -n '/"bytes"/,/}/p' "$1"; }
[ -n "$(sizes with.json)" ] || complain "plan tells no sizes: $(cat with.json)"
if [ -z "${EMOCLIM_TEST_MODULE:-}" ]; then
    EMOCLIM_CUEMU_DEVICES=0 "$emoclim" plan run.yaml "${given[@]}" >without.json 2>without.err ||
        complain "plan without a GPU: $(cat without.err)"
    [ "$(sizes with.json)" = "$(sizes without.json)" ] || complain "other sizes without a GPU: $(cat without.json)"
    EMOCLIM_CUEMU_DEVICES=0 "$emoclim" plan run.yaml -n 2 "${given[@]}" --bus 300 --collective 20 >two.json ||
        complain "plan of 2 ranks without a GPU"
    # The largest bucket is that of both first Linears, (48 + 32) x 24 floats in at most 6 pieces, each rounded up to a
    # multiple of 2; as a small one it is summed whole, from both ranks.
    awk -F'[:,]' '/"exchange"/ && !e { e = $2 } END { exit e != 2 * ((48 + 32) * 24 + 6 * 2) * 4 }' two.json ||
        complain "work space for sums: $(cat two.json)"
    code=0
    EMOCLIM_CUEMU_DEVICES=0 "$emoclim" plan run.yaml -n 2 "${given[@]}" >missing.log 2>&1 || code=$?
    [ "$code" -eq 4 ] || complain "plan without a GPU and without constants: exit code $code: $(cat missing.log)"
    matches missing.log 'to plan without a GPU give --flops, .* --collective: .*no CUDA-capable device'
fi

finish
