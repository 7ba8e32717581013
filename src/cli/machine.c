#define _POSIX_C_SOURCE 200809L
#include "cli/machine.h"

#include <stdlib.h>

#include "cli/bench.h"
#include "compute/ops_dense.h"
#include "core/clock.h"

enum { OPERATIONS = 4096, SIDE = 16, EXCHANGE_BYTES = 4 << 20, RUNS = 5 };

/* Of a stream: arrays no larger than this are copied, and so much in a run that starting it does not count. */
static const size_t COPY_MOST = 64 << 20, COPY_LEAST = 32 << 10;

/* Work of one task a stream, enqueued as a step does it. */
typedef struct work {
    ec_backend *be;
    char *memory;    /* for each stream two arrays */
    size_t bytes;    /* of an array */
    int32_t repeats;
} work;

static ec_status copy_task(void *arg, int32_t task, ec_stream *stream) {
    const work *w = arg;
    char *from = w->memory + (size_t)task * 2 * w->bytes;
    for (int32_t i = 0; i < w->repeats; i++)
        EC_RETURN_IF(w->be->memory->copy(w->be, stream, from + w->bytes, from, w->bytes));
    return EC_OK;
}

static const ec_gemm small_product = {.m = SIDE, .n = SIDE, .k = SIDE, .lda = SIDE, .ldb = SIDE, .ldc = SIDE};

/* Products with next to nothing to compute. */
static ec_status small_task(void *arg, int32_t task, ec_stream *stream) {
    const work *w = arg;
    float *a = (float *)(void *)(w->memory + (size_t)task * 2 * w->bytes), *c = a + w->bytes / sizeof *a;
    for (int32_t i = 0; i < w->repeats; i++)
        EC_RETURN_IF(w->be->dense->gemm(w->be, stream, &small_product, a, a, NULL, c));
    return EC_OK;
}

/* Seconds of the fastest of some runs. */
static ec_status time_tasks(ec_backend *be, int32_t tasks, ec_stream_task_fn fn, void *arg, double *out) {
    *out = 0;
    for (int i = 0; i < RUNS; i++) {
        const int64_t start = ec__now_ns();
        EC_RETURN_IF(be->for_each(be, tasks, fn, arg));
        EC_RETURN_IF(be->synchronize(be));
        const double now = ec__seconds_since(start);
        if (i == 0 || now < *out) *out = now;
    }
    return EC_OK;
}

/* Runs fn on every stream, each with two arrays of so many bytes. */
static ec_status time_work(ec_backend *be, size_t bytes, int32_t repeats, ec_stream_task_fn fn, double *seconds) {
    ec_status status = EC_OK;
    const size_t all = (size_t)be->width(be) * 2 * bytes;
    void *memory = NULL;
    EC_TRY(be->memory->alloc(be, all, &memory));
    EC_TRY(be->memory->zero(be, be->main_stream(be), memory, all));
    work w = {.be = be, .memory = memory, .bytes = bytes, .repeats = repeats};
    EC_TRY(time_tasks(be, be->width(be), fn, &w, seconds));
done:
    be->memory->free(be, memory);
    return status;
}

/* Copies within so many bytes: what is used again and again may stay in a cache, as it does in a step. */
static ec_status measure_memory(ec_backend *be, size_t in_use, double *out) {
    const size_t share = in_use / ((size_t)be->width(be) * 2) / 64 * 64;
    const size_t bytes = share < COPY_LEAST ? COPY_LEAST : share > COPY_MOST ? COPY_MOST : share;
    const int32_t repeats = (int32_t)(COPY_MOST / bytes);
    double seconds = 0;
    EC_RETURN_IF(time_work(be, bytes, repeats, copy_task, &seconds));
    *out = 2.0 * (double)bytes * repeats * be->width(be) / seconds;
    return EC_OK;
}

static ec_status measure_operation(ec_backend *be, double *out) {
    double seconds = 0;
    EC_RETURN_IF(be->dense->prepare(be, &small_product));
    EC_RETURN_IF(time_work(be, SIDE * SIDE * sizeof(float), OPERATIONS, small_task, &seconds));
    *out = seconds / OPERATIONS;
    return EC_OK;
}

