/* Can ranks talk, and how fast? */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "core/clock.h"
#include "core/pool.h"

enum { ROUNDS = 21, LEAF = 256 };

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double values[ROUNDS]) {
    qsort(values, ROUNDS, sizeof values[0], compare_doubles);
    return values[ROUNDS / 2];
}

static ec_status introduce(ec_comm *comm, doctor_rank *all) {
    doctor_rank me = {.pid = getpid(), .usable = ec__processor_count()};
    if (gethostname(me.host, sizeof me.host - 1) != 0) strcpy(me.host, "unknown");
    if (sched_getaffinity(0, sizeof me.set, &me.set) != 0) CPU_ZERO(&me.set);
    return ec__comm_all_gather(comm, &me, all, sizeof me);
}

static ec_status time_barrier(ec_comm *comm, double *us) {
    double seconds[ROUNDS];
    EC_RETURN_IF(ec__comm_barrier(comm));
    for (int i = 0; i < ROUNDS; i++) {
        int64_t start = ec__now_ns();
        EC_RETURN_IF(ec__comm_barrier(comm));
        seconds[i] = ec__seconds_since(start);
    }
    *us = 1e6 * median(seconds);
    return EC_OK;
}

/* Gathers a pattern that says whose it is, and looks whether it arrived. */
static ec_status time_gather(ec_comm *comm, char *mine, char *all, double *us) {
    double seconds[ROUNDS];
    memset(mine, 'a' + comm->rank % 26, DOCTOR_BYTES);
    for (int i = 0; i < ROUNDS; i++) {
        EC_RETURN_IF(ec__comm_barrier(comm));
        int64_t start = ec__now_ns();
        EC_RETURN_IF(ec__comm_all_gather(comm, mine, all, DOCTOR_BYTES));
        seconds[i] = ec__seconds_since(start);
    }
    *us = 1e6 * median(seconds);
    for (int32_t r = 0; r < comm->size; r++)
        for (size_t k = 0; k < DOCTOR_BYTES; k++)
            if (all[(size_t)r * DOCTOR_BYTES + k] != 'a' + r % 26)
                return EC_ERROR(EC_ERR_DIST, "byte %zu from rank %d arrived wrong at rank %d", k, r, comm->rank);
    return EC_OK;
}

/* Sum over ranks of (rank + 1) * (k + 1): whole numbers, exact in float32 for up to some thousand ranks. */
static ec_status check_sums(ec_comm *comm, bool *right) {
    float leaf[LEAF], sum[LEAF];
    double ranks = 0.5 * comm->size * (comm->size + 1.0);
    for (int k = 0; k < LEAF; k++) leaf[k] = (float)((comm->rank + 1) * (k + 1));
    EC_RETURN_IF(ec__comm_all_reduce_ordered(comm, leaf, 1, LEAF, sum));
    *right = true;
    for (int k = 0; k < LEAF; k++) *right = *right && sum[k] == (float)(ranks * (k + 1));
    return EC_OK;
}

ec_status doctor_let_ranks_talk(ec_comm *comm, doctor_talk *out) {
    ec_status status = EC_OK;
    char *mine = NULL, *all = NULL;
    doctor_rank *rank = calloc((size_t)comm->size, sizeof *rank);
    mine = malloc(DOCTOR_BYTES);
    all = malloc((size_t)comm->size * DOCTOR_BYTES);
    if (!rank || !mine || !all)
        status = EC_ERROR(EC_ERR_MEMORY, "no memory for %d ranks of %d bytes", comm->size, DOCTOR_BYTES);
    EC_TRY(ec__comm_agree(comm, status));
    EC_TRY(introduce(comm, rank));
    EC_TRY(time_barrier(comm, &out->barrier_us));
    EC_TRY(time_gather(comm, mine, all, &out->gather_us));
    EC_TRY(check_sums(comm, &out->sums_right));
    out->rank = rank;
    rank = NULL;
done:
    free(all);
    free(mine);
    free(rank);
    return status;
}
