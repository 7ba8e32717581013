/* Memory that the ranks of a node share.
 *
 * An anonymous file of the first rank's (memfd), which the others open through /proc. Unlike a window of MPI's it needs
 * no room in /dev/shm (64 MB in many containers), leaves nothing behind when ranks are killed, and when it cannot be
 * had all ranks learn so, where MPI_Win_allocate_shared leaves them waiting for the one that failed. */
#ifndef EC_DIST_SHARED_MEMORY_H
#define EC_DIST_SHARED_MEMORY_H

#include <mpi.h>
#include <stddef.h>

#include "core/error.h"

/* Collective over node: *out (bytes, zero, aligned to a page) is the same memory on every rank; pages are placed by who
 * touches them first. EC_ERR_ENV, on all ranks, where one of them cannot have it. */
ec_status ec__shared_map(MPI_Comm node, size_t bytes, void **out);
void ec__shared_unmap(void *memory, size_t bytes); /* accepts NULL; not collective */

#endif
