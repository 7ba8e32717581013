#!/usr/bin/env bash
# A cache build over ranks that is asked to stop by USR1, at some rank or through mpirun, ends with 75 and, started again on
# another number of ranks, goes on and ends with the bytes of a build in one piece. Nobody else may build meanwhile, and a
# rebuild replaces caches only.
# usage: test_cache_stop.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
. "$(dirname "$0")/../support/fault.sh"

"$emoclim" demo --out data --images 96 --tracks 8 -q
cat >cache.yaml <<'YAML'
dataset: {image_manifest: data/images.csv, audio_manifest: data/music.csv, image_cache: built/images.h5, audio_cache: built/music.h5}
image_backbone: {layers: 1, width: 64, heads: 1, patch: 32, resolution: 32, output_dim: 16}
audio_backbone: {n_channels: 2}
distributed: {threads: 1}
YAML
build() { # RANKS [FAULT...] -- ARGUMENTS...
    local ranks=$1
    shift
    run_ranks "$ranks" build.log "$@" cache build cache.yaml --only image
}
ends() { [ "$code" -eq "$1" ] || complain "exit code $code, expected $1: $(tail -c 800 build.log)"; }
what="in one piece"
build 1 --
ends 0
cp built/images.h5 whole.h5

# Stopped twice, by a signal to each of two ranks, and gone on with on 1, 2 or 4 ranks.
for ranks in 1 2 4; do
    what="stopped on $ranks ranks"
    rm -rf built
    before=0
    for rank in $((ranks - 1)) 0; do
        build "$ranks" "FAULT_UNDER=$work/built/" FAULT_KINDS=write "FAULT_RANK=$rank" FAULT_AT=14 FAULT_DO=USR1 "FAULT_VICTIM=$rank" --
        ends 75
        matches build.log "stopped by a signal; run again to go on with .*built/images.h5"
        [ ! -e built/images.h5 ] || complain "a cache in spite of the stop"
        no_orphans
        rows=$((($(stat -c %s built/images.h5.building/part-*.journal | paste -sd+)) / 256))
        if [ "$rows" -le "$before" ] || [ "$rows" -ge 96 ]; then complain "$rows of 96 rows are finished, $before were before"; fi
        before=$rows
    done
    build $((ranks == 4 ? 1 : 2 * ranks)) --
    ends 0
    matches build.log "went on with $before of 96 rows"
    cmp -s built/images.h5 whole.h5 || complain "another cache than in one piece"
    [ "$(ls built)" = images.h5 ] || complain "files are left: $(ls built)"
done

what="two builders"
rm -rf built
mkdir -p built/images.h5.building
exec 8>built/images.h5.building/lock
flock 8
build 2 --
ends 4
matches build.log "another process is building .*built/images.h5"
exec 8>&-
build 1 --
ends 0

what="rebuild"
cp built/images.h5 sound.h5
run_ranks 1 build.log -- cache build cache.yaml --only image --rebuild
ends 0
cmp -s built/images.h5 sound.h5 || complain "another cache"
head -c 5000 sound.h5 >built/images.h5
run_ranks 1 build.log -- cache build cache.yaml --only image --rebuild
ends 0
cmp -s built/images.h5 sound.h5 || complain "another cache in place of a broken one"
for other in data/images.csv "$root/tests/data/checkpoint-v1.h5" /dev/null; do
    what="rebuild in place of $other"
    cat "$other" >built/images.h5
    run_ranks 2 build.log -- cache build cache.yaml --only image --rebuild
    ends 3
    matches build.log "built/images.h5 is not a feature cache"
    cmp -s built/images.h5 "$other" || complain "the file is another now"
done
finish
