#!/usr/bin/env bash
# Runs emoclim on all of this machine: chooses ranks, threads, binding and transport, says what it chose, and starts it.
#
#   launch/single-node.sh [OPTIONS] train --resume auto run.yaml [KEY=VALUE ...]
#
#   --ranks N      ranks (default: one per GPU, or cores / threads, the largest number that the configuration allows)
#   --threads T    CPU threads of a rank (default: the cores shared between the ranks)
#   --dry-run      print the command, start nothing
#
# Exit codes: 2 these ranks cannot run this configuration; 4 a program is missing; else those of emoclim, 5 where a rank
# was lost, 1 from mpirun itself.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/openmpi.sh"
. "$here/machine.sh"
usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }

ranks= threads= dry=false
while [ $# -gt 0 ]; do
    case $1 in
    --ranks | --threads)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail 2 "$1 needs a number of at least 1, not \"${2:-}\""
        if [ "$1" = --ranks ]; then ranks=$2; else threads=$2; fi
        shift 2
        ;;
    --dry-run) dry=true; shift ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || usage

find_program
detect_openmpi
find_configuration "$@"

cores=$(count_cores)

# A rank a GPU, where the program can use GPUs and is not told to leave them alone.
gpus=0 device=cpu
[ ${#configuration[@]} -eq 0 ] || device=$(configured distributed device)
module=$(cuda_module "$program")
case $device in
cuda)
    [ -n "$module" ] || fail 4 "distributed.device is cuda, but $program has no libemoclim_cuda.so beside it"
    gpus=$(count_gpus)
    [ "$gpus" -gt 0 ] || fail 4 "distributed.device is cuda, but there is no GPU: nvidia-smi -L lists none" \
        "(CUDA_VISIBLE_DEVICES ${CUDA_VISIBLE_DEVICES+is \"$CUDA_VISIBLE_DEVICES\"}${CUDA_VISIBLE_DEVICES-is not set})"
    ;;
auto) [ -z "$module" ] || gpus=$(count_gpus) ;;
esac

if [ -n "$ranks" ]; then
    [ "$gpus" -eq 0 ] || [ "$ranks" -le "$gpus" ] || fail 2 "$ranks ranks cannot share $gpus GPUs: one rank a GPU"
    ranks_are_legal "$ranks" "$1" || exit 2
else
    if [ "$gpus" -gt 0 ]; then most=$gpus; else most=$((cores / ${threads:-1})); fi
    [ "$most" -ge 1 ] || most=1
    for ((ranks = most; ranks > 1; ranks--)); do
        ranks_are_legal "$ranks" "$1" 2>/dev/null && break
    done
    ranks_are_legal "$ranks" "$1" || exit 2
fi
if [ -z "$threads" ]; then
    threads=$((cores / ranks))
    [ "$threads" -ge 1 ] || threads=1
fi
mpi_arguments=(-np "$ranks" --mca pml ob1)
# Shared memory inside one machine; the name of its transport changed.
if [ "$mpi_major" -eq 4 ]; then mpi_arguments+=(--mca btl self,vader); else mpi_arguments+=(--mca btl self,sm); fi
binding=none
if [ $((ranks * threads)) -gt "$cores" ]; then
    place_ranks none
    [ "$ranks" -le "$cores" ] || allow_oversubscription
elif [ "$(nproc)" -lt "$(nproc --all)" ]; then
    place_ranks none # a container or a job with part of the machine: what may be bound to is not Open MPI's to choose
else
    binding="$threads cores each"
    place_ranks "$threads"
fi
export OMP_NUM_THREADS=$threads
[ ${#configuration[@]} -eq 0 ] || case " ${configuration[*]} " in
    *' distributed.threads='*) ;;
    *) set -- "$@" "distributed.threads=$threads" ;; # a bound rank sees only its own cores, and would share them again
    esac

nccl="unused"
[ "$gpus" -eq 0 ] || set_nccl lo
echo "single-node: $ranks ranks of $threads threads on $cores cores and $gpus GPUs; binding: $binding;" \
    "MPI: shared memory, UCX unused; NCCL: $nccl; Open MPI $mpi_major; $program" >&2
run_or_print $dry mpirun "${mpi_arguments[@]}" "$program" "$@"
