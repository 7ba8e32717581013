/* Rows of an open cache. */
#define _GNU_SOURCE
#include "cache/feature_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/cache_reader.h"
#include "core/half.h"
#include "core/log.h"

ec_status ec__cache_open(const char *path, const ec_cache_options *options, ec_cache **out) {
    ec_status status = EC_OK;
    int64_t offset = 0;
    int fd = -1;
    ec_cache *cache = calloc(1, sizeof *cache);
    if (!cache) EC_FAIL(EC_ERR_MEMORY, "no memory for a cache handle");
    cache->unchecked = options && options->unchecked;
    cache->skip_corrupt = options && options->skip_corrupt;
    EC_TRY(ec__cache_read_index(path, cache, &offset));
    int64_t page = sysconf(_SC_PAGESIZE), ahead = offset % page;
    cache->map_bytes = (size_t)(ahead + cache->info.rows * cache->info.row_bytes);
    cache->verified = calloc((size_t)cache->info.blocks, sizeof *cache->verified);
    if (!cache->verified) EC_FAIL(EC_ERR_MEMORY, "no memory for the checks of %s", path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) EC_FAIL(EC_ERR_DATA, "cannot open %s: %s", path, strerror(errno));
    void *map = mmap(NULL, cache->map_bytes, PROT_READ, MAP_SHARED, fd, (off_t)(offset - ahead));
    if (map == MAP_FAILED)
        EC_FAIL(EC_ERR_ENV, "cannot map the %zu bytes of %s: %s", cache->map_bytes, path, strerror(errno));
    cache->map = map;
    cache->mapped = (ec_mapped){cache->info.path, map, cache->map_bytes, offset - ahead};
    cache->features = (const char *)map + ahead;
    /* Reading ahead of single rows of a large file would fetch far more than is used. */
    if (!ec__cache_fits_memory(cache)) madvise(map, cache->map_bytes, MADV_RANDOM);
    *out = cache;
    cache = NULL;
done:
    if (fd >= 0) close(fd);
    ec__cache_close(cache);
    return status;
}

void ec__cache_close(ec_cache *cache) {
    if (!cache) return;
    if (cache->map) munmap(cache->map, cache->map_bytes);
    free(cache->verified);
    ec__cache_release_index(cache);
    free(cache);
}

const ec_cache_info *ec__cache_info(const ec_cache *cache) { return &cache->info; }

ec_status ec__cache_check_compatible(const ec_cache *cache, const ec_cache_identity *expected) {
    return ec__cache_compare_identity(cache->info.path, &cache->info.identity, expected);
}

/* A check of block (rows first to end - 1) that may fail to read the block. */
typedef struct block_check {
    const ec_cache *cache;
    int64_t block, first, end;
    bool is_read;
} block_check;

static ec_status check_bytes(void *arg) {
    block_check *check = arg;
    const ec_cache_info *x = &check->cache->info;
    const int64_t first = check->first, end = check->end, block = check->block;
    uint64_t found =
        ec__checksum_of(check->cache->features + first * x->row_bytes, (size_t)((end - first) * x->row_bytes));
    check->is_read = true;
    if (found != x->checksum[block])
        return EC_ERROR(EC_ERR_DATA,
                        "%s is corrupt: block %lld (rows %lld to %lld) has checksum %016llx, %016llx expected",
                        x->path, (long long)block, (long long)first, (long long)end - 1, (unsigned long long)found,
                        (unsigned long long)x->checksum[block]);
    /* The sums of another program's file may be right and its features none. */
    return ec__cache_check_finite(check->cache, first, end);
}

/* Two threads may check the same block at once: both find the same. */
static ec_status check_block(ec_cache *cache, int64_t block) {
    const ec_cache_info *x = &cache->info;
    const int64_t first = block * x->block_rows,
                  end = first + x->block_rows < x->rows ? first + x->block_rows : x->rows;
    block_check check = {.cache = cache, .block = block, .first = first, .end = end};
    const ec_status status = ec__mapped_read(&cache->mapped, check_bytes, &check);
    if (status == EC_OK) atomic_store_explicit(&cache->verified[block], EC_BLOCK_GOOD, memory_order_relaxed);
    else if (!check.is_read)
        ec__error_prefix("block %lld (rows %lld to %lld): ", (long long)block, (long long)first, (long long)end - 1);
    return status;
}

