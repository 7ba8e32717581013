#define _GNU_SOURCE
#include "pipeline/loader.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/clock.h"
#include "pipeline/loader_read.h"

typedef struct slot {
    ec_batch batch;
    ec_batch_place place;
} slot;

struct ec_loader {
    ec_batch_reader reader; /* the thread's own */
    ec_pool *pool;          /* NULL: the thread reads alone */
    int32_t in_use, slots;
    void *memory;
    slot slot[EC_LOADER_SLOTS];

    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t filled, emptied;
    int64_t end;   /* of the steps */
    int64_t ready; /* first step that is not read */
    int64_t taken; /* first step that was not handed out */
    bool quit;
    ec_error error; /* code EC_OK: none */
    int64_t wait_ns;
};

static ec_status cache_read(void *arg, const int64_t *row, const int32_t *view, int32_t count, float *out) {
    return ec__cache_rows(arg, row, view, count, out);
}

static ec_status cache_read_half(void *arg, const int64_t *row, const int32_t *view, int32_t count, uint16_t *out) {
    return ec__cache_rows_half(arg, row, view, count, out);
}

static bool cache_good(void *arg, int64_t row) { return ec__cache_good(arg, row); }

static void cache_will_need(void *arg, const int64_t *row, int32_t count) { ec__cache_will_need(arg, row, count); }

ec_status ec__row_source_cache(ec_cache *cache, ec_row_source *out) {
    const ec_cache_info *info = ec__cache_info(cache);
    const ec_h5_type dtype = info->identity.dtype;
    if (dtype != EC_H5_F16 && dtype != EC_H5_F32)
        return EC_ERROR(EC_ERR_DATA, "%s holds raw items (%s), features expected", info->path, ec__h5_type_name(dtype));
    if (!info->label) return EC_ERROR(EC_ERR_DATA, "%s holds tags, class labels expected", info->path);
    if (info->identity.width > INT32_MAX)
        return EC_ERROR(EC_ERR_DATA, "%s has features of %lld numbers, at most %d expected", info->path,
                        (long long)info->identity.width, INT32_MAX);
    *out = (ec_row_source){.arg = cache, .width = (int32_t)info->identity.width, .views = info->identity.views,
                           .label = info->label, .read = cache_read,
                           .read_half = dtype == EC_H5_F16 ? cache_read_half : NULL,
                           .will_need = ec__cache_fits_memory(cache) ? NULL : cache_will_need};
    return EC_OK;
}

void ec__row_source_skip_corrupt(ec_row_source *source) { source->good = cache_good; }

void ec__row_source_announce(ec_row_source *source) { source->will_need = cache_will_need; }

/* Waits until step may be read: its slot is not in use. False when the loader is closed. */
static bool wait_for_slot(ec_loader *l, int64_t step) {
    pthread_mutex_lock(&l->lock);
    /* Steps taken - in_use .. taken - 1 are in use. */
    while (!l->quit && step >= l->taken - l->in_use + l->slots) pthread_cond_wait(&l->emptied, &l->lock);
    bool go_on = !l->quit;
    pthread_mutex_unlock(&l->lock);
    return go_on;
}

static void *thread_main(void *arg) {
    ec_loader *l = arg;
    for (int64_t step = l->reader.config.first_step; step < l->reader.config.end_step; step++) {
        if (!wait_for_slot(l, step)) break;
        slot *s = &l->slot[step % l->slots];
        ec_status status = ec__batch_read(&l->reader, step, &s->place, &s->batch);
        pthread_mutex_lock(&l->lock);
        if (status == EC_OK) l->ready = step + 1;
        else l->error = *ec_error_last();
        pthread_cond_signal(&l->filled);
        pthread_mutex_unlock(&l->lock);
        if (status != EC_OK) break;
    }
    return NULL;
}

ec_status ec__loader_next(ec_loader *l, const ec_batch **out) {
    ec_status status = EC_OK;
    const ec_batch *batch = NULL;
    pthread_mutex_lock(&l->lock);
    const int64_t step = l->taken;
    if (step < l->end) {
        /* The oldest batch handed out is given back by asking for the next. */
        l->taken = step + 1;
        pthread_cond_signal(&l->emptied);
        if (l->ready <= step && l->error.code == EC_OK) {
            int64_t start_ns = ec__now_ns();
            while (l->ready <= step && l->error.code == EC_OK) pthread_cond_wait(&l->filled, &l->lock);
            l->wait_ns += ec__now_ns() - start_ns;
        }
        if (l->ready > step) batch = &l->slot[step % l->slots].batch;
        else {
            l->taken = step;
            status = ec__error_adopt(&l->error);
        }
    }
    pthread_mutex_unlock(&l->lock);
    if (status != EC_OK) return ec__error_pass(status, __FILE__, __LINE__, __func__);
    *out = batch;
    return EC_OK;
}

