/* emoclim bench loader: random rows of a feature cache, by the reader alone and by the whole loader. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "cli/bench.h"
#include "cli/bench_cache.h"
#include "core/clock.h"
#include "core/rng.h"
#include "pipeline/loader.h"

typedef struct options {
    int64_t rows, width, batch, repeats, threads;
    int dtype, sampling;
    bool half;
    double step;
    const char *folder;
} options;

/* Batches of a repetition: as many rows as fill a while, but some batches. */
enum { MOST_BATCHES = 256, FEWEST_BATCHES = 8, ROWS_OF_ALL = 1 << 19 };

static const options defaults = {.rows = 200000, .width = 512, .batch = 64};
static const char *const dtype_names[] = {"float32", "float16", NULL};
static const ec_h5_type dtypes[] = {EC_H5_F32, EC_H5_F16};
static const char *const sampling_names[] = {
    [EC_SAMPLE_CLASS_BALANCED] = "class_balanced", [EC_SAMPLE_SHUFFLED] = "shuffled", NULL};

static const cli_option table[] = {
    {"rows", 'n', CLI_INT, "NUMBER", "rows of the cache that is made; default 200000", offsetof(options, rows), 64,
     1 << 28, NULL},
    {"width", 'd', CLI_INT, "WIDTH", "numbers in a row; default 512", offsetof(options, width), 1, 1 << 16, NULL},
    {"batch", 'b', CLI_INT, "ROWS", "rows of a batch; default 64", offsetof(options, batch), 1, 1 << 20, NULL},
    {"dtype", 't', CLI_CHOICE, "TYPE", "as the cache holds it; default float32", offsetof(options, dtype), 0, 0,
     dtype_names},
    {"half", 0, CLI_FLAG, NULL, "hand float16 rows over as they are, as for a GPU; default: as float32",
     offsetof(options, half), 0, 0, NULL},
    {"threads", 'j', CLI_INT, "NUMBER", "threads of the loader; default: as for a GPU, from the processors here",
     offsetof(options, threads), 0, 1024, NULL},
    {"sampling", 's', CLI_CHOICE, "NAME", "class_balanced or shuffled; default class_balanced",
     offsetof(options, sampling), 0, 0, sampling_names},
    {"step", 0, CLI_DOUBLE, "MS", "milliseconds of a training step, to be kept up with; default: not compared",
     offsetof(options, step), 0, 1e9, NULL},
    {"folder", 'f', CLI_TEXT, "FOLDER", "where to make the cache; default $TMPDIR or /tmp", offsetof(options, folder),
     0, 0, NULL},
    {"repeats", 'r', CLI_INT, "NUMBER", "repetitions; default: as many as fit into a second, at least 5",
     offsetof(options, repeats), 0, 1000, NULL},
    {.name = NULL},
};

typedef struct problem {
    ec_comm *comm;
    bench_cache file;
    ec_cache *cache; /* of file, the one that is measured */
    int64_t *row; /* (batches, batch) random rows */
    float *out;   /* (batch, width) */
    int32_t batch, batches, threads;
    ec_sampler *sampler;
    ec_loader *loader;
} problem;

static ec_status open_problem(const options *o, problem *p) {
    ec_status status = EC_OK;
    ec_rng rng = ec__rng_at(1, EC_RNG_DEMO, 1, 0);
    const int64_t most = ROWS_OF_ALL / o->batch;
    p->batch = (int32_t)o->batch;
    p->batches = most < FEWEST_BATCHES ? FEWEST_BATCHES : most < MOST_BATCHES ? (int32_t)most : MOST_BATCHES;
    p->threads = o->threads ? (int32_t)o->threads : ec__loader_threads(ec__processor_count());
    EC_TRY(bench_cache_make(o->folder, o->rows, o->width, dtypes[o->dtype], &p->file));
    p->cache = p->file.warm;
    p->row = malloc((size_t)(p->batches * o->batch) * sizeof *p->row);
    p->out = malloc((size_t)(o->batch * o->width) * sizeof *p->out);
    if (!p->row || !p->out) EC_FAIL(EC_ERR_MEMORY, "no memory for a batch");
    for (int64_t i = 0; i < p->batches * o->batch; i++) p->row[i] = (int64_t)ec__rng_below(&rng, (uint64_t)o->rows);
done:
    return status;
}

