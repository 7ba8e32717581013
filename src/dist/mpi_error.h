/* Errors of MPI as errors of ours. */
#ifndef EC_DIST_MPI_ERROR_H
#define EC_DIST_MPI_ERROR_H

#include <mpi.h>

#include "core/error.h"

/* EC_OK, or EC_ERR_DIST with the text of MPI; call: what was called. */
ec_status ec__mpi_status(int code, const char *call);

#define EC_MPI(call) EC_TRY(ec__mpi_status((call), #call))

#endif
