/* emoclim plan: memory, exchange and time of a configuration on so many ranks, without running it. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/machine.h"
#include "cli/session.h"

typedef struct options {
    cli_list ranks;
    double flops, memory, bus, operation, collective;
} options;

enum { MOST_RANKS = 1 << 16 };

static const cli_option table[] = {
    {.name = "ranks", .letter = 'n', .type = CLI_LIST, .argument = "N",
     .help = "plan for N ranks; may be given several times; default 1", .offset = offsetof(options, ranks)},
    {.name = "flops", .type = CLI_DOUBLE, .argument = "GFLOPS",
     .help = "product rate of a rank, 10^9 operations a second; default: measured here",
     .offset = offsetof(options, flops), .low = 0, .high = 1e9},
    {.name = "memory", .type = CLI_DOUBLE, .argument = "GB/S",
     .help = "memory that a rank reads and writes in a second; default: measured here, within as much as a step uses",
     .offset = offsetof(options, memory), .low = 0, .high = 1e6},
    {.name = "bus", .type = CLI_DOUBLE, .argument = "GB/S",
     .help = "what a rank receives from the others in a second; default: measured where ranks were started, else "
             "unknown",
     .offset = offsetof(options, bus), .low = 0, .high = 1e6},
    {.name = "operation", .type = CLI_DOUBLE, .argument = "US",
     .help = "microseconds that an operation takes besides; default: measured here",
     .offset = offsetof(options, operation), .low = 0, .high = 1e6},
    {.name = "collective", .type = CLI_DOUBLE, .argument = "US",
     .help = "microseconds that an exchange takes besides; default: measured where ranks were started, else unknown",
     .offset = offsetof(options, collective), .low = 0, .high = 1e6},
    {.name = NULL},
};

static ec_status parse_ranks(const char *text, int32_t *out) {
    char *end = NULL;
    errno = 0;
    const long n = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || n < 1 || n > MOST_RANKS)
        return EC_ERROR(EC_ERR_USAGE, "--ranks %s: a number from 1 to %d expected", text, MOST_RANKS);
    *out = (int32_t)n;
    return EC_OK;
}

/* All that times of so many ranks need: nothing is left to be measured. */
static bool all_given(const options *o, int32_t ranks) {
    return o->flops > 0 && o->memory > 0 && o->operation > 0 && (ranks == 1 || (o->bus > 0 && o->collective > 0));
}

static const char to_give[] = "--flops, --memory, --operation and, for several ranks, --bus and --collective";

/* Collective. On a machine without the GPU that is asked for, where all is given. */
static ec_status open_session(const options *o, const ec_config *config, int32_t most_ranks, cli_session *out) {
    cli_session_options open = cli_session_of(config);
    open.sizes = all_given(o, most_ranks);
    if (cli_session_open(&open, out) != EC_OK) {
        if (ec_error_last()->code == EC_ERR_ENV && config->distributed.device == EC_CONFIG_DEVICE_CUDA && !open.sizes)
            return ec__error_prefix("to plan without a GPU give %s: ", to_give);
        return ec__error_pass(ec_error_last()->code, __FILE__, __LINE__, __func__);
    }
    if (out->no_device && !all_given(o, out->comm->size))
        return EC_ERROR(EC_ERR_ENV, "to plan without a GPU give %s", to_give);
    return EC_OK;
}

/* Collective. What was given, and the rest as measured; memory as given. */
static ec_status machine_of(const options *o, const cli_session *s, ec_machine *out) {
    *out = (ec_machine){.flops = o->flops * 1e9,
                        .memory = o->memory * 1e9,
                        .bus = o->bus * 1e9,
                        .operation = o->operation * 1e-6,
                        .collective = o->collective * 1e-6};
    return cli_measure_machine(s->be, s->comm, out);
}

/* Of one number of ranks. */
typedef struct planned {
    int32_t ranks;
    ec_plan plan;
    double memory; /* the rate that its time takes, bytes a second */
} planned;

/* Collective. */
static ec_status time_plan(const cli_session *s, const ec_machine *machine, planned *p) {
    ec_machine m = *machine;
    if (m.memory == 0) EC_RETURN_IF(cli_measure_memory(s->be, s->comm, ec__plan_in_use(&p->plan), &m.memory));
    ec__plan_time(&p->plan, &m, s->be->width(s->be));
    if (!isfinite(p->plan.time.total))
        return EC_ERROR(EC_ERR_USAGE, "no time can be told of a step at %g GFLOPS, %g GB/s of memory and %g GB/s between "
                        "ranks: greater rates expected", m.flops * 1e-9, m.memory * 1e-9, m.bus * 1e-9);
    p->memory = m.memory;
    return EC_OK;
}

static double mb(size_t bytes) { return (double)bytes * 1e-6; }

static json_t *plan_json(const planned *of) {
    const ec_plan *p = &of->plan;
    json_t *bytes = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "model", (json_int_t)p->bytes.model, "optimizer",
        (json_int_t)p->bytes.optimizer, "activations", (json_int_t)p->bytes.activations, "loss",
        (json_int_t)p->bytes.loss, "batch", (json_int_t)p->bytes.batch, "validation", (json_int_t)p->bytes.validation,
        "exchange", (json_int_t)p->bytes.exchange, "total", (json_int_t)p->bytes.total, "loader",
        (json_int_t)p->bytes.loader, "checkpoint", (json_int_t)p->bytes.checkpoint, "host_total",
        (json_int_t)p->bytes.host_total);
    json_t *step = json_pack("{s:f, s:f, s:f, s:f, s:I, s:I, s:f}", "flops", p->flops, "loss_flops", p->loss_flops,
                             "moved_bytes", p->moved, "memory_gb_s", of->memory * 1e-9, "operations",
                             (json_int_t)p->operations, "collectives", (json_int_t)p->collectives, "received_bytes",
                             p->received);
    json_t *ms =
        json_pack("{s:f, s:f, s:f, s:f, s:f}", "products", p->time.products * 1e3, "memory", p->time.memory * 1e3,
                  "exchange", p->time.exchange * 1e3, "latency", p->time.latency * 1e3, "total", p->time.total * 1e3);
    return json_pack("{s:i, s:I, s:o, s:o, s:o}", "ranks", p->ranks, "rows", (json_int_t)p->rows, "bytes", bytes,
                     "step", step, "ms", ms);
}

