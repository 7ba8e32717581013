/* What the measurements of emoclim bench share. */
#ifndef EC_CLI_BENCH_H
#define EC_CLI_BENCH_H

#include "cli/commands.h"
#include "compute/backend.h"
#include "dist/comm.h"

/* Times of repeated runs, in milliseconds. */
typedef struct bench_times {
    int count;
    double median, min, max;
} bench_times;

/* One repetition of what is measured. */
typedef ec_status (*bench_fn)(void *arg);

/* Collective. Runs fn twice to warm up, then repeats times; repeats 0: as often as fits into about a second, at least 5
 * and at most 1000 times. Each time is that of the slowest rank. */
ec_status bench_repeat(ec_comm *comm, int64_t repeats, bench_fn fn, void *arg, bench_times *out);

/* What all threads of the back end reach together, in 10^9 operations a second: a large matrix product by the library (a
 * column block a thread), and multiply-adds in registers. Some 0.3 s. */
typedef struct bench_rates {
    double gemm, fma;
} bench_rates;

ec_status bench_measure_rates(ec_backend *be, bench_rates *out);

/* Memory of the process, MB: resident now; and the peak since bench_memory_mark, above what was resident then. */
double bench_memory_mark(void);
double bench_memory_peak(double marked);

/* Collective. What training has: the communicator over the memory of the back end, which is a GPU's where there is one.
 * threads: asked, and becomes what was opened. bench_close also after an error. */
ec_status bench_open(int32_t *threads, ec_comm **comm, ec_backend **be);
void bench_close(ec_comm *comm, ec_backend *be); /* accepts NULL */

/* Threads of a rank: asked, or where that is 0 an equal share of the processors of the node. */
int32_t bench_threads(const ec_comm *comm, int64_t asked);

/* Entries "median", "min", "max" (ms) and "repeats". NULL without memory. */
json_t *bench_times_json(const bench_times *times);

#endif
