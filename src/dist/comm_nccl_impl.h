/* Inside the communicator over a GPU's memory. Only the CUDA module is made of files that include this. */
#ifndef EC_DIST_COMM_NCCL_IMPL_H
#define EC_DIST_COMM_NCCL_IMPL_H

#include "dist/comm_impl.h"
#include "dist/comm_nccl.h"
#include "dist/comm_nccl_kernels.h"

typedef struct ec_nccl_link ec_nccl_link; /* comm_nccl_link.c: what needs NCCL */

enum { EC_NCCL_ROOMS = 64 }; /* each is at least twice as large as the one before */

typedef struct ec_nccl_comm {
    ec_comm base;              /* first: an ec_comm of this kind is an ec_nccl_comm */
    ec_nccl_queue main, side;  /* main is borrowed */
    ec_nccl_queue *now;        /* where collectives go */
    cudaEvent_t forked, joined, milestone;
    cudaEvent_t reached[EC_COMM_MARKS + 1]; /* marks; the last one is ec__comm_wait's */
    volatile ec_nccl_place *place;
    uint64_t *counter;         /* memory of the device */
    void *room[EC_NCCL_ROOMS]; /* work space; the last one is used */
    int32_t rooms;
    size_t room_bytes;         /* of the last */
    ec_nccl_link *link;        /* NULL with one rank */
    bool broken;               /* a collective has failed on this rank: the others may wait for it forever */
} ec_nccl_comm;

static inline ec_nccl_comm *ec__nccl(ec_comm *comm) { return (ec_nccl_comm *)(void *)comm; }

/* comm_nccl_watch.c */
ec_status ec__nccl_watch_open(ec_nccl_comm *n);
void ec__nccl_watch_close(ec_nccl_comm *n);
/* A wait for the device, or for NCCL, between its begin and its end looks now and then. */
typedef struct ec_nccl_wait {
    int64_t since_ns, failed_ns; /* 0: NCCL has not failed */
} ec_nccl_wait;
ec_nccl_wait ec__nccl_wait_begin(ec_nccl_comm *n);
ec_status ec__nccl_look(ec_nccl_comm *n, ec_nccl_wait *wait);
void ec__nccl_wait_end(ec_nccl_comm *n);
/* ec__comm_mark, ec__comm_wait_mark */
ec_status ec__nccl_open_marks(ec_nccl_comm *n);
ec_status ec__nccl_mark_queue(ec_comm *comm, int32_t mark);
ec_status ec__nccl_wait(ec_comm *comm, int32_t mark);

/* comm_nccl.c: so much work space, the same until more is wanted. */
ec_status ec__nccl_room(ec_nccl_comm *n, size_t bytes, void **out);

/* comm_nccl_reduce.c */
ec_status ec__nccl_all_reduce_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count, float *out);
ec_status ec__nccl_reduce_scatter_ordered(ec_comm *comm, float *leaves, int32_t local_leaves, int64_t count,
                                          float *out);
ec_status ec__nccl_all_reduce_pieces(ec_comm *comm, float *from, const ec_comm_piece *piece, int32_t pieces,
                                     float *to);

/* comm_nccl_sharing.c. Collective over host. Do two ranks share a GPU? An error on all of them, unless they were asked
 * to by EMOCLIM_SHARE_GPU=1: NCCL is then told that they are on different hosts. */
ec_status ec__nccl_check_sharing(ec_comm *host, int device);

/* comm_nccl_link.c, or comm_nccl_nolink.c where this build has no NCCL. Calls enqueue on n->now and come back when NCCL
 * has taken the work; n->link must be there but for open. */
ec_status ec__nccl_link_open(ec_nccl_comm *n);
/* In good order, or at once when something is broken; accepts NULL. */
void ec__nccl_link_close(ec_nccl_comm *n);
/* Ends what NCCL does on the device, as far as it can be ended within two seconds. */
void ec__nccl_link_abort(ec_nccl_comm *n);
/* An error that arose meanwhile. */
ec_status ec__nccl_link_error(ec_nccl_comm *n);
ec_status ec__nccl_link_all_gather(ec_nccl_comm *n, const void *mine, void *all, size_t bytes);
/* ec__comm_all_gather_part. */
ec_status ec__nccl_link_gather_part(ec_nccl_comm *n, const void *mine, size_t bytes, size_t begin, size_t count,
                                    void *part);
ec_status ec__nccl_link_broadcast(ec_nccl_comm *n, void *x, size_t bytes, int32_t root);
ec_status ec__nccl_link_all_reduce(ec_nccl_comm *n, float *x, int64_t count);
/* Part r of x (count, cut into parts of part elements, the last ones shorter) from rank r to all. */
ec_status ec__nccl_link_share_parts(ec_nccl_comm *n, float *x, int64_t part, int64_t count);
/* Part r of each of so many arrays (count apart) to rank r; from rank r its arrays' parts of this rank, part apart, at
 * received + r * arrays * part. This rank's own are left to the caller. */
ec_status ec__nccl_link_exchange(ec_nccl_comm *n, const float *arrays, int32_t array_count, int64_t count, int64_t part,
                                 float *received);
/* What is called between the two becomes one launch of NCCL's. The end, which takes the status of what was called, must
 * come in any case. */
ec_status ec__nccl_link_together(ec_nccl_comm *n);
ec_status ec__nccl_link_together_end(ec_nccl_comm *n, ec_status status);
void ec__nccl_about(char *text, size_t size);

/* Elements of part r. */
static inline int64_t ec__nccl_part(int64_t part, int64_t count, int32_t r) {
    const int64_t left = count - r * part;
    return left < 0 ? 0 : left < part ? left : part;
}

extern const struct ec_cuda_dist ec__cuda_dist;

#endif
