#!/usr/bin/env bash
# mpirun for tests: RANKS PROGRAM [ARGS...]. More ranks than processors are fine, ranks yield while they wait.
set -eu
ranks=$1
shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none # Open MPI 5
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader,tcp
exec mpirun -np "$ranks" "$@"
