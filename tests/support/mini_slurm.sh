#!/usr/bin/env bash
# A throw-away Slurm on this machine, as root: tests/support/mini_slurm.sh start FOLDER NODES CPUS | stop FOLDER
# Nodes n1, n2, ... are slurmd processes on the loopback interface, each with a host name of its own and two GPUs that
# are none. RequeueExit is 75. Afterwards: export SLURM_CONF=FOLDER/slurm.conf. Exit code 77 with a reason where it
# cannot be.
set -eu
action=$1
folder=$2
export SLURM_CONF=$folder/slurm.conf

skip() {
    echo "skipped: $*"
    exit 77
}

# Sets $port, which is free and so many after it: below those that the system gives to whoever asks.
find_ports() { # NUMBER
    local i try
    for ((try = 0; try < 50; try++)); do
        port=$((20000 + RANDOM % 10000))
        for ((i = 0; i <= $1; i++)); do
            ! (: <>"/dev/tcp/127.0.0.1/$((port + i))") 2>/dev/null || continue 2
        done
        return 0
    done
    skip "no free ports"
}

configure() { # NODES CPUS
    local port i
    find_ports "$1"
    {
        cat <<CONF
ClusterName=mini
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge.sock,cred_expire=5
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
TmpFS=$folder/tmp.%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmctldTimeout=30
SlurmdTimeout=60
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
RequeueExit=75
GresTypes=gpu
PropagateResourceLimits=NONE
CONF
        for ((i = 1; i <= $1; i++)); do
            echo "NodeName=n$i NodeHostname=n$i NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=$2 RealMemory=2000" \
                "Gres=gpu:2 State=UNKNOWN"
        done
        echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=20 State=UP"
        echo "PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP"
    } >"$folder/slurm.conf"
    for i in 0 1; do # stand for the devices of two cards in every node; Slurm tells a task of them only if they are some
        mknod "$folder/gpu$i" c 1 3 2>/dev/null || touch "$folder/gpu$i"
    done
    echo "Name=gpu File=$folder/gpu[0-1]" >"$folder/gres.conf"
    echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf" # unused, but "autodetect" ends slurmd without /sys/fs/cgroup
}

start() { # NODES CPUS
    local i
    [ "$(id -u)" -eq 0 ] || skip "a throw-away Slurm needs root"
    for i in munged slurmctld slurmd sbatch unshare; do
        command -v $i >/dev/null || skip "$i is missing (packages munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins)"
    done
    unshare -u true 2>/dev/null || skip "this machine gives no host names of one's own (unshare -u)"
    mkdir -p "$folder/state" "$folder/log"
    for ((i = 1; i <= $1; i++)); do mkdir -p "$folder/spool.n$i" "$folder/tmp.n$i"; done
    configure "$1" "$2"
    head -c 128 /dev/urandom >"$folder/munge.key"
    chmod 600 "$folder/munge.key"
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" --pid-file="$folder/munged.pid" \
        --log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed" 2>/dev/null
    slurmctld -c
    for ((i = 1; i <= $1; i++)); do unshare -u sh -c 'hostname "$0"; exec slurmd -N "$0"' "n$i"; done
    for ((i = 0; i < 200; i++)); do
        [ "$(sinfo -h -N -p main -o %t 2>/dev/null | grep -cx idle)" != "$1" ] || return 0
        sleep 0.1
    done
    echo "the throw-away Slurm did not come up:"
    tail -n 5 "$folder"/log/*.log
    return 1
}

stop() {
    local pids pid i alive environment
    scancel -u root 2>/dev/null || true
    pids=$(cat "$folder"/slurmd.*.pid "$folder/slurmctld.pid" "$folder/munged.pid" 2>/dev/null || true)
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for ((i = 0; i < 50; i++)); do
        alive=
        for pid in $pids; do ! kill -0 "$pid" 2>/dev/null || alive=1; done
        [ -n "$alive" ] || break
        sleep 0.1
    done
    for pid in $pids; do kill -9 "$pid" 2>/dev/null || true; done
    # What outlived its slurmd. The job's environment names this Slurm; the shell that calls this has no job.
    for environment in $(grep -lsaF "SLURM_CONF=$folder/slurm.conf" /proc/[0-9]*/environ || true); do
        pid=${environment#/proc/}
        ! grep -qsa SLURM_JOB_ID= "$environment" || kill -9 "${pid%/environ}" 2>/dev/null || true
    done
    rm -rf "$folder"
}

case $action in
start) start "$3" "$4" ;;
stop) stop ;;
*) exit 2 ;;
esac
