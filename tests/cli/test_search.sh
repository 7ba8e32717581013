#!/usr/bin/env bash
# From media files to search results through the program, and the same numbers on 1 and 2 ranks.
# test_search.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
check() { # WHAT CONDITION...
    local what=$1
    shift
    "$@" || complain wrong
}

"$emoclim" demo --quiet --out "$work/data" --images 36 --tracks 18 --seed 5 >/dev/null
cat >"$work/run.yaml" <<EOF
dataset: {image_manifest: data/images.csv, audio_manifest: data/music.csv, image_cache: images.h5, audio_cache: music.h5}
image_backbone: {layers: 1, width: 64, heads: 1, output_dim: 64}
audio_backbone: {n_channels: 8}
training: {batch_size: 16, max_steps: 30, steps_per_epoch: 10, learning_rate: 1e-3}
logging: {folder: run}
EOF
"$mpirun" 2 "$emoclim" cache build "$work/run.yaml" >"$work/log" 2>&1
"$emoclim" train --quiet "$work/run.yaml" >>"$work/log" 2>&1
checkpoint=$work/run/checkpoints/best.h5

# A broken file among good ones is left out; the index has the rest.
echo "no music" >"$work/broken.mp3"
"$emoclim" embed -c "$checkpoint" --modality music -o "$work/music-index.h5" "$work"/data/music/* "$work/broken.mp3" \
    >"$work/out" 2>>"$work/log"
check "18 of 19 embedded" grep -q "18 embeddings" "$work/out"
check "the broken file is named" grep -q "broken.mp3" "$work/log"

# A picture that is in the index finds itself first, with cosine 1.
"$emoclim" embed -c "$checkpoint" --cache "$work/images.h5" -o "$work/image-index.h5" >>"$work/log" 2>&1
picture=$(ls "$work"/data/images/* | head -1)
"$emoclim" search -c "$checkpoint" --image "$picture" --index "$work/image-index.h5" -k 3 --json >"$work/out" 2>>"$work/log"
check "it finds itself" grep -q "\"id\": \"$picture\"" <(grep -m1 '"id"' "$work/out")
check "three results" test "$(grep -c '"rank"' "$work/out")" -eq 3

# The search from pictures to music has as many results as asked for, best first.
"$emoclim" search -c "$checkpoint" --image "$picture" --index "$work/music-index.h5" -k 5 >"$work/out" 2>>"$work/log"
check "best first" sort -c -r -n -k2,2 <(sed -n 2,6p "$work/out" | awk '{print $1, $2}')

# An index of more rows than one product scores, and of several large pages.
"$programs/make_index" "$checkpoint" "$work/large.h5" 40000
"$emoclim" search -c "$checkpoint" --image "$picture" --index "$work/large.h5" -k 7 --json >"$work/out" 2>>"$work/log"
check "all rows are searched" grep -q '"items": 40000' "$work/out"
check "seven results" test "$(grep -c '"rank"' "$work/out")" -eq 7

# Evaluation: same JSON on 1 and 2 ranks.
for ranks in 1 2; do
    "$mpirun" $ranks "$emoclim" eval retrieval -c "$checkpoint" --split all \
        --out "$work/eval$ranks" >>"$work/log" 2>&1
done
check "same on 2 ranks" diff -r "$work/eval1" "$work/eval2"
check "layout" grep -q '"k=N/A"' "$work/eval1/macro/image2music_retrieval.json"
check "per class" grep -q '"happy"' "$work/eval1/per_class/music2music_retrieval.json"

# An index of another model is refused.
"$emoclim" train --quiet "$work/run.yaml" training.seed=7 logging.folder="$work/other" >>"$work/log" 2>&1
code=0
"$emoclim" search -c "$work/other/checkpoints/best.h5" --image "$picture" --index "$work/music-index.h5" 2>"$work/err" >/dev/null ||
    code=$?
check "another model is exit code 3" test "$code" -eq 3
check "and says why" grep -q "another model" "$work/err"

finish
