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

/* Collective. Runs fn twice to warm up, once where that takes seconds, then repeats times; repeats 0: as often as fits
 * into about a second, at least 5 and at most 1000 times. Each time is that of the slowest rank. */
ec_status bench_repeat(ec_comm *comm, int64_t repeats, bench_fn fn, void *arg, bench_times *out);

/* What all threads of the back end reach together, in 10^9 operations a second: a large matrix product by the library,
 * in the back end's math (a column block a thread), and multiply-adds in registers, 0 where the back end is not the
 * CPU. Some 0.3 s. */
typedef struct bench_rates {
    double gemm, fma;
} bench_rates;

ec_status bench_measure_rates(ec_backend *be, bench_rates *out);

/* count numbers of host memory into memory of the back end, allocated here. */
ec_status bench_upload(ec_backend *be, const float *from, size_t count, float **out);

/* Memory of the process, MB: resident now; and the peak since bench_memory_mark, above what was resident then. */
double bench_memory_mark(void);
double bench_memory_peak(double marked);

/* Where to measure: options that all parts have, as a field of theirs. */
typedef struct bench_place {
    int64_t threads; /* 0: an equal share of the processors */
    int device, math;
    bool fast; /* the libraries may take products that have other bits every time */
} bench_place;

extern const char *const bench_devices[], *const bench_maths[], *const bench_modes[];
enum { BENCH_FAST, BENCH_REPRODUCIBLE }; /* of bench_modes */

#define BENCH_PLACE_OPTIONS(values, place)                                                                             \
    {"threads", 'n', CLI_INT, "NUMBER", "threads of each rank; default: an equal share of the processors",             \
     offsetof(values, place.threads), 0, 1024, NULL},                                                                  \
    {"device", 0, CLI_CHOICE, "NAME", "auto, cpu or cuda; default auto", offsetof(values, place.device), 0, 0,         \
     bench_devices},                                                                                                   \
    {"math", 0, CLI_CHOICE, "NAME", "what products may round their factors to: float32, tf32 or bf16; default float32",\
     offsetof(values, place.math), 0, 0, bench_maths}

/* Collective. What training has: the communicator over the memory of the back end. place->threads becomes what was
 * opened. bench_close also after an error. */
ec_status bench_open(bench_place *place, ec_comm **comm, ec_backend **be);
void bench_close(ec_comm *comm, ec_backend *be); /* accepts NULL */

/* Threads of a rank: asked, or where that is 0 an equal share of the processors of the node. */
int32_t bench_threads(const ec_comm *comm, int64_t asked);

/* Entries "median", "min", "max" (ms) and "repeats". NULL without memory. */
json_t *bench_times_json(const bench_times *times);

/* Prints root with these entries added; takes root over, also on error. */
ec_status bench_print_json(json_t *root, const bench_times *times);

/* Rows of a rank, of a global batch; EC_ERR_USAGE where ranks cannot have equally many. */
ec_status bench_share(const ec_comm *comm, int64_t batch, int32_t *rows);

#endif
