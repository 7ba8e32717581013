#!/usr/bin/env bash
# How jobs end on a throw-away Slurm with two nodes: a sweep and a cache build come to their end; what cannot work is
# told once; what breaks off again and again is given up.
# usage: test_slurm_ends.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/batch_jobs.sh"

# Tasks of a sweep that break off before any progress are started again so many times only.
cat >broken.sh <<SCRIPT
#!/bin/sh
[ "\$1" != train ] || exit 5
exec $EMOCLIM "\$@"
SCRIPT
chmod +x broken.sh
edit array.sbatch broken
sed -i 's|--array=0-3|--array=0-1|' cluster/broken.sbatch
EMOCLIM=$PWD/broken.sh EMOCLIM_TRIES=1 submit broken -o 'broken-%a.log'
broken=$job

# A sweep over seeds.
edit array.sbatch sweep training.max_steps=30
sed -i 's|--array=0-3|--array=0-1|' cluster/sweep.sbatch
submit sweep -o 'sweep-%a.log'
sweep=$job

# Cancelled is cancelled, although the ranks may still write a checkpoint and exit with 75.
edit train.sbatch cancelled
submit cancelled
cancelled=$job

# Numbers of ranks that cannot share the batch, files that are not there, a node with another build.
edit train.sbatch refused distributed.shards=1 training.batch_size=33
submit refused
refused=$job
edit train.sbatch missing dataset.image_cache=nowhere.h5
submit missing
missing=$job
cp "$EMOCLIM" older
printf '\0' >>older
cat >odd.sh <<SCRIPT
#!/bin/sh
[ "\$(hostname)" != n2 ] || exec $PWD/older "\$@"
exec $EMOCLIM "\$@"
SCRIPT
chmod +x odd.sh
(cd / && EMOCLIM_ROOT= sbatch -W -o "$work/elsewhere.log" "$work/cluster/missing.sbatch" >/dev/null) ||
    [ $? -eq 2 ] || complain "submitted from elsewhere: $(cat elsewhere.log)"
appears elsewhere.log '/ is not the repository: submit there'
edit train-srun.sbatch odd
EMOCLIM=$PWD/odd.sh submit odd
odd=$job

# A cache built by two nodes.
"$EMOCLIM" demo --out data --images 24 --tracks 12 >demo.log 2>&1
"$EMOCLIM" config print "$EMOCLIM_ROOT/configs/quickstart.yaml" "dataset.image_manifest=$PWD/data/images.csv" \
    "dataset.audio_manifest=$PWD/data/music.csv" "dataset.image_cache=$PWD/many-images.h5" \
    "dataset.audio_cache=$PWD/many-music.h5" "logging.folder=$PWD/cache" >cache.yaml
sed -e "s|^CONFIG=.*|CONFIG=$PWD/cache.yaml|" -e 's|--ntasks-per-node=4|--ntasks-per-node=1|' \
    "$EMOCLIM_ROOT/cluster/cache.sbatch" >cluster/cache.sbatch
submit cache
cache=$job

appears cancelled.log '^step '
scancel "$cancelled"

# Each task has the weights of the same run without a scheduler.
for task in 0 1; do
    finished "sweep-$task" "${sweep}_$task" 0
    "$EMOCLIM" train run.yaml training.max_steps=30 "training.seed=$task" "logging.folder=seed$task" >seed.log 2>&1
    [ "$(digest "sweep/seed-$task")" = "$(digest "seed$task")" ] || complain "task $task: other weights than by itself"
done
[ "$(digest seed0)" != "$(digest seed1)" ] || complain "the seed makes no difference"

# The cache has the bytes that one process gives it.
finished cache "$cache" 0
"$EMOCLIM" cache build cache.yaml "dataset.image_cache=one-images.h5" "dataset.audio_cache=one-music.h5" >one.log 2>&1
for modality in images music; do
    cmp "many-$modality.h5" "one-$modality.h5" || complain "two nodes built another cache of $modality than one"
done

# Told once, not requeued.
finished refused "$refused" 2
appears refused.log '2 ranks cannot share distributed.shards = 1 evenly'
finished missing "$missing" 3
appears missing.log 'nowhere.h5'
finished odd "$odd" 4
appears odd.log 'host n2 \(rank 1\) runs another program than host n1 \(rank 0\)'
for name in missing odd; do
    [ "$(grep -c 'not requeued' $name.log)" -eq 1 ] || complain "$name: $(cat $name.log)"
done

for ((i = 0; i < 150; i++)); do
    ! squeue -h -j "$cancelled" 2>/dev/null | grep -q . || { sleep 0.1; continue; }
    break
done
[ "$(state "$cancelled")" = CANCELLED ] ||
    complain "a cancelled job is $(state "$cancelled"): $(tail -c 800 cancelled.log)"
! scontrol -o show job "$cancelled" | grep -q 'Restarts=[1-9]' || complain "a cancelled job was started again"

for task in 0 1; do # one requeues itself, not the other
    finished "broken-$task" "${broken}_$task" 1
    appears "broken-$task.log" 'started 2 times without a new checkpoint'
    [ "$(grep -c 'broke off with exit code 5' "broken-$task.log")" -eq 1 ] ||
        complain "not started once more: $(cat "broken-$task.log")"
done

[ "$wrong" -eq 0 ] || { echo "$wrong complaints"; exit 1; }
