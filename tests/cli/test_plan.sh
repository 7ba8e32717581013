#!/usr/bin/env bash
# emoclim plan: memory as measured by running, operations as derived on paper, ranks that cannot be, caches that are not
# there.
# usage: test_plan.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"

field() { sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$2" | head -n 1; } # NAME FILE

"$programs/make_caches" . 600 512 256 >/dev/null
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 256, output_dim: 128}
training: {batch_size: 1024, max_steps: 5, validate_every: 0}
distributed: {threads: 2}
YAML

# What a larger batch takes more, beside what it takes more when it is run. The difference, because a process has memory
# besides what training asks for.
for batch in 1024 4096; do
    "$emoclim" plan run.yaml "training.batch_size=$batch" --json >plan$batch.json || fail "plan of batch $batch"
    "$emoclim" bench step --batch $batch --threads 2 --repeats 5 --json >bench$batch.json || fail "bench of batch $batch"
done
planned() { awk -v a="$(field optimizer "$1")" -v b="$(field activations "$1")" -v c="$(field loss "$1")" 'BEGIN { print (a + b + c) / 1e6 }'; }
awk -v a="$(planned plan1024.json)" -v b="$(planned plan4096.json)" -v x="$(field peak_mb bench1024.json)" \
    -v y="$(field peak_mb bench4096.json)" 'BEGIN {
        printf "batch 1024 to 4096: %.1f MB more planned, %.1f MB more measured\n", b - a, y - x
        exit !((b - a) > 0.9 * (y - x) && (b - a) < 1.1 * (y - x)) }' || fail "planned memory is not that of a run"

# 16 G^2 D for the loss on one rank; over ranks 16 b^2 D + 24 b (G - b) D. Heads: 3 products of each weight matrix and row,
# but no gradient of the features.
awk -v f="$(field loss_flops plan1024.json)" 'BEGIN { exit f != 16 * 1024 * 1024 * 128 }' || fail "operations of the loss"
heads=$((2 * 1024 * (2 * 512 * 256 + 3 * 256 * 128 + 2 * 256 * 256 + 3 * 256 * 128)))
awk -v f="$(field flops plan1024.json)" -v l="$(field loss_flops plan1024.json)" -v h=$heads 'BEGIN { exit f - l != h }' ||
    fail "operations of the heads: $(field flops plan1024.json) with the loss, $heads without expected"
"$emoclim" plan run.yaml -n 4 --json >plan4.json
awk -v f="$(field loss_flops plan4.json)" 'BEGIN { b = 256; exit f != 128 * (16 * b * b + 24 * b * (1024 - b)) }' ||
    fail "operations of the loss on 4 ranks"
# Embeddings of both modalities from 3 other ranks are the least that is exchanged.
awk -v r="$(field received_bytes plan4.json)" 'BEGIN { exit !(r > 2 * 3 * 256 * 128 * 4) }' || fail "nothing is exchanged"
[ "$(field received_bytes plan1024.json)" = 0.0 ] || fail "one rank receives something"

"$emoclim" plan run.yaml -n 1 -n 2 -n 8 >text || fail "three plans"
[ "$(grep -c 'memory of a rank' text)" = 3 ] || fail "not three plans: $(cat text)"
grep -q 'exchange between ranks is not in the time' text || fail "an unknown bus is not told"

# Times from constants that are given; and a rate of memory that is measured where it is not.
"$emoclim" plan run.yaml --flops 10 --memory 2 --operation 3 --json >given.json || fail "plan with given constants"
near() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (1e-3 * a) ^ 2) }' || fail "$3: $1, $2 expected"; }
of() { awk -v x="$(field "$1" given.json)" -v k="$2" 'BEGIN { printf "%.6f", x * k }'; } # NAME FACTOR
near "$(field products given.json)" "$(of flops 1e-7)" "milliseconds of products"
near "$(field memory given.json)" "$(of moved_bytes 5e-7)" "milliseconds of memory"
near "$(field latency given.json)" "$(of operations 1.5e-3)" "milliseconds of operations, on 2 threads"
near "$(field memory_gb_s given.json)" 2 "given memory rate"
awk -v m="$(field memory_gb_s plan1024.json)" 'BEGIN { exit !(m > 0.1) }' || fail "no rate of memory is measured"

refuses 2 'legal numbers of ranks' plan run.yaml -n 3
refuses 2 'a number from 1' plan run.yaml -n many
refuses 2 'no time can be told of a step at 1e-310 GFLOPS' plan run.yaml --flops 1e-310 --memory 2 --operation 3 --json
refuses 3 'nowhere.h5' plan run.yaml dataset.image_cache=nowhere.h5
finish