static inline bool known_good(const ec_cache *cache, int64_t block) {
    return cache->unchecked || atomic_load_explicit(&cache->verified[block], memory_order_relaxed) == EC_BLOCK_GOOD;
}

/* One that is not good is told once, by whichever thread was first. */
bool ec__cache_recheck(ec_cache *cache, int64_t block) {
    if (check_block(cache, block) == EC_OK) return true;
    if (atomic_exchange(&cache->verified[block], EC_BLOCK_CORRUPT) != EC_BLOCK_CORRUPT) {
        EC_WARN("%s; its rows are left out", ec_error_last()->text);
        atomic_fetch_add(&cache->corrupt, 1);
    }
    ec_error_clear();
    return false;
}

/* Is the block good? */
static bool good_block(ec_cache *cache, int64_t block) {
    if (known_good(cache, block)) return true;
    if (atomic_load_explicit(&cache->verified[block], memory_order_relaxed) == EC_BLOCK_CORRUPT) return false;
    return ec__cache_recheck(cache, block);
}

static inline ec_status touch(ec_cache *cache, int64_t row) {
    int64_t block = row >> cache->block_shift;
    return known_good(cache, block) ? EC_OK : check_block(cache, block);
}

int64_t ec__cache_corrupt(const ec_cache *cache) { return atomic_load(&cache->corrupt); }

bool ec__cache_is_corrupt(const ec_cache *cache, int64_t block) {
    return atomic_load_explicit(&cache->verified[block], memory_order_relaxed) == EC_BLOCK_CORRUPT;
}

bool ec__cache_good(ec_cache *cache, int64_t row) { return good_block(cache, row >> cache->block_shift); }

ec_status ec__cache_raw(ec_cache *cache, int64_t row, int32_t view, const void **out) {
    const ec_cache_info *x = &cache->info;
    if (row < 0 || row >= x->rows || view < 0 || view >= x->identity.views)
        return EC_ERROR(EC_ERR_USAGE, "%s has no row %lld, view %d: it has %lld rows of %d views", x->path,
                        (long long)row, view, (long long)x->rows, x->identity.views);
    EC_RETURN_IF(touch(cache, row));
    *out = cache->features + row * x->row_bytes + view * cache->item_bytes;
    return EC_OK;
}

/* Asks for the lines of an item that is copied soon: a row is too short for the processor to see the pattern by
 * itself. */
static inline void prefetch(const ec_cache *cache, int64_t row, int32_t view) {
    if (row < 0 || row >= cache->info.rows) return;
    const char *item = cache->features + row * cache->info.row_bytes + view * cache->item_bytes;
    for (int64_t at = 0; at < cache->item_bytes; at += 64) __builtin_prefetch(item + at);
}

/* The arguments of ec__cache_rows and of ec__cache_rows_half. */
typedef struct row_copy {
    ec_cache *cache;
    const int64_t *row;
    const int32_t *view;
    int32_t count;
    bool widen; /* float16 to float32; else bytes are copied */
    char *out;
} row_copy;

static ec_status copy_rows(void *arg) {
    const row_copy *copy = arg;
    ec_cache *cache = copy->cache;
    const int64_t *row = copy->row, width = cache->info.identity.width;
    const int32_t *view = copy->view;
    const int64_t step = copy->widen ? width * (int64_t)sizeof(float) : cache->item_bytes;
    for (int32_t k = 0; k < copy->count; k++) {
        const void *item;
        char *to = copy->out + k * step;
        if (k + 1 < copy->count) prefetch(cache, row[k + 1], view ? view[k + 1] : 0);
        EC_RETURN_IF(ec__cache_raw(cache, row[k], view ? view[k] : 0, &item));
        if (copy->widen) ec__half_to_float(item, (float *)(void *)to, width);
        else memcpy(to, item, (size_t)step);
    }
    return EC_OK;
}

