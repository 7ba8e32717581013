/* emoclim bench supcon: forward and backward of the SupCon loss, all four directions, on random unit rows. */
#include <math.h>
#include <stdlib.h>

#include "cli/bench.h"
#include "core/rng.h"
#include "loss/supcon.h"

typedef struct options {
    int64_t batch, dim, classes, repeats;
    double temperature;
    int gather;
    bench_place place;
} options;

static const options defaults = {.batch = 4096, .dim = 128, .classes = 6, .temperature = 0.07};

static const char *const gathers[] = {
    [EC_SUPCON_AUTO] = "auto", [EC_SUPCON_WHOLE] = "whole", [EC_SUPCON_STREAMED] = "streamed", NULL};

static const cli_option table[] = {
    {"batch", 'b', CLI_INT, "ROWS", "rows of the global batch, per modality; default 4096", offsetof(options, batch), 1,
     1 << 24, NULL},
    {"dim", 'd', CLI_INT, "WIDTH", "width of the embeddings; default 128", offsetof(options, dim), 1, 1 << 16, NULL},
    {"classes", 'c', CLI_INT, "NUMBER", "number of classes; default 6", offsetof(options, classes), 1, 1 << 30, NULL},
    {"temperature", 't', CLI_DOUBLE, "T", "temperature; default 0.07", offsetof(options, temperature), 1e-4, 1e4, NULL},
    {"gather", 'g', CLI_CHOICE, "HOW", "as distributed.gather: auto, whole or streamed; default auto",
     offsetof(options, gather), 0, 0, gathers},
    BENCH_PLACE_OPTIONS(options, place),
    {"repeats", 'r', CLI_INT, "NUMBER", "repetitions; default: as many as fit into a second, at least 5",
     offsetof(options, repeats), 0, 1000, NULL},
    {.name = NULL},
};

/* One rank's part of the problem. */
typedef struct problem {
    ec_backend *be;
    ec_comm *comm;
    int32_t rows;
    ec_supcon *loss;
    float *z[2], *grad[2];
    int32_t *label[2];
    double losses[EC_DIRECTIONS];
} problem;

enum { ROWS_A_TASK = 256 };

/* The rows of one modality. */
typedef struct rows_job {
    const options *o;
    const problem *p;
    uint32_t modality;
    float *z;
} rows_job;

static void make_row(const rows_job *j, int32_t b) {
    const int64_t dim = j->o->dim;
    ec_rng rng = ec__rng_at(1, EC_RNG_DEMO, j->modality, (uint64_t)(j->p->comm->rank * (int64_t)j->p->rows + b));
    float *row = j->z + b * dim;
    double norm = 0;
    for (int64_t k = 0; k < dim; k++) {
        row[k] = (float)ec__rng_normal(&rng);
        norm += (double)row[k] * (double)row[k];
    }
    for (int64_t k = 0; k < dim; k++) row[k] = (float)((double)row[k] / sqrt(norm));
    j->p->label[j->modality][b] = (int32_t)ec__rng_below(&rng, (uint64_t)j->o->classes);
}

static ec_status make_rows(void *arg, int32_t task, int32_t worker) {
    const rows_job *j = arg;
    const int32_t first = task * ROWS_A_TASK, end = first + ROWS_A_TASK;
    (void)worker;
    for (int32_t b = first; b < end && b < j->p->rows; b++) make_row(j, b);
    return EC_OK;
}

static ec_status open_problem(const options *o, problem *p) {
    ec_status status = EC_OK;
    float *z = NULL;
    EC_TRY(bench_share(p->comm, o->batch, &p->rows));
    const size_t count = (size_t)p->rows * (size_t)o->dim;
    z = malloc(count * sizeof *z);
    for (uint32_t m = 0; m < 2; m++) {
        p->label[m] = malloc((size_t)p->rows * sizeof(int32_t));
        if (!z || !p->label[m]) EC_FAIL(EC_ERR_MEMORY, "no memory for %lld rows", (long long)o->batch);
        rows_job job = {.o = o, .p = p, .modality = m, .z = z};
        EC_TRY(ec__pool_run(p->be->pool, (p->rows + ROWS_A_TASK - 1) / ROWS_A_TASK, make_rows, &job));
        EC_TRY(bench_upload(p->be, z, count, &p->z[m]));
    }
done:
    free(z);
    return status;
}

