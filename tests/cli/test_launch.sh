#!/usr/bin/env bash
# launch/single-node.sh and launch/multi-node.sh: what they choose, the flags of Open MPI 4 and 5, and what they refuse.
# usage: test_launch.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
export EMOCLIM=$emoclim
mkdir bin
launch=$root/launch
expect() { # EXIT_CODE PATTERN COMMAND...
    local expected=$1 pattern=$2 code=0
    shift 2
    "$@" >log 2>&1 </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "$*: exit code $code, expected $expected: $(tail -c 600 log)"
    grep -qE -- "$pattern" log || complain "$*: no \"$pattern\" in: $(tail -c 600 log)"
}
lacks() { ! grep -qE -- "$1" log || complain "\"$1\" in: $(tail -c 600 log)"; }

"$programs/make_caches" . 200 16 12
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 8, output_dim: 8, base_output_dim: 8}
training: {batch_size: 16, max_steps: 3, steps_per_epoch: 3}
distributed: {shards: 4, deadline_s: 30}
logging: {folder: run}
YAML
single=$launch/single-node.sh
multi=$launch/multi-node.sh
printf 'a slots=2\nb slots=2\n' >hosts

# It says what it chose, and --dry-run does nothing else.
expect 0 'single-node: 2 ranks of 3 threads' "$single" --ranks 2 --threads 3 --dry-run train run.yaml
grep -qE "^mpirun -np 2 .* train run.yaml distributed.threads=3" log || complain "the command: $(cat log)"
[ ! -e run ] || complain "--dry-run started something"
expect 0 'distributed.threads=1 $' "$single" --ranks 2 --dry-run train run.yaml distributed.threads=1
lacks 'distributed.threads=1 distributed'
# Cores that do not divide the shards: the largest number that does.
expect 0 'single-node: 1 ranks' "$single" --dry-run train run.yaml distributed.shards=1
expect 0 'step 3/3' "$single" --ranks 2 --threads 1 train run.yaml
expect 2 '3 ranks cannot share distributed.shards = 4 evenly' "$single" --ranks 3 --dry-run train run.yaml
expect 2 'names no configuration' "$single" --dry-run train
expect 2 'needs a number of at least 1, not "none"' "$single" --ranks none --dry-run train run.yaml
expect 2 '3 ranks cannot share' "$multi" --hostfile hosts --ranks 3 --dry-run train run.yaml
expect 2 'names no host' "$multi" --hostfile /dev/null --dry-run train run.yaml

# Another Open MPI, and other launchers, as mpirun --version tells them.
pretend() { # TEXT
    printf '#!/bin/sh\necho "%s"\n' "$1" >bin/mpirun
    chmod +x bin/mpirun
}
with() { PATH=$PWD/bin:$PATH "$@"; }
pretend 'mpirun (Open MPI) 4.1.4'
expect 0 'oob_tcp_if_include eth7' with "$multi" --hostfile hosts --agent ./reach --interface eth7 --dry-run train run.yaml
grep -qE -- 'plm_rsh_agent ./reach' log || complain "no agent: $(cat log)"
lacks 'prtemca'
pretend 'mpirun (Open MPI) 5.0.3'
expect 0 'prtemca prte_if_include eth7' with "$multi" --hostfile hosts --agent ./reach --interface eth7 --dry-run train run.yaml
grep -qE -- '--prtemca plm_ssh_agent ./reach' log || complain "no agent: $(cat log)"
lacks 'vader|mca oob_tcp_if_include'
expect 0 'btl self..sm' with "$single" --ranks 2 --threads 1 --dry-run train run.yaml

# The exit code of mpirun: emoclim's own, and its refusals, stand; what it makes of a rank or a host that is lost is 5.
cat >bin/mpirun <<'SCRIPT'
#!/bin/sh
[ "$1" != --version ] || { echo 'mpirun (Open MPI) 4.1.4'; exit 0; }
exit "$CODE"
SCRIPT
for CODE in 0 1 2 3 4 5 70 75; do
    export CODE
    code=0
    with "$launch/ranks.sh" 2 "$EMOCLIM" doctor >log 2>&1 || code=$?
    [ "$code" -eq "$CODE" ] || complain "mpirun ended with $CODE, ranks.sh with $code"
    silent log
