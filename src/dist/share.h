/* Sharing out rows that every rank is to have in the end: each makes a contiguous share, and then gets all others. */
#ifndef EC_DIST_SHARE_H
#define EC_DIST_SHARE_H

#include "dist/comm.h"

/* Rows [first, last). */
typedef struct ec_share {
    int64_t first, last;
} ec_share;

/* A rank's share of count rows: count / size of them, rounded up; fewer or none for the last ranks. */
ec_share ec__share_of(int32_t rank, int32_t size, int64_t count);

/* Collective. rows: count rows of row_bytes each in host memory, of which every rank has filled its share; afterwards
 * every rank has all. Allocates nothing. */
ec_status ec__share_rows(ec_comm *comm, void *rows, int64_t count, size_t row_bytes);

#endif
