#!/usr/bin/env bash
# What the surroundings may do to a run that has nothing wrong with it: streams that are closed, folders and files with odd
# names, signals, and what a killed run left behind.
# usage: test_surroundings.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
"$programs/make_caches" . 40 16 12
"$emoclim" demo --out d --images 6 --tracks 6 -q >out
cat >c.yaml <<'END'
dataset: {image_manifest: d/images.csv, audio_manifest: d/music.csv, image_cache: images.h5, audio_cache: music.h5}
image_backbone: {layers: 1, width: 64, heads: 1, output_dim: 16, patch: 32, resolution: 32}
audio_backbone: {n_channels: 4}
full_model: {output_dim: 8, hidden_dim: 16}
training: {batch_size: 8, max_steps: 4, steps_per_epoch: 2}
logging: {folder: run, every: 1}
distributed: {shards: 2, threads: 1}
END
are_json() { # FILE: every line is an object
    "$programs/json_lines" "$1" || complain "$1 is not lines of JSON"
}

# --- streams that are closed: no file takes their numbers, and what is printed --------------------------------------
what="closed streams"
for closed in '2>&-' '>&- 2>&-' '<&- >&- 2>&-'; do
    rm -rf run built.h5
    eval '"$emoclim" train c.yaml '"$closed" || true
    are_json run/metrics.jsonl
    "$emoclim" checkpoint verify run/checkpoints/*.h5 >out 2>err || complain "$closed: $(cat err)"
    eval '"$emoclim" cache build c.yaml --only image dataset.image_cache=built.h5 '"$closed" || true
    "$emoclim" cache verify built.h5 >out 2>err || complain "$closed: $(cat err)"
done
code=0
"$emoclim" version >&- 2>err || code=$?
[ "$code" = 4 ] || complain "version without an output: exit code $code"
says err "cannot write to standard output"

# --- what a killed run left: half a line of metrics -----------------------------------------------------------------
what="half a line"
rm -rf run
run 0 train c.yaml
cp run/metrics.jsonl whole
for cut in 1 40; do
    truncate -s -$cut run/metrics.jsonl
    run 0 train c.yaml --resume auto training.max_steps=$((4 + cut))
    are_json run/metrics.jsonl
done
[ "$(head -n 5 run/metrics.jsonl)" = "$(head -n 5 whole)" ] || complain "whole lines were lost"

# --- names that are not UTF-8, which Linux allows -------------------------------------------------------------------
what="odd names"
odd=$'caf\xe9'
best=run/checkpoints/best.h5
photo=d/$(sed -n 2p d/images.csv | cut -d, -f1)
run 0 cache build c.yaml dataset.image_cache=i.h5 dataset.audio_cache=m.h5
run 0 train c.yaml dataset.image_cache=i.h5 dataset.audio_cache=m.h5 logging.folder=run2
best=run2/checkpoints/best.h5
run 0 embed -c $best --cache m.h5 -o index.h5
cp "$photo" "$odd.jpg"
cp $best "$odd.h5"
cp index.h5 "$odd-index.h5"
cp i.h5 "$odd-cache.h5"
cp c.yaml "$odd.yaml"
replaced=$'caf\xef\xbf\xbd' # with U+FFFD
tells() { # ARGUMENTS...: of --json
    run 0 "$@" --json
    says out "$replaced"
}
tells search -c "$odd.h5" --index "$odd-index.h5" --image "$odd.jpg"
tells checkpoint verify "$odd.h5"
tells checkpoint show "$odd.h5"
tells checkpoint digest "$odd.h5"
tells cache info "$odd-cache.h5"
tells cache verify "$odd-cache.h5"
tells config check "$odd.yaml"
tells export -c $best -o "$odd.safetensors"
tells embed -c $best --cache m.h5 -o "$odd-index.h5"
tells demo --images 1 --tracks 0 -o "$odd-demo"
run 3 checkpoint verify "$odd-absent.h5" --json
says out "$replaced-absent.h5"
run 0 train c.yaml dataset.image_cache=i.h5 dataset.audio_cache=m.h5 logging.folder=run3 training.max_steps=6 --resume "$odd.h5"
are_json run3/metrics.jsonl
says run3/metrics.jsonl "$replaced"
refuses 3 "the name of $odd.jpg is not UTF-8" embed -c $best --modality image -o e.h5 "$odd.jpg"
mkdir "$odd"
cp c.yaml images.h5 music.h5 "$odd"
(cd "$odd" && refuses 2 "c.yaml:1:" train c.yaml && says err "is not UTF-8 text of one line"; exit "$wrong") || complain "in a folder of that name"
[ ! -e "$odd/run" ] || complain "a run began in a folder that its checkpoints cannot name"
(cd "$odd" && run 0 search -c ../$best --index ../index.h5 --image "../$odd.jpg" && exit "$wrong") || complain "searching there"

# --- a signal ends what cannot stop half-way ------------------------------------------------------------------------
what="signals"
{ echo path,label && for i in $(seq 40000); do echo "$photo,happy"; done; } >many.csv
"$emoclim" embed -c $best --modality image --manifest many.csv -o many.h5 >out 2>err &
pid=$!
sleep 0.5
kill -USR1 $pid
sleep 0.1
kill -0 $pid 2>/dev/null || complain "USR1 ended embed"
kill -TERM $pid
code=0
wait $pid || code=$?
[ "$code" = 143 ] || complain "TERM during embed: exit code $code, expected 143"
[ ! -e many.h5 ] || complain "an index after TERM"

# --- paths with spaces in batch jobs --------------------------------------------------------------------------------
what="batch jobs"
found=$(EMOCLIM=$emoclim EMOCLIM_ROOT=$root && . "$root/cluster/job.sh" && job_configured logging folder c.yaml 'logging.folder="/a b/\"c\"\\d"')
[ "$found" = '/a b/"c"\d' ] || complain "logging.folder is read as $found"
found=$(EMOCLIM=$emoclim EMOCLIM_ROOT=$root && . "$root/cluster/job.sh" && job_configured distributed device c.yaml)
[ "$found" = auto ] || complain "distributed.device is read as $found"

# --- numbers as large as they may be --------------------------------------------------------------------------------
what="large numbers"
run 0 config check c.yaml training.max_steps=0 training.max_epochs=4294967295 training.steps_per_epoch=4294967295 training.schedule=cosine
[ ! -s err ] || complain "$(cat err)"

finish
