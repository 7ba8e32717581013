#!/usr/bin/env bash
# Disks that refuse: full, over quota, read-only, broken, or writing less than asked, at each kind of call that writes
# checkpoints and caches. The message names file and cause, what was there before stays, nothing half-made is left under
# a final name, and when the disk is well again the run goes on to the same result.
# usage: test_refused.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
. "$(dirname "$0")/../support/fault.sh"

"$programs/make_caches" . 100 16 12
"$emoclim" demo --out data --images 24 --tracks 8 -q
cat >train.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8}
training: {batch_size: 16, max_steps: 60, steps_per_epoch: 100, learning_rate: 0.01, validate_every: 0}
distributed: {shards: 4, deadline_s: 60, threads: 1}
checkpoint: {every_steps: 10, keep_last: 2}
YAML
cat >cache.yaml <<'YAML'
dataset: {image_manifest: data/images.csv, audio_manifest: data/music.csv, image_cache: built/images.h5, audio_cache: built/music.h5}
image_backbone: {layers: 1, width: 64, heads: 1, patch: 32, resolution: 32, output_dim: 16}
audio_backbone: {n_channels: 2}
distributed: {threads: 1}
YAML
text_of() { # ERROR
    case $1 in
    ENOSPC) echo "No space left on device" ;;
    EDQUOT) echo "Disk quota exceeded" ;;
    EIO) echo "Input/output error" ;;
    EROFS) echo "Read-only file system" ;;
    esac
}
digest() { "$emoclim" checkpoint digest "$1/checkpoints/step-000000000060.h5" 2>&1; }
ends() { [ "$code" -eq "$1" ] || complain "exit code $code, expected $1: $(tail -c 800 "$2")"; }
run_ranks 1 whole.log "FAULT_LOG=$work/calls" "FAULT_UNDER=$work/whole/checkpoints" -- train train.yaml logging.folder=whole
ends 0 whole.log
whole=$(digest whole)
run_ranks 1 built.log "FAULT_LOG=$work/cache-calls" "FAULT_UNDER=$work/built/" -- cache build cache.yaml --only image
ends 0 built.log
mv built/images.h5 whole.h5

