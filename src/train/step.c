#include "train/step.h"

#include <assert.h>
#include <stdlib.h>

/* Directions that loss `e` computes: all in single-task heads, intra- or cross-modal ones in multi-task heads. */
static bool belongs(const ec_heads_config *heads, ec_embedding e, ec_direction d) {
    bool intra = d == EC_IMAGE_TO_IMAGE || d == EC_MUSIC_TO_MUSIC;
    return !heads->multi_task || intra == (e == EC_INTRA);
}

ec_status ec__train_loss_new(ec_backend *be, ec_comm *comm, const ec_heads_config *heads, const ec_train_config *config,
                             const ec_labels *labels, ec_embedding e, ec_supcon **out) {
    ec_supcon_config c = {.global_rows = config->plan.global_rows, .dim = heads->output_dim,
                          .temperature = config->temperature, .labels = labels,
                          .classes = config->classes, .gather = config->gather};
    bool used = false;
    for (ec_direction d = 0; d < EC_DIRECTIONS; d++) {
        if (!belongs(heads, e, d)) continue;
        c.weight[d] = config->weight[d];
        used = used || c.weight[d] > 0;
    }
    *out = NULL;
    return used ? ec__supcon_new(be, comm, &c, out) : EC_OK;
}

static ec_status check_weights(const float weight[EC_DIRECTIONS]) {
    float sum = 0;
    for (ec_direction d = 0; d < EC_DIRECTIONS; d++) {
        if (!(weight[d] >= 0.f)) return EC_ERROR(EC_ERR_CONFIG, "weight %g of a loss, expected >= 0", weight[d]);
        sum += weight[d];
    }
    return sum > 0.f ? EC_OK : EC_ERROR(EC_ERR_CONFIG, "the weights of all losses are 0: nothing to train for");
}

ec_status ec__trainer_core_new(ec_heads *heads, ec_comm *comm, const ec_train_config *config, ec_trainer_core **out) {
    ec_status status = EC_OK;
    ec_backend *be = heads->be;
    size_t bytes = (size_t)heads->params.total * sizeof(float);
    ec_trainer_core *core = NULL;
    EC_TRY(check_weights(config->weight));
    core = calloc(1, sizeof *core);
    if (!core) EC_FAIL(EC_ERR_MEMORY, "no memory for training");
    core->heads = heads;
    core->comm = comm;
    core->config = *config;
    EC_TRY(ec__optimizer_new(be, &config->optimizer, heads->params.total, &core->optimizer));
    EC_TRY(ec__heads_pass_new(heads, comm, &config->plan, &core->pass));
    EC_TRY(ec__labels_new(be, comm, config->plan.global_rows, config->classes, &core->labels));
    for (ec_embedding e = 0; (int32_t)e < ec__heads_embeddings(&heads->config); e++)
        EC_TRY(ec__train_loss_new(be, comm, &heads->config, config, core->labels, e, &core->loss[e]));
    EC_TRY(be->memory->alloc(be, bytes, (void **)&core->grad));
    EC_TRY(be->memory->zero(be, be->main_stream(be), core->grad, bytes));
    EC_TRY(be->synchronize(be));
    *out = core;
    core = NULL;
done:
    ec__trainer_core_free(core);
    return status;
}

void ec__trainer_core_free(ec_trainer_core *core) {
    if (!core) return;
    for (int i = 0; i < EC_STEP_RECORDINGS; i++)
        core->heads->be->recording_free(core->heads->be, core->recorded[i].recording);
    core->heads->be->memory->free(core->heads->be, core->grad);
    for (ec_embedding e = 0; e < EC_EMBEDDINGS; e++) ec__supcon_free(core->loss[e]);
    ec__labels_free(core->labels);
    ec__heads_pass_free(core->pass);
    ec__optimizer_free(core->optimizer);
    free(core);
}

size_t ec__trainer_core_bytes(const ec_trainer_core *core) {
    size_t arrays = 3 * (size_t)core->heads->params.total * sizeof(float); /* gradient and two moments */
    size_t bytes = arrays + ec__heads_pass_bytes(core->pass) + ec__labels_bytes(core->labels);
    for (ec_embedding e = 0; e < EC_EMBEDDINGS; e++)
        if (core->loss[e]) bytes += ec__supcon_bytes(core->loss[e]);
    return bytes;
}

/* One loss over its embeddings. An embedding that no loss reads has gradient 0. */
static ec_status enqueue_loss(ec_trainer_core *core, ec_embedding e) {
    ec_backend *be = core->heads->be;
    ec_heads_pass *pass = core->pass;
    const float *const z[2] = {ec__heads_z(pass, EC_IMAGE, e), ec__heads_z(pass, EC_MUSIC, e)};
    float *const grad[2] = {ec__heads_grad_z(pass, EC_IMAGE, e), ec__heads_grad_z(pass, EC_MUSIC, e)};
    size_t rows = (size_t)(core->config.plan.global_rows / core->comm->size);
    if (core->loss[e]) return ec__supcon_enqueue(core->loss[e], z, grad);
    for (ec_modality m = 0; m < EC_MODALITIES; m++)
        EC_RETURN_IF(be->memory->zero(be, be->main_stream(be), grad[m],
                                      rows * (size_t)core->heads->config.output_dim * sizeof(float)));
    return EC_OK;
}

/* Embeddings of a modality set out for the other ranks. */
static ec_status gather_embeddings(void *arg, ec_modality m) {
    ec_trainer_core *core = arg;
    for (ec_embedding e = 0; (int32_t)e < ec__heads_embeddings(&core->heads->config); e++)
        if (core->loss[e])
            EC_RETURN_IF(ec__supcon_gather(core->loss[e], (int32_t)m, ec__heads_z(core->pass, m, (int32_t)e)));
    return EC_OK;
}

