#!/usr/bin/env bash
# What a user can get wrong, as a table: every line names a command, its exit code and a text of its message.
# Nothing crashes, hangs, or leaves a file that looks finished.
# usage: test_bad_input.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
bad_file=$programs/bad_file
said=0
check() { # CODE TEXT WHAT: of the command that has just run; an empty text is always said
    said=$(grep -cF -- "$2" err || true)
    [ "$code" = "$1" ] || complain "$3: exit code $code, expected $1: $(head -c 400 err)"
    [ -z "$2" ] || [ "$said" -gt 0 ] || complain "$3: does not say \"$2\" but: $(head -c 600 err)"
    if grep -qE 'Sanitizer|runtime error|internal error|signal 11|Aborted' err; then complain "$3: $(head -c 2000 err)"; fi
}
row() { # CODE TEXT COMMAND...
    local expected=$1 text=$2
    shift 2
    code=0
    timeout -k 5 60 "$emoclim" "$@" >out 2>err </dev/null || code=$?
    check "$expected" "$text" "emoclim $*"
}
ranks() { # CODE TEXT COMMAND...: the same on two ranks, and the text comes once
    local expected=$1 text=$2
    shift 2
    code=0
    timeout -k 5 100 "$root/tests/support/mpirun.sh" 2 "$emoclim" "$@" >out 2>err </dev/null || code=$?
    check "$expected" "$text" "emoclim $* on 2 ranks"
    [ "$said" = 1 ] || complain "emoclim $* on 2 ranks: says \"$text\" $said times"
}
none() { # PATTERN...: no such files
    local f
    for f in "$@"; do [ ! -e "$f" ] || complain "$f was left behind"; done
}
bad() { # NAME: a copy of the cache of images, made wrong by bad_file's arguments
    local name=$1
    shift
    cp images.h5 "$name"
    "$bad_file" "$@" || complain "cannot make $name"
}

# A whole chain that works, as small as can be.
"$emoclim" demo --out d --images 12 --tracks 12 --quiet >out 2>err || complain "demo: $(cat err)"
cat >c.yaml <<'END'
dataset:
  image_manifest: d/images.csv
  audio_manifest: d/music.csv
  image_cache: images.h5
  audio_cache: music.h5
image_backbone: {layers: 1, width: 64, heads: 1, output_dim: 16, patch: 32, resolution: 32}
audio_backbone: {n_channels: 4}
full_model: {output_dim: 16, hidden_dim: 16}
training: {batch_size: 8, max_steps: 4, steps_per_epoch: 2}
logging: {folder: run}
distributed: {shards: 2, threads: 1}
END
cache="cache build c.yaml" train="train c.yaml"
row 0 "" $cache
row 0 "" $train
best=run/checkpoints/best.h5
row 0 "" embed --checkpoint $best --cache music.h5 --out index.h5
photo=d/$(sed -n 2p d/images.csv | cut -d, -f1)
row 0 "" search --checkpoint $best --index index.h5 --image "$photo"
eval="eval retrieval --checkpoint $best" embed="embed --checkpoint $best --out e.h5" search="search --checkpoint $best --index index.h5"

# Things that are no file of ours.
: >zero
mkdir folder
mkfifo pipe
head -c 3000 images.h5 >short.h5
head -c 2000 $best >short_checkpoint.h5
echo "some text, longer than any magic number could be" >text
printf '\x89HDF\r\n\x1a\n' >stub.h5

# --- any reader x any file that is none -------------------------------------------------------------------------------
for file in absent folder pipe zero text; do
    case $file in
    absent) why="No such file" ;;
    folder | pipe) why="$file is not a regular file" ;;
    *) why=$file ;;
    esac
    row 2 "$why" config check $file
    row 3 "$why" $cache dataset.image_manifest=$file dataset.image_cache=n.h5
    row 3 "$why" $cache image_backbone.weights=$file dataset.image_cache=n.h5
    row 3 "$why" $train dataset.audio_cache=$file
    row 3 "$why" $train training.init=$file
    row 3 "$why" $train training.indices=$file
    row 3 "$why" $train --resume $file
    row 3 "$why" cache verify $file
    row 3 "$why" cache info $file
    row 3 "$why" checkpoint verify $file
    row 3 "$why" eval retrieval --checkpoint $file
    row 3 "$why" $eval --images $file
    row 3 "$why" $embed --cache $file
    row 3 "$why" $embed --manifest $file --modality image
    row 3 "$why" $search --image $file
    row 3 "$why" $search --music $file
    row 3 "$why" search --checkpoint $best --index $file --image "$photo"
