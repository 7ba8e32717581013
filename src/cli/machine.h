/* What this machine can do, measured: the constants of train/plan.h. */
#ifndef EC_CLI_MACHINE_H
#define EC_CLI_MACHINE_H

#include "dist/comm.h"
#include "train/plan.h"

/* Collective; about a second. Measures what is 0 in machine, but for memory. comm moves be's memory. All ranks measure
 * at the same time, and the slowest counts. bus and collective stay 0 with one rank. */
ec_status cli_measure_machine(ec_backend *be, ec_comm *comm, ec_machine *machine);

/* Collective, likewise: bytes read and written by a rank per second within in_use bytes, which a cache may hold. */
ec_status cli_measure_memory(ec_backend *be, ec_comm *comm, size_t in_use, double *rate);

#endif
