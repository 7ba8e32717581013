#!/usr/bin/env bash
# Training over three hosts that are network namespaces: the digest of one host; a link that is cut for a moment is lived
# through; one that stays cut ends all processes on all hosts in time, the survivors name the rank and its host, and
# --resume auto goes on to the same digest. The end is in time, too, where the deadline is over before mpirun looks. A
# firewall that lets no heartbeat pass costs nothing but that.
# usage: test_link.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
export EMOCLIM=$emoclim
support=$root/tests/support

prefix=ec$(($$ % 100000))l
trap '"$support/netns.sh" down "$prefix" 3' EXIT
"$support/netns.sh" up "$prefix" 3
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1

"$programs/make_caches" . 600 32 24
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8, base_output_dim: 8}
training: {batch_size: 48, max_steps: 1000000, steps_per_epoch: 1000, validate_every: 0}
distributed: {shards: 6}
checkpoint: {every_steps: 20, keep_last: 3}
logging: {every: 5}
YAML
for i in 1 2 3; do echo "$prefix$i slots=1"; done >hosts

launch() { # ARGUMENTS...: multi-node.sh as on the first host
    exec "$support/netns.sh" enter "${prefix}1" "$root/launch/multi-node.sh" --agent "$support/netns_rsh.sh" \
        --interface eth0 --hostfile hosts "$@" </dev/null
}
newest() { ls "$1"/checkpoints/step-*.h5 2>/dev/null | tail -n 1; } # FOLDER
step_of() { echo $((10#$(basename "${1:-0}" .h5 | tr -dc 0-9))); }  # CHECKPOINT
digest() { "$EMOCLIM" checkpoint digest "$(newest "$1")"; }
lines() { grep -c '^step ' "$1" || true; } # LOG

# Starts an endless run on all hosts, and waits until it saved something.
start() { # NAME [ARGUMENTS...]
    local name=$1 i
    shift
    (launch train run.yaml "logging.folder=$name" "$@") >"$name.log" 2>&1 &
    pid=$!
    for ((i = 0; i < 300; i++)); do
        if [ -n "$(newest "$name")" ] || ! kill -0 "$pid" 2>/dev/null; then break; fi
        sleep 0.1
    done
    kill -0 "$pid" 2>/dev/null || complain "$name did not start: $(tail -c 800 "$name.log")"
}

# Waits for the end of mpirun, and of every process on every host; $code and $seconds.
ends_within() { # SECONDS
    local begin=$SECONDS
    code=0
    while [ -n "$("$support/netns.sh" pids "$prefix" 3)" ] && [ $((SECONDS - begin)) -lt "$1" ]; do sleep 0.1; done
    seconds=$((SECONDS - begin))
    [ -z "$("$support/netns.sh" pids "$prefix" 3)" ] || {
        complain "after $1 s there are still: $("$support/netns.sh" pids "$prefix" 3 | xargs ps -o pid,ppid,args -p)"
        "$support/netns.sh" pids "$prefix" 3 | xargs -r kill -KILL || true
    }
    wait "$pid" || code=$?
}

goes_on() { # NAME: as if it had never stopped
    local end=$(($(step_of "$(newest "$1")") + 30))
    (launch train --resume auto run.yaml "logging.folder=$1" "training.max_steps=$end") >"$1.on" 2>&1 ||
        complain "$1: going on ends with exit code $?: $(tail -c 800 "$1.on")"
    matches "$1.on" "going on after step [0-9]+ from "
    "$EMOCLIM" train run.yaml "logging.folder=$1.whole" "training.max_steps=$end" >"$1.whole.log" 2>&1 ||
        complain "$1.whole: exit code $?: $(tail -c 400 "$1.whole.log")"
    [ "$(digest "$1")" = "$(digest "$1.whole")" ] || complain "$1: other weights than on one host in one piece"
}

# A cut of 2.5 s, then one for good. Whether the ranks' deadline of 5 s or mpirun, which looks every 4 s and waits for 3 more,
# is first to notice is chance, and so is which of the ranks mpirun leaves alive to say it; the exit code is the same.
start cut distributed.deadline_s=5
"$support/netns.sh" cut "$prefix" 3
sleep 2.5
"$support/netns.sh" heal "$prefix" 3
before=$(lines cut.log)
for ((i = 0; i < 100; i++)); do
    [ "$(lines cut.log)" -le $((before + 20)) ] || break
    sleep 0.1
done
[ "$(lines cut.log)" -gt $((before + 20)) ] || complain "no steps after a short cut: $(tail -c 1200 cut.log)"
"$support/netns.sh" cut "$prefix" 3
ends_within 20 # the deadline and 15 s
[ "$code" -eq 5 ] || complain "cut: exit code $code, expected 5"
matches cut.log '\(ending all ranks with exit code 5\)'
matches cut.log "rank [01] on ${prefix}[12] waited .* s in [a-z_]+ \(collective [0-9]+, step [0-9]+\); not arrived: .*rank 2 on ${prefix}3 \(no answer"
"$support/netns.sh" heal "$prefix" 3
goes_on cut

# With a longer deadline mpirun is first to give up; who does not answer was named before. Now it is the first host, with
# rank 0 and mpirun, that is cut off: the others end by themselves, without word from mpirun.
start lost distributed.deadline_s=10
"$support/netns.sh" cut "$prefix" 1
ends_within 25
[ "$code" -eq 5 ] || complain "lost: exit code $code, expected 5"
matches lost.log "warning: rank 1 on ${prefix}2 has not answered for 3\.[0-9] s; rank 0 on ${prefix}1 waits for it in "
matches lost.log "warning: rank 2 on ${prefix}3 has not answered for 3\.[0-9] s; rank 0 on ${prefix}1 waits for it in "
"$support/netns.sh" heal "$prefix" 1
goes_on lost

# With a deadline that is over before mpirun looks, mpirun has sent the order to end to a host that does not take it, and
# would wait for it: a rank that leaves sees to it, though it is not the child of mpirun but of a wrapper's shell.
cat >wrapper <<SH
#!/bin/bash
"$EMOCLIM" "\$@"
exit
SH
chmod +x wrapper
EMOCLIM=$work/wrapper start short distributed.deadline_s=3
"$support/netns.sh" cut "$prefix" 3
ends_within 18
[ "$code" -eq 5 ] || complain "short: exit code $code, expected 5"
matches short.log "rank [01] on ${prefix}[12] waited .* s in [a-z_]+ \(collective [0-9]+, step [0-9]+\); not arrived: .*rank 2 on ${prefix}3 \(no answer"
"$support/netns.sh" heal "$prefix" 3

# Where no question gets through, that is said, and training goes on without.
inside() { "$support/netns.sh" enter "${prefix}1" "$@"; }
inside ip rule add pref 100 lookup local
inside ip rule del pref 0
if inside ip rule add pref 10 ipproto udp blackhole 2>/dev/null; then
    inside "$support/mpirun.sh" 2 "$EMOCLIM" train run.yaml logging.folder=deaf training.max_steps=20 >deaf.log 2>&1 ||
        complain "deaf: exit code $?: $(tail -c 800 deaf.log)"
    matches deaf.log "warning: rank 0 on ${prefix}1 gets no answer from rank 1 on ${prefix}1 over UDP"
fi

finish