done
CODE=137 expect 5 'mpirun ended with 137: a rank, or mpirun itself, was killed \(SIGKILL\); exit code 5' with "$launch/ranks.sh" 2 "$EMOCLIM" doctor
CODE=139 expect 5 'ended with 139: a rank was killed \(SIGSEGV\); exit code 5' with "$single" --ranks 2 train run.yaml
CODE=205 expect 5 'ended with 205: a host or a rank was lost; exit code 5' with "$multi" --agent true --hostfile hosts train run.yaml
CODE=127 expect 4 'ended with 127: mpirun cannot be started; exit code 4' with "$single" --ranks 2 train run.yaml
# A request that ends ranks which cannot stop half-way is not the loss of one.
"$launch/ranks.sh" 2 sh -c 'touch "started.$OMPI_COMM_WORLD_RANK"; exec sleep 30' >log 2>&1 &
pid=$! code=0
for ((i = 0; i < 200; i++)); do
    [ ! -e started.0 ] || [ ! -e started.1 ] || break
    sleep 0.05
done
kill -TERM "$pid"
wait "$pid" || code=$?
[ "$code" -eq 143 ] || complain "TERM while ranks sleep: exit code $code, expected 143: $(cat log)"
says log 'TERM: the ranks are asked to stop'
expect 4 'ranks.sh: ./nowhere is not a program' with "$launch/ranks.sh" 2 ./nowhere

# GPUs as the driver's tool lists them, for a program that has the module.
printf '#!/bin/sh\necho "GPU 0: Some Card (UUID: GPU-0)"\necho "GPU 1: Some Card (UUID: GPU-1)"\n' >bin/nvidia-smi
chmod +x bin/nvidia-smi
touch libemoclim_cuda.so
pretend 'mpirun (Open MPI) 4.1.4'
cuda() { EMOCLIM_MODULE_PATH=$PWD with "$@"; }
for device in auto cuda; do
    expect 0 'single-node: 2 ranks .* and 2 GPUs; .* NCCL: NCCL_DEBUG=WARN NCCL_SOCKET_IFNAME==lo;' \
        cuda "$single" --dry-run train run.yaml distributed.device=$device
    expect 2 '4 ranks cannot share 2 GPUs' cuda "$single" --ranks 4 --dry-run train run.yaml distributed.device=$device
    CUDA_VISIBLE_DEVICES=1 expect 0 'single-node: 1 ranks .* and 1 GPUs' cuda "$single" --dry-run train run.yaml \
        distributed.device=$device
    expect 0 'single-node: 1 ranks .* and 2 GPUs' cuda "$single" --dry-run train run.yaml distributed.device=$device \
        distributed.shards=3 training.batch_size=18
done
expect 0 'and 0 GPUs; .* NCCL: unused' cuda "$single" --ranks 4 --dry-run train run.yaml distributed.device=cpu
EMOCLIM_MODULE_PATH= expect 0 'and 0 GPUs' with "$single" --ranks 4 --dry-run train run.yaml
EMOCLIM_MODULE_PATH= expect 4 'has no libemoclim_cuda.so' with "$single" --dry-run train run.yaml \
    distributed.device=cuda
CUDA_VISIBLE_DEVICES= expect 4 'there is no GPU.*CUDA_VISIBLE_DEVICES is ""' cuda "$single" --dry-run train run.yaml \
    distributed.device=cuda

# Hosts are asked for theirs: here host b has none.
cat >reach <<'SCRIPT'
#!/bin/sh
host=$1
shift
[ "$host" != b ] || PATH=$PATH_OF_B
exec sh -c "$*"
SCRIPT
chmod +x reach
export PATH_OF_B=$PATH
printf 'a slots=2\nb slots=2\n' >hosts
expect 4 'host b has no GPU, and host a has' cuda "$multi" --hostfile hosts --agent ./reach train run.yaml
expect 0 'Open MPI' cuda "$multi" --hostfile hosts --agent ./reach --ranks 2 --interface eth7 train run.yaml
grep -q 'NCCL: NCCL_DEBUG=WARN NCCL_SOCKET_IFNAME==eth7; passed:.* NCCL_SOCKET_IFNAME' log || complain "NCCL: $(cat log)"
expect 0 'NCCL: unused' cuda "$multi" --hostfile hosts --agent ./reach train run.yaml distributed.device=cpu
printf 'a slots=3\nb slots=2\n' >hosts
expect 2 '3 ranks cannot share the 2 GPUs of host a' cuda "$multi" --hostfile hosts --agent ./reach --ranks 4 \
    train run.yaml

pretend 'HYDRA build details:'
expect 4 'these launchers know Open MPI 4 and 5' with "$single" --dry-run train run.yaml

finish
