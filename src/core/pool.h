/* The one pool of threads of a rank.
 *
 * Work is a number of independent tasks; threads take them in order as they become free. The caller is worker 0 and
 * takes part. A job ends when every task has ended, so two jobs never overlap; a thread that the operating system wakes
 * too late for any task is not waited for. Inside a task, a nested run executes in place on the same worker. Results
 * must not depend on which worker runs a task: that keeps bits independent of the number of threads. Waiting threads
 * spin briefly and then sleep. */
#ifndef EC_CORE_POOL_H
#define EC_CORE_POOL_H

#include <stdint.h>

#include "core/error.h"

typedef struct ec_pool ec_pool;

/* task counts from 0; worker is in [0, threads). */
typedef ec_status (*ec_task_fn)(void *arg, int32_t task, int32_t worker);

/* threads >= 1, the caller included; 0 means the number of processors this process may use. */
ec_status ec__pool_new(int32_t threads, ec_pool **out);
void ec__pool_free(ec_pool *pool);
int32_t ec__pool_threads(const ec_pool *pool);

/* Runs task 0 .. tasks-1. All tasks are run even when one fails; the error of the failed task with the lowest number
 * becomes the caller's. Only one thread at a time may call it. */
ec_status ec__pool_run(ec_pool *pool, int32_t tasks, ec_task_fn fn, void *arg);

/* Runs fn once on every worker (task = worker): to set up or tear down what belongs to a thread. */
ec_status ec__pool_run_on_each(ec_pool *pool, ec_task_fn fn, void *arg);

/* Processors this process may use (its affinity mask). */
int32_t ec__processor_count(void);

#endif
