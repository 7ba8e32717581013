#!/usr/bin/env bash
# Batch files as a user would submit them, on a throw-away Slurm with two nodes: stopped by a signal, requeued, gone on
# with to the same bytes.
# usage: test_slurm.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/batch_jobs.sh"

# mpirun; the script asks for its requeue.
edit train.sbatch stopped
submit stopped
stopped=$job

# The same where there is no scontrol, as in a container: exit code 75, and Slurm's RequeueExit.
mkdir bin
find /usr/bin -maxdepth 1 ! -type d ! -name scontrol -exec ln -s -t bin {} +
echo "PATH=$PWD/bin" >no_scontrol
edit train.sbatch bare
EMOCLIM_ENVIRONMENT=$PWD/no_scontrol submit bare
bare=$job

# A sweep over the configurations of a folder, of which one task is stopped.
edit array.sbatch many
mkdir configurations
for task in 0 1; do
    "$EMOCLIM" config print run.yaml "logging.folder=many-$task" training.seed=$((task + 5)) >configurations/$task.yaml
    ln -s configurations/$task.yaml many-$task.yaml
done
sed -i 's/max_steps: 1000000/max_steps: 40/' configurations/1.yaml
sed -i -e "s|^CONFIG=.*|CONFIG=$PWD/configurations|" -e 's|--array=0-3|--array=0-2|' cluster/many.sbatch
submit many -o 'many-%a.log'
many=$job

# A cache, of pictures enough to be stopped among them: each under a hundred names.
"$EMOCLIM" demo --out data --images 12 --tracks 12 >demo.log 2>&1
echo path,label >data/hundred.csv
for i in {1..100}; do
    cp -rl data/images data/$i
    for path in data/images/*; do
        label=${path##*/}
        echo "$i/$label,${label%_*}" >>data/hundred.csv
    done
done
"$EMOCLIM" config print "$EMOCLIM_ROOT/configs/quickstart.yaml" "dataset.image_manifest=$PWD/data/hundred.csv" \
    "dataset.audio_manifest=$PWD/data/music.csv" "dataset.image_cache=$PWD/many-images.h5" \
    "dataset.audio_cache=$PWD/many-music.h5" "logging.folder=$PWD/cache" image_backbone.resolution=224 >cache.yaml
sed -e "s|^CONFIG=.*|CONFIG=$PWD/cache.yaml|" -e 's|--ntasks-per-node=4|--ntasks-per-node=1|' \
    "$EMOCLIM_ROOT/cluster/cache.sbatch" >cluster/cache.sbatch
submit cache
cache=$job
for ((i = 0; i < 600; i++)); do
    [ ! -s many-images.h5.building/part-0000.journal ] || break
    sleep 0.02
done
scancel -b -s USR1 "$cache"

for name in stopped bare many-0; do appears $name.log '^step '; done
scancel -b -s USR1 "$stopped" "$bare" "${many}_0"
for name in stopped bare many-0; do stops $name; done
appears stopped.log 'emoclim: stopped with everything saved; requeued'
appears bare.log 'emoclim: stopped with everything saved; exit code 75 for RequeueExit'

"$EMOCLIM" cache build cache.yaml "dataset.image_cache=one-images.h5" "dataset.audio_cache=one-music.h5" >one.log 2>&1
goes_on stopped "$stopped"
goes_on bare "$bare"
goes_on many-0 "${many}_0" training.seed=5
finished many-1 "${many}_1" 0
finished many-2 "${many}_2" 2
appears many-2.log 'has only 2 files: --array=0-1'
scontrol -o show job "${many}_1" | grep -q 'Restarts=0' || complain "the other task of the sweep was started again"
finished cache "$cache" 0
appears cache.log 'went on with [0-9]+ of 1200 rows'
for modality in images music; do
    cmp "many-$modality.h5" "one-$modality.h5" || complain "a stopped build made another cache of $modality"
done

finish