done
none n.h5 n.h5.* e.h5 e.h5.*

# --- configuration ----------------------------------------------------------------------------------------------------
row 2 "training.batch_size = 9 must be a multiple of distributed.shards = 2, as 8 or 10" $train training.batch_size=9
row 2 "and at most 16777216" $train training.batch_size=1000000000000
row 2 "music.h5: there are 6 images to draw from, a batch needs at least 64" $train training.sampling=shuffled training.batch_size=64
row 2 "image_backbone.patch = 17 must divide" $cache image_backbone.patch=17
row 2 "are the same file" $train dataset.audio_cache=images.h5
row 2 "needs dataset.image_manifest" $cache dataset.image_manifest=null
ranks 2 "legal numbers of ranks: 1" $train distributed.shards=1
ranks 2 "unknown key training.steps" $train training.steps=2

# --- manifests --------------------------------------------------------------------------------------------------------
printf 'path,label\n%s,happy\n%s\n' "$photo" "$photo" >fields.csv
printf 'file,label\n%s,happy\n' "$photo" >columns.csv
printf 'path,label,split\n%s,happy,tain\n' "$photo" >split.csv
printf 'path,label\n%s,h\xff\n' "$photo" >bytes.csv
printf 'path,label\n' >bare.csv
printf 'path,label,start_s,end_s\na.wav,happy,3,1e999\n' >seconds.csv
manifest="$cache dataset.image_cache=n.h5 dataset.image_manifest"
row 3 "fields.csv:3:" $manifest=fields.csv
row 3 'columns.csv:1:1: the header has no column "path"' $manifest=columns.csv
row 3 'split.csv:2:' $manifest=split.csv
row 3 "bytes.csv:2:" $manifest=bytes.csv
row 3 "bare.csv:2: there is a header, but no entry follows" $manifest=bare.csv
row 3 "seconds.csv:2:" $manifest=seconds.csv
row 3 'label "funny" is none of dataset.class_names' $cache "dataset.class_names=[angry,exciting]" dataset.image_cache=n.h5
row 3 "no sample has a label" $cache "dataset.class_names=[other]" dataset.ignore_other_labels=true dataset.image_cache=n.h5
none n.h5 n.h5.*

# --- media ------------------------------------------------------------------------------------------------------------
mkdir m
: >m/empty.jpg
head -c 500 "$photo" >m/short.jpg
cp "$(find d/music -type f | sort | head -1)" m/music.jpg
cp text m/text.jpg
mkdir m/folder.jpg
mkfifo m/pipe.jpg
printf '\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\0\0\0' >m/huge.png
: >m/empty.wav
cp "$photo" m/picture.wav
printf 'RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff\x01\x00\xff\xff\xff\xff\xff\xff' >m/lie.wav
mkfifo m/pipe.wav
(cd m && printf 'path,label\n' && printf '%s,happy\n' *.jpg *.png absent.jpg) >m/broken.csv
(cd m && printf 'path,label\n' && printf '%s,happy\n' *.wav absent.wav) >m/broken_music.csv
{ cat m/broken.csv && printf '../%s,happy\n' "$photo"; } >m/one_good.csv
only="$cache --only image dataset.image_cache=n.h5 dataset.image_manifest"
row 3 "every sample was left out, the first because of: $work/m/empty.jpg: 0 bytes" $only=m/broken.csv
none n.h5 n.h5.tmp*
rm -rf n.h5.building
row 3 "every sample was left out" $cache --only music dataset.audio_cache=n.h5 dataset.audio_manifest=m/broken_music.csv
for name in empty picture lie pipe absent; do
    grep -q "left out: .*m/$name.wav" err || complain "m/$name.wav is not named: $(cat err)"
