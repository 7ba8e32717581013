#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "compute/ops_optim.h"

enum { CHUNK = 16384 }; /* elements a task; a multiple of 16, so that no two tasks share a cache line */

static const double pi = 3.14159265358979323846;

ec_optimizer_config ec__optimizer_defaults(void) {
    return (ec_optimizer_config){.kind = EC_ADAMW, .learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8,
                                 .weight_decay = 0.01, .schedule = EC_SCHEDULE_CONSTANT};
}

double ec__learning_rate(const ec_optimizer_config *c, int64_t step) {
    if (step < c->warmup_steps) return c->learning_rate * (double)(step + 1) / (double)c->warmup_steps;
    if (c->schedule == EC_SCHEDULE_CONSTANT) return c->learning_rate;
    double floor_rate = c->learning_rate * c->final_fraction;
    if (step >= c->total_steps) return floor_rate;
    double progress = (double)(step - c->warmup_steps) / (double)(c->total_steps - c->warmup_steps);
    return floor_rate + (c->learning_rate - floor_rate) * 0.5 * (1.0 + cos(pi * progress));
}

static bool inside(double x, double low, double high) { return x >= low && x <= high; } /* false for NaN */

static ec_status check_config(const ec_optimizer_config *c) {
    const struct {
        const char *name, *range;
        double value;
        bool good;
    } rule[] = {
        {"learning_rate", "> 0", c->learning_rate, c->learning_rate > 0 && isfinite(c->learning_rate)},
        {"beta1", "0 <= beta1 < 1", c->beta1, inside(c->beta1, 0, 1) && c->beta1 < 1},
        {"beta2", "0 <= beta2 < 1", c->beta2, inside(c->beta2, 0, 1) && c->beta2 < 1},
        {"eps", "> 0", c->eps, c->eps > 0 && isfinite(c->eps)},
        {"weight_decay", ">= 0", c->weight_decay, c->weight_decay >= 0 && isfinite(c->weight_decay)},
        {"clip_norm", ">= 0", c->clip_norm, c->clip_norm >= 0 && isfinite(c->clip_norm)},
        {"final_fraction", "0 to 1", c->final_fraction, inside(c->final_fraction, 0, 1)},
        {"warmup_steps", ">= 0", (double)c->warmup_steps, c->warmup_steps >= 0},
        {"total_steps", "more than warmup_steps", (double)c->total_steps,
         c->schedule == EC_SCHEDULE_CONSTANT || c->total_steps > c->warmup_steps},
    };
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++)
        if (!rule[i].good)
            return EC_ERROR(EC_ERR_CONFIG, "%s of the optimizer is %g, expected %s", rule[i].name, rule[i].value,
                            rule[i].range);
    return EC_OK;
}

static int32_t chunk_count(int64_t count) { return (int32_t)((count + CHUNK - 1) / CHUNK); }

ec_status ec__optimizer_new(ec_backend *be, const ec_optimizer_config *config, int64_t count, ec_optimizer **out) {
    ec_status status = EC_OK;
    ec_optimizer *o = NULL;
    size_t bytes = (size_t)count * sizeof(float);
    EC_TRY(check_config(config));
    o = calloc(1, sizeof *o);
    if (!o) EC_FAIL(EC_ERR_MEMORY, "no memory for an optimizer");
    o->be = be;
    o->config = *config;
    o->count = count;
    o->host_partial = calloc((size_t)chunk_count(count) + 1, sizeof *o->host_partial);
    if (!o->host_partial) EC_FAIL(EC_ERR_MEMORY, "no memory for an optimizer");
    EC_TRY(be->memory->alloc(be, bytes, (void **)&o->exp_avg));
    EC_TRY(be->memory->alloc(be, bytes, (void **)&o->exp_avg_sq));
    EC_TRY(be->memory->alloc(be, (size_t)chunk_count(count) * sizeof(double), (void **)&o->partial));
    EC_TRY(be->memory->zero(be, be->main_stream(be), o->exp_avg, bytes));
    EC_TRY(be->memory->zero(be, be->main_stream(be), o->exp_avg_sq, bytes));
    EC_TRY(be->synchronize(be));
    *out = o;
    o = NULL;
done:
    ec__optimizer_free(o);
    return status;
}

