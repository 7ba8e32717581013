#define _GNU_SOURCE
#include "pipeline/loader.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/rng.h"
#include "pipeline/replace.h"

/* READY: batches that are read ahead of those in use. SLOTS: most of both. AHEAD: how many steps before it is read a
 * batch is announced; enough for a disk to answer. RING: batches whose rows are drawn and not yet given back. */
enum { READY = 2, SLOTS = READY + EC_LOADER_IN_USE, AHEAD = 8, RING = SLOTS + AHEAD };

typedef struct slot {
    ec_batch batch;
    float *x[EC_MODALITIES];
    int32_t *label[EC_MODALITIES];
} slot;

struct ec_loader {
    ec_loader_config config;
    ec_sampler *sampler;
    ec_row_source source[EC_MODALITIES];
    int32_t rows; /* B */
    int32_t in_use, slots;
    void *memory;
    slot slot[SLOTS];
    int64_t *row[RING][EC_MODALITIES]; /* (B) rows of step s at s mod RING */
    int32_t *view;                     /* (B) of the batch that is read */
    int64_t drawn;                     /* first step whose rows are not drawn; the thread's own */

    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t filled, emptied;
    int64_t ready; /* first step that is not read */
    int64_t taken; /* first step that was not handed out */
    bool quit;
    ec_error error; /* code EC_OK: none */
    int64_t wait_ns;
};

static ec_status cache_read(void *arg, const int64_t *row, const int32_t *view, int32_t count, float *out) {
    return ec__cache_rows(arg, row, view, count, out);
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
                           .will_need = ec__cache_fits_memory(cache) ? NULL : cache_will_need};
    return EC_OK;
}

void ec__row_source_skip_corrupt(ec_row_source *source) { source->good = cache_good; }

void ec__row_source_announce(ec_row_source *source) { source->will_need = cache_will_need; }

/* Draws the rows of steps up to AHEAD after step, each once and in order, and announces them. */
static ec_status draw_ahead(ec_loader *l, int64_t step) {
    ec_status status = EC_OK;
    for (; l->drawn < l->config.end_step && l->drawn <= step + AHEAD; l->drawn++)
        for (int m = 0; m < EC_MODALITIES; m++) {
            int64_t *row = l->row[l->drawn % RING][m];
            EC_TRY(ec__sampler_rows(l->sampler, (ec_modality)m, l->drawn, (int64_t)l->config.rank * l->rows, l->rows,
                                    row));
            if (l->source[m].will_need) l->source[m].will_need(l->source[m].arg, row, l->rows);
        }
done:
    /* The step itself may be well while one to come is not: then that one's turn is when it fails. */
    return status != EC_OK && l->drawn > step ? EC_OK : status;
}

static void draw_views(const ec_loader *l, ec_modality m, int64_t step) {
    for (int32_t b = 0; b < l->rows; b++) {
        uint64_t position = (uint64_t)l->config.rank * (uint64_t)l->rows + (uint64_t)b;
        ec_rng rng = ec__rng_at(l->config.seed, EC_RNG_AUGMENT, (uint32_t)step, (uint64_t)m << 40 | position);
        l->view[b] = (int32_t)ec__rng_below(&rng, (uint64_t)l->source[m].views);
    }
}

/* Replaces the rows of this rank's positions that cannot be read. */
static ec_status replace_bad(ec_loader *l, ec_modality m, int64_t step) {
    ec_status status = EC_OK;
    const ec_row_source *from = &l->source[m];
    int64_t *row = l->row[step % RING][m], count;
    const int64_t *candidate = ec__sampler_candidates(l->sampler, m, &count);
    for (int32_t b = 0; candidate && b < l->rows; b++) {
        if (from->good(from->arg, row[b])) continue;
        uint64_t position = (uint64_t)l->config.rank * (uint64_t)l->rows + (uint64_t)b;
        ec_rng rng = ec__rng_at(l->config.seed, EC_RNG_REPLACE, (uint32_t)step, (uint64_t)m << 40 | position);
        EC_TRY(ec__replacement(from, candidate, count, &rng, row[b], &row[b]));
    }
done:
    return status;
}

