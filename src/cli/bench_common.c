#define _POSIX_C_SOURCE 200809L
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/consistency.h"
#include "compute/cpu/peak.h"
#include "compute/ops_dense.h"
#include "core/clock.h"
#include "core/rng.h"

enum { WARM_UP = 2, LONG_MS = 2000, FEWEST = 5, MOST = 1000 };

/* Collective: milliseconds of one run on the slowest rank. */
static ec_status run_once(ec_comm *comm, bench_fn fn, void *arg, double *all, double *out) {
    comm = comm->host;
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
    for (int i = 0; i < WARM_UP && last < LONG_MS; i++) EC_TRY(run_once(comm, fn, arg, all, &last));
    if (repeats == 0) { /* the same number on every rank */
        repeats = (int64_t)(1000 / (last + 1e-3));
        if (repeats < FEWEST) repeats = FEWEST;
    }
    const int count = repeats > MOST ? MOST : (int)repeats;
    for (int i = 0; i < count; i++) EC_TRY(run_once(comm, fn, arg, all, &times[i]));
    qsort(times, (size_t)count, sizeof *times, compare);
    *out = (bench_times){.count = count, .min = times[0], .max = times[count - 1],
                         .median = (times[(count - 1) / 2] + times[count / 2]) / 2};
done:
    free(times);
    free(all);
    return status;
}

/* A square product large enough for the library's best rate: every thread makes N columns of its own, or the whole
 * device makes one, of twice the size until it takes a while. */
enum { GEMM_CPU = 512, GEMM_DEVICE = 8192, GEMM_RUNS = 20 };
static const double GEMM_SECONDS = 0.01;

typedef struct gemm_job {
    ec_backend *be;
    int32_t size;
    const float *a;
    float *bc; /* for each thread B and C */
} gemm_job;

static ec_status gemm_task(void *arg, int32_t task, ec_stream *stream) {
    const gemm_job *j = arg;
    const int32_t n = j->size;
    const ec_gemm g = {.m = n, .n = n, .k = n, .lda = n, .ldb = n, .ldc = n};
    float *b = j->bc + (ptrdiff_t)task * 2 * n * n;
    return j->be->dense->gemm(j->be, stream, &g, j->a, b, NULL, b + (ptrdiff_t)n * n);
}

ec_status bench_upload(ec_backend *be, const float *from, size_t count, float **out) {
    void *memory = NULL;
    EC_RETURN_IF(be->memory->alloc(be, count * sizeof *from, &memory));
    *out = memory;
    EC_RETURN_IF(be->memory->upload(be, be->main_stream(be), memory, from, count * sizeof *from));
    return be->synchronize(be);
}

/* Random numbers: a GPU multiplies zeros faster. */
static ec_status random_array(ec_backend *be, size_t count, float **out) {
    ec_status status = EC_OK;
    float *numbers = malloc(count * sizeof *numbers);
    ec_rng rng = ec__rng_at(1, EC_RNG_DEMO, 0, count);
    if (!numbers) EC_FAIL(EC_ERR_MEMORY, "no memory for %zu numbers", count);
    for (size_t i = 0; i < count; i++) numbers[i] = (float)ec__rng_u32(&rng) * 0x1p-31f - 1;
    EC_TRY(bench_upload(be, numbers, count, out));
done:
    free(numbers);
    return status;
}

/* Of a product of that size: the fastest of some runs. */
static ec_status gemm_seconds(ec_backend *be, int32_t n, int32_t tasks, double *seconds) {
    ec_status status = EC_OK;
    const ec_gemm g = {.m = n, .n = n, .k = n, .lda = n, .ldb = n, .ldc = n};
    float *a = NULL, *bc = NULL;
    EC_TRY(random_array(be, (size_t)n * (size_t)n, &a));
    EC_TRY(random_array(be, (size_t)tasks * 2 * (size_t)n * (size_t)n, &bc));
    EC_TRY(be->dense->prepare(be, &g));
    gemm_job j = {.be = be, .size = n, .a = a, .bc = bc};
    for (int i = 0; i < GEMM_RUNS; i++) {
        const int64_t start = ec__now_ns();
        EC_TRY(be->for_each(be, tasks, gemm_task, &j));
        EC_TRY(be->synchronize(be));
        const double now = ec__seconds_since(start);
        *seconds = i == 0 || now < *seconds ? now : *seconds;
    }
done:
    be->memory->free(be, a);
    be->memory->free(be, bc);
    return status;
}

static ec_status gemm_rate(ec_backend *be, double *rate) {
    const bool device = be->native_queue(be) != NULL;
    const int32_t tasks = device ? 1 : be->width(be), most = device ? GEMM_DEVICE : GEMM_CPU;
    double seconds = 0;
    for (int32_t n = GEMM_CPU; n <= most && seconds < GEMM_SECONDS; n *= 2) {
        EC_RETURN_IF(gemm_seconds(be, n, tasks, &seconds));
        *rate = 2.0 * n * n * n * tasks / seconds;
    }
    return EC_OK;
}

ec_status bench_measure_rates(ec_backend *be, bench_rates *out) {
    double gemm = 0, fma = 0;
    EC_RETURN_IF(gemm_rate(be, &gemm));
    if (!be->native_queue(be)) EC_RETURN_IF(ec__cpu_peak_rate(be, &fma));
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
#if defined(__GLIBC__)
    malloc_trim(0); /* what was freed would be taken again without being counted */
#endif
    FILE *file = fopen("/proc/self/clear_refs", "w"); /* "5" sets the peak back to what is resident now */
    if (file) {
        fputs("5", file);
        fclose(file);
    }
    return process_memory("VmRSS");
}

double bench_memory_peak(double marked) { return process_memory("VmHWM") - marked; }

const char *const bench_devices[] = {"auto", "cpu", "cuda", NULL};
const char *const bench_maths[] = {
    [EC_MATH_FLOAT32] = "float32", [EC_MATH_TF32] = "tf32", [EC_MATH_BF16] = "bf16", NULL};
const char *const bench_modes[] = {[BENCH_FAST] = "fast", [BENCH_REPRODUCIBLE] = "reproducible", NULL};

ec_status bench_open(bench_place *place, ec_comm **comm, ec_backend **be) {
    EC_RETURN_IF(ec__comm_open("auto", comm));
    cli_set_ranks((*comm)->rank, (*comm)->size);
    place->threads = bench_threads(*comm, place->threads);
    const ec_backend_options options = {.threads = (int32_t)place->threads,
                                        .device = ec__backend_device_for((*comm)->node_rank),
                                        .math = (ec_math)place->math,
                                        .deterministic = !place->fast};
    EC_RETURN_IF(ec__comm_agree(*comm, ec__backend_open_with(bench_devices[place->device], &options, be)));
    EC_RETURN_IF(cli_agree_on_kernels(*comm, *be));
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

ec_status bench_print_json(json_t *root, const bench_times *times) {
    json_t *more = bench_times_json(times);
    if (root && more) json_object_update(root, more);
    json_decref(more);
    return cli_print_json(root);
}

ec_status bench_share(const ec_comm *comm, int64_t batch, int32_t *rows) {
    if (batch % comm->size != 0)
        return EC_ERROR(EC_ERR_USAGE, "--batch %lld cannot be spread evenly over %d ranks", (long long)batch,
                        comm->size);
    *rows = (int32_t)(batch / comm->size);
    return EC_OK;
}

json_t *bench_times_json(const bench_times *t) {
    return json_pack("{s:f, s:f, s:f, s:i}", "median", t->median, "min", t->min, "max", t->max, "repeats", t->count);
}