int64_t ec__loader_wait_ns(const ec_loader *l) { return l->wait_ns; }

static void place(ec_loader *l, ec_arena *arena) {
    ec_batch_reader *r = &l->reader;
    const size_t rows = (size_t)r->rows;
    for (int m = 0; m < EC_MODALITIES; m++) {
        for (int i = 0; i < l->slots; i++) {
            l->slot[i].place.x[m] = ec__arena_take(arena, rows * (size_t)r->source[m].width,
                                                   r->half[m] ? sizeof(uint16_t) : sizeof(float));
            l->slot[i].place.label[m] = ec__arena_take(arena, rows, sizeof(int32_t));
        }
        for (int i = 0; i < EC_LOADER_RING; i++) r->row[i][m] = ec__arena_take(arena, rows, sizeof(int64_t));
        r->view[m] = ec__arena_take(arena, rows, sizeof(int32_t));
    }
}

static void set_sizes(ec_loader *l) {
    l->in_use = l->reader.config.in_use > 0 ? l->reader.config.in_use : 1;
    l->slots = EC_LOADER_READY + l->in_use;
}

int32_t ec__loader_threads(int32_t processors) {
    enum { MOST = 8 };
    return processors < 3 ? 1 : processors <= MOST ? processors - 1 : MOST;
}

size_t ec__loader_bytes(const ec_loader_config *config, const ec_row_source source[EC_MODALITIES]) {
    ec_loader l = {0};
    ec_arena plan = ec__arena_counting();
    ec__batch_reader_init(&l.reader, config, NULL, source);
    set_sizes(&l);
    place(&l, &plan);
    return ec__arena_used(&plan);
}

static ec_status allocate(ec_loader *l) {
    ec_backend *be = l->reader.config.be;
    size_t bytes = ec__loader_bytes(&l->reader.config, l->reader.source);
    if (be) EC_RETURN_IF(be->memory->alloc_host(be, bytes, &l->memory));
    else l->memory = aligned_alloc(EC_ARENA_ALIGN, (bytes + EC_ARENA_ALIGN - 1) / EC_ARENA_ALIGN * EC_ARENA_ALIGN);
    if (!l->memory)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for %d batches of %d rows (%zu bytes)", l->slots, l->reader.rows, bytes);
    memset(l->memory, 0, bytes); /* pages are there before the first batch */
    ec_arena arena = ec__arena_over(l->memory, bytes);
    place(l, &arena);
    return EC_OK;
}

static ec_status start_masked(ec_loader *l) {
    const int32_t threads = l->reader.config.threads;
    if (threads > 1) EC_RETURN_IF(ec__pool_new(threads, &l->pool));
    l->reader.pool = l->pool;
    int failed = pthread_create(&l->thread, NULL, thread_main, l);
    if (failed) return EC_ERROR(EC_ERR_ENV, "cannot start the loader's thread: %s", strerror(failed));
    l->running = true;
    return EC_OK;
}

/* Signals are for the main thread: the new ones inherit a mask that blocks them all. Only a page of a cache that cannot
 * be read is the reader's own affair. */
static ec_status start_threads(ec_loader *l) {
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ec_status status = start_masked(l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

ec_status ec__loader_open(const ec_loader_config *config, ec_sampler *sampler,
                          const ec_row_source source[EC_MODALITIES], ec_loader **out) {
    ec_status status = EC_OK;
    ec_loader *l = calloc(1, sizeof *l);
    if (!l) EC_FAIL(EC_ERR_MEMORY, "no memory for a loader");
    assert(config->global_rows % config->size == 0 && config->rank >= 0 && config->rank < config->size);
    assert(config->in_use <= EC_LOADER_IN_USE);
    ec__batch_reader_init(&l->reader, config, sampler, source);
    set_sizes(l);
    l->ready = l->taken = config->first_step;
    l->end = config->end_step;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->emptied, NULL);
    EC_TRY(allocate(l));
    EC_TRY(start_threads(l));
    *out = l;
    l = NULL;
done:
    ec__loader_close(l);
    return status;
}

void ec__loader_close(ec_loader *l) {
    if (!l) return;
    ec_backend *be = l->reader.config.be;
    if (l->running) {
        pthread_mutex_lock(&l->lock);
        l->quit = true;
        pthread_cond_signal(&l->emptied);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    ec__pool_free(l->pool);
    pthread_cond_destroy(&l->emptied);
    pthread_cond_destroy(&l->filled);
    pthread_mutex_destroy(&l->lock);
    if (be) be->memory->free_host(be, l->memory);
    else free(l->memory);
    free(l);
}
