/* emoclim bench step: whole training steps of the projection heads on random features. */
#include <stdlib.h>

#include "cli/bench.h"
#include "core/rng.h"
#include "train/step.h"

typedef struct options {
    int64_t batch, shards, accumulate, repeats;
    int64_t image_dim, audio_dim, hidden_dim, output_dim;
    double dropout;
    int mode;
    bool multi_task;
    bench_place place;
} options;

static const options defaults = {.batch = 64, .shards = 8, .accumulate = 1, .image_dim = 512, .audio_dim = 256,
                                 .hidden_dim = 256, .output_dim = 128, .dropout = 0.1, .mode = BENCH_REPRODUCIBLE};

/* GPU_STEPS: of a repetition; enough that filling and emptying the queue counts little. */
enum { WIDEST = 1 << 16, CLASSES = 6, GPU_STEPS = 8 };

static const cli_option table[] = {
    {"batch", 'b', CLI_INT, "ROWS", "rows of the global batch, per modality; default 64", offsetof(options, batch), 2,
     1 << 24, NULL},
    {"mode", 'm', CLI_CHOICE, "MODE", "fast or reproducible; default reproducible", offsetof(options, mode), 0, 0,
     bench_modes},
    {"shards", 's', CLI_INT, "NUMBER", "virtual shards of the global batch (reproducible mode); default 8",
     offsetof(options, shards), 1, 1 << 16, NULL},
    {"accumulate", 'a', CLI_INT, "NUMBER", "groups of shards that share activation memory; default 1",
     offsetof(options, accumulate), 1, 1 << 16, NULL},
    {"multi-task", 0, CLI_FLAG, NULL, "multi-task heads; default: single-task", offsetof(options, multi_task), 0, 0,
     NULL},
    {"dropout", 0, CLI_DOUBLE, "RATE", "dropout; default 0.1", offsetof(options, dropout), 0, 0.999, NULL},
    {"image-dim", 0, CLI_INT, "WIDTH", "width of the image features; default 512", offsetof(options, image_dim), 1,
     WIDEST, NULL},
    {"audio-dim", 0, CLI_INT, "WIDTH", "width of the audio features; default 256", offsetof(options, audio_dim), 1,
     WIDEST, NULL},
    {"hidden-dim", 0, CLI_INT, "WIDTH", "width of the hidden layer; default 256", offsetof(options, hidden_dim), 1,
     WIDEST, NULL},
    {"output-dim", 0, CLI_INT, "WIDTH", "width of the embeddings; default 128", offsetof(options, output_dim), 1,
     WIDEST, NULL},
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
    ec_heads *heads;
    ec_trainer_core *core;
    float *x[EC_MODALITIES];
    int32_t *label[EC_MODALITIES];
    int64_t step;
} problem;

static ec_status make_rows(problem *p, ec_modality m) {
    ec_status status = EC_OK;
    const int32_t classes = CLASSES, width = ec__heads_input_dim(&p->heads->config, m);
    const size_t count = (size_t)p->rows * (size_t)width;
    float *x = malloc(count * sizeof *x);
    p->label[m] = malloc((size_t)p->rows * sizeof(int32_t));
    if (!x || !p->label[m]) EC_FAIL(EC_ERR_MEMORY, "no memory for %d rows", p->rows);
    for (int32_t b = 0; b < p->rows; b++) {
        ec_rng rng = ec__rng_at(1, EC_RNG_DEMO, (uint32_t)m, (uint64_t)(p->comm->rank * (int64_t)p->rows + b));
        for (int32_t k = 0; k < width; k++) x[(int64_t)b * width + k] = (float)(ec__rng_uniform(&rng) - 0.5);
        p->label[m][b] = (int32_t)ec__rng_below(&rng, (uint64_t)classes);
    }
    EC_TRY(bench_upload(p->be, x, count, &p->x[m]));
done:
    free(x);
    return status;
}

static ec_status open_inputs(const options *o, problem *p) {
    EC_RETURN_IF(bench_share(p->comm, o->batch, &p->rows));
    const ec_heads_config heads = {
        .multi_task = o->multi_task,
        .image_dim = (int32_t)o->image_dim,
        .audio_dim = (int32_t)o->audio_dim,
        .hidden_dim = (int32_t)o->hidden_dim,
        .base_output_dim = (int32_t)o->output_dim,
        .output_dim = (int32_t)o->output_dim,
        .dropout = (float)o->dropout,
        .normalize_inputs = true,
    };
    EC_RETURN_IF(ec__heads_new(p->be, &heads, 1, &p->heads));
    for (ec_modality m = 0; m < EC_MODALITIES; m++) EC_RETURN_IF(make_rows(p, m));
    return EC_OK;
}

static ec_status open_core(const options *o, problem *p) {
    const ec_train_config config = {
        .plan = {.global_rows = o->batch, .reproducible = o->mode == BENCH_REPRODUCIBLE, .shards = (int32_t)o->shards,
                 .accumulate = (int32_t)o->accumulate, .seed = 1},
        .optimizer = ec__optimizer_defaults(),
        .temperature = 0.07f,
        .weight = {0.25f, 0.25f, 0.25f, 0.25f},
        .classes = CLASSES,
    };
    return ec__trainer_core_new(p->heads, p->comm, &config, &p->core);
}