static ec_status print_plan(const planned *of, const ec_machine *m) {
    const ec_plan *p = &of->plan;
    EC_RETURN_IF(cli_print("\n%d rank%s, %lld rows of each modality a rank\n", p->ranks, p->ranks > 1 ? "s" : "",
                           (long long)p->rows));
    EC_RETURN_IF(
        cli_print("  memory of a rank, MB  %10.1f  model %.1f, optimizer %.1f, activations %.1f, loss %.1f, batch "
                  "%.1f, validation %.1f, exchange %.1f\n",
                  mb(p->bytes.total), mb(p->bytes.model), mb(p->bytes.optimizer), mb(p->bytes.activations),
                  mb(p->bytes.loss), mb(p->bytes.batch), mb(p->bytes.validation), mb(p->bytes.exchange)));
    EC_RETURN_IF(cli_print("  host memory, MB       %10.1f  loader %.1f, checkpoint %.1f (rank 0)\n",
                           mb(p->bytes.host_total), mb(p->bytes.loader), mb(p->bytes.checkpoint)));
    EC_RETURN_IF(cli_print("  a step, GFLOP         %10.3f  loss %.3f; %lld operations, %.1f MB read and "
                           "written at %.1f GB/s\n",
                           p->flops * 1e-9, p->loss_flops * 1e-9, (long long)p->operations, p->moved * 1e-6,
                           of->memory * 1e-9));
    EC_RETURN_IF(cli_print("  received a step, MB   %10.3f  %lld exchanges\n", p->received * 1e-6,
                           (long long)p->collectives));
    EC_RETURN_IF(cli_print("  a step, ms            %10.3f  products %.3f, memory %.3f, exchange %.3f, latency %.3f\n",
                           p->time.total * 1e3, p->time.products * 1e3, p->time.memory * 1e3, p->time.exchange * 1e3,
                           p->time.latency * 1e3));
    if (p->ranks > 1 && !(m->bus > 0))
        return cli_print("  exchange between ranks is not in the time: start ranks to measure it, or give --bus and "
                         "--collective\n");
    return EC_OK;
}

static ec_status print_all(const cli_context *cli, const ec_machine *m, const planned *plan, int count) {
    if (cli->json) {
        json_t *plans = json_array();
        for (int i = 0; i < count; i++) json_array_append_new(plans, plan_json(&plan[i]));
        return cli_print_json(json_pack("{s:{s:f, s:f, s:f, s:f}, s:o}", "machine", "gflops", m->flops * 1e-9,
                                        "bus_gb_s", m->bus * 1e-9, "operation_us",
                                        m->operation * 1e6, "collective_us", m->collective * 1e6, "plans", plans));
    }
    EC_RETURN_IF(
        cli_print("machine: %.0f GFLOPS, exchange %.1f GB/s, %.2f us an operation, %.1f us an exchange\n",
                  m->flops * 1e-9, m->bus * 1e-9, m->operation * 1e6, m->collective * 1e6));
    for (int i = 0; i < count; i++) EC_RETURN_IF(print_plan(&plan[i], m));
    return EC_OK;
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    const options *o = values;
    const int count = o->ranks.count > 0 ? o->ranks.count : 1;
    cli_session session = {0};
    ec_config *config = NULL;
    ec_machine machine;
    int32_t most_ranks = 1;
    planned *plan = calloc((size_t)count, sizeof *plan);
    if (!plan) EC_FAIL(EC_ERR_MEMORY, "no memory for %d plans", count);
    EC_TRY(cli_load_config(cli, &config));
    for (int i = 0; i < count; i++) {
        plan[i].ranks = 1;
        if (o->ranks.count > 0) EC_TRY(parse_ranks(o->ranks.item[i], &plan[i].ranks));
        most_ranks = plan[i].ranks > most_ranks ? plan[i].ranks : most_ranks;
    }
    EC_TRY(open_session(o, config, most_ranks, &session));
    EC_TRY(machine_of(o, &session, &machine));
    for (int i = 0; i < count; i++) {
        EC_TRY(ec__plan_make(config, session.be, plan[i].ranks, &plan[i].plan));
        EC_TRY(time_plan(&session, &machine, &plan[i]));
    }
    if (session.comm->rank == 0) EC_TRY(print_all(cli, &machine, plan, count));
done:
    free(plan);
    cli_session_close(&session, status);
    ec__config_free(config);
    return status;
}

const cli_command cli_plan = {
    .name = "plan",
    .summary = "Tell what a configuration needs on N ranks, without running it.",
    .arguments = "CONFIG [KEY=VALUE ...]",
    .arguments_min = 1,
    .arguments_max = -1,
    .details = "Memory is counted by the trainer's own code on a back end that only counts; the caches must be there, "
               "for their widths and splits. Time is products over their rate, plus bytes over the memory's, plus "
               "exchanged bytes over the bus's, plus latencies; nothing is taken to overlap. The rates are measured on "
               "this machine; for exchanges, start as many ranks as a node has: mpirun -n 4 emoclim plan CONFIG -n 4. "
               "With distributed.device=cuda no GPU is needed where the rates are all given.",
    .options = table,
    .values_size = sizeof(options),
    .run = run,
};
