# To be sourced by launchers and batch scripts: the cores and GPUs of a machine, and whether the program can use GPUs.

# How many cores a process that starts here may use: threads of one core share its arithmetic units.
count_cores() {
    local cores usable
    cores=$(lscpu -p=CPU,CORE,SOCKET 2>/dev/null | grep -v '^#' | cut -d, -f2,3 | sort -u | grep -c . || true)
    usable=$(nproc)
    [ "$cores" -gt 0 ] && [ "$cores" -lt "$usable" ] || cores=$usable
    echo "$cores"
}

# What a machine runs to print how many GPUs its driver has.
gpus_of_driver='nvidia-smi -L 2>/dev/null | grep -c "^GPU" ||
    ls /proc/driver/nvidia/gpus 2>/dev/null | grep -c . || true'

# How many GPUs a process that starts here may use: CUDA_VISIBLE_DEVICES leaves out some.
count_gpus() {
    local gpus visible
    gpus=$(sh -c "$gpus_of_driver" | tail -n 1)
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        IFS=, read -ra visible <<<"$CUDA_VISIBLE_DEVICES"
        [ ${#visible[@]} -ge "$gpus" ] || gpus=${#visible[@]}
    fi
    echo "$gpus"
}

# The CUDA module that the program will load (src/core/module.h says where it looks); nothing where there is none.
cuda_module() { # PROGRAM
    local file=libemoclim_cuda.so folder place
    if [ -n "${EMOCLIM_MODULE_PATH+set}" ]; then
        set -- "$EMOCLIM_MODULE_PATH" "$EMOCLIM_MODULE_PATH/$file"
    else
        folder=$(dirname "$(realpath "$1")")
        set -- "$folder/$file" "$folder/../lib/emoclim/$file"
    fi
    for place in "$@"; do
        [ ! -f "$place" ] || { echo "$place"; return; }
    done
}

# Tells NCCL what fits; what the environment says already stays. Sets $nccl to what there is to print of it.
set_nccl() { # INTERFACE, or "" where NCCL is to choose
    export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
    nccl="NCCL_DEBUG=$NCCL_DEBUG"
    if [ -n "$1" ]; then
        export NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-=$1} # with "=", eth1 does not stand for eth10 as well
        nccl+=" NCCL_SOCKET_IFNAME=$NCCL_SOCKET_IFNAME"
    fi
}
