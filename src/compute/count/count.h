/* A back end that does nothing but count: what memory a program asks for, and what work it enqueues. With it the
 * trainer's own code tells what a step costs, at any size and on any number of ranks, without doing it.
 *
 * Device memory has addresses that nobody may look behind, not even this back end; host memory is real. Products are
 * counted as 2 m n k operations; other operations count what they read and write once each. What the loss's quadratic
 * part costs is asked of the back end that is imitated. */
#ifndef EC_COMPUTE_COUNT_COUNT_H
#define EC_COMPUTE_COUNT_COUNT_H

#include "compute/backend.h"
#include "compute/ops_supcon.h"

typedef struct ec_tally {
    size_t device_bytes, host_bytes; /* allocated and not yet freed */
    double flops;                    /* of products */
    double moved;                    /* bytes read and written by everything else */
    int64_t operations;
} ec_tally;

/* Cut (grain), width and scratch of the loss are those of like. like and tally are borrowed and must outlive it. */
ec_status ec__backend_open_count(ec_backend *like, ec_tally *tally, ec_backend **out);

/* The tables, for count.c. */
typedef struct ec_count_backend {
    ec_backend base; /* first */
    ec_backend *like;
    ec_tally *tally;
    ec_supcon_ops supcon; /* with blocks where like has them */
} ec_count_backend;

extern const ec_dense_ops ec__count_dense_ops;
extern const ec_head_ops ec__count_head_ops;
extern const ec_optim_ops ec__count_optim_ops;
extern const ec_supcon_ops ec__count_supcon_ops;
extern const ec_supcon_stream_ops ec__count_supcon_stream_ops;

/* One operation of so many products' operations and so many floats read and written. */
ec_status ec__count(ec_backend *be, double flops, double floats);

#endif