done
rm -rf n.h5.building
row 3 "m/empty.jpg: 0 bytes are too few for a picture (set dataset.skip_broken" $only=m/one_good.csv dataset.skip_broken=false
rm -rf n.h5.building
row 0 "left out: $work/m/music.jpg: not a picture of a known format" $only=m/one_good.csv
none n.h5.building
row 0 "" cache info n.h5
for name in empty.jpg short.jpg music.jpg text.jpg folder.jpg pipe.jpg huge.png absent.jpg; do
    grep -q "m/$name: " out || complain "cache info does not list $name: $(cat out)"
done
rm n.h5
ranks 3 "every sample was left out" $only=m/broken.csv
rm -rf n.h5.building

# --- a cache that is there, and a configuration that has changed ------------------------------------------------------
row 3 "images.h5 was made with other settings: encoder_sha256" $cache image_backbone.seed=7
row 3 'preprocessing.crop is "center", expected "first"' $cache audio_augment.crop=first
row 3 'dtype is "float16", expected "float32"' $cache dataset.cache_dtype=float32
row 3 'as "angry", split train; expected "happy", split train' $cache "dataset.image_label_map=[angry=happy]"
row 3 "was made with another list of classes: it has 6" $cache "dataset.class_names=[angry,exciting,funny,happy,sad,scary,tender,new]"
row 3 "build with --rebuild to replace it: $work/short.h5" $cache dataset.image_cache=short.h5
ranks 3 "images.h5 was made with other settings" $cache image_backbone.seed=7
row 0 "" $cache
grep -q "images.h5: up to date" out || complain "the cache is no longer up to date: $(cat out)"

# --- caches: contents -------------------------------------------------------------------------------------------------
bad nan.h5 nan nan.h5
bad label_gone.h5 delete label_gone.h5 label
bad flat.h5 replace flat.h5 features f16 12 16
bad double.h5 replace double.h5 features f64 12 1 16
bad no_rows.h5 replace no_rows.h5 features f16 0 1 16
bad huge.h5 replace huge.h5 features f16 1000000000000000 1 16
bad label_type.h5 replace label_type.h5 label f32 12
bad label_count.h5 replace label_count.h5 label i32 11
bad id_type.h5 replace id_type.h5 id i32 12
bad encoder.h5 text encoder.h5 encoder other
bad format.h5 text format.h5 format other
for verify in "cache verify" "$train logging.folder=other training.max_steps=2 dataset.image_cache=" "$embed --cache=" "$eval --images="; do
    on() { case $verify in *=) row 3 "$2" $verify$1 ;; *) row 3 "$2" $verify $1 ;; esac; }
    on nan.h5 "nan.h5: features[0,0,0] ("
    on label_gone.h5 "label_gone.h5: cannot open the data set label"
    on flat.h5 "flat.h5: features: shape expected (N,N,N), found (12,16)"
    on double.h5 "double.h5: features of type float64, expected float16"
    on no_rows.h5 "no_rows.h5"
    on huge.h5 "huge.h5: features was never written"
    on label_type.h5 "label_type.h5: label: type expected int32, found float32"
    on label_count.h5 "label_count.h5: label: shape expected (12), found (11)"
    on id_type.h5 "id_type.h5: id: strings expected, found int32"
    on encoder.h5 "encoder.h5 is corrupt"
    on format.h5 'format.h5 is not a feature cache but of the format "other"'
    on short.h5 "short.h5: cannot open it as HDF5: truncated"
    on stub.h5 "stub.h5: cannot open it as HDF5"
    on $best 'is not a feature cache but of the format "emoclim checkpoint"'
