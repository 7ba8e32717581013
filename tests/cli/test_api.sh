#!/usr/bin/env bash
# The example program, which knows the public headers only, finds what "emoclim search" finds; the headers stand alone.
# usage: test_api.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
example=$programs/example_search

"$emoclim" demo --quiet --out data --images 24 --tracks 12 --seed 5 >/dev/null
cat >run.yaml <<'YAML'
dataset: {image_manifest: data/images.csv, audio_manifest: data/music.csv, image_cache: images.h5, audio_cache: music.h5}
image_backbone: {layers: 1, width: 64, heads: 1, output_dim: 32}
audio_backbone: {n_channels: 4}
full_model: {hidden_dim: 12, output_dim: 8, base_output_dim: 10}
training: {batch_size: 16, max_steps: 4}
YAML
"$emoclim" cache build --quiet run.yaml 2>>log
for multi in false true; do
    "$emoclim" train --quiet run.yaml full_model.multi_task=$multi logging.folder=$multi 2>>log
    checkpoint=$multi/checkpoints/best.h5
    "$emoclim" embed -c $checkpoint --cache music.h5 -o $multi-index.h5 >>log 2>&1
    for picture in $(ls data/images/* | head -n 3); do
        "$emoclim" search -c $checkpoint --image "$picture" --index $multi-index.h5 -k 7 2>>log | sed '1d;$d' >expected
        "$example" $checkpoint $multi-index.h5 "$picture" 7 >found 2>>log || complain "the example failed: $(tail -n 3 log)"
        cmp -s expected found || complain "$multi, $picture: expected $(cat expected), found $(cat found)"
        [ "$(wc -l <found)" -eq 7 ] || complain "7 results expected: $(cat found)"
    done
done
# The embedding is that of "emoclim embed", whatever else is embedded with it.
track=$(ls data/music/* | head -n 1)
"$emoclim" embed -c $checkpoint --modality music -o tracks.h5 data/music/* >>log 2>&1
"$emoclim" search -c $checkpoint --music "$track" --index tracks.h5 -k 1 --json >found 2>>log
grep -q "\"id\": \"$track\"" found || complain "$track does not find itself: $(cat found)"

refused() { # EXIT_CODE TEXT ARGUMENTS...
    local expected=$1 text=$2 code=0
    shift 2
    "$example" "$@" >out 2>err || code=$?
    [ "$code" -eq "$expected" ] || complain "example $*: exit code $code, expected $expected: $(cat err)"
    grep -qF -- "$text" err || complain "example $*: \"$text\" expected: $(cat err)"
    [ ! -s out ] || complain "example $*: nothing should be printed: $(cat out)"
}
echo "no picture" >broken.jpg
refused 3 "another model" false/checkpoints/best.h5 true-index.h5 "$picture"
refused 3 "broken.jpg" $checkpoint $multi-index.h5 broken.jpg
refused 3 "absent.jpg" $checkpoint $multi-index.h5 absent.jpg
refused 3 "absent.h5" absent.h5 $multi-index.h5 "$picture"
refused 3 "run.yaml" $checkpoint run.yaml "$picture"
refused 2 "usage" $checkpoint

# C99, and C++ where there is a compiler.
for header in "$root"/include/emoclim/*.h; do
    ${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only -x c -I "$root/include" "$header" 2>err ||
        complain "$header: $(cat err)"
    if command -v c++ >/dev/null; then
        c++ -Wall -Wextra -Werror -fsyntax-only -x c++ -I "$root/include" "$header" 2>err || complain "$header: $(cat err)"
    fi
done

[ "$wrong" -eq 0 ] || tail -n 20 log
finish
