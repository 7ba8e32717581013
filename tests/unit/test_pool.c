/* The thread pool with more threads than processors and with jobs of every small size: every task once, every worker
 * once where asked, errors of the lowest task, nested runs in place. */
#include <stdatomic.h>
#include <stdio.h>

#include "core/pool.h"
#include "support.h"

enum { MOST_TASKS = 64, ROUNDS = 1500 };

typedef struct job {
    ec_pool *pool;
    int32_t failing; /* task that fails, -1: none */
    atomic_long sum;
    int plain[MOST_TASKS]; /* a task's own: must be visible to the caller without further locks */
} job;

static ec_status count(void *arg, int32_t task, int32_t worker) {
    job *j = arg;
    (void)worker;
    atomic_fetch_add(&j->sum, task + 1);
    j->plain[task]++;
    return task >= j->failing && j->failing >= 0 ? EC_ERROR(EC_ERR_DATA, "task %d.", task) : EC_OK;
}

static ec_status own(void *arg, int32_t task, int32_t worker) {
    job *j = arg;
    j->plain[worker]++;
    return task == worker ? EC_OK : EC_ERROR(EC_ERR_BUG, "worker %d got task %d", worker, task);
}

static void one_round(ec_pool *pool, int round) {
    int32_t tasks = 1 + round % MOST_TASKS;
    job j = {.failing = round % 5 == 0 ? tasks / 2 : -1};
    ec_status status = ec__pool_run(pool, tasks, count, &j);
    assert_int_equal(j.sum, (long)tasks * (tasks + 1) / 2);
    for (int32_t i = 0; i < MOST_TASKS; i++) assert_int_equal(j.plain[i], i < tasks);
    if (j.failing < 0) {
        CHECK_OK(status);
    } else {
        char text[32];
        snprintf(text, sizeof text, "task %d.", j.failing);
        CHECK_ERROR(status, EC_ERR_DATA, text);
    }
    if (round % 7 == 0) {
        job each = {.failing = -1};
        CHECK_OK(ec__pool_run_on_each(pool, own, &each));
        for (int32_t i = 0; i < MOST_TASKS; i++) assert_int_equal(each.plain[i], i < ec__pool_threads(pool));
    }
}

static void test_many_jobs(void **state) {
    (void)state;
    for (int32_t threads = 1; threads <= 7; threads += 2) {
        ec_pool *pool = NULL;
        CHECK_OK(ec__pool_new(threads, &pool));
        for (int round = 0; round < ROUNDS; round++) one_round(pool, round);
        ec__pool_free(pool);
    }
}

static ec_status nest(void *arg, int32_t task, int32_t worker) {
    job *outer = arg, inner = {.failing = -1};
    (void)worker;
    EC_RETURN_IF(ec__pool_run(outer->pool, 3, count, &inner));
    outer->plain[task] += (int)inner.sum;
    return EC_OK;
}

static void test_nested(void **state) {
    (void)state;
    job j = {.failing = -1};
    CHECK_OK(ec__pool_new(3, &j.pool));
    CHECK_OK(ec__pool_run(j.pool, MOST_TASKS, nest, &j));
    for (int32_t i = 0; i < MOST_TASKS; i++) assert_int_equal(j.plain[i], 6);
    ec__pool_free(j.pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_jobs), cmocka_unit_test(test_nested)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
