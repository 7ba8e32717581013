#define _GNU_SOURCE
#include "core/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Rounds of spinning before a thread sleeps: some 50 to 100 microseconds, longer than the gaps between the phases of a
 * step and short enough not to starve other processes on a shared machine. */
enum { SPIN_ROUNDS = 4000, CACHE_LINE = 64 };

typedef struct worker {
    ec_pool *pool;
    int32_t number;
    pthread_t thread;
} worker;

/* A job is over when its tasks have ended, not when every thread has come by: a thread that the operating system wakes
 * late finds no task left and goes back to sleep, and nobody has waited for it. Who has taken a task (left went down by
 * one) may read the job: its fields stay as they are until unfinished is 0. */
struct ec_pool {
    int32_t threads;
    worker *workers; /* workers[0] is the caller's and has no thread of its own */

    /* The job; written by the caller while unfinished is 0. */
    ec_task_fn fn;
    void *arg;
    int32_t tasks;

    _Alignas(CACHE_LINE) atomic_uint generation; /* one more for every job; idle threads wait for it to change */
    atomic_uint sleepers;                        /* threads that sleep, or are about to, until it changes */
    atomic_uint each;                            /* generation of the latest job that has one task for every worker */
    atomic_bool quit;
    _Alignas(CACHE_LINE) atomic_int left;        /* tasks not yet taken */
    _Alignas(CACHE_LINE) atomic_uint unfinished; /* tasks that have not ended */
    atomic_bool caller_sleeps;                   /* until unfinished is 0 */

    pthread_mutex_t error_lock;
    int32_t error_task; /* task whose error is kept; INT32_MAX when there is none */
    ec_error error;
};

static _Thread_local int32_t inside_worker = -1; /* worker number while this thread runs a task */

static void futex_wait(atomic_uint *word, unsigned expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake_all(atomic_uint *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Returns the generation once it is no longer seen. The sleeper counts itself before it looks a last time, the
 * publisher changes the generation before it looks for sleepers (both sequentially consistent): one of them notices the
 * other. */
static unsigned wait_for_job(ec_pool *pool, unsigned seen) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        unsigned now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen) return now;
        relax();
    }
    unsigned now;
    atomic_fetch_add(&pool->sleepers, 1);
    while ((now = atomic_load(&pool->generation)) == seen) futex_wait(&pool->generation, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
    return now;
}

/* The caller's wait for the end of its job, by the same argument. */
static void wait_for_end(ec_pool *pool) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load_explicit(&pool->unfinished, memory_order_acquire) == 0) return;
        relax();
    }
    unsigned now;
    atomic_store(&pool->caller_sleeps, true);
    while ((now = atomic_load(&pool->unfinished)) != 0) futex_wait(&pool->unfinished, now);
    atomic_store(&pool->caller_sleeps, false);
}

static void keep_error(ec_pool *pool, int32_t task) {
    pthread_mutex_lock(&pool->error_lock);
    if (task < pool->error_task) {
        pool->error_task = task;
        pool->error = *ec_error_last();
    }
    pthread_mutex_unlock(&pool->error_lock);
}

static void run_task(ec_pool *pool, int32_t task, int32_t number) {
    inside_worker = number;
    if (pool->fn(pool->arg, task, number) != EC_OK) keep_error(pool, task);
    inside_worker = -1;
    if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->caller_sleeps))
        futex_wake_all(&pool->unfinished);
}

static void run_tasks(ec_pool *pool, int32_t number) {
    int left = atomic_load_explicit(&pool->left, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak_explicit(&pool->left, &left, left - 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            run_task(pool, pool->tasks - left, number);
            left = atomic_load_explicit(&pool->left, memory_order_relaxed);
        }
}

static void *worker_main(void *arg) {
    worker *self = arg;
    ec_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_job(pool, seen);
        if (atomic_load(&pool->quit)) return NULL;
        if (atomic_load(&pool->each) == seen) run_task(pool, self->number, self->number);
        else run_tasks(pool, self->number);
    }
}

static void publish(ec_pool *pool) {
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) > 0) futex_wake_all(&pool->generation);
}

static ec_status end_job(ec_pool *pool) {
    wait_for_end(pool);
    return pool->error_task == INT32_MAX ? EC_OK : ec__error_adopt(&pool->error);
}

/* Every task in place, on the worker that is already running. */
static ec_status run_here(ec_task_fn fn, void *arg, int32_t tasks, int32_t number) {
    ec_error first = {.code = EC_OK};
    for (int32_t task = 0; task < tasks; task++)
        if (fn(arg, task, number) != EC_OK && first.code == EC_OK) first = *ec_error_last();
    return first.code == EC_OK ? EC_OK : ec__error_adopt(&first);
}

ec_status ec__pool_run(ec_pool *pool, int32_t tasks, ec_task_fn fn, void *arg) {
    if (inside_worker >= 0) return run_here(fn, arg, tasks, inside_worker);
    if (pool->threads == 1 || tasks <= 1) {
        inside_worker = 0;
        ec_status status = run_here(fn, arg, tasks, 0);
        inside_worker = -1;
        return status;
    }
    pool->fn = fn;
    pool->arg = arg;
    pool->tasks = tasks;
    pool->error_task = INT32_MAX;
    atomic_store_explicit(&pool->unfinished, (unsigned)tasks, memory_order_relaxed);
    atomic_store_explicit(&pool->left, tasks, memory_order_release); /* from here on tasks may be taken */
    publish(pool);
    run_tasks(pool, 0);
    return end_job(pool);
}

ec_status ec__pool_run_on_each(ec_pool *pool, ec_task_fn fn, void *arg) {
    pool->fn = fn;
    pool->arg = arg;
    pool->tasks = pool->threads;
    pool->error_task = INT32_MAX;
    atomic_store(&pool->unfinished, (unsigned)pool->threads);
    atomic_store(&pool->each, atomic_load(&pool->generation) + 1);
    publish(pool);
    run_task(pool, 0, 0);
    return end_job(pool);
}

int32_t ec__processor_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}

int32_t ec__pool_threads(const ec_pool *pool) { return pool->threads; }

ec_status ec__pool_new(int32_t threads, ec_pool **out) {
    ec_status status = EC_OK;
    ec_pool *pool = NULL;
    if (threads < 0) EC_FAIL(EC_ERR_USAGE, "a pool cannot have %d threads", threads);
    if (threads == 0) threads = ec__processor_count();
    pool = aligned_alloc(CACHE_LINE, sizeof *pool);
    if (!pool) EC_FAIL(EC_ERR_MEMORY, "no memory for a thread pool");
    memset(pool, 0, sizeof *pool);
    pthread_mutex_init(&pool->error_lock, NULL);
    pool->threads = 1; /* counts the threads that exist, so that free joins just those */
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    if (!pool->workers) EC_FAIL(EC_ERR_MEMORY, "no memory for %d threads", threads);
    for (int32_t i = 1; i < threads; i++) {
        worker *w = &pool->workers[i];
        w->pool = pool;
        w->number = i;
        int failed = pthread_create(&w->thread, NULL, worker_main, w);
        if (failed) EC_FAIL(EC_ERR_ENV, "cannot start thread %d of %d: %s", i + 1, threads, strerror(failed));
        pool->threads = i + 1;
    }
    *out = pool;
    pool = NULL;
done:
    ec__pool_free(pool);
    return status;
}

void ec__pool_free(ec_pool *pool) {
    if (!pool) return;
    atomic_store(&pool->quit, true);
    if (pool->threads > 1) publish(pool);
    for (int32_t i = 1; i < pool->threads; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->error_lock);
    free(pool->workers);
    free(pool);
}
