#!/usr/bin/env bash
# Runs emoclim on several hosts without a scheduler: checks the hosts, passes the environment, starts mpirun.
#
#   launch/multi-node.sh --hostfile FILE [OPTIONS] train --resume auto run.yaml [KEY=VALUE ...]
#
#   --hostfile FILE   one host a line, "NAME slots=RANKS"; a host without slots gets one rank
#   --ranks N         ranks in all (default: all slots)
#   --threads T       CPU threads of a rank, and cores that it is bound to (default: the processors shared, no binding)
#   --interface IF    TCP over this interface only, and NCCL meets there (default: what Open MPI and NCCL find)
#   --agent COMMAND   how a command reaches a host (default: ssh)
#   --dry-run         print the command, start nothing and visit no host
#
# The program, the configuration and the caches must have the same path on all hosts. At the start ranks compare the
# SHA-256 of both. Exit codes: 2 hosts or ranks that cannot work; 4 a host that lacks something; else those of emoclim, 5
# where a rank or a host was lost, 1 from mpirun itself.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/openmpi.sh"
. "$here/machine.sh"
usage() { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }

hostfile= ranks= threads= interface= agent= dry=false
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=true; shift; continue ;;
    --) shift; break ;;
    --hostfile | --ranks | --threads | --interface | --agent) [ -n "${2:-}" ] || fail 2 "$1 needs a value" ;;
    -*) usage ;;
    *) break ;;
    esac
    case $1 in
    --hostfile) hostfile=$2 ;;
    --ranks) ranks=$2 ;;
    --threads) threads=$2 ;;
    --interface) interface=$2 ;;
    --agent) agent=$2 ;;
    esac
    shift 2
done
[ $# -gt 0 ] && [ -n "$hostfile" ] || usage
for number in "${ranks:-1}" "${threads:-1}"; do
    [[ $number =~ ^[1-9][0-9]*$ ]] || fail 2 "\"$number\" is not a number of at least 1"
done
[ -r "$hostfile" ] || fail 2 "the hostfile $hostfile cannot be read"

find_program
program=$(realpath "$program")
detect_openmpi
find_configuration "$@"

hosts=() slots_of=() slots=0
while read -r host rest; do
    n=1
    if [[ $rest =~ slots=([0-9]+) ]]; then n=${BASH_REMATCH[1]}; fi
    [ "$n" -ge 1 ] || fail 2 "$hostfile: $host has no slots"
    hosts+=("$host")
    slots_of+=("$n")
    slots=$((slots + n))
done < <(sed 's/#.*//; /^[[:space:]]*$/d' "$hostfile")
[ ${#hosts[@]} -gt 0 ] || fail 2 "$hostfile names no host"
ranks=${ranks:-$slots}
[ "$ranks" -le "$slots" ] || fail 2 "$ranks ranks need as many slots; $hostfile has $slots"
ranks_are_legal "$ranks" "$1" || exit 2

# Every host must answer and see the same files; mpirun's own messages about this are hard to read.
reach=(${agent:-ssh -o BatchMode=yes -o ConnectTimeout=5})
files=("$program")
[ ${#configuration[@]} -eq 0 ] || files+=("$(realpath "${configuration[0]}")")
missing=0
if ! $dry; then
    for host in "${hosts[@]}"; do
        code=0
        timeout 10 "${reach[@]}" "$host" true </dev/null >/dev/null 2>&1 || code=$?
        if [ "$code" -ne 0 ]; then
            echo "multi-node.sh: host $host does not answer (\"${reach[*]} $host true\": exit code $code)" >&2
            missing=$((missing + 1))
            continue
        fi
        for file in "${files[@]}"; do
            timeout 10 "${reach[@]}" "$host" "test -r '$file'" </dev/null >/dev/null 2>&1 && continue
            echo "multi-node.sh: host $host has no $file" >&2
            missing=$((missing + 1))
        done
    done
    [ "$missing" -eq 0 ] || fail 4 "$missing things are missing on the hosts of $hostfile"
fi

# A rank a GPU on every host, where the program can use GPUs and is not told to leave them alone.
device=cpu module=$(cuda_module "$program") nccl=unused left=$ranks with= without=
[ ${#configuration[@]} -eq 0 ] || device=$(configured distributed device)
[ "$device" != cuda ] || [ -n "$module" ] ||
    fail 4 "distributed.device is cuda, but $program has no libemoclim_cuda.so beside it"
if [ "$device" != cpu ] && [ -n "$module" ] && ! $dry; then
    for ((i = 0; i < ${#hosts[@]} && left > 0; i++)); do # ranks fill the slots of a host before they go to the next
        placed=$((slots_of[i] < left ? slots_of[i] : left))
        left=$((left - placed))
        gpus=$(timeout 30 "${reach[@]}" "${hosts[i]}" "$gpus_of_driver" </dev/null 2>/dev/null | tail -n 1) || true
        if [ "${gpus:-0}" -gt 0 ]; then with=${hosts[i]}; else without=${hosts[i]}; fi
        [ "${gpus:-0}" -eq 0 ] || [ "$placed" -le "$gpus" ] ||
            fail 2 "$placed ranks cannot share the $gpus GPUs of host ${hosts[i]}: one rank a GPU"
    done
    [ -z "$without" ] || { [ -z "$with" ] && [ "$device" = auto ]; } ||
        fail 4 "host $without has no GPU${with:+, and host $with has}; distributed.device is $device (nvidia-smi -L)"
    [ -z "$with" ] || set_nccl "$interface"
fi

mpi_arguments=(-np "$ranks" --hostfile "$hostfile" --wdir "$PWD")
place_ranks "${threads:-none}"
notice_lost_hosts
[ -z "$interface" ] || use_interface "$interface"
if [ -n "$agent" ]; then
    if [ "$mpi_major" -eq 4 ]; then mpi_arguments+=(--mca plm rsh --mca plm_rsh_agent "$agent")
    else mpi_arguments+=(--prtemca plm ssh --prtemca plm_ssh_agent "$agent"); fi
fi
passed=()
for name in $(compgen -e); do
    case $name in
    PATH | LD_LIBRARY_PATH | EMOCLIM_* | OMP_* | HDF5_* | NCCL_* | UCX_* | CUDA_* | DNNL_*)
        mpi_arguments+=(-x "$name")
        passed+=("$name")
        ;;
    esac
done
if [ -n "$threads" ] && [ ${#configuration[@]} -gt 0 ]; then
    set -- "$@" "distributed.threads=$threads"
fi

echo "multi-node: $ranks ranks on ${#hosts[@]} hosts (${hosts[*]});" \
    "threads of a rank: ${threads:-the processors shared}; network: ${interface:-chosen by Open MPI};" \
    "NCCL: $nccl; passed: ${passed[*]}; Open MPI $mpi_major; $program" >&2
run_or_print $dry mpirun "${mpi_arguments[@]}" "$program" "$@"
