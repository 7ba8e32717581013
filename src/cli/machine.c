#define _POSIX_C_SOURCE 200809L
#include "cli/machine.h"

#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "core/clock.h"

/* Larger than any cache; and so many operations that starting them all together does not count. */
enum { COPY_BYTES = 64 << 20, OPERATIONS = 20000, EXCHANGE_BYTES = 4 << 20, RUNS = 5 };

typedef struct copies {
    ec_backend *be;
    char *memory; /* for each stream two arrays */
} copies;

static ec_status copy_task(void *arg, int32_t task, ec_stream *stream) {
    const copies *c = arg;
    char *from = c->memory + (size_t)task * 2 * COPY_BYTES;
    return c->be->memory->copy(c->be, stream, from + COPY_BYTES, from, COPY_BYTES);
}

static ec_status small_task(void *arg, int32_t task, ec_stream *stream) {
    const copies *c = arg;
    return c->be->memory->zero(c->be, stream, c->memory + 64 * (ptrdiff_t)(task % 1024), 64);
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

static ec_status measure_back_end(ec_backend *be, ec_machine *machine) {
    ec_status status = EC_OK;
    const int32_t width = be->width(be);
    const size_t bytes = (size_t)width * 2 * COPY_BYTES;
    bench_rates rates;
    void *memory = NULL;
    double seconds = 0;
    EC_TRY(bench_measure_rates(be, &rates));
    EC_TRY(be->memory->alloc(be, bytes, &memory));
    EC_TRY(be->memory->zero(be, be->main_stream(be), memory, bytes));
    copies c = {be, memory};
    EC_TRY(time_tasks(be, width, copy_task, &c, &seconds));
    machine->flops = rates.gemm * 1e9;
    machine->memory = (double)bytes / seconds;
    EC_TRY(time_tasks(be, OPERATIONS, small_task, &c, &seconds));
    machine->operation = seconds * width / OPERATIONS;
done:
    be->memory->free(be, memory);
    return status;
}

static ec_status time_gather(ec_comm *comm, const void *mine, void *all, size_t bytes, double *out) {
    *out = 0;
    for (int i = 0; i < RUNS; i++) {
        EC_RETURN_IF(ec__comm_barrier(comm));
        const int64_t start = ec__now_ns();
        EC_RETURN_IF(ec__comm_all_gather(comm, mine, all, bytes));
        const double now = ec__seconds_since(start);
        if (i == 0 || now < *out) *out = now;
    }
    return EC_OK;
}

static ec_status measure_exchange(ec_comm *comm, ec_machine *machine) {
    ec_status status = EC_OK;
    char *mine = calloc(1, EXCHANGE_BYTES), *all = calloc((size_t)comm->size, EXCHANGE_BYTES);
    double small = 0, large = 0;
    if (!mine || !all) EC_FAIL(EC_ERR_MEMORY, "no memory to measure exchanges");
    EC_TRY(time_gather(comm, mine, all, 64, &small));
    EC_TRY(time_gather(comm, mine, all, EXCHANGE_BYTES, &large));
    machine->collective = small;
    machine->bus = (double)(comm->size - 1) * EXCHANGE_BYTES / (large > small ? large - small : large);
done:
    free(mine);
    free(all);
    return status;
}

ec_status cli_measure_machine(ec_backend *be, ec_comm *comm, ec_machine *out) {
    ec_status status = EC_OK;
    ec_machine mine = {0}, *all = calloc((size_t)comm->size, sizeof *all);
    if (!all) EC_FAIL(EC_ERR_MEMORY, "no memory for %d measurements", comm->size);
    EC_TRY(ec__comm_agree(comm, measure_back_end(be, &mine)));
    if (comm->size > 1) EC_TRY(measure_exchange(comm, &mine));
    EC_TRY(ec__comm_all_gather(comm, &mine, all, sizeof mine));
    for (int32_t r = 0; r < comm->size; r++) {
        if (all[r].flops < mine.flops) mine.flops = all[r].flops;
        if (all[r].memory < mine.memory) mine.memory = all[r].memory;
        if (all[r].bus < mine.bus) mine.bus = all[r].bus;
        if (all[r].operation > mine.operation) mine.operation = all[r].operation;
        if (all[r].collective > mine.collective) mine.collective = all[r].collective;
    }
    *out = mine;
done:
    free(all);
    return status;
}
