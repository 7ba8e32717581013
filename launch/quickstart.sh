#!/usr/bin/env bash
# From a fresh machine to a search with a photo, in a few minutes on 2 cores: installs what is missing, builds, makes
# demo data, encodes it on two ranks, trains, evaluates on files that were not trained on, and searches.
#
#   launch/quickstart.sh [--real] [FOLDER]      FOLDER: where everything goes (default: quickstart, or quickstart-real)
#
# In the repository FOLDER is relative to its root. Where emoclim is installed nothing is built, and FOLDER is relative
# to where you are.
# --real takes pictures and music from Debian packages (data/real_demo.sh, about 180 MB) in place of generated ones.
# Run again, it goes on from what is already there.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
real=false folder=
for argument in "$@"; do
    case $argument in
    --real) real=true ;;
    -*) echo "usage: launch/quickstart.sh [--real] [FOLDER]" >&2; exit 2 ;;
    *) folder=$argument ;;
    esac
done
if [ -z "$folder" ]; then
    if $real; then folder=quickstart-real; else folder=quickstart; fi
fi
step() { printf '\n== %s\n' "$*"; }

if [ -f "$root/CMakeLists.txt" ]; then
    step "Building"
    cd "$root"
    launch/build.sh release
    emoclim=$PWD/build/release/emoclim
else
    . "$root/launch/openmpi.sh"
    find_program
    emoclim=$program
fi
ranks=2
run=$folder/run
mkdir -p "$folder"
config=("$root/configs/quickstart.yaml" "dataset.image_manifest=$(realpath "$folder")/data/images.csv"
    "dataset.audio_manifest=$(realpath "$folder")/data/music.csv" "dataset.image_cache=$(realpath "$folder")/images.h5"
    "dataset.audio_cache=$(realpath "$folder")/music.h5" "logging.folder=$(realpath "$folder")/run")

if $real; then
    step "Real data: emoji pictures and game music"
    [ -f "$folder/data/music.csv" ] || "$root/data/real_demo.sh" "$folder/data"
else
    step "Demo data: pictures and music that carry six emotions"
    [ -f "$folder/data/music.csv" ] || "$emoclim" demo --out "$folder/data"
fi

step "Feature caches: every file decoded and encoded, on $ranks ranks"
"$root/launch/ranks.sh" $ranks "$emoclim" cache build "${config[@]}"

step "Training on $ranks ranks"
"$root/launch/ranks.sh" $ranks "$emoclim" train --resume auto "${config[@]}"
checkpoint=$run/checkpoints/best.h5

step "Evaluation on the test files"
"$root/launch/ranks.sh" $ranks "$emoclim" eval retrieval --checkpoint "$checkpoint" --images "$folder/images.h5" \
    --music "$folder/music.h5" --split test --out "$run/retrieval"

step "Index of all music, and a search with a photo"
"$emoclim" embed --checkpoint "$checkpoint" --cache "$folder/music.h5" --out "$folder/index.h5"
photo=$folder/data/$(awk -F, '$3 == "test" { print $1; exit }' "$folder/data/images.csv")
"$emoclim" search --checkpoint "$checkpoint" --image "$photo" --index "$folder/index.h5" -k 5
cat <<EOF

Try your own photo:
  ${emoclim#"$PWD/"} search --checkpoint $(printf %q "$checkpoint") --image PHOTO.jpg --index $(printf %q "$folder/index.h5") -k 5
EOF
