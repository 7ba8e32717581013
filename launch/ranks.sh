#!/usr/bin/env bash
# Runs a command on several ranks of this machine: launch/ranks.sh N COMMAND [ARGS...]
# More ranks than processors are fine for trying things out: ranks then yield to each other while they wait.
# EMOCLIM_MPIRUN_ARGS adds options of mpirun. Exit codes: those of the command; 5 where a rank was lost (launch/verdict.sh).
set -eu
. "$(dirname "$0")/verdict.sh"
[ $# -ge 2 ] || { echo "usage: launch/ranks.sh N COMMAND [ARGS...]" >&2; exit 2; }
ranks=$1
shift
command -v "$1" >/dev/null || { echo "ranks.sh: $1 is not a program" >&2; exit 4; }
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none # Open MPI 5
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader,tcp
[ "$ranks" -le "$(nproc)" ] || export OMPI_MCA_mpi_yield_when_idle=1
if [ "$(id -u)" -eq 0 ]; then # containers and fresh machines; Open MPI wants to be told
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# shellcheck disable=SC2086
run_mpirun mpirun -np "$ranks" ${EMOCLIM_MPIRUN_ARGS:-} "$@"
