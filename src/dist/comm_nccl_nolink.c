/* In place of comm_nccl_link.c where this build has no NCCL: a GPU serves one rank. */
#include <stdio.h>

#include "dist/comm_nccl_impl.h"

static ec_status missing(void) {
    return EC_ERROR(EC_ERR_ENV,
                    "this build has no NCCL, which several ranks with a GPU each need: install it and build "
                    "again, or use one rank, or distributed.device=cpu");
}

ec_status ec__nccl_link_open(ec_nccl_comm *n) {
    (void)n;
    return missing();
}

void ec__nccl_link_close(ec_nccl_comm *n) { (void)n; }

void ec__nccl_link_abort(ec_nccl_comm *n) { (void)n; }

ec_status ec__nccl_link_error(ec_nccl_comm *n) {
    (void)n;
    return EC_OK;
}

ec_status ec__nccl_link_all_gather(ec_nccl_comm *n, const void *mine, void *all, size_t bytes) {
    (void)n, (void)mine, (void)all, (void)bytes;
    return missing();
}

ec_status ec__nccl_link_gather_part(ec_nccl_comm *n, const void *mine, size_t bytes, size_t begin, size_t count,
                                    void *part) {
    (void)n, (void)mine, (void)bytes, (void)begin, (void)count, (void)part;
    return missing();
}

ec_status ec__nccl_link_broadcast(ec_nccl_comm *n, void *x, size_t bytes, int32_t root) {
    (void)n, (void)x, (void)bytes, (void)root;
    return missing();
}

ec_status ec__nccl_link_all_reduce(ec_nccl_comm *n, float *x, int64_t count) {
    (void)n, (void)x, (void)count;
    return missing();
}

ec_status ec__nccl_link_share_parts(ec_nccl_comm *n, float *x, int64_t part, int64_t count) {
    (void)n, (void)x, (void)part, (void)count;
    return missing();
}

ec_status ec__nccl_link_exchange(ec_nccl_comm *n, const float *arrays, int32_t array_count, int64_t count, int64_t part,
                                 float *received) {
    (void)n, (void)arrays, (void)array_count, (void)count, (void)part, (void)received;
    return missing();
}

ec_status ec__nccl_link_together(ec_nccl_comm *n) {
    (void)n;
    return missing();
}

ec_status ec__nccl_link_together_end(ec_nccl_comm *n, ec_status status) {
    (void)n;
    return status;
}

void ec__nccl_about(char *text, size_t size) { snprintf(text, size, "no NCCL in this build"); }
