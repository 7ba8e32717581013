#!/usr/bin/env bash
# Hosts made of network namespaces, as root:
#   tests/support/netns.sh up PREFIX N | enter HOST COMMAND... | cut PREFIX I | heal PREFIX I | pids PREFIX N | down PREFIX N
# Hosts are PREFIX1 to PREFIXN at 10.78.0.1 to N on a bridge in a namespace of its own; nothing of it touches the
# machine's network. Exit code 77 with a reason where it cannot be.
set -eu
skip() {
    echo "skipped: $*"
    exit 77
}

up() { # PREFIX N
    local i j host switch=${1}sw
    [ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
    command -v ip >/dev/null || skip "ip is missing (package iproute2)"
    ip netns add "$switch" 2>/dev/null || skip "this machine allows no network namespaces"
    ip -n "$switch" link add br0 type bridge 2>/dev/null || { ip netns del "$switch"; skip "the kernel has no bridges"; }
    ip -n "$switch" link set br0 up
    for ((i = 1; i <= $2; i++)); do
        host=$1$i
        ip netns add "$host"
        ip -n "$host" link set lo up
        ip -n "$switch" link add "p$i" type veth peer name eth0 netns "$host"
        ip -n "$switch" link set "p$i" master br0 up
        ip -n "$host" addr add "10.78.0.$i/24" dev eth0
        ip -n "$host" link set eth0 up
        mkdir -p "/etc/netns/$host" # ip netns exec lays these over /etc
        {
            echo 127.0.0.1 localhost
            for ((j = 1; j <= $2; j++)); do echo "10.78.0.$j $1$j"; done
        } >"/etc/netns/$host/hosts"
    done
}

down() { # PREFIX N
    local i host pid
    for ((i = 0; i <= $2; i++)); do
        if [ "$i" -eq 0 ]; then host=${1}sw; else host=$1$i; fi
        for pid in $(ip netns pids "$host" 2>/dev/null || true); do kill -9 "$pid" 2>/dev/null || true; done
        ip netns del "$host" 2>/dev/null || true
        rm -rf "/etc/netns/$host"
    done
    rmdir /etc/netns 2>/dev/null || true
}

pids() { # PREFIX N: processes on any of the hosts
    local i
    for ((i = 1; i <= $2; i++)); do ip netns pids "$1$i" 2>/dev/null || true; done
}

action=$1
shift
case $action in
up) up "$@" ;;
down) down "$@" ;;
cut) ip -n "${1}sw" link set "p$2" down ;; # as if its cable were pulled: nobody is told
heal) ip -n "${1}sw" link set "p$2" up ;;
pids) pids "$@" ;;
enter)
    host=$1
    shift
    exec ip netns exec "$host" unshare -u sh -c 'hostname "$0"; exec "$@"' "$host" "$@"
    ;;
*) exit 2 ;;
esac
