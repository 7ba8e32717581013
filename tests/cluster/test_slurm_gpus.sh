#!/usr/bin/env bash
# Batch files with their line for GPUs, on a throw-away Slurm whose nodes have two that are stand-ins: every task sees
# the GPUs of its node and has a rank there of its own, and what cannot work is refused. Nothing is computed on a GPU.
# usage: test_slurm_gpus.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/batch_jobs.sh"
[ -c "$slurm/gpu0" ] || { echo "skipped: this machine allows no device files (mknod)"; exit 77; }
real=$EMOCLIM

# A program that seems to have the CUDA module, tells what a rank sees, and computes on the CPU.
touch libemoclim_cuda.so
cat >ranks.sh <<SCRIPT
#!/bin/bash
if [ "\$1" = train ]; then
    local_rank=\${OMPI_COMM_WORLD_LOCAL_RANK-\$SLURM_LOCALID}
    echo "\$(hostname) \$local_rank \$CUDA_VISIBLE_DEVICES \$NCCL_DEBUG" >>seen.\$SLURM_JOB_NAME
fi
EMOCLIM_MODULE_PATH= exec $real "\$@"
SCRIPT
chmod +x ranks.sh
export EMOCLIM=$PWD/ranks.sh EMOCLIM_MODULE_PATH=$PWD
with_gpus() { # NAME GPUS: takes one "#" away, as a user does
    sed -i -e "s|^##SBATCH --gpus-per-node=4|#SBATCH --gpus-per-node=$2|" \
        -e 's|--ntasks-per-node=1|--ntasks-per-node=2|' "cluster/$1.sbatch"
}

for file in train train-srun; do
    edit $file.sbatch $file training.max_steps=5
    with_gpus $file 2
    submit $file -J $file
    finished $file "$job" 0
    [ "$(sort "seen.$file")" = "$(printf 'n%s 0,1 WARN\n' '1 0' '1 1' '2 0' '2 1')" ] ||
        complain "$file: ranks saw $(sort "seen.$file")"
    appears $file.log 'one task a GPU, 2 of 2 GPUs a node; NCCL_DEBUG=WARN'
done

jobs=() names=() codes=()
later() { # NAME EXIT_CODE [SBATCH-OPTIONS...]
    submit "$1" "${@:3}"
    names+=("$1") codes+=("$2") jobs+=("$job")
}
edit train.sbatch crowded training.max_steps=5
with_gpus crowded 1
later crowded 2
edit train.sbatch each training.max_steps=5
sed -i -e 's|^##SBATCH --gpus-per-node=4|#SBATCH --gpus-per-task=1|' cluster/each.sbatch
later each 2
edit train.sbatch without training.max_steps=5 distributed.device=cuda
later without 2
edit train.sbatch idle training.max_steps=5 distributed.device=cpu
with_gpus idle 2
later idle 0
edit train.sbatch plain training.max_steps=5 distributed.device=cuda
EMOCLIM_MODULE_PATH= later plain 4
for i in "${!jobs[@]}"; do finished "${names[i]}" "${jobs[i]}" "${codes[i]}"; done
appears crowded.log '2 tasks cannot share the 1 GPUs of a node'
appears each.log 'ask for --gpus-per-node=1, not for --gpus-per-task'
appears without.log 'distributed.device is cuda, but the job has no GPUs: #SBATCH --gpus-per-node=1'
appears idle.log '2 GPUs a node are not used: distributed.device is cpu'
appears plain.log 'has no libemoclim_cuda.so beside it'

finish