done
none other/config.yaml e.h5 e.h5.*
ranks 3 "nan.h5: features[0,0,0] (" $train dataset.image_cache=nan.h5
ranks 3 "short.h5: cannot open it as HDF5" $train dataset.audio_cache=short.h5
ranks 3 "absent.h5: No such file" $eval --images absent.h5

# --- caches: such as do not fit together ------------------------------------------------------------------------------
sed 's/,angry,/,cross,/' d/images.csv >d/other_class.csv
awk -F, 'NR == 1 || $2 ~ /angry|sad|funny/' d/images.csv >d/half.csv
awk -F, 'NR == 1 || $2 !~ /angry|sad|funny/' d/music.csv >d/other_half.csv
awk -F, 'NR == 1 || $3 == "train" { sub(/train/, "test") } { print }' d/images.csv | sed 's/,valid/,test/' >d/no_train.csv
build() { # IMAGE-CACHE KEY=VALUE...
    row 0 "" $cache --only image "dataset.image_cache=$@"
}
build other_class.h5 dataset.image_manifest=d/other_class.csv
build no_train.h5 dataset.image_manifest=d/no_train.csv
build wide.h5 image_backbone.output_dim=24
row 0 "" $cache dataset.image_cache=half.h5 dataset.audio_cache=other_half.h5 dataset.image_manifest=d/half.csv dataset.audio_manifest=d/other_half.csv
row 3 "music.h5 holds features of modality music; image was expected (dataset.image_cache)" $train dataset.image_cache=music.h5 dataset.audio_cache=images.h5
row 3 'modality is "music", expected "image"' $eval --images music.h5 --music images.h5
row 3 "both must be built with the same list (dataset.class_names)" $train dataset.image_cache=other_class.h5
row 3 "other_class.h5 has 7 classes" $eval --images other_class.h5
row 3 "no class has both images ($work/half.h5) and music ($work/other_half.h5)" $train dataset.image_cache=half.h5 dataset.audio_cache=other_half.h5
row 3 'no_train.h5 has no row of split "train"' $train dataset.image_cache=no_train.h5
row 3 'has no row of split "valid"' $eval --split valid
row 3 "wide.h5 does not fit the features that $best was trained on" $eval --images wide.h5
row 3 "width is 24, expected 16" $embed --cache wide.h5
row 3 "image_projector.0.weight: expected float32 (16,24), found float32 (16,16)" $train --resume $best dataset.image_cache=wide.h5
ranks 3 "no class has both images" $train dataset.image_cache=half.h5 dataset.audio_cache=other_half.h5
ranks 3 "width is 24, expected 16" $eval --images wide.h5
none e.h5 e.h5.*

# --- checkpoints, weights, indexes ------------------------------------------------------------------------------------
cp run/config.yaml before.yaml
row 2 "full_model.output_dim was 16 and is 24" $train --resume auto full_model.output_dim=24
row 2 "training.seed was 42 and is 1" $train --resume $best training.seed=1
ranks 2 "full_model.output_dim was 16 and is 24" $train --resume auto full_model.output_dim=24
cmp -s run/config.yaml before.yaml || complain "a refused run overwrote the configuration of the earlier one"
row 3 'images.h5 is not a checkpoint but of the format "emoclim feature cache"' $train --resume images.h5
row 3 'images.h5 is not a checkpoint' $train training.init=images.h5
row 3 "image_projector.4.weight has shape (16, 16), the model's is (24, 16)" $train training.init=$best full_model.output_dim=24
row 3 "short_checkpoint.h5" $train training.init=short_checkpoint.h5
row 3 "short_checkpoint.h5" $train --resume short_checkpoint.h5
cp $best hole.h5
"$bad_file" delete hole.h5 params/image_projector.0.weight
row 3 "hole.h5: the array params/image_projector.0.weight is missing" checkpoint verify hole.h5
row 3 "hole.h5: the array params/image_projector.0.weight is missing" $train --resume hole.h5
row 3 "hole.h5: the array params/image_projector.0.weight is missing" search --checkpoint hole.h5 --index index.h5 --image "$photo"
printf '\xff\xff\xff\xff\xff\xff\xff\x7f{}' >long.safetensors
printf '\x10\x00\x00\x00\x00\x00\x00\x00{"a":1}' >cut.safetensors
printf '\x02\x00\x00\x00\x00\x00\x00\x00{}' >none.safetensors
row 3 "long.safetensors: a header of 9223372036854775807 bytes" $train training.init=long.safetensors
row 3 "cut.safetensors: " $train training.init=cut.safetensors
row 3 "none.safetensors has no tensor " $train training.init=none.safetensors
row 3 "none.safetensors" $cache image_backbone.weights=none.safetensors dataset.image_cache=n.h5
row 3 "cannot open the data set image_index" $train training.indices=images.h5
row 3 "was made with another model" search --checkpoint run/checkpoints/step-000000000002.h5 --index index.h5 --image "$photo"
row 3 'images.h5 is not a file of embeddings' search --checkpoint $best --index images.h5 --image "$photo"
row 2 "--image or --music" $search
row 2 "give one of --cache, --manifest, or files" $embed
row 2 "--checkpoint is missing" eval retrieval
ranks 3 "hole.h5: the array params/image_projector.0.weight is missing" $train --resume hole.h5