# The number that the first call of a kind has among those of its kind, in the second checkpoint (the folder has one then).
within_second() { # KIND
    awk -v kind="$1" '$3 == kind {n++; if (index($4, "step-000000000020.h5")) {print n; exit}}' calls
}
train_with() { # RANKS KIND AT FAULT... -- ARGUMENTS...
    local ranks=$1 kind=$2 at=$3
    shift 3
    rm -rf disturbed
    run_ranks "$ranks" train.log "FAULT_UNDER=$work/disturbed/checkpoints" "FAULT_KINDS=$kind" "FAULT_AT=$at" "$@"
}
goes_on() {
    [ -z "$(ls disturbed/checkpoints | grep -v '^\(step-[0-9]*\|best\)\.h5$')" ] || complain "left: $(ls disturbed/checkpoints)"
    "$emoclim" checkpoint verify disturbed/checkpoints/*.h5 >verify.log 2>&1 || complain "$(cat verify.log)"
    run_ranks 1 on.log -- train train.yaml logging.folder=disturbed --resume auto
    ends 0 on.log
    [ "$(digest disturbed)" = "$whole" ] || complain "other weights"
}

# Training stops, and matches why. (A kind of call, and an error that such a call may have.)
for fault in open:EROFS open:EDQUOT write:ENOSPC write:EDQUOT truncate:ENOSPC close:EIO close:EDQUOT sync:EIO rename:EIO; do
    kind=${fault%:*} error=${fault#*:}
    what="checkpoint, $kind, $error"
    train_with 1 "$kind" "$(within_second "$kind")" "FAULT_DO=$error" FAULT_FOR=0 -- train train.yaml logging.folder=disturbed
    ends 4 train.log
    matches train.log "saving the checkpoint after step 20 failed.*step-000000000020\.h5.*$(text_of "$error")"
    [ -e disturbed/checkpoints/step-000000000010.h5 ] || complain "the checkpoint before is lost"
    [ ! -e disturbed/checkpoints/step-000000000060.h5 ] || complain "the run went on to its end"
    goes_on
done
# The new checkpoint has its name, and may lose it with the power: the run says so, and goes on from it.
what="checkpoint, the folder's flush"
train_with 1 sync "$(($(within_second sync) + 1))" FAULT_DO=EIO FAULT_FOR=0 -- train train.yaml logging.folder=disturbed
ends 4 train.log
matches train.log "saving the checkpoint after step 20 failed.*step-000000000020\.h5 is complete and has its name, but its folder.*Input/output error"
goes_on
matches on.log "step 20"
what="checkpoint on 2 ranks, write, ENOSPC"
train_with 2 write "$(within_second write)" FAULT_DO=ENOSPC FAULT_FOR=0 -- train train.yaml logging.folder=disturbed
ends 4 train.log
matches train.log "saving the checkpoint after step 20 failed.*No space left on device"
no_orphans
goes_on

# It does not take until the next checkpoint to say so.
what="checkpoint, told at once"
train_with 2 write 1 FAULT_DO=ENOSPC FAULT_FOR=0 -- train train.yaml logging.folder=disturbed checkpoint.every_steps=2000 checkpoint.every_epochs=0 \
    training.max_steps=100000
ends 4 train.log
matches train.log "step 2000/"
! grep -q "step 4000/" train.log || complain "training went on to the next checkpoint"

# What does not hurt: a write that takes several calls, a file system without links.
what="checkpoint, short writes"
train_with 1 write 1 FAULT_DO=short FAULT_FOR=0 -- train train.yaml logging.folder=disturbed
ends 0 train.log
[ "$(digest disturbed)" = "$whole" ] || complain "other weights"
what="checkpoint, no links"
train_with 1 link 1 FAULT_DO=EROFS FAULT_FOR=0 -- train train.yaml logging.folder=disturbed training.validate_every=1 training.steps_per_epoch=20 training.validation_batches=1
ends 0 train.log
[ "$(stat -c %h disturbed/checkpoints/best.h5)" -eq 1 ] || complain "best.h5 is a link"
"$emoclim" checkpoint verify disturbed/checkpoints/best.h5 >verify.log 2>&1 || complain "$(cat verify.log)"

# checkpoint.on_error: continue goes on, unless it is the last one.
what="checkpoint, going on"
train_with 1 sync "$(within_second sync)" FAULT_DO=EIO -- train train.yaml logging.folder=disturbed checkpoint.on_error=continue
ends 0 train.log
matches train.log "error: saving the checkpoint after step 20 failed.*Input/output error; the run goes on"
[ "$(digest disturbed)" = "$whole" ] || complain "other weights"
train_with 1 write "$(within_second write)" FAULT_DO=ENOSPC FAULT_FOR=0 -- train train.yaml logging.folder=disturbed checkpoint.on_error=continue
ends 4 train.log
matches train.log "error: saving the checkpoint after step 30 failed"
matches train.log "emoclim train: saving the checkpoint after step 60 failed"
goes_on

what="a read-only folder"
train_with 1 open 1 FAULT_DO=EROFS FAULT_FOR=0 -- train train.yaml logging.folder=disturbed
ends 4 train.log
matches train.log "cannot create .*disturbed/checkpoints/best.h5.*: Read-only file system"
! grep -q '^step ' train.log || complain "steps were made before the folder was tried"

# Caches: the build ends, keeps what is finished, and goes on.
build_with() { # RANKS RANK KIND AT FAULT...
    rm -rf built
    run_ranks "$1" cache.log "FAULT_UNDER=$work/built/" "FAULT_RANK=$2" "FAULT_KINDS=$3" "FAULT_AT=$4" "${@:5}" -- \
        cache build cache.yaml --only image
}
build_goes_on() {
    [ ! -e built/images.h5 ] || complain "a cache in spite of the error"
    run_ranks 1 on.log -- cache build cache.yaml --only image
    ends 0 on.log
    cmp -s built/images.h5 whole.h5 || complain "another cache than in one piece"
    [ "$(ls built)" = images.h5 ] || complain "files are left: $(ls built)"
}
nth() { awk -v kind="$1" -v name="$2" '$3 == kind {n++; if (index($4, name)) {print n; exit}}' cache-calls; } # KIND FILE
for fault in folder:building:EROFS open:lock:EROFS open:build.json:EDQUOT open:part-0000.rows:ENOSPC open:final.h5:ENOSPC \
    write:build.json:ENOSPC write:part-0000.rows:ENOSPC write:part-0000.journal:EDQUOT write:final.h5:ENOSPC \
    truncate:final.h5:ENOSPC close:part-0000.rows:EIO close:final.h5:EIO sync:part-0000.rows:EIO sync:final.h5:EIO \
    rename:built/images.h5:EIO; do
    IFS=: read -r kind file error <<<"$fault"
    what="cache, $kind of $file, $error"
    build_with 1 0 "$kind" "$(nth "$kind" "$file")" "FAULT_DO=$error" FAULT_FOR=0
    ends 4 cache.log
    matches cache.log "emoclim cache build: .*$file.*$(text_of "$error")"
    build_goes_on
done
what="cache, one of 2 ranks, write, ENOSPC"
build_with 2 1 write 3 FAULT_DO=ENOSPC FAULT_FOR=0
ends 4 cache.log
matches cache.log "cannot write .*part-0001.*No space left on device"
no_orphans
build_goes_on
what="cache, short writes of the parts"
build_with 1 0 write "$(nth write part-)" FAULT_DO=short FAULT_FOR=20
ends 0 cache.log
cmp -s built/images.h5 whole.h5 || complain "another cache"

# What is loaded and not what it should be.
what="resume"
flipped=whole/checkpoints/step-000000000060.h5
at=$(($(stat -c %s "$flipped") / 2))
printf "$(printf '\\%03o' $(($(od -An -tu1 -j "$at" -N 1 "$flipped") ^ 16)))" | dd of="$flipped" bs=1 seek="$at" conv=notrunc 2>dd.log
run_ranks 2 load.log -- train train.yaml logging.folder=whole --resume auto
ends 0 load.log
matches load.log "warning: .*step-000000000060.h5 cannot be used .*(checksum|corrupt).*trying the one before"
matches load.log "going on after step 50 from .*step-000000000050.h5"
[ "$(digest whole)" = "$whole" ] || complain "the step made again has other weights"
run_ranks 1 load.log -- train train.yaml logging.folder=whole --resume auto full_model.hidden_dim=24 training.seed=7 training.max_steps=80
ends 2 load.log
matches load.log "full_model.hidden_dim"
matches load.log "training.seed"
run_ranks 1 load.log -- train train.yaml logging.folder=whole2 --resume "$flipped" dataset.image_cache=music.h5 dataset.audio_cache=images.h5
ends 3 load.log
matches load.log "music.h5 holds features of modality music"
finish