static void close_problem(problem *p) {
    ec__trainer_core_free(p->core);
    ec__heads_free(p->heads);
    for (ec_modality m = 0; m < EC_MODALITIES; m++) {
        free(p->label[m]);
        if (p->be) p->be->memory->free(p->be, p->x[m]);
    }
    bench_close(p->comm, p->be);
}

/* As training does (train/batches.c): a GPU is at a step while the host waits for the one before it. A repetition ends
 * when all of its steps have: what is under way between two would not be timed. */
static int32_t steps_of_repetition(const problem *p) { return p->be->native_queue(p->be) ? GPU_STEPS : 1; }

static ec_status repetition(void *arg) {
    problem *p = arg;
    const int32_t steps = steps_of_repetition(p);
    ec_step_result result;
    for (int32_t i = 0; i < steps; i++) {
        EC_RETURN_IF(ec__train_step_start(p->core, p->step + i, (const float *const *)p->x,
                                          (const int32_t *const *)p->label));
        if (i > 0) EC_RETURN_IF(ec__train_step_finish(p->core, p->step + i - 1, &result));
    }
    p->step += steps;
    return ec__train_step_finish(p->core, p->step - 1, &result);
}

/* Of one step, in place of a repetition. */
static void divide(bench_times *times, int32_t steps) {
    times->median /= steps;
    times->min /= steps;
    times->max /= steps;
}

/* Operations of matrix products in a step: forward, weight gradients, and input gradients of all but the first layers;
 * and of the loss, 16 G^2 D (multi-task heads: intra- and cross-modal directions separately, as many together). */
static double operations(const options *o, const ec_heads *heads) {
    double sum = 16.0 * (double)o->batch * (double)o->batch * (double)o->output_dim;
    for (int32_t i = 0; i < heads->projector_count; i++) {
        const ec_projector *p = &heads->projector[i];
        double first = (double)p->in * p->hidden * (p->level == 0 ? 2 : 3), second = 3.0 * p->hidden * p->out;
        sum += 2.0 * (double)o->batch * (first + second);
    }
    return sum;
}

static ec_status report(const cli_context *cli, const options *o, const problem *p, int32_t threads,
                        const bench_times *times, double peak_mb) {
    const double gflops = operations(o, p->heads) / times->median * 1e-6;
    if (!cli->json)
        return cli_print(
            "training step, G %lld, %s, %s %s, %d rank(s) x %d thread(s): %.3f ms (min %.3f, %d runs), %.1f GF/s; "
            "%.1f MB\n",
            (long long)o->batch, bench_modes[o->mode], p->be->name, bench_maths[p->be->math], p->comm->size, threads,
            times->median, times->min, times->count, gflops, peak_mb);
    json_t *root = json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:b, s:f, s:i, s:i, s:f, s:f, s:f, s:f}", "bench",
                             "step", "device", p->be->name, "math", bench_maths[p->be->math],
                             "batch", (json_int_t)o->batch, "mode", bench_modes[o->mode], "shards",
                             (json_int_t)o->shards, "accumulate", (json_int_t)o->accumulate, "multi_task",
                             o->multi_task, "dropout", o->dropout, "threads", threads, "ranks", p->comm->size, "ms",
                             times->median, "gflops", gflops, "peak_mb", peak_mb, "held_mb",
                             (double)ec__trainer_core_bytes(p->core) * 1e-6);
    return bench_print_json(root, times);
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const options *o = values;
    problem p = {0};
    bench_place place = o->place;
    place.fast = o->mode == BENCH_FAST;
    bench_times times;
    EC_TRY(bench_open(&place, &p.comm, &p.be));
    EC_TRY(ec__comm_agree(p.comm, open_inputs(o, &p)));
    const double before = bench_memory_mark();
    EC_TRY(ec__comm_agree(p.comm, open_core(o, &p)));
    EC_TRY(bench_repeat(p.comm, o->repeats, repetition, &p, &times));
    divide(&times, steps_of_repetition(&p));
    const double peak_mb = bench_memory_peak(before);
    if (p.comm->rank == 0) EC_TRY(report(cli, o, &p, (int32_t)place.threads, &times, peak_mb));
done:
    close_problem(&p);
    return status;
}

const cli_command cli_bench_step = {
    .name = "step",
    .summary = "Measure training steps of the projection heads: forward, loss, backward, reduction, AdamW.",
    .details = "All four directions of the loss, six classes. Prints milliseconds and memory beyond features and "
               "weights. On a GPU a repetition is eight steps, each started before the one before it has ended, as in "
               "training. Runs on several ranks under mpirun; --batch is the global batch.",
    .options = table,
    .values_size = sizeof(options),
    .defaults = &defaults,
    .run = run,
};
