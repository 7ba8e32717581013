/* Validation after an epoch: the losses on fixed batches of the validation split, and retrieval over all of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "eval/retrieval.h"
#include "pipeline/embed.h"
#include "train/run.h"

/* Batches are drawn class-balanced, the same ones every time, from a seed of their own. */
enum { SEED_OFFSET = 1 };

struct ec_validator {
    ec_backend *be;
    ec_sampler *sampler;
    int64_t batches;
    int32_t own;                              /* B: rows of a batch on this rank */
    ec_supcon *loss[EC_EMBEDDINGS];           /* as in ec_trainer_core */
    float *z[EC_MODALITIES][EC_EMBEDDINGS];   /* (rows, D) of the whole split, host memory */
    int32_t *label[EC_MODALITIES];            /* (rows) */
    float *batch_host;                        /* (B, D) */
    float *batch[EC_MODALITIES];              /* (B, D), back end memory */
    float *grad[EC_MODALITIES];               /* (B, D): what the loss computes besides; not used */
    int32_t *batch_label[EC_MODALITIES];      /* (B) */
    int64_t *picked;                          /* (B) places in the split */
};

/* Losses of the same make as the core's, so that training and validation losses can be compared. */
static ec_status make_losses(ec_run *run, ec_validator *v) {
    for (int e = 0; e < ec__heads_embeddings(&run->heads->config); e++)
        EC_RETURN_IF(ec__train_loss_new(run->be, run->comm, &run->heads->config, &run->core->config, NULL,
                                       (ec_embedding)e,
                                        &v->loss[e]));
    return EC_OK;
}

/* A sampler over places in the split (not rows of the cache): labels are those of the split. */
static ec_status make_sampler(ec_run *run, ec_validator *v) {
    const ec_config_training *t = &run->config->training;
    ec_sample_pool pool[EC_MODALITIES];
    for (int m = 0; m < EC_MODALITIES; m++) {
        int64_t count = run->valid.count[m];
        const int32_t *label = ec__cache_info(run->cache[m])->label;
        v->label[m] = malloc(sizeof *v->label[m] * (size_t)count);
        if (!v->label[m]) return EC_ERROR(EC_ERR_MEMORY, "no memory to validate %lld rows", (long long)count);
        for (int64_t i = 0; i < count; i++) v->label[m][i] = label[run->valid.row[m][i]];
        pool[m] = (ec_sample_pool){.rows = count, .count = count, .label = v->label[m]};
    }
    const ec_sampler_config config = {.global_rows = t->batch_size, .sampling = EC_SAMPLE_CLASS_BALANCED,
                                      .seed = (uint64_t)t->seed + SEED_OFFSET};
    return ec__sampler_new(&config, pool, &v->sampler);
}

static ec_status make_buffers(ec_run *run, ec_validator *v) {
    size_t width = (size_t)run->heads->config.output_dim, own = (size_t)v->own;
    v->batch_host = malloc(sizeof(float) * own * width);
    v->picked = malloc(sizeof *v->picked * own);
    if (!v->batch_host || !v->picked) return EC_ERROR(EC_ERR_MEMORY, "no memory to validate");
    for (int m = 0; m < EC_MODALITIES; m++) {
        v->batch_label[m] = malloc(sizeof *v->batch_label[m] * own);
        if (!v->batch_label[m]) return EC_ERROR(EC_ERR_MEMORY, "no memory to validate");
        EC_RETURN_IF(run->be->memory->alloc(run->be, sizeof(float) * own * width, (void **)&v->batch[m]));
        EC_RETURN_IF(run->be->memory->alloc(run->be, sizeof(float) * own * width, (void **)&v->grad[m]));
        for (int e = 0; e < ec__heads_embeddings(&run->heads->config); e++) {
            v->z[m][e] = malloc(sizeof(float) * (size_t)run->valid.count[m] * width);
            if (!v->z[m][e]) return EC_ERROR(EC_ERR_MEMORY, "no memory to validate");
        }
    }
    return EC_OK;
}

ec_status ec__validator_new(ec_run *run, ec_validator **out) {
    ec_status status = EC_OK;
    ec_validator *v = NULL;
    *out = NULL;
    if (run->config->training.validate_every == 0) return EC_OK;
    if (run->valid.count[EC_IMAGE] == 0 || run->valid.count[EC_MUSIC] == 0) {
        EC_WARN("no validation: the caches have %lld images and %lld tracks of split \"valid\"",
                (long long)run->valid.count[EC_IMAGE], (long long)run->valid.count[EC_MUSIC]);
        return EC_OK;
    }
    v = calloc(1, sizeof *v);
    if (!v) EC_FAIL(EC_ERR_MEMORY, "no memory to validate");
    v->be = run->be;
    v->batches = run->config->training.validation_batches;
    v->own = (int32_t)(run->config->training.batch_size / run->comm->size);
    EC_TRY(make_losses(run, v));
    EC_TRY(make_sampler(run, v));
    EC_TRY(make_buffers(run, v));
    *out = v;
    v = NULL;
done:
    ec__validator_free(v);
    return status;
}