/* What the loss needs beside its inputs: its own memory and the gradients. */
static ec_status open_loss(const options *o, problem *p) {
    ec_supcon_config config = {.global_rows = o->batch, .dim = (int32_t)o->dim, .temperature = (float)o->temperature,
                               .weight = {0.25f, 0.25f, 0.25f, 0.25f}, .classes = (int32_t)o->classes,
                               .gather = (ec_supcon_gather)o->gather};
    for (int m = 0; m < 2; m++) {
        void *memory;
        EC_RETURN_IF(p->be->memory->alloc(p->be, (size_t)p->rows * (size_t)o->dim * sizeof(float), &memory));
        p->grad[m] = memory;
    }
    return ec__supcon_new(p->be, p->comm, &config, &p->loss);
}

static void close_problem(problem *p) {
    ec__supcon_free(p->loss);
    for (int m = 0; m < 2; m++) {
        free(p->label[m]);
        if (p->be) p->be->memory->free(p->be, p->z[m]);
        if (p->be) p->be->memory->free(p->be, p->grad[m]);
    }
    bench_close(p->comm, p->be);
}

static ec_status step(void *arg) {
    problem *p = arg;
    return ec__supcon_run(p->loss, p->z[0], p->z[1], p->label[0], p->label[1], p->grad[0], p->grad[1], p->losses);
}

static ec_status report(const cli_context *cli, const options *o, const problem *p, int32_t threads,
                        const bench_times *times, const bench_rates *rates, double peak_mb) {
    const double operations = 16.0 * (double)o->batch * (double)o->batch * (double)o->dim;
    const double gflops = operations / times->median * 1e-6;
    const double made = ec__supcon_flops(p->loss) * p->comm->size / times->median * 1e-6;
    const double gemm = rates->gemm * p->comm->size, fma = rates->fma * p->comm->size;
    const double of_fma = fma > 0 ? gflops / fma : 0;
    const char *held = ec__supcon_streams(p->loss) ? "streamed" : "whole";
    if (!cli->json)
        return cli_print(
            "SupCon, G %lld, D %lld, %s %s, %d rank(s) x %d thread(s): %.3f ms (min %.3f, %d runs), %.1f GF/s "
            "= %.1f %% of FMA peak, %.1f %% of a large matrix product (%.1f %% counting what is made twice); "
            "%.1f MB, embeddings %s\n",
            (long long)o->batch, (long long)o->dim, p->be->name, bench_maths[p->be->math], p->comm->size, threads,
            times->median, times->min, times->count, gflops, 100 * of_fma, 100 * gflops / gemm, 100 * made / gemm,
            peak_mb, held);
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s}",
                  "device", p->be->name, "math", bench_maths[p->be->math], "bench", "supcon", "batch",
                  (json_int_t)o->batch, "dim", (json_int_t)o->dim, "classes", (json_int_t)o->classes, "temperature",
                  o->temperature, "threads", threads, "ranks", p->comm->size, "ms", times->median, "peak_mb", peak_mb,
                  "held_mb", (double)ec__supcon_bytes(p->loss) * 1e-6, "gflops", gflops, "gemm_gflops", gemm,
                  "made_gflops", made, "share_of_gemm", gflops / gemm, "fma_gflops", fma, "share_of_fma", of_fma,
                  "gather", held);
    return bench_print_json(root, times);
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const options *o = values;
    problem p = {0};
    bench_place place = o->place;
    bench_times times;
    bench_rates rates;
    EC_TRY(bench_open(&place, &p.comm, &p.be));
    EC_TRY(ec__comm_agree(p.comm, open_problem(o, &p)));
    const double before = bench_memory_mark();
    EC_TRY(ec__comm_agree(p.comm, open_loss(o, &p)));
    EC_TRY(bench_repeat(p.comm, o->repeats, step, &p, &times));
    /* A device's memory is all taken beforehand. */
    const bool device = p.be->native_queue(p.be) != NULL;
    const double gradients_mb = 2.0 * p.rows * (double)o->dim * sizeof(float) * 1e-6;
    const double peak_mb = device ? (double)ec__supcon_bytes(p.loss) * 1e-6 + gradients_mb : bench_memory_peak(before);
    EC_TRY(bench_measure_rates(p.be, &rates));
    if (p.comm->rank == 0) EC_TRY(report(cli, o, &p, (int32_t)place.threads, &times, &rates, peak_mb));
done:
    close_problem(&p);
    return status;
}

const cli_command cli_bench_supcon = {
    .name = "supcon",
    .summary = "Measure the contrastive loss over the global batch: forward and backward, all four directions.",
    .details = "Prints milliseconds, memory beyond the inputs (gradients included), and the rate beside what this "
               "machine reaches in a matrix product and in multiply-adds. Counts 16 G^2 D operations. Runs on several "
               "ranks under mpirun; --batch is the global batch.",
    .options = table,
    .values_size = sizeof(options),
    .defaults = &defaults,
    .run = run,
};
