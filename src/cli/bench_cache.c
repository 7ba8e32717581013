#define _GNU_SOURCE
#include "cli/bench_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache_writer.h"
#include "core/file.h"
#include "core/rng.h"

enum { CLASSES = 6, ID = 24 };

static const char *const class_names[CLASSES] = {"a", "b", "c", "d", "e", "f"};

/* Is there a signal that waits for the cache to be made? */
static bool interrupted(void) {
    sigset_t pending, mine;
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    sigpending(&pending);
    for (int number = 1; number < NSIG; number++)
        if (sigismember(&pending, number) == 1 && sigismember(&mine, number) == 1) return true;
    return false;
}

/* Rows of random numbers under path, by the cache writer. */
static ec_status write_cache(const char *path, const ec_cache_spec *spec) {
    ec_status status = EC_OK;
    const int64_t width = spec->identity.width;
    ec_cache_build *build = NULL;
    ec_cache_part *part = NULL;
    float *values = malloc((size_t)width * sizeof *values);
    if (!values) EC_FAIL(EC_ERR_MEMORY, "no memory for a row");
    EC_TRY(ec__cache_build_begin(path, spec, &build));
    EC_TRY(ec__cache_part_open(path, spec, 0, &part));
    for (int64_t i = 0; i < spec->rows; i++) {
        ec_rng rng = ec__rng_at(1, EC_RNG_DEMO, 0, (uint64_t)i);
        if (i % 1024 == 0 && interrupted()) EC_FAIL(EC_STOPPED, "stopped by a signal");
        for (int64_t d = 0; d < width; d++) values[d] = (float)ec__rng_u32(&rng) * 0x1p-32f;
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

static ec_status make(const char *path, int64_t rows, int64_t width, ec_h5_type dtype) {
    static const char none[] = "0000000000000000000000000000000000000000000000000000000000000000";
    ec_status status = EC_OK;
    const size_t n = (size_t)rows;
    const char **id = malloc(n * sizeof *id);
    char *text = malloc(n * ID);
    int32_t *label = malloc(n * sizeof *label);
    uint8_t *split = calloc(n, 1);
    if (!id || !text || !label || !split) EC_FAIL(EC_ERR_MEMORY, "no memory for %lld rows", (long long)rows);
    for (int64_t i = 0; i < rows; i++) {
        snprintf(text + i * ID, ID, "%lld", (long long)i);
        id[i] = text + i * ID;
        label[i] = (int32_t)(i % CLASSES);
    }
    const ec_cache_spec spec = {
        .identity = {.modality = "image", .encoder = "random", .encoder_sha256 = none, .random_weights = true,
                     .preprocessing = "{}", .manifest_sha256 = none, .dtype = dtype, .views = 1, .width = width},
        .rows = rows, .id = id, .label = label, .split = split, .class_names = class_names, .class_count = CLASSES};
    EC_TRY(write_cache(path, &spec));
done:
    free(split);
    free(label);
    free(text);
    free(id);
    return status;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at) {
    (void)info, (void)type, (void)at;
    return remove(path);
}

static ec_status make_in_folder(const char *base, int64_t rows, int64_t width, ec_h5_type dtype,
                                bench_cache *out) {
    ec_status status = EC_OK;
    char *folder = NULL, *path = NULL;
    bool made = false;
    EC_TRY(ec__format(&folder, "%s/emoclim-bench-XXXXXX", base));
    if (!mkdtemp(folder)) EC_FAIL(EC_ERR_IO, "cannot make a folder in %s: %s", base, strerror(errno));
    made = true;
    EC_TRY(ec__path_join(folder, "cache.h5", &path));
    EC_TRY(make(path, rows, width, dtype));
    out->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (out->fd < 0) EC_FAIL(EC_ERR_IO, "cannot open %s: %s", path, strerror(errno));
    EC_TRY(ec__cache_open(path, NULL, &out->warm));
    EC_TRY(ec__cache_open(path, NULL, &out->cold));
    EC_TRY(ec__cache_open(path, &(ec_cache_options){.unchecked = true}, &out->cold_unchecked));
done:
    if (made) nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS); /* also what a failed build left */
    free(path);
    free(folder);
    return status;
}

ec_status bench_cache_make(const char *base, int64_t rows, int64_t width, ec_h5_type dtype, bench_cache *out) {
    sigset_t held, before;
    if (!base) base = getenv("TMPDIR");
    sigemptyset(&held);
    for (size_t i = 0; i < 5; i++) sigaddset(&held, (const int[]){SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}[i]);
    pthread_sigmask(SIG_BLOCK, &held, &before);
    ec_status status = make_in_folder(base && *base ? base : "/tmp", rows, width, dtype, out);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

void bench_cache_release(bench_cache *cache) {
    ec__cache_close(cache->warm);
    ec__cache_close(cache->cold);
    ec__cache_close(cache->cold_unchecked);
    if (cache->fd >= 0) close(cache->fd);
    *cache = (bench_cache){.fd = -1};
}

ec_status bench_cache_forget(const bench_cache *cache) {
    if (fsync(cache->fd) != 0) return EC_ERROR(EC_ERR_IO, "cannot write a cache out: %s", strerror(errno));
    const int error = posix_fadvise(cache->fd, 0, 0, POSIX_FADV_DONTNEED);
    if (error) return EC_ERROR(EC_ERR_IO, "cannot put a cache out of memory: %s", strerror(error));
    return EC_OK;
}