void ec__validator_free(ec_validator *v) {
    if (!v) return;
    for (int m = 0; m < EC_MODALITIES; m++) {
        for (int e = 0; e < EC_EMBEDDINGS; e++) free(v->z[m][e]);
        free(v->label[m]);
        free(v->batch_label[m]);
        v->be->memory->free(v->be, v->batch[m]);
        v->be->memory->free(v->be, v->grad[m]);
    }
    for (int e = 0; e < EC_EMBEDDINGS; e++) ec__supcon_free(v->loss[e]);
    free(v->batch_host);
    free(v->picked);
    ec__sampler_free(v->sampler);
    free(v);
}

/* This rank's rows of batch number `number` in embedding e, on the back end. */
static ec_status load_batch(ec_validator *v, ec_run *run, ec_modality m, int e, int64_t number) {
    int32_t width = run->heads->config.output_dim;
    ec_backend *be = run->be;
    EC_RETURN_IF(ec__sampler_rows(v->sampler, m, number, (int64_t)run->comm->rank * v->own, v->own, v->picked));
    for (int32_t i = 0; i < v->own; i++) {
        memcpy(v->batch_host + (int64_t)i * width, v->z[m][e] + v->picked[i] * width, sizeof(float) * (size_t)width);
        v->batch_label[m][i] = v->label[m][v->picked[i]];
    }
    EC_RETURN_IF(be->memory->upload(be, be->main_stream(be), v->batch[m], v->batch_host,
                                    sizeof(float) * (size_t)v->own * (size_t)width));
    return be->synchronize(be);
}

static ec_status mean_losses(ec_validator *v, ec_run *run, ec_validation_record *record) {
    for (int64_t b = 0; b < v->batches; b++)
        for (int e = 0; e < EC_EMBEDDINGS; e++) {
            double losses[EC_DIRECTIONS];
            if (!v->loss[e]) continue;
            for (int m = 0; m < EC_MODALITIES; m++) EC_RETURN_IF(load_batch(v, run, (ec_modality)m, e, b));
            EC_RETURN_IF(ec__supcon_run(v->loss[e], v->batch[EC_IMAGE], v->batch[EC_MUSIC], v->batch_label[EC_IMAGE],
                                        v->batch_label[EC_MUSIC], v->grad[EC_IMAGE], v->grad[EC_MUSIC], losses));
            for (int d = 0; d < EC_DIRECTIONS; d++) record->losses[d] += losses[d] / (double)v->batches;
        }
    for (int d = 0; d < EC_DIRECTIONS; d++) record->total += record->losses[d] * run->core->config.weight[d];
    return EC_OK;
}

static ec_status retrieve(ec_validator *v, ec_run *run, ec_modality from, double metrics[EC_METRICS]) {
    ec_modality to = from == EC_IMAGE ? EC_MUSIC : EC_IMAGE;
    int cross = ec__heads_embedding(&run->heads->config, EC_CROSS);
    const ec_retrieval_side query = {v->z[from][cross], v->label[from], run->valid.count[from]};
    const ec_retrieval_side item = {v->z[to][cross], v->label[to], run->valid.count[to]};
    ec_retrieval_result result;
    EC_RETURN_IF(ec__retrieval_evaluate(run->be->host, run->comm->host, &query, &item, run->heads->config.output_dim,
                                        false, &result));
    memcpy(metrics, result.macro, sizeof result.macro);
    ec__retrieval_release(&result);
    return EC_OK;
}

/* The figure that decides which checkpoint is best; larger is better. */
static double merit(const ec_config *config, const ec_validation_record *r) {
    static const int column[] = {[EC_CONFIG_BEST_PRECISION_1] = EC_P_AT_1, [EC_CONFIG_BEST_PRECISION_5] = EC_P_AT_5,
                                 [EC_CONFIG_BEST_PRECISION_10] = EC_P_AT_10, [EC_CONFIG_BEST_MRR] = EC_MRR,
                                 [EC_CONFIG_BEST_MAP] = EC_MAP};
    ec_config_metric metric = config->checkpoint.best_metric;
    if (metric == EC_CONFIG_BEST_LOSS) return -r->total;
    return (r->image2music[column[metric]] + r->music2image[column[metric]]) / 2;
}

ec_status ec__validate(ec_validator *v, ec_run *run, ec_validation_record *record) {
    int64_t start = ec__now_ns();
    record->total = 0;
    memset(record->losses, 0, sizeof record->losses);
    for (int m = 0; m < EC_MODALITIES; m++)
        EC_RETURN_IF(ec__embed_rows(run->heads, run->comm->host, (ec_modality)m, run->cache[m], run->valid.row[m],
                                    run->valid.count[m], v->z[m]));
    EC_RETURN_IF(mean_losses(v, run, record));
    EC_RETURN_IF(retrieve(v, run, EC_IMAGE, record->image2music));
    EC_RETURN_IF(retrieve(v, run, EC_MUSIC, record->music2image));
    double now = merit(run->config, record);
    record->best = isnan(run->best) || now > run->best;
    if (record->best) run->best = now;
    record->seconds = ec__seconds_since(start);
    return EC_OK;
}