/* All that a step enqueues; what changes from step to step was uploaded before. */
static ec_status enqueue_step(void *arg) {
    const ec_step_recording *r = arg;
    ec_trainer_core *core = r->core;
    EC_RETURN_IF(ec__heads_forward(core->pass, r->x, gather_embeddings, core));
    for (ec_embedding e = 0; (int32_t)e < ec__heads_embeddings(&core->heads->config); e++)
        EC_RETURN_IF(enqueue_loss(core, e));
    EC_RETURN_IF(ec__heads_backward(core->pass, core->grad));
    return ec__optimizer_enqueue(core->optimizer, core->heads->param, core->grad);
}

/* The recording for x, made where there is none yet. */
static ec_status recording_for(ec_trainer_core *core, const float *const x[EC_MODALITIES], const ec_recording **out) {
    ec_backend *be = core->heads->be;
    for (int i = 0; i < EC_STEP_RECORDINGS; i++) {
        const ec_step_recording *r = &core->recorded[i];
        *out = r->recording;
        if (r->recording && r->x[EC_IMAGE] == x[EC_IMAGE] && r->x[EC_MUSIC] == x[EC_MUSIC]) return EC_OK;
    }
    ec_step_recording *fresh = &core->recorded[core->next_recording];
    core->next_recording = (core->next_recording + 1) % EC_STEP_RECORDINGS;
    be->recording_free(be, fresh->recording);
    *fresh = (ec_step_recording){.core = core, .x = {x[EC_IMAGE], x[EC_MUSIC]}};
    EC_RETURN_IF(be->record(be, enqueue_step, fresh, &fresh->recording));
    *out = fresh->recording;
    return EC_OK;
}

static ec_status begin_step(ec_trainer_core *core, int64_t step, int32_t turn,
                            const int32_t *const label[EC_MODALITIES]) {
    EC_RETURN_IF(ec__heads_begin(core->pass, step, turn));
    EC_RETURN_IF(ec__labels_begin(core->labels, label, turn));
    return ec__optimizer_begin(core->optimizer, step, turn);
}

/* What the host will want to know, to its place of that turn; not recorded, because the place changes. */
static ec_status tell_result(ec_trainer_core *core, int32_t turn) {
    for (ec_embedding e = 0; e < EC_EMBEDDINGS; e++)
        if (core->loss[e]) EC_RETURN_IF(ec__supcon_tell(core->loss[e], turn));
    EC_RETURN_IF(ec__optimizer_tell(core->optimizer, turn));
    return ec__comm_mark(core->comm, turn);
}

/* A loss that is not a number says more than the gradient that came of it: it is looked at first. */
static ec_status read_result(const ec_trainer_core *core, int64_t step, int32_t turn, ec_step_result *result) {
    for (ec_embedding e = 0; e < EC_EMBEDDINGS; e++) {
        double losses[EC_DIRECTIONS];
        if (!core->loss[e]) continue;
        if (ec__supcon_result(core->loss[e], turn, losses) != EC_OK)
            return ec__error_prefix("step %lld: ", (long long)step);
        for (ec_direction d = 0; d < EC_DIRECTIONS; d++) {
            if (!belongs(&core->heads->config, e, d)) continue;
            result->losses[d] = losses[d];
            result->total += core->config.weight[d] * losses[d];
        }
    }
    return ec__optimizer_result(core->optimizer, turn, &result->grad_norm);
}

ec_status ec__train_step_start(ec_trainer_core *core, int64_t step, const float *const x[EC_MODALITIES],
                               const int32_t *const label[EC_MODALITIES]) {
    ec_backend *be = core->heads->be;
    const ec_recording *recording;
    const int32_t turn = (int32_t)(core->started % EC_TURNS);
    assert(core->started - core->finished < EC_TURNS);
    EC_RETURN_IF(begin_step(core, step, turn, label));
    EC_RETURN_IF(recording_for(core, x, &recording));
    EC_RETURN_IF(be->replay(be, recording));
    EC_RETURN_IF(tell_result(core, turn));
    core->started++;
    return EC_OK;
}

/* After the error of a step: ends what was started behind it, which has changed no parameter, and lets later ones change
 * them again. The step's error stays the one that is known. */
static ec_status give_up(ec_trainer_core *core) {
    ec_backend *be = core->heads->be;
    const ec_error first = *ec_error_last();
    core->finished = core->started;
    EC_RETURN_IF(ec__comm_wait(core->comm));
    EC_RETURN_IF(ec__optimizer_resume(core->optimizer));
    EC_RETURN_IF(be->synchronize(be));
    return ec__error_adopt(&first);
}

ec_status ec__train_step_finish(ec_trainer_core *core, int64_t step, ec_step_result *result) {
    ec_backend *be = core->heads->be;
    ec_step_result r = {.learning_rate = ec__learning_rate(&core->config.optimizer, step)};
    const int32_t turn = (int32_t)(core->finished % EC_TURNS);
    assert(core->finished < core->started);
    EC_RETURN_IF(ec__comm_wait_mark(core->comm, turn)); /* here a missing rank is noticed */
    if (core->comm == core->comm->host) EC_RETURN_IF(be->synchronize(be)); /* it knows nothing of the back end */
    if (read_result(core, step, turn, &r) != EC_OK) return give_up(core);
    core->finished++;
    *result = r;
    return EC_OK;
}

ec_status ec__train_step(ec_trainer_core *core, int64_t step, const float *const x[EC_MODALITIES],
                         const int32_t *const label[EC_MODALITIES], ec_step_result *result) {
    EC_RETURN_IF(ec__train_step_start(core, step, x, label));
    return ec__train_step_finish(core, step, result);
}