static void close_loader(problem *p) {
    ec__loader_close(p->loader);
    ec__sampler_free(p->sampler);
    p->loader = NULL;
    p->sampler = NULL;
}

static void close_problem(problem *p) {
    close_loader(p);
    bench_cache_release(&p->file);
    free(p->row);
    free(p->out);
    ec__comm_close(p->comm);
}

static ec_status read_batches(void *arg) {
    problem *p = arg;
    for (int32_t i = 0; i < p->batches; i++)
        EC_RETURN_IF(ec__cache_rows(p->cache, p->row + i * p->batch, NULL, p->batch, p->out));
    return EC_OK;
}

static ec_status load_batches(void *arg) {
    problem *p = arg;
    const ec_batch *batch = NULL;
    for (int32_t i = 0; i < p->batches; i++) EC_RETURN_IF(ec__loader_next(p->loader, &batch));
    return EC_OK;
}

static ec_status open_loader(const options *o, problem *p, bool announce_rows) {
    const ec_sample_pool pool = {.rows = o->rows, .count = o->rows, .label = ec__cache_info(p->cache)->label};
    const ec_sampler_config drawing = {.global_rows = o->batch, .sampling = (ec_sampling)o->sampling, .seed = 1};
    const ec_loader_config loading = {.global_rows = o->batch, .size = 1, .seed = 1, .end_step = INT32_MAX,
                                      .threads = p->threads, .half = o->half};
    ec_row_source source;
    EC_RETURN_IF(ec__row_source_cache(p->cache, &source));
    if (announce_rows) ec__row_source_announce(&source);
    EC_RETURN_IF(ec__sampler_new(&drawing, (ec_sample_pool[]){pool, pool}, &p->sampler));
    return ec__loader_open(&loading, p->sampler, (ec_row_source[]){source, source}, &p->loader);
}

/* Rows a second of the loader from a file that is not in memory. The cache is closed afterwards. */
static ec_status measure_cold(const options *o, problem *p, ec_cache **cache, double *rate) {
    ec_status status = EC_OK;
    p->cache = *cache;
    EC_TRY(bench_cache_forget(&p->file));
    const int64_t start = ec__now_ns();
    EC_TRY(open_loader(o, p, true));
    EC_TRY(load_batches(p));
    *rate = 2.0 * p->batches * (double)o->batch / ec__seconds_since(start);
    close_loader(p);
    ec__cache_close(*cache);
    *cache = NULL;
done:
    return status;
}

typedef struct figures {
    double reader, loader, cold, cold_unchecked; /* rows a second */
    double cpu_ns;                               /* of all threads, a row that the loader hands over */
    double batch_ms, batch_least, batch_most;    /* of the loader, both modalities */
    bench_times reader_times, loader_times;      /* of all batches */
} figures;

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* In memory: the reader alone, then the loader, of which the processors' time is that of a run of its own. */
static ec_status measure_warm(const options *o, problem *p, figures *f) {
    ec_status status = EC_OK;
    const double rows = (double)p->batches * (double)o->batch;
    EC_TRY(ec__cache_load(p->cache, NULL));
    EC_TRY(bench_repeat(p->comm, o->repeats, read_batches, p, &f->reader_times));
    f->reader = rows / f->reader_times.median * 1e3;
    EC_TRY(open_loader(o, p, false));
    EC_TRY(bench_repeat(p->comm, o->repeats, load_batches, p, &f->loader_times));
    f->loader = 2 * rows / f->loader_times.median * 1e3;
    f->batch_ms = f->loader_times.median / p->batches;
    f->batch_least = f->loader_times.min / p->batches;
    f->batch_most = f->loader_times.max / p->batches;
    const double before = cpu_seconds();
    EC_TRY(load_batches(p));
    f->cpu_ns = (cpu_seconds() - before) * 1e9 / (2 * rows);
    close_loader(p);
done:
    return status;
}

static ec_status measure(const options *o, problem *p, figures *f) {
    EC_RETURN_IF(measure_warm(o, p, f));
    ec__cache_close(p->file.warm);
    p->file.warm = NULL;
    EC_RETURN_IF(measure_cold(o, p, &p->file.cold, &f->cold));
    return measure_cold(o, p, &p->file.cold_unchecked, &f->cold_unchecked);
}

