# To be sourced by the launchers: what they share about Open MPI and about the command that is to run.
. "$(dirname "${BASH_SOURCE[0]}")/verdict.sh"

fail() { # EXIT_CODE TEXT...
    local code=$1
    shift
    echo "$(basename "$0"): $*" >&2
    exit "$code"
}

# The program: $EMOCLIM, or the build of this repository, or the one installed with this file, or the one in PATH.
find_program() {
    local root
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    if [ -n "${EMOCLIM:-}" ]; then
        program=$EMOCLIM
    elif [ -x "$root/build/release/emoclim" ]; then
        program=$root/build/release/emoclim
    elif [ -x "$root/../../bin/emoclim" ]; then # this file is in PREFIX/share/emoclim/launch
        program=$(realpath "$root/../../bin/emoclim")
    else
        program=$(command -v emoclim) || fail 4 "there is no program: build it with launch/build.sh, or set EMOCLIM"
    fi
    [ -x "$program" ] || fail 4 "$program is not a program"
}

# Sets $mpi_major to 4 or 5; other launchers than Open MPI's have other options.
detect_openmpi() {
    local text
    text=$(mpirun --version 2>/dev/null | head -n 1) || true
    case $text in
    *'Open MPI'*' 4.'*) mpi_major=4 ;;
    *'Open MPI'*' 5.'* | *prterun* | *PRTE*) mpi_major=5 ;;
    '') fail 4 "mpirun is not found, or fails: install Open MPI (launch/setup.sh), or load its module" ;;
    *) fail 4 "mpirun is \"$text\"; these launchers know Open MPI 4 and 5" ;;
    esac
    if [ "$(id -u)" -eq 0 ]; then # containers and fresh machines; Open MPI wants to be told
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
}

# Appends to $mpi_arguments how ranks are placed: each on $1 cores of its own, or nowhere in particular.
place_ranks() { # CORES|none
    if [ "$1" = none ]; then
        mpi_arguments+=(--bind-to none)
    else
        mpi_arguments+=(--map-by "slot:PE=$1" --bind-to core)
    fi
}

# More ranks than processors: allowed, and they yield while they wait.
allow_oversubscription() {
    export OMPI_MCA_mpi_yield_when_idle=1
    if [ "$mpi_major" -eq 4 ]; then mpi_arguments+=(--oversubscribe); else mpi_arguments+=(--map-by :OVERSUBSCRIBE); fi
}

# TCP only, over one interface, for Open MPI's own talk as well.
use_interface() { # NAME
    mpi_arguments+=(--mca pml ob1 --mca btl_tcp_if_include "$1")
    if [ "$mpi_major" -eq 4 ]; then
        mpi_arguments+=(--mca btl self,vader,tcp --mca oob_tcp_if_include "$1")
    else
        mpi_arguments+=(--mca btl self,sm,tcp --prtemca prte_if_include "$1")
    fi
}

# A lost host ends the job in about ten seconds; by default it takes minutes.
notice_lost_hosts() {
    local mca=--mca
    [ "$mpi_major" -eq 4 ] || mca=--prtemca
    mpi_arguments+=("$mca" oob_tcp_keepalive_time 4 "$mca" oob_tcp_keepalive_intvl 1 "$mca" oob_tcp_keepalive_probes 3)
}

# The configuration and its KEY=VALUE words among the arguments of the program: $configuration, empty where there is none.
# For "train" and "cache build" only; others have no ranks to share.
find_configuration() { # ARGUMENTS...
    configuration=()
    case "${1:-} ${2:-}" in
    'train '* | 'cache build') ;;
    *) return 0 ;;
    esac
    local word
    for word in "$@"; do
        case $word in
        *.yaml | *.yml) [ ${#configuration[@]} -gt 0 ] || configuration=("$word") ;;
        [a-z]*.*=*) [ ${#configuration[@]} -eq 0 ] || configuration+=("$word") ;;
        esac
    done
    [ ${#configuration[@]} -gt 0 ] || fail 2 "\"$*\" names no configuration (a file *.yaml)"
}

# May this many ranks run it? Only training shares virtual shards.
ranks_are_legal() { # RANKS COMMAND
    [ ${#configuration[@]} -gt 0 ] && [ "$2" = train ] || return 0
    "$program" config check "${configuration[@]}" --ranks "$1" >/dev/null
}

# The value of a key of the resolved configuration: configured SECTION KEY.
configured() {
    "$program" config print "${configuration[@]}" |
        awk -v section="$1:" -v key="$2:" '/^[^ ]/ { in_it = $1 == section } in_it && $1 == key { print $2; exit }'
}

run_or_print() { # DRY_RUN COMMAND...
    local dry=$1
    shift
    if $dry; then
        printf '%q ' "$@"
        echo
    else
        run_mpirun "$@"
    fi
}
