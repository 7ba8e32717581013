/* emoclim bench loader: random rows of a feature cache, by the reader alone and by the whole loader. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache_writer.h"
#include "cli/bench.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/rng.h"
#include "pipeline/loader.h"

typedef struct options {
    int64_t rows, width, batch, repeats;
    int dtype;
    const char *folder;
} options;

enum { BATCHES = 256, CLASSES = 6, ID = 24 }; /* BATCHES: in one repetition */

static const options defaults = {.rows = 200000, .width = 512, .batch = 64};
static const char *const dtype_names[] = {"float32", "float16", NULL};
static const ec_h5_type dtypes[] = {EC_H5_F32, EC_H5_F16};
static const char *const class_names[CLASSES] = {"a", "b", "c", "d", "e", "f"};

static const cli_option table[] = {
    {"rows", 'n', CLI_INT, "NUMBER", "rows of the cache that is made; default 200000", offsetof(options, rows), 64,
     1 << 28, NULL},
    {"width", 'd', CLI_INT, "WIDTH", "numbers in a row; default 512", offsetof(options, width), 1, 1 << 16, NULL},
    {"batch", 'b', CLI_INT, "ROWS", "rows of a batch; default 64", offsetof(options, batch), 1, 1 << 20, NULL},
    {"dtype", 't', CLI_CHOICE, "TYPE", "as the cache holds it; default float32", offsetof(options, dtype), 0, 0,
     dtype_names},
    {"folder", 'f', CLI_TEXT, "FOLDER", "where to make the cache; default $TMPDIR or /tmp", offsetof(options, folder),
     0, 0, NULL},
    {"repeats", 'r', CLI_INT, "NUMBER", "repetitions; default: as many as fit into a second, at least 5",
     offsetof(options, repeats), 0, 1000, NULL},
    {.name = NULL},
};

typedef struct problem {
    ec_comm *comm;
    char folder[4096]; /* "" before it is made */
    char *path;
    ec_cache *cache;
    int64_t *row; /* (BATCHES, batch) random rows */
    float *out;   /* (batch, width) */
    int32_t batch;
    ec_sampler *sampler;
    ec_loader *loader;
} problem;

/* Rows rows of random numbers under path, by the cache writer. */
static ec_status write_cache(const options *o, const char *path, const ec_cache_spec *spec) {
    ec_status status = EC_OK;
    ec_cache_build *build = NULL;
    ec_cache_part *part = NULL;
    float *values = malloc((size_t)o->width * sizeof *values);
    if (!values) EC_FAIL(EC_ERR_MEMORY, "no memory for a row");
    EC_TRY(ec__cache_build_begin(path, spec, &build));
    EC_TRY(ec__cache_part_open(path, spec, 0, &part));
    for (int64_t i = 0; i < o->rows; i++) {
        ec_rng rng = ec__rng_at(1, EC_RNG_DEMO, 0, (uint64_t)i);
        for (int64_t d = 0; d < o->width; d++) values[d] = (float)ec__rng_u32(&rng) * 0x1p-32f;
        EC_TRY(ec__cache_part_append(part, i, values));
    }
    status = ec__cache_part_close(part);
    part = NULL;
    EC_TRY(status);
    status = ec__cache_build_finish(build, NULL);
    build = NULL;
    EC_TRY(status);
done:
    if (part) ec__cache_part_close(part);
    ec__cache_build_abandon(build);
    free(values);
    return status;
}

static ec_status make_cache(const options *o, const char *path) {
    static const char none[] = "0000000000000000000000000000000000000000000000000000000000000000";
    ec_status status = EC_OK;
    const size_t n = (size_t)o->rows;
    const char **id = malloc(n * sizeof *id);
    char *text = malloc(n * ID);
    int32_t *label = malloc(n * sizeof *label);
    uint8_t *split = calloc(n, 1);
    if (!id || !text || !label || !split) EC_FAIL(EC_ERR_MEMORY, "no memory for %lld rows", (long long)o->rows);
    for (int64_t i = 0; i < o->rows; i++) {
        snprintf(text + i * ID, ID, "%lld", (long long)i);
        id[i] = text + i * ID;
        label[i] = (int32_t)(i % CLASSES);
    }
    const ec_cache_spec spec = {
        .identity = {.modality = "image", .encoder = "random", .encoder_sha256 = none, .random_weights = true,
                     .preprocessing = "{}", .manifest_sha256 = none, .dtype = dtypes[o->dtype], .views = 1,
                     .width = o->width},
        .rows = o->rows, .id = id, .label = label, .split = split, .class_names = class_names, .class_count = CLASSES};
    EC_TRY(write_cache(o, path, &spec));
done:
    free(split);
    free(label);
    free(text);
    free(id);
    return status;
}

