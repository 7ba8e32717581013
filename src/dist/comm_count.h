/* A communicator of any size that counts what a rank would send and receive, and moves nothing. */
#ifndef EC_DIST_COMM_COUNT_H
#define EC_DIST_COMM_COUNT_H

#include <stdbool.h>

#include "dist/comm.h"

/* Of one rank, which is rank 0. Bytes received; as many are sent, over all ranks. */
typedef struct ec_exchange {
    int64_t collectives;
    double bytes;
    size_t work_bytes; /* of device memory, held for sums (ec__comm_prepare) */
} ec_exchange;

/* What the collectives of comm.h deliver is left as it is: only a program that does not look at it can run on this.
 * exchange is borrowed. device: over the memory of GPUs, as NCCL has it; the host's communicators hold next to nothing
 * for sums, which is not counted. Close it with ec__comm_close. */
ec_status ec__comm_open_count(int32_t ranks, bool device, ec_exchange *exchange, ec_comm **out);

#endif
