#define _POSIX_C_SOURCE 200809L
#include "cli/machine.h"

#include <stdlib.h>

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

static ec_status measure_memory(ec_backend *be, ec_machine *machine) {
    ec_status status = EC_OK;
    const int32_t width = be->width(be);
    const size_t bytes = (size_t)width * 2 * COPY_BYTES;
    void *memory = NULL;
    double seconds = 0;
    EC_TRY(be->memory->alloc(be, bytes, &memory));
    EC_TRY(be->memory->zero(be, be->main_stream(be), memory, bytes));
    copies c = {be, memory};
    EC_TRY(time_tasks(be, width, copy_task, &c, &seconds));
    if (machine->memory == 0) machine->memory = (double)bytes / seconds;
    EC_TRY(time_tasks(be, OPERATIONS, small_task, &c, &seconds));
    if (machine->operation == 0) machine->operation = seconds * width / OPERATIONS;
done:
    be->memory->free(be, memory);
    return status;
}

static ec_status measure_back_end(ec_backend *be, ec_machine *machine) {
    if (machine->memory == 0 || machine->operation == 0) EC_RETURN_IF(measure_memory(be, machine));
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
        if (all[r].memory < machine->memory) machine->memory = all[r].memory;
        if (all[r].bus < machine->bus) machine->bus = all[r].bus;
        if (all[r].operation > machine->operation) machine->operation = all[r].operation;
        if (all[r].collective > machine->collective) machine->collective = all[r].collective;
    }
done:
    free(all);
    return status;
}