static ec_status make_folder(const options *o, problem *p) {
    const char *base = o->folder ? o->folder : getenv("TMPDIR");
    int length = snprintf(p->folder, sizeof p->folder, "%s/emoclim-bench-XXXXXX", base && *base ? base : "/tmp");
    if (length >= (int)sizeof p->folder || !mkdtemp(p->folder)) {
        p->folder[0] = '\0';
        return EC_ERROR(EC_ERR_IO, "cannot make a folder in %s: %s", base && *base ? base : "/tmp", strerror(errno));
    }
    return EC_OK;
}

static ec_status open_problem(const options *o, problem *p) {
    ec_status status = EC_OK;
    ec_rng rng = ec__rng_at(1, EC_RNG_DEMO, 1, 0);
    p->batch = (int32_t)o->batch;
    EC_TRY(make_folder(o, p));
    EC_TRY(ec__path_join(p->folder, "cache.h5", &p->path));
    EC_TRY(make_cache(o, p->path));
    EC_TRY(ec__cache_open(p->path, NULL, &p->cache));
    p->row = malloc((size_t)(BATCHES * o->batch) * sizeof *p->row);
    p->out = malloc((size_t)(o->batch * o->width) * sizeof *p->out);
    if (!p->row || !p->out) EC_FAIL(EC_ERR_MEMORY, "no memory for a batch");
    for (int64_t i = 0; i < BATCHES * o->batch; i++) p->row[i] = (int64_t)ec__rng_below(&rng, (uint64_t)o->rows);
done:
    return status;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)type, (void)at;
    return remove(path);
}

static void close_problem(problem *p) {
    ec__loader_close(p->loader);
    ec__sampler_free(p->sampler);
    ec__cache_close(p->cache);
    if (p->folder[0]) nftw(p->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS); /* also what a failed build left */
    free(p->path);
    free(p->row);
    free(p->out);
    ec__comm_close(p->comm);
}

static ec_status read_batches(void *arg) {
    problem *p = arg;
    for (int i = 0; i < BATCHES; i++)
        EC_RETURN_IF(ec__cache_rows(p->cache, p->row + i * p->batch, NULL, p->batch, p->out));
    return EC_OK;
}

static ec_status load_batches(void *arg) {
    problem *p = arg;
    const ec_batch *batch = NULL;
    for (int i = 0; i < BATCHES; i++) EC_RETURN_IF(ec__loader_next(p->loader, &batch));
    return EC_OK;
}

static ec_status open_loader(const options *o, problem *p, bool announce_rows, ec_row_source *source) {
    const ec_sample_pool pool = {.rows = o->rows, .count = o->rows, .label = ec__cache_info(p->cache)->label};
    const ec_sampler_config drawing = {.global_rows = o->batch, .sampling = EC_SAMPLE_CLASS_BALANCED, .seed = 1};
    const ec_loader_config loading = {.global_rows = o->batch, .size = 1, .seed = 1, .end_step = INT32_MAX};
    EC_RETURN_IF(ec__row_source_cache(p->cache, source));
    if (announce_rows) ec__row_source_announce(source);
    EC_RETURN_IF(ec__sampler_new(&drawing, (ec_sample_pool[]){pool, pool}, &p->sampler));
    return ec__loader_open(&loading, p->sampler, (ec_row_source[]){*source, *source}, &p->loader);
}

static void close_loader(problem *p) {
    ec__loader_close(p->loader);
    ec__sampler_free(p->sampler);
    p->loader = NULL;
    p->sampler = NULL;
}

