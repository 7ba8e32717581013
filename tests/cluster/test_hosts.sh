#!/usr/bin/env bash
# launch/multi-node.sh over two hosts that are network namespaces: the digest of one host; hosts that do not answer, that
# differ, or whose number of ranks does not fit are named.
# usage: test_hosts.sh PROGRAM WORK_FOLDER TEST_PROGRAMS
set -eu
. "$(dirname "$0")/../support/shell.sh"
export EMOCLIM=$emoclim
support=$root/tests/support
multi=$root/launch/multi-node.sh

prefix=ec$(($$ % 100000))h
trap '"$support/netns.sh" down "$prefix" 2' EXIT
"$support/netns.sh" up "$prefix" 2
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_rmaps_base_oversubscribe=1

"$programs/make_caches" . 600 32 24
cat >run.yaml <<'YAML'
dataset: {image_cache: images.h5, audio_cache: music.h5}
full_model: {hidden_dim: 16, output_dim: 8, base_output_dim: 8}
training: {batch_size: 32, max_steps: 100, steps_per_epoch: 50}
distributed: {shards: 4, deadline_s: 60}
YAML
printf "%s slots=2 # the first\n\n%s slots=2\n" "${prefix}1" "${prefix}2" >hosts

launch() { # EXIT_CODE LOG PATTERN ARGUMENTS...: multi-node.sh as on the first host
    local expected=$1 log=$2 pattern=$3 code=0
    shift 3
    "$support/netns.sh" enter "${prefix}1" "$multi" --agent "$support/netns_rsh.sh" --interface eth0 "$@" >"$log" 2>&1 \
        </dev/null || code=$?
    [ "$code" -eq "$expected" ] || complain "$log: exit code $code, expected $expected: $(tail -c 800 "$log")"
    grep -qE -- "$pattern" "$log" || complain "$log: no \"$pattern\" in: $(tail -c 800 "$log")"
}
digest() { "$EMOCLIM" checkpoint digest "$(ls "$1"/checkpoints/step-*.h5 | tail -n 1)"; }

"$EMOCLIM" train run.yaml logging.folder=one >one.log 2>&1
launch 0 two.log '4 ranks on 2 hosts' --hostfile hosts train run.yaml logging.folder=two
sed 's/slots=2/slots=1/' hosts >single
launch 0 few.log '2 ranks on 2 hosts' --hostfile single train run.yaml logging.folder=few
[ "$(digest one)" = "$(digest two)" ] || complain "two hosts: $(digest two), one: $(digest one)"
[ "$(digest one)" = "$(digest few)" ] || complain "two ranks: $(digest few), one: $(digest one)"

# Refused before anything is started.
launch 2 uneven.log '3 ranks cannot share distributed.shards = 4 evenly' --hostfile hosts --ranks 3 train run.yaml
launch 2 slots.log '8 ranks need as many slots; hosts has 4' --hostfile hosts --ranks 8 train run.yaml
launch 2 nofile.log 'the hostfile nowhere cannot be read' --hostfile nowhere train run.yaml
printf '%s slots=2\n%s9\n' "${prefix}1" "$prefix" >far
launch 4 far.log "host ${prefix}9 does not answer" --hostfile far --ranks 2 train run.yaml
"$support/netns.sh" enter "${prefix}1" "$multi" --hostfile hosts --dry-run train run.yaml >dry.log 2>/dev/null
grep -q '^mpirun .*-np 4 .*--hostfile hosts' dry.log || complain "--dry-run: $(cat dry.log)"

# One host has an older build under the same name.
cat >odd.sh <<SCRIPT
#!/bin/sh
[ "\$(hostname)" != ${prefix}2 ] || exec $PWD/older "\$@"
exec $EMOCLIM "\$@"
SCRIPT
chmod +x odd.sh
cp "$EMOCLIM" older
printf '\0' >>older
EMOCLIM=$PWD/odd.sh launch 4 odd.log "host ${prefix}2 \(rank 2\) runs another program than host ${prefix}1 \(rank 0\)" \
    --hostfile hosts train run.yaml logging.folder=odd

finish
