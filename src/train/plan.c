#include "train/plan.h"

#include <stdlib.h>

#include "compute/count/count.h"
#include "dist/comm_count.h"
#include "pipeline/embed.h"
#include "train/run.h"

/* A checkpoint on its way to the disk is a copy of parameters and both moments, and the moments are copied once more to
 * get there (snapshot.c, checkpoint_writer.c). */
enum { CHECKPOINT_COPIES = 5 };

typedef struct rehearsal {
    ec_tally tally;
    ec_exchange exchange;
    ec_run run;
    int32_t *label[EC_MODALITIES];
} rehearsal;

static ec_status open_data(rehearsal *r, const ec_config *config, ec_backend *like, int32_t ranks) {
    EC_RETURN_IF(ec__config_check_ranks(config, ranks));
    r->run.config = config;
    r->run.total_steps = config->training.warmup_steps + 1; /* the schedule's length changes no size */
    EC_RETURN_IF(ec__backend_open_count(like, &r->tally, &r->run.be));
    EC_RETURN_IF(ec__comm_open_count(ranks, like->native_queue(like) != NULL, &r->exchange, &r->run.comm));
    return ec__run_open_data(&r->run);
}

/* What validation takes while it embeds a split, one modality after the other. */
static size_t embedding_bytes(const ec_run *run) {
    size_t most = 0;
    for (int m = 0; m < EC_MODALITIES; m++) {
        const int64_t share = (run->valid.count[m] + run->comm->size - 1) / run->comm->size;
        const int32_t views = ec__cache_info(run->cache[m])->identity.views;
        const size_t bytes = ec__embed_bytes(run->heads, (ec_modality)m, share, views);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Everything that training holds, as trainer.c opens it. */
static ec_status open_rest(rehearsal *r, ec_plan *plan) {
    ec_run *run = &r->run;
    ec_backend *be = run->be;
    EC_RETURN_IF(ec__run_open_model(run));
    const size_t floats = (size_t)run->heads->params.total, model = r->tally.device_bytes;
    plan->bytes.optimizer = 3 * floats * sizeof(float);
    plan->bytes.activations = ec__heads_pass_bytes(run->core->pass);
    plan->bytes.loss = ec__labels_bytes(run->core->labels);
    for (int e = 0; e < EC_EMBEDDINGS; e++)
        if (run->core->loss[e]) plan->bytes.loss += ec__supcon_bytes(run->core->loss[e]);
    plan->bytes.model = model + r->tally.host_bytes - plan->bytes.optimizer - plan->bytes.activations -
                        plan->bytes.loss;
    const size_t without = r->tally.device_bytes;
    EC_RETURN_IF(ec__run_open_batches(run));
    plan->bytes.batch = r->tally.device_bytes - without;
    for (int m = 0; m < EC_MODALITIES; m++) {
        r->label[m] = calloc((size_t)plan->rows, sizeof *r->label[m]);
        if (!r->label[m]) return EC_ERROR(EC_ERR_MEMORY, "no memory for %lld labels", (long long)plan->rows);
    }
    const size_t before = r->tally.device_bytes;
    EC_RETURN_IF(ec__validator_new(run, &run->validator));
    plan->bytes.validation = r->tally.device_bytes - before + (run->validator ? embedding_bytes(run) : 0);
    plan->bytes.exchange = r->exchange.work_bytes;
    plan->bytes.total = before + plan->bytes.validation + plan->bytes.exchange;

    const ec_loader_config loader = {.global_rows = run->config->training.batch_size, .size = run->comm->size,
                                     .in_use = run->turns, .half = ec__run_uploads_half(run)};
    plan->bytes.loader = ec__loader_bytes(&loader, run->source);
    plan->bytes.checkpoint = CHECKPOINT_COPIES * floats * sizeof(float);
    size_t embeddings = 0;
    for (int m = 0; m < EC_MODALITIES && run->validator; m++)
        embeddings += (size_t)(run->valid.count[m] * run->heads->config.output_dim) * sizeof(float) *
                      (size_t)ec__heads_embeddings(&run->heads->config);
    plan->bytes.host_total = r->tally.host_bytes + plan->bytes.loader + plan->bytes.checkpoint + embeddings;
    if (!be->native_queue(be)) plan->bytes.host_total += plan->bytes.total;
    return EC_OK;
}

/* What a step enqueues and exchanges: the features are uploaded, then as step.c has it. */
static ec_status count_step(rehearsal *r, ec_plan *plan) {
    ec_run *run = &r->run;
    const float *const *x = (const float *const *)run->x[0];
    const ec_tally before = r->tally;
    r->exchange = (ec_exchange){0};
    EC_RETURN_IF(ec__train_step_start(run->core, 0, x, (const int32_t *const *)r->label));
    plan->flops = r->tally.flops - before.flops;
    plan->moved = r->tally.moved - before.moved + 2 * (double)plan->bytes.batch / run->turns;
    plan->operations = r->tally.operations - before.operations + EC_MODALITIES;
    plan->collectives = plan->ranks > 1 ? r->exchange.collectives : 0;
    plan->received = r->exchange.bytes;
    for (int e = 0; e < EC_EMBEDDINGS; e++)
        if (run->core->loss[e]) plan->loss_flops += ec__supcon_flops(run->core->loss[e]);
    return EC_OK;
}

static double over(double amount, double rate) { return rate > 0 ? amount / rate : 0; }

size_t ec__plan_in_use(const ec_plan *plan) { return plan->bytes.total - plan->bytes.validation; }

void ec__plan_time(ec_plan *plan, const ec_machine *machine, int32_t width) {
    plan->time.products = over(plan->flops, machine->flops);
    plan->time.memory = over(plan->moved, machine->memory);
    plan->time.exchange = over(plan->received, machine->bus);
    plan->time.latency = (double)plan->operations * machine->operation / width +
                         (double)plan->collectives * machine->collective;
    plan->time.total = plan->time.products + plan->time.memory + plan->time.exchange + plan->time.latency;
}

static void close_rehearsal(rehearsal *r) {
    ec_run *run = &r->run;
    ec__validator_free(run->validator);
    for (int m = 0; m < EC_MODALITIES; m++) free(r->label[m]);
    ec__run_close_batches(run);
    ec__run_close_model(run);
    ec__run_close_data(run);
    ec__comm_close(run->comm);
    if (run->be) run->be->close(run->be);
}

ec_status ec__plan_make(const ec_config *config, ec_backend *like, int32_t ranks, ec_plan *out) {
    ec_status status = EC_OK;
    rehearsal r = {0};
    ec_plan plan = {.ranks = ranks, .rows = config->training.batch_size / ranks};
    EC_TRY(open_data(&r, config, like, ranks));
    EC_TRY(open_rest(&r, &plan));
    EC_TRY(count_step(&r, &plan));
    *out = plan;
done:
    close_rehearsal(&r);
    return status;
}