/* Puts the file out of the system's cache: its pages must be on disk for that, and mapped by nobody. */
static ec_status forget(const char *path) {
    ec_status status = EC_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        EC_FAIL(EC_ERR_IO, "cannot put %s out of memory: %s", path, strerror(errno));
done:
    if (fd >= 0) close(fd);
    return status;
}

/* Rows a second of the loader from a file that is not in memory, unchecked or not. */
static ec_status measure_cold(const options *o, problem *p, bool unchecked, double *rate) {
    ec_status status = EC_OK;
    const ec_cache_options reading = {.unchecked = unchecked};
    ec_row_source source;
    ec__cache_close(p->cache);
    p->cache = NULL;
    EC_TRY(forget(p->path));
    EC_TRY(ec__cache_open(p->path, &reading, &p->cache));
    const int64_t start = ec__now_ns();
    EC_TRY(open_loader(o, p, true, &source));
    EC_TRY(load_batches(p));
    *rate = 2.0 * BATCHES * (double)o->batch / ec__seconds_since(start);
    close_loader(p);
done:
    return status;
}

typedef struct figures {
    double reader, loader, cold, cold_unchecked; /* rows a second */
    bench_times reader_times, loader_times;
} figures;

static ec_status measure(const options *o, problem *p, figures *f) {
    ec_status status = EC_OK;
    const double rows = (double)BATCHES * (double)o->batch;
    ec_row_source source;
    EC_TRY(ec__cache_load(p->cache, NULL));
    EC_TRY(bench_repeat(p->comm, o->repeats, read_batches, p, &f->reader_times));
    f->reader = rows / f->reader_times.median * 1e3;
    EC_TRY(open_loader(o, p, false, &source));
    EC_TRY(bench_repeat(p->comm, o->repeats, load_batches, p, &f->loader_times));
    f->loader = 2 * rows / f->loader_times.median * 1e3;
    close_loader(p);
    EC_TRY(measure_cold(o, p, false, &f->cold));
    EC_TRY(measure_cold(o, p, true, &f->cold_unchecked));
done:
    return status;
}

static ec_status report(const cli_context *cli, const options *o, const figures *f) {
    if (cli->json)
        return cli_print_json(
            json_pack("{s:s, s:I, s:I, s:I, s:s, s:f, s:f, s:f, s:f, s:o, s:o}", "bench", "loader", "rows",
                      (json_int_t)o->rows, "width", (json_int_t)o->width, "batch", (json_int_t)o->batch, "dtype",
                      dtype_names[o->dtype], "reader_rows_per_s", f->reader, "loader_rows_per_s", f->loader,
                      "cold_rows_per_s", f->cold, "cold_unchecked_rows_per_s", f->cold_unchecked, "reader_ms",
                      bench_times_json(&f->reader_times), "loader_ms", bench_times_json(&f->loader_times)));
    return cli_print(
        "Random batches of %lld rows x %lld from %lld rows of %s, thousand rows a second\n"
        "  reader, in memory           %8.0f\n"
        "  loader, in memory           %8.0f\n"
        "  loader, from disk           %8.0f\n"
        "  loader, from disk, unchecked%8.0f\n",
        (long long)o->batch, (long long)o->width, (long long)o->rows, dtype_names[o->dtype], f->reader * 1e-3,
        f->loader * 1e-3, f->cold * 1e-3, f->cold_unchecked * 1e-3);
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const options *o = values;
    problem p = {0};
    figures f = {0};
    EC_TRY(ec__comm_open("self", &p.comm));
    EC_TRY(open_problem(o, &p));
    EC_TRY(measure(o, &p, &f));
    EC_TRY(report(cli, o, &f));
done:
    close_problem(&p);
    return status;
}

const cli_command cli_bench_loader = {
    .name = "loader",
    .summary = "Measure how fast random batches come from a feature cache.",
    .details = "Makes a cache of random numbers in a folder of its own and removes it afterwards (200,000 rows of 512 "
               "float32 are 410 MB, and twice that while it is made). The reader alone uses one thread; the loader "
               "draws, reads and hands over the batches of both modalities. From disk: after the file was put out of "
               "memory; the first touch of a block reads all of it for its checksum, unless unchecked.",
    .options = table,
    .values_size = sizeof(options),
    .defaults = &defaults,
    .run = run,
};
