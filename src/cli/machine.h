/* What this machine can do, measured: the constants of train/plan.h. */
#ifndef EC_CLI_MACHINE_H
#define EC_CLI_MACHINE_H

#include "dist/comm.h"
#include "train/plan.h"

/* Collective; about a second. Measures what is 0 in machine. comm moves be's memory. All ranks measure at the same time,
 * and the slowest counts. bus and collective stay 0 with one rank. */
ec_status cli_measure_machine(ec_backend *be, ec_comm *comm, ec_machine *machine);

#endif