static ec_status fill(ec_loader *l, int64_t step, slot *s) {
    ec_status status = EC_OK;
    EC_TRY(draw_ahead(l, step));
    s->batch.step = step;
    for (int m = 0; m < EC_MODALITIES; m++) {
        const ec_row_source *from = &l->source[m];
        const int64_t *row = l->row[step % RING][m];
        if (from->good) EC_TRY(replace_bad(l, (ec_modality)m, step));
        if (from->views > 1) draw_views(l, (ec_modality)m, step);
        EC_TRY(from->read(from->arg, row, from->views > 1 ? l->view : NULL, l->rows, s->x[m]));
        for (int32_t b = 0; b < l->rows; b++) s->label[m][b] = from->label[row[b]];
        s->batch.x[m] = s->x[m];
        s->batch.label[m] = s->label[m];
        s->batch.row[m] = row;
    }
done:
    return status;
}

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
    for (int64_t step = l->config.first_step; step < l->config.end_step; step++) {
        if (!wait_for_slot(l, step)) break;
        ec_status status = fill(l, step, &l->slot[step % l->slots]);
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
    if (step < l->config.end_step) {
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
    const size_t rows = (size_t)l->rows;
    for (int m = 0; m < EC_MODALITIES; m++) {
        for (int i = 0; i < l->slots; i++) {
            l->slot[i].x[m] = ec__arena_take(arena, rows * (size_t)l->source[m].width, sizeof(float));
            l->slot[i].label[m] = ec__arena_take(arena, rows, sizeof(int32_t));
        }
        for (int i = 0; i < RING; i++) l->row[i][m] = ec__arena_take(arena, rows, sizeof(int64_t));
    }
    l->view = ec__arena_take(arena, rows, sizeof(int32_t));
}

static void set_sizes(ec_loader *l, const ec_loader_config *config) {
    l->rows = (int32_t)(config->global_rows / config->size);
    l->in_use = config->in_use > 0 ? config->in_use : 1;
    l->slots = READY + l->in_use;
}

size_t ec__loader_bytes(const ec_loader_config *config, const ec_row_source source[EC_MODALITIES]) {
    ec_loader l = {0};
    set_sizes(&l, config);
    ec_arena plan = ec__arena_counting();
    memcpy(l.source, source, sizeof l.source);
    place(&l, &plan);
    return ec__arena_used(&plan);
}

static ec_status allocate(ec_loader *l) {
    ec_backend *be = l->config.be;
    size_t bytes = ec__loader_bytes(&l->config, l->source);
    if (be) EC_RETURN_IF(be->memory->alloc_host(be, bytes, &l->memory));
    else l->memory = aligned_alloc(EC_ARENA_ALIGN, (bytes + EC_ARENA_ALIGN - 1) / EC_ARENA_ALIGN * EC_ARENA_ALIGN);
    if (!l->memory)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for %d batches of %d rows (%zu bytes)", l->slots, l->rows, bytes);
    memset(l->memory, 0, bytes); /* pages are there before the first batch */
    ec_arena arena = ec__arena_over(l->memory, bytes);
    place(l, &arena);
    return EC_OK;
}

/* Signals are for the main thread: the new one inherits a mask that blocks them all. Only a page of a cache that cannot
 * be read is the reader's own affair. */
static ec_status start_thread(ec_loader *l) {
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&l->thread, NULL, thread_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return EC_ERROR(EC_ERR_ENV, "cannot start the loader's thread: %s", strerror(failed));
    l->running = true;
    return EC_OK;
}

ec_status ec__loader_open(const ec_loader_config *config, ec_sampler *sampler,
                          const ec_row_source source[EC_MODALITIES], ec_loader **out) {
    ec_status status = EC_OK;
    ec_loader *l = calloc(1, sizeof *l);
    if (!l) EC_FAIL(EC_ERR_MEMORY, "no memory for a loader");
    assert(config->global_rows % config->size == 0 && config->rank >= 0 && config->rank < config->size);
    assert(config->in_use <= EC_LOADER_IN_USE);
    l->config = *config;
    l->sampler = sampler;
    memcpy(l->source, source, sizeof l->source);
    set_sizes(l, config);
    l->drawn = l->ready = l->taken = config->first_step;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->emptied, NULL);
    EC_TRY(allocate(l));
    EC_TRY(start_thread(l));
    *out = l;
    l = NULL;
done:
    ec__loader_close(l);
    return status;
}

void ec__loader_close(ec_loader *l) {
    if (!l) return;
    if (l->running) {
        pthread_mutex_lock(&l->lock);
        l->quit = true;
        pthread_cond_signal(&l->emptied);
        pthread_mutex_unlock(&l->lock);
        pthread_join(l->thread, NULL);
    }
    pthread_cond_destroy(&l->emptied);
    pthread_cond_destroy(&l->filled);
    pthread_mutex_destroy(&l->lock);
    if (l->config.be) l->config.be->memory->free_host(l->config.be, l->memory);
    else free(l->memory);
    free(l);
}
