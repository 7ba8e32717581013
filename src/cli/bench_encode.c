/* emoclim bench encode: forward pass of a frozen encoder on random inputs. */
#include "cli/bench.h"
#include "core/rng.h"
#include "nn/encoder.h"

typedef struct options {
    int encoder, precision, mode;
    int64_t batch, repeats, width, layers, resolution;
    const char *weights;
    bench_place place;
} options;

static const char *const encoders[] = {"clip_vit", "shortchunk", NULL};
static const char *const precisions[] = {"float32", "bf16", NULL};
static const options defaults = {.batch = 32, .mode = BENCH_REPRODUCIBLE};

static const cli_option table[] = {
    {.name = "encoder", .letter = 'e', .type = CLI_CHOICE, .argument = "NAME", .choices = encoders,
     .help = "clip_vit or shortchunk; default clip_vit", .offset = offsetof(options, encoder)},
    {.name = "precision", .letter = 'p', .type = CLI_CHOICE, .argument = "NAME", .choices = precisions,
     .help = "of the products, float32 or bf16; default float32", .offset = offsetof(options, precision)},
    {"batch", 'b', CLI_INT, "NUMBER", "inputs a call; default 32", offsetof(options, batch), 1, 1 << 16, NULL},
    {"mode", 'm', CLI_CHOICE, "MODE", "fast or reproducible, as to products of a GPU; default reproducible",
     offsetof(options, mode), 0, 0, bench_modes},
    {"width", 0, CLI_INT, "NUMBER", "of random weights; default: the real network's", offsetof(options, width), 0, 4096,
     NULL},
    {"layers", 0, CLI_INT, "NUMBER", "of random weights of clip_vit", offsetof(options, layers), 0, 100, NULL},
    {"resolution", 0, CLI_INT, "PIXELS", "of random weights of clip_vit", offsetof(options, resolution), 0, 1024, NULL},
    BENCH_PLACE_OPTIONS(options, place),
    {"repeats", 'r', CLI_INT, "NUMBER", "repetitions; default: as many as fit into a second, at least 5",
     offsetof(options, repeats), 0, 1000, NULL},
    {"weights", 'w', CLI_TEXT, "FILE", "safetensors file; default: random weights of the real size",
     offsetof(options, weights), 0, 0, NULL},
    {.name = NULL},
};

typedef struct problem {
    ec_backend *be;
    ec_comm *comm;
    ec_encoder *encoder;
    int32_t batch;
    float *inputs, *embeddings;
} problem;

static ec_status open_problem(const options *o, problem *p) {
    const ec_encoder_options wanted = {.kind = (ec_encoder_kind)o->encoder, .precision = (ec_precision)o->precision,
                                       .path = o->weights, .seed = 1, .width = (int32_t)o->width,
                                       .layers = (int32_t)o->layers, .resolution = (int32_t)o->resolution};
    EC_RETURN_IF(ec__encoder_open(p->be, &wanted, &p->encoder));
    const ec_encoder_info *info = ec__encoder_info(p->encoder);
    const size_t count = (size_t)o->batch * (size_t)info->input_count;
    p->batch = (int32_t)o->batch;
    const size_t results = (size_t)o->batch * (size_t)info->embedding;
    EC_RETURN_IF(p->be->memory->alloc_host(p->be, count * sizeof *p->inputs, (void **)&p->inputs));
    EC_RETURN_IF(p->be->memory->alloc_host(p->be, results * sizeof *p->embeddings, (void **)&p->embeddings));
    ec_rng rng = ec__rng_at(1, EC_RNG_DEMO, 0, (uint64_t)p->comm->rank);
    for (size_t i = 0; i < count; i++) p->inputs[i] = (float)ec__rng_u32(&rng) * 0x1p-31f - 1;
    return EC_OK;
}

static void close_problem(problem *p) {
    ec__encoder_free(p->encoder);
    if (p->be) {
        p->be->memory->free_host(p->be, p->inputs);
        p->be->memory->free_host(p->be, p->embeddings);
    }
    bench_close(p->comm, p->be);
}

static ec_status encode(void *arg) {
    problem *p = arg;
    return ec__encoder_forward(p->encoder, p->batch, p->inputs, p->embeddings);
}

static ec_status report(const cli_context *cli, const options *o, const problem *p, int32_t threads,
                        const bench_times *times, const bench_rates *rates, double memory_mb) {
    const ec_encoder_info *info = ec__encoder_info(p->encoder);
    const char *const unit = info->input == EC_INPUT_IMAGE ? "images" : "clips";
    const double per_second = (double)o->batch * p->comm->size / times->median * 1e3;
    const double gflops = info->operations * per_second * 1e-9, gemm = rates->gemm * p->comm->size;
    if (!cli->json)
        return cli_print(
            "%s, %s, %s %s, batch %lld, %d rank(s) x %d thread(s): %.2f %s/s (%.3f ms, min %.3f, %d runs), "
            "%.1f GF/s = %.1f %% of a large float32 product; %.1f MB\n",
            info->name, precisions[o->precision], bench_modes[o->mode], p->be->name, (long long)o->batch,
            p->comm->size, threads, per_second, unit, times->median, times->min, times->count, gflops,
            100 * gflops / gemm, memory_mb);
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:b}", "bench", "encode",
                  "device", p->be->name, "encoder", info->name, "precision", precisions[o->precision], "mode",
                  bench_modes[o->mode], "batch", (json_int_t)o->batch, "threads", threads, "ranks", p->comm->size,
                  "unit", unit, "per_second", per_second, "ms", times->median, "gflops", gflops, "gemm_gflops", gemm,
                  "share_of_gemm", gflops / gemm, "memory_mb", memory_mb, "random_weights", info->random);
    return bench_print_json(root, times);
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const options *o = values;
    problem p = {0};
    bench_times times;
    bench_rates rates;
    bench_place place = o->place;
    place.fast = o->mode == BENCH_FAST;
    EC_TRY(bench_open(&place, &p.comm, &p.be));
    const double before = bench_memory_mark();
    EC_TRY(ec__comm_agree(p.comm, open_problem(o, &p)));
    EC_TRY(bench_repeat(p.comm, o->repeats, encode, &p, &times));
    const double memory_mb = bench_memory_peak(before);
    EC_TRY(bench_measure_rates(p.be, &rates));
    if (p.comm->rank == 0) EC_TRY(report(cli, o, &p, (int32_t)place.threads, &times, &rates, memory_mb));
done:
    close_problem(&p);
    return status;
}

const cli_command cli_bench_encode = {
    .name = "encode",
    .summary = "Measure the forward pass of a frozen encoder.",
    .details = "Prints inputs a second and the rate beside what this machine reaches in a large float32 matrix "
               "product. Operations are counted as the network's definition has them, so a faster algorithm "
               "(Winograd's convolution, leaving out rows that nobody uses) may exceed 100 %. Preprocessing of images "
               "is not part of it; the spectrogram of shortchunk is. On several ranks each encodes its own batch.",
    .options = table,
    .values_size = sizeof(options),
    .defaults = &defaults,
    .run = run,
};