static ec_status measure_back_end(ec_backend *be, ec_machine *machine) {
    if (machine->operation == 0) EC_RETURN_IF(measure_operation(be, &machine->operation));
    if (machine->flops == 0) {
        bench_rates rates;
        EC_RETURN_IF(bench_measure_rates(be, &rates));
        machine->flops = rates.gemm * 1e9;
    }
    return EC_OK;
}

static ec_status time_gather(ec_backend *be, ec_comm *comm, const void *mine, void *all, size_t bytes, double *out) {
    *out = 0;
    for (int i = 0; i < RUNS; i++) {
        EC_RETURN_IF(ec__comm_barrier(comm->host));
        const int64_t start = ec__now_ns();
        EC_RETURN_IF(ec__comm_all_gather(comm, mine, all, bytes));
        EC_RETURN_IF(be->synchronize(be));
        const double now = ec__seconds_since(start);
        if (i == 0 || now < *out) *out = now;
    }
    return EC_OK;
}

static ec_status measure_exchange(ec_backend *be, ec_comm *comm, ec_machine *machine) {
    ec_status status = EC_OK;
    const size_t bytes = (size_t)comm->size * EXCHANGE_BYTES;
    void *mine = NULL, *all = NULL;
    double small = 0, large = 0;
    EC_TRY(be->memory->alloc(be, EXCHANGE_BYTES, &mine));
    EC_TRY(be->memory->alloc(be, bytes, &all));
    EC_TRY(be->memory->zero(be, be->main_stream(be), mine, EXCHANGE_BYTES));
    EC_TRY(be->memory->zero(be, be->main_stream(be), all, bytes)); /* pages are there before they are timed */
    EC_TRY(be->synchronize(be));
    EC_TRY(time_gather(be, comm, mine, all, 64, &small));
    EC_TRY(time_gather(be, comm, mine, all, EXCHANGE_BYTES, &large));
    if (machine->collective == 0) machine->collective = small;
    if (machine->bus == 0)
        machine->bus = (double)(comm->size - 1) * EXCHANGE_BYTES / (large > small ? large - small : large);
done:
    be->memory->free(be, mine);
    be->memory->free(be, all);
    return status;
}

ec_status cli_measure_machine(ec_backend *be, ec_comm *comm, ec_machine *machine) {
    ec_status status = EC_OK;
    ec_machine *all = calloc((size_t)comm->size, sizeof *all);
    if (!all) EC_FAIL(EC_ERR_MEMORY, "no memory for %d measurements", comm->size);
    EC_TRY(ec__comm_agree(comm, measure_back_end(be, machine)));
    if (comm->size > 1 && (machine->bus == 0 || machine->collective == 0)) EC_TRY(measure_exchange(be, comm, machine));
    EC_TRY(ec__comm_all_gather(comm->host, machine, all, sizeof *machine));
    for (int32_t r = 0; r < comm->size; r++) {
        if (all[r].flops < machine->flops) machine->flops = all[r].flops;
        if (all[r].bus < machine->bus) machine->bus = all[r].bus;
        if (all[r].operation > machine->operation) machine->operation = all[r].operation;
        if (all[r].collective > machine->collective) machine->collective = all[r].collective;
    }
done:
    free(all);
    return status;
}

ec_status cli_measure_memory(ec_backend *be, ec_comm *comm, size_t in_use, double *rate) {
    ec_status status = EC_OK;
    const void *view = NULL;
    double mine = 0;
    EC_TRY(ec__comm_agree(comm, measure_memory(be, in_use, &mine)));
    *rate = mine;
    EC_TRY(ec__comm_all_gather_view(comm->host, &mine, &view, sizeof mine));
    const double *all = view;
    for (int32_t r = 0; r < comm->size; r++)
        if (all[r] < *rate) *rate = all[r];
done:
    return status;
}
