#!/usr/bin/env bash
# Where the arithmetic is done: the program starts and trains on the CPU with a CUDA module but no driver or GPU, with a
# broken module and without one, and says what is missing where a GPU is asked for. doctor tells the same.
# usage: test_device.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
emulated=$(dirname "$emoclim")/libemoclim_cuemu.so

"$programs/make_caches" . 200 24 16
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8, base_output_dim: 12}
training: {batch_size: 16, max_steps: 3, learning_rate: 0.001, validate_every: 0}
YAML
train() { # EXIT_CODE LOG [ARGUMENTS...]
    local expected=$1 log=$2 code=0
    shift 2
    "$emoclim" train run.yaml "logging.folder=$log.run" "$@" >"$log" 2>&1 </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "$log: exit code $code, expected $expected: $(tail -c 600 "$log")"
}
digest() { "$emoclim" checkpoint digest "$(ls "$1".run/checkpoints/step-*.h5 | tail -n 1)"; } # LOG

[ -e "$emulated" ] || complain "$emulated is not there"
echo "no library" >broken.so
train 0 cpu distributed.device=cpu

# NAME and what a GPU's absence is called, with the environment that makes it.
without_gpu() { # NAME PATTERN
    train 4 "$1.cuda" distributed.device=cuda
    matches "$1.cuda" "the GPU back end cannot be used: .*$2"
    "$emoclim" doctor >"$1.doctor" 2>&1 || complain "$1: doctor failed: $(cat "$1.doctor")"
    matches "$1.doctor" "^gpu         none: .*$2"
    matches "$1.doctor" '^arithmetic  back end cpu'
    "$emoclim" doctor --json >"$1.json" || complain "$1: doctor --json failed"
    matches "$1.json" '"gpus": \[\]'
}
trains() { # NAME: and training goes on without it
    train 0 "$1.auto"
    [ "$(digest "$1.auto")" = "$(digest cpu)" ] || complain "$1: not the same run as on the CPU"
}
export EMOCLIM_MODULE_PATH=$emulated
EMOCLIM_CUEMU_DEVICES=-1 without_gpu driver 'CUDA driver version is insufficient .*cudaErrorInsufficientDriver'
EMOCLIM_CUEMU_DEVICES=-1 trains driver
EMOCLIM_CUEMU_DEVICES=0 without_gpu none 'no CUDA-capable device is detected .cudaErrorNoDevice.'
EMOCLIM_MODULE_PATH= without_gpu forbidden 'EMOCLIM_MODULE_PATH: is empty'
EMOCLIM_MODULE_PATH=$PWD/absent.so without_gpu absent 'absent.so: not there'
EMOCLIM_MODULE_PATH=$PWD without_gpu folder 'libemoclim_cuda.so: not there'
EMOCLIM_MODULE_PATH=$PWD/broken.so without_gpu broken 'broken.so: .*(too short|invalid ELF)'
EMOCLIM_MODULE_PATH=$PWD/broken.so trains broken
EMOCLIM_MODULE_PATH=libm.so.6 without_gpu other 'libm.so.6: (not there|is no module)'
unset EMOCLIM_MODULE_PATH
ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
if ! "$ldconfig" -p | grep -q 'libcuda\.so\.1'; then
    without_gpu real "there is no driver of NVIDIA's GPUs: libcuda.so.1"
    trains real
fi

# What doctor finds where there is one.
export EMOCLIM_MODULE_PATH=$emulated
EMOCLIM_CUEMU_DEVICES=2 "$emoclim" doctor >gpus
matches gpus '^gpu         GPU 0: emulated GPU 0, 8.0 GiB, [0-9]+ multiprocessors, compute capability 9.0, at 0000:01:00.0, SupCon in bf16 by wgmma kernels$'
matches gpus '^            GPU 1: emulated GPU 1, '
matches gpus 'CUDA driver 13.0, runtime 13.0; cuBLASLt 13.1.0'
matches gpus 'module .*libemoclim_cuemu.so, emulated: the CPU computes'
EMOCLIM_CUEMU_DEVICES=2 "$emoclim" doctor --json >gpus.json
matches gpus.json '"usable": true'
EMOCLIM_CUEMU_SHARED_KIB=99 "$emoclim" doctor --json >small.json
matches small.json '99 KiB of shared memory for a block; this program needs 163'
matches small.json '"usable": false'

# Ranks that differ.
cat >one_without.sh <<'SH'
#!/usr/bin/env bash
[ "${OMPI_COMM_WORLD_RANK:-}" != 1 ] || export EMOCLIM_CUEMU_DEVICES=0
exec "$@"
SH
code=0
"$mpirun" 2 bash one_without.sh "$emoclim" train run.yaml logging.folder=differ >differ 2>&1 || code=$?
[ "$code" -eq 4 ] || complain "ranks that differ: exit code $code instead of 4"
matches differ 'rank 1 would compute with the back end cpu, rank 0 with cuda'

finish