ec_status ec__cache_rows(ec_cache *cache, const int64_t *row, const int32_t *view, int32_t count, float *out) {
    const ec_h5_type dtype = cache->info.identity.dtype;
    row_copy copy = {.cache = cache, .row = row, .view = view, .count = count, .widen = dtype == EC_H5_F16,
                     .out = (char *)out};
    if (dtype != EC_H5_F16 && dtype != EC_H5_F32)
        return EC_ERROR(EC_ERR_USAGE, "%s holds raw items (%s), not features", cache->info.path,
                        ec__h5_type_name(dtype));
    return ec__mapped_read(&cache->mapped, copy_rows, &copy);
}

ec_status ec__cache_rows_half(ec_cache *cache, const int64_t *row, const int32_t *view, int32_t count, uint16_t *out) {
    const ec_h5_type dtype = cache->info.identity.dtype;
    row_copy copy = {.cache = cache, .row = row, .view = view, .count = count, .out = (char *)out};
    if (dtype != EC_H5_F16)
        return EC_ERROR(EC_ERR_USAGE, "%s holds items of %s, not of float16", cache->info.path,
                        ec__h5_type_name(dtype));
    return ec__mapped_read(&cache->mapped, copy_rows, &copy);
}

ec_status ec__cache_row(ec_cache *cache, int64_t row, int32_t view, float *out) {
    return ec__cache_rows(cache, &row, &view, 1, out);
}

/* The number behind a key of a file like /proc/meminfo; -1 where there is none. */
static int64_t number_in(const char *path, const char *key) {
    char line[256];
    int64_t number = -1;
    FILE *stream = fopen(path, "re");
    if (!stream) return -1;
    while (number < 0 && fgets(line, sizeof line, stream))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%" SCNd64, &number) != 1) number = -1;
    fclose(stream);
    return number;
}

bool ec__cache_fits_memory(const ec_cache *cache) {
    int64_t available = number_in("/proc/meminfo", "MemAvailable:"); /* KiB */
    int64_t limit = number_in("/sys/fs/cgroup/memory.max", "");      /* bytes; "max" is no number */
    if (available < 0) return false;
    available *= 1024;
    if (limit >= 0 && limit < available) available = limit;
    return cache->map_bytes <= (size_t)available / 2;
}

ec_status ec__cache_load(ec_cache *cache, const ec_progress *progress) {
    const ec_cache_info *x = &cache->info;
    enum { AHEAD = 16 << 20 };
    size_t asked = 0;
    for (int64_t block = 0; block < x->blocks; block++) {
        size_t at = (size_t)(block * x->block_rows * x->row_bytes);
        /* The mapping may be marked for random access: ask for what comes, in large pieces. */
        if (at + AHEAD / 2 >= asked && asked < cache->map_bytes) {
            size_t left = cache->map_bytes - asked;
            madvise((char *)cache->map + asked, left < AHEAD ? left : AHEAD, MADV_WILLNEED);
            asked += AHEAD;
        }
        if (!cache->skip_corrupt) EC_RETURN_IF(check_block(cache, block));
        else good_block(cache, block);
        ec__progress(progress, "blocks", block + 1, x->blocks);
    }
    return EC_OK;
}

void ec__cache_will_need(ec_cache *cache, const int64_t *row, int32_t count) {
    const ec_cache_info *x = &cache->info;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int32_t k = 0; k < count; k++) {
        if (row[k] < 0 || row[k] >= x->rows) continue;
        int64_t first = row[k], rows = 1, block = row[k] >> cache->block_shift;
        /* The first touch of a block reads all of it. */
        if (!known_good(cache, block)) {
            unsigned char unknown = EC_BLOCK_UNKNOWN;
            if (!atomic_compare_exchange_strong(&cache->verified[block], &unknown, EC_BLOCK_ASKED)) continue;
            first = block * x->block_rows;
            rows = x->rows - first < x->block_rows ? x->rows - first : x->block_rows;
        }
        uintptr_t at = (uintptr_t)(cache->features + first * x->row_bytes), start = at / page * page;
        madvise((void *)start, at + (uintptr_t)(rows * x->row_bytes) - start, MADV_WILLNEED);
    }
}