# --- places that cannot be written ------------------------------------------------------------------------------------
row 4 "text exists and is not a folder" $train logging.folder=text
row 4 "/dev/null/x: Not a directory" $train logging.folder=/dev/null/x
row 4 "/dev/null/x" $cache dataset.image_cache=/dev/null/x.h5
row 4 "/dev/null/e.h5" embed --checkpoint $best --cache music.h5 --out /dev/null/e.h5
row 4 "folder: Is a directory" embed --checkpoint $best --cache music.h5 --out folder
row 4 "/dev/null/x" $eval --out /dev/null/x
ranks 4 "/dev/null/x: Not a directory" $train logging.folder=/dev/null/x
none folder.tmp.*
# A limit on the size of files stands for a full disk.
small() { # KIB TEXT COMMAND...
    local limit=$1 text=$2
    shift 2
    code=0
    (ulimit -f "$limit" && exec "$emoclim" "$@") >out 2>err </dev/null || code=$?
    check 4 "$text" "emoclim $* with a full disk"
}
small 4 "File too large" $train logging.folder=full
none full/checkpoints/*
small 4 "File too large" $cache dataset.image_cache=full.h5
none full.h5 full.h5.tmp*
row 0 "" $cache dataset.image_cache=full.h5 # goes on
grep -q "went on with" out || complain "the build did not go on where the disk was full: $(cat out)"
none full.h5.building
small 1 "File too large" embed --checkpoint $best --cache music.h5 --out full_index.h5
none full_index.h5*

# --- no permission ----------------------------------------------------------------------------------------------------
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked
    chmod 000 locked
    row 3 "Permission denied" $cache dataset.image_manifest=locked/images.csv dataset.image_cache=n.h5
    row 3 "Permission denied" $train dataset.image_cache=locked/images.h5
    row 4 "Permission denied" $train logging.folder=locked/run
    chmod 700 locked
fi

# --- a signal while a cache is built ----------------------------------------------------------------------------------
mkdir many
{
    head -n 1 d/images.csv
    for i in {1..100}; do # each picture under a hundred names
        cp -rl d/images many/$i
        sed "1d; s|^images/|$i/|" d/images.csv
    done
} >many/images.csv
many="$cache --only image dataset.image_manifest=many/images.csv dataset.image_cache=many.h5 image_backbone.resolution=224"
"$emoclim" $many >out 2>err &
pid=$!
for i in $(seq 300); do
    [ -s many.h5.building/part-0000.journal ] && break
    sleep 0.02
done
kill -USR1 $pid
code=0
wait $pid || code=$?
[ "$code" = 75 ] || complain "USR1 during cache build: exit code $code, expected 75: $(cat err)"
none many.h5
row 0 "" $many
grep -q "went on with" out || complain "the build did not go on after the signal: $(cat out)"
none many.h5.building

finish
