#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "compute/cpu/peak.h"
#include "compute/ops_dense.h"
#include "core/clock.h"

enum { WARM_UP = 2, FEWEST = 5, MOST = 1000 };

/* Collective: milliseconds of one run on the slowest rank. */
static ec_status run_once(ec_comm *comm, bench_fn fn, void *arg, double *all, double *out) {
    EC_RETURN_IF(ec__comm_barrier(comm));
    const int64_t start = ec__now_ns();
    EC_RETURN_IF(fn(arg));
    const double mine = ec__seconds_since(start) * 1e3;
    EC_RETURN_IF(ec__comm_all_gather(comm->host, &mine, all, sizeof mine));
    *out = 0;
    for (int32_t r = 0; r < comm->size; r++) *out = all[r] > *out ? all[r] : *out;
    return EC_OK;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

ec_status bench_repeat(ec_comm *comm, int64_t repeats, bench_fn fn, void *arg, bench_times *out) {
    ec_status status = EC_OK;
    double *times = calloc(MOST, sizeof *times), *all = calloc((size_t)comm->size, sizeof *all);
    double last = 0;
    if (!times || !all) EC_FAIL(EC_ERR_MEMORY, "no memory for the times");
    for (int i = 0; i < WARM_UP; i++) EC_TRY(run_once(comm, fn, arg, all, &last));
    if (repeats == 0) repeats = (int64_t)(1000 / (last + 1e-3)); /* the same number on every rank */
    const int count = repeats < FEWEST ? FEWEST : repeats > MOST ? MOST : (int)repeats;
    for (int i = 0; i < count; i++) EC_TRY(run_once(comm, fn, arg, all, &times[i]));
    qsort(times, (size_t)count, sizeof *times, compare);
    *out = (bench_times){.count = count, .min = times[0], .max = times[count - 1],
                         .median = (times[(count - 1) / 2] + times[count / 2]) / 2};
done:
    free(times);
    free(all);
    return status;
}

/* A product large enough for the library's best rate: every thread makes N columns of its own. */
enum { GEMM_M = 512, GEMM_N = 512, GEMM_K = 512, GEMM_RUNS = 20 };

typedef struct gemm_job {
    ec_backend *be;
    const float *a;
    float *bc; /* for each thread B and C */
} gemm_job;

static ec_status gemm_task(void *arg, int32_t task, ec_stream *stream) {
    const gemm_job *j = arg;
    const ec_gemm g = {.m = GEMM_M, .n = GEMM_N, .k = GEMM_K, .lda = GEMM_K, .ldb = GEMM_N, .ldc = GEMM_N};
    float *b = j->bc + (ptrdiff_t)task * (GEMM_K + GEMM_M) * GEMM_N;
    return j->be->dense->gemm(j->be, stream, &g, j->a, b, NULL, b + GEMM_K * GEMM_N);
}

static ec_status gemm_rate(ec_backend *be, double *rate) {
    ec_status status = EC_OK;
    const int32_t width = be->width(be);
    const size_t a_bytes = GEMM_M * GEMM_K * sizeof(float);
    const size_t bc_bytes = (size_t)width * (GEMM_K + GEMM_M) * GEMM_N * sizeof(float);
    gemm_job j = {.be = be};
    void *a = NULL, *bc = NULL;
    EC_TRY(be->memory->alloc(be, a_bytes, &a));
    EC_TRY(be->memory->alloc(be, bc_bytes, &bc));
    EC_TRY(be->memory->zero(be, be->main_stream(be), a, a_bytes));
    EC_TRY(be->memory->zero(be, be->main_stream(be), bc, bc_bytes));
    j.a = a;
    j.bc = bc;
    *rate = 0;
    for (int i = 0; i < GEMM_RUNS; i++) {
        const int64_t start = ec__now_ns();
        EC_TRY(be->for_each(be, width, gemm_task, &j));
        EC_TRY(be->synchronize(be));
        const double now = 2.0 * GEMM_M * GEMM_N * GEMM_K * width / ec__seconds_since(start);
        *rate = now > *rate ? now : *rate;
    }
done:
    be->memory->free(be, a);
    be->memory->free(be, bc);
    return status;
}

ec_status bench_measure_rates(ec_backend *be, bench_rates *out) {
    double gemm = 0, fma = 0;
    EC_RETURN_IF(gemm_rate(be, &gemm));
    EC_RETURN_IF(ec__cpu_peak_rate(be, &fma));
    *out = (bench_rates){.gemm = gemm * 1e-9, .fma = fma * 1e-9};
    return EC_OK;
}

/* A line of /proc/self/status in MB; 0 where there is none. */
static double process_memory(const char *key) {
    char line[256];
    double kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) kb = strtod(line + strlen(key) + 1, NULL);
    fclose(file);
    return kb * 1024e-6;
}

double bench_memory_mark(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w"); /* "5" sets the peak back to what is resident now */
    if (file) {
        fputs("5", file);
        fclose(file);
    }
    return process_memory("VmRSS");
}

double bench_memory_peak(double marked) { return process_memory("VmHWM") - marked; }

ec_status bench_open(int32_t *threads, ec_comm **comm, ec_backend **be) {
    EC_RETURN_IF(ec__comm_open("auto", comm));
    cli_set_ranks((*comm)->rank, (*comm)->size);
    *threads = bench_threads(*comm, *threads);
    const ec_backend_options options = {.threads = *threads, .device = ec__backend_device_for((*comm)->node_rank),
                                        .deterministic = true};
    EC_RETURN_IF(ec__comm_agree(*comm, ec__backend_open_with("auto", &options, be)));
    EC_RETURN_IF(ec__comm_open_over(*comm, (*be)->native_queue(*be), comm));
    return EC_OK;
}

void bench_close(ec_comm *comm, ec_backend *be) {
    ec_comm *host = comm ? comm->host : NULL;
    if (comm != host) ec__comm_close(comm);
    if (be) be->close(be);
    ec__comm_close(host);
}

int32_t bench_threads(const ec_comm *comm, int64_t asked) {
    if (asked > 0) return (int32_t)asked;
    const int32_t share = ec__processor_count() / comm->node_size;
    return share > 0 ? share : 1;
}

json_t *bench_times_json(const bench_times *t) {
    return json_pack("{s:f, s:f, s:f, s:i}", "median", t->median, "min", t->min, "max", t->max, "repeats", t->count);
}
