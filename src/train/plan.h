/* What a configuration will need on so many ranks, told by the trainer's own code on a back end and a communicator that
 * only count (compute/count/count.h, dist/comm_count.h). */
#ifndef EC_TRAIN_PLAN_H
#define EC_TRAIN_PLAN_H

#include "compute/backend.h"
#include "config/config.h"

/* What a machine can do; 0: not known, and left out of the times. */
typedef struct ec_machine {
    double flops;     /* of products, all streams of a rank together, per second */
    double memory;    /* bytes read and written by a rank within ec__plan_in_use, per second */
    double bus;       /* bytes that a rank receives from the others, per second */
    double operation; /* seconds that an operation takes besides */
    double collective; /* and a collective */
} ec_machine;

/* Of one rank, rank 0, which has the most to hold. */
typedef struct ec_plan {
    int32_t ranks;
    int64_t rows; /* B */
    struct {
        size_t model;       /* parameters and running statistics */
        size_t optimizer;   /* gradient and moments */
        size_t activations; /* and gradient leaves */
        size_t loss;
        size_t batch;       /* features of the steps under way */
        size_t validation;
        size_t exchange;    /* the communicator's work space */
        size_t total;       /* back end memory */
        size_t loader;      /* host memory from here on */
        size_t checkpoint;
        size_t host_total;  /* where the back end's memory is host memory, with it */
    } bytes;
    /* A training step. */
    double flops, loss_flops; /* of all products; of the loss's */
    double moved;             /* bytes */
    int64_t operations;
    int64_t collectives;
    double received;          /* bytes */
    struct {
        double products, memory, exchange, latency, total; /* seconds */
    } time;
} ec_plan;

/* config needs its caches: their widths and splits decide. like: the back end that would run it (cut, width, scratch).
 * EC_ERR_CONFIG for a number of ranks that the configuration does not allow. Times stay 0. Not collective. */
ec_status ec__plan_make(const ec_config *config, ec_backend *like, int32_t ranks, ec_plan *out);

/* Bytes of back end memory that a rank's step goes through: all but validation's. */
size_t ec__plan_in_use(const ec_plan *plan);

/* Fills in the times. width: that of the back end. */
void ec__plan_time(ec_plan *plan, const ec_machine *machine, int32_t width);

#endif