void ec__optimizer_free(ec_optimizer *o) {
    if (!o) return;
    o->be->memory->free(o->be, o->exp_avg);
    o->be->memory->free(o->be, o->exp_avg_sq);
    o->be->memory->free(o->be, o->partial);
    free(o->host_partial);
    free(o);
}

typedef struct update {
    const ec_optimizer *optimizer;
    ec_adam adam;
    float *param;
    const float *grad;
} update;

static int64_t chunk_length(const ec_optimizer *o, int32_t task) {
    int64_t left = o->count - (int64_t)task * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

static ec_status sum_chunk(void *arg, int32_t task, ec_stream *stream) {
    const update *u = arg;
    const ec_optimizer *o = u->optimizer;
    return o->be->optim->square_sum(o->be, stream, chunk_length(o, task), u->grad + (int64_t)task * CHUNK,
                                    o->partial + task);
}

static ec_status update_chunk(void *arg, int32_t task, ec_stream *stream) {
    const update *u = arg;
    const ec_optimizer *o = u->optimizer;
    int64_t at = (int64_t)task * CHUNK;
    return o->be->optim->adam(o->be, stream, &u->adam, chunk_length(o, task), u->grad + at, o->exp_avg + at,
                              o->exp_avg_sq + at, u->param + at);
}

/* Euclidean norm of the gradient: chunks of fixed length, added in order. */
static ec_status gradient_norm(update *u, double *norm) {
    const ec_optimizer *o = u->optimizer;
    ec_backend *be = o->be;
    int32_t chunks = chunk_count(o->count);
    double sum = 0;
    EC_RETURN_IF(be->for_each(be, chunks, sum_chunk, u));
    EC_RETURN_IF(be->memory->download(be, be->main_stream(be), o->host_partial, o->partial,
                                      (size_t)chunks * sizeof *o->partial));
    EC_RETURN_IF(be->synchronize(be));
    for (int32_t i = 0; i < chunks; i++) sum += o->host_partial[i];
    *norm = sqrt(sum);
    return EC_OK;
}

static ec_adam adam_of(const ec_optimizer_config *c, int64_t step, double grad_scale) {
    double t = (double)step + 1, rate = ec__learning_rate(c, step);
    bool decoupled = c->kind == EC_ADAMW;
    return (ec_adam){
        .grad_scale = (float)grad_scale,
        .l2 = decoupled ? 0.f : (float)c->weight_decay,
        .decay = decoupled ? (float)(1.0 - rate * c->weight_decay) : 1.f,
        .beta1 = (float)c->beta1,
        .beta2 = (float)c->beta2,
        .one_minus_beta1 = (float)(1.0 - c->beta1),
        .one_minus_beta2 = (float)(1.0 - c->beta2),
        .rate = (float)(rate / (1.0 - pow(c->beta1, t))),
        .inv_bias2 = (float)(1.0 / sqrt(1.0 - pow(c->beta2, t))),
        .eps = (float)c->eps,
    };
}

ec_status ec__optimizer_step(ec_optimizer *o, int64_t step, float *param, const float *grad, double *grad_norm) {
    update u = {.optimizer = o, .param = param, .grad = grad};
    double norm = 0, clip = o->config.clip_norm;
    EC_RETURN_IF(gradient_norm(&u, &norm));
    if (!isfinite(norm))
        return EC_ERROR(EC_ERR_DATA, "the gradient of step %lld is not finite (norm %g)", (long long)step, norm);
    u.adam = adam_of(&o->config, step, clip > 0 && norm > clip ? clip / norm : 1.0);
    EC_RETURN_IF(o->be->for_each(o->be, chunk_count(o->count), update_chunk, &u));
    if (grad_norm) *grad_norm = norm;
    return EC_OK;
}
