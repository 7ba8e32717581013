#include "dist/about.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/module.h"
#include "dist/comm_nccl.h"

void ec__dist_about(char *into, size_t size) {
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0, version = 0, subversion = 0;
    /* MPI 3.1, section 8.1.1 allows both before MPI_Init. */
    MPI_Get_library_version(text, &length);
    MPI_Get_version(&version, &subversion);
    text[strcspn(text, ",\n")] = '\0'; /* the rest is who built it */
    const int used = snprintf(into, size, "%s (MPI %d.%d)", text, version, subversion);
    const ec_module *module;
    if (used > 0 && (size_t)used + 3 < size && ec__module_cuda(&module) == EC_OK) {
        memcpy(into + used, ", ", 3);
        module->dist->about(into + used + 2, size - (size_t)used - 2);
    }
    ec_error_clear();
}

const char *ec__dist_launcher(void) {
    /* Slurm first: its ranks may have the variables of a PMI besides. */
    if (getenv("OMPI_COMM_WORLD_SIZE"))
        return getenv("SLURM_JOB_ID") ? "mpirun of Open MPI inside a Slurm job" : "mpirun of Open MPI";
    if (getenv("SLURM_STEP_NUM_TASKS")) return "srun (Slurm)";
    if (getenv("PMI_SIZE")) return "mpiexec of MPICH or a relative";
    if (getenv("PMIX_RANK")) return "a PMIx launcher";
    return NULL;
}