/* What a row takes as it is handed over. */
static double row_bytes(const options *o) { return (double)o->width * (o->half && o->dtype == 1 ? 2 : 4); }

static ec_status report_json(const options *o, const problem *p, const figures *f) {
    json_t *root = json_pack(
        "{s:s, s:I, s:I, s:I, s:s, s:b, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:{s:f, s:f, s:f}, s:o, s:o}", "bench",
        "loader", "rows", (json_int_t)o->rows, "width", (json_int_t)o->width, "batch", (json_int_t)o->batch, "dtype",
        dtype_names[o->dtype], "half", o->half, "sampling", sampling_names[o->sampling], "threads", p->threads,
        "reader_rows_per_s", f->reader, "loader_rows_per_s", f->loader, "loader_bytes_per_s",
        f->loader * row_bytes(o), "cpu_ns_per_row", f->cpu_ns, "cold_rows_per_s", f->cold,
        "cold_unchecked_rows_per_s", f->cold_unchecked, "batch_ms", "median", f->batch_ms, "min", f->batch_least,
        "max", f->batch_most, "reader_ms", bench_times_json(&f->reader_times), "loader_ms",
        bench_times_json(&f->loader_times));
    if (root && o->step > 0) {
        json_object_set_new(root, "needed_rows_per_s", json_real(2e3 * (double)o->batch / o->step));
        json_object_set_new(root, "reached", json_real(o->step / f->batch_ms));
    }
    return cli_print_json(root);
}

static ec_status report(const cli_context *cli, const options *o, const problem *p, const figures *f) {
    if (cli->json) return report_json(o, p, f);
    EC_RETURN_IF(cli_print(
        "Random batches of %lld rows x %lld from %lld rows of %s, %s, thousand rows a second\n"
        "  reader, in memory           %8.0f\n"
        "  loader, in memory           %8.0f  %d thread%s, %.1f GB/s as %s, %.0f ns of processors a row\n"
        "  loader, from disk           %8.0f\n"
        "  loader, from disk, unchecked%8.0f\n"
        "  a batch of both modalities, in memory: %.3f ms (%.3f to %.3f)\n",
        (long long)o->batch, (long long)o->width, (long long)o->rows, dtype_names[o->dtype],
        sampling_names[o->sampling], f->reader * 1e-3, f->loader * 1e-3, p->threads, p->threads == 1 ? "" : "s",
        f->loader * row_bytes(o) * 1e-9, o->half && o->dtype == 1 ? "float16" : "float32", f->cpu_ns, f->cold * 1e-3,
        f->cold_unchecked * 1e-3, f->batch_ms, f->batch_least, f->batch_most));
    if (o->step <= 0) return EC_OK;
    return cli_print("  a step of %.3f ms needs %.0f: %s, %.2f times that is reached\n", o->step,
                     2 * (double)o->batch / o->step, f->batch_ms <= o->step ? "the loader keeps up" : "it would wait",
                     o->step / f->batch_ms);
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const options *o = values;
    problem p = {.file = {.fd = -1}};
    figures f = {0};
    EC_TRY(ec__comm_open("self", &p.comm));
    EC_TRY(open_problem(o, &p));
    EC_TRY(measure(o, &p, &f));
    EC_TRY(report(cli, o, &p, &f));
done:
    close_problem(&p);
    return status;
}

const cli_command cli_bench_loader = {
    .name = "loader",
    .summary = "Measure how fast random batches come from a feature cache.",
    .details = "Makes a cache of random numbers whose file has no name any more when measuring begins, so that nothing "
               "of it can be left behind (200,000 rows of 512 float32 are 410 MB, and twice that while it is made). "
               "The reader alone uses one thread; the loader draws, reads and hands over the batches of both "
               "modalities. From disk: after the file was put out of memory; the first touch of a block reads all of "
               "it for its checksum, unless unchecked. With --step, the rate that steps of that length would need is "
               "told beside.",
    .options = table,
    .values_size = sizeof(options),
    .defaults = &defaults,
    .run = run,
};
