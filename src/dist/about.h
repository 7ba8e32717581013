/* What this build and process have for exchange between ranks. */
#ifndef EC_DIST_ABOUT_H
#define EC_DIST_ABOUT_H

#include <stddef.h>

/* Name and version of the MPI library, without initialising it. */
void ec__dist_about(char *into, size_t size);

/* Who started this process, from its environment: "mpirun of Open MPI", "srun (Slurm)"; NULL: nobody known. */
const char *ec__dist_launcher(void);

#endif
