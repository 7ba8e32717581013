#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "compute/ops_optim.h"

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

static int32_t chunk_count(const ec_optimizer *o) {
    int32_t elements = o->be->grain.elements;
    return (int32_t)((o->count + elements - 1) / elements);
}

static ec_status make_memory(ec_optimizer *o) {
    ec_backend *be = o->be;
    const ec_memory_ops *memory = be->memory;
    size_t bytes = (size_t)o->count * sizeof(float);
    EC_RETURN_IF(memory->alloc(be, bytes, (void **)&o->exp_avg));
    EC_RETURN_IF(memory->alloc(be, bytes, (void **)&o->exp_avg_sq));
    EC_RETURN_IF(memory->alloc(be, (size_t)chunk_count(o) * sizeof *o->part, (void **)&o->part));
    EC_RETURN_IF(memory->alloc(be, sizeof *o->adam, (void **)&o->adam));
    EC_RETURN_IF(memory->alloc(be, sizeof *o->norm, (void **)&o->norm));
    EC_RETURN_IF(memory->alloc_host(be, EC_TURNS * sizeof *o->adam_told, (void **)&o->adam_told));
    EC_RETURN_IF(memory->alloc_host(be, EC_TURNS * sizeof *o->norm_told, (void **)&o->norm_told));
    EC_RETURN_IF(ec__optimizer_resume(o));
    EC_RETURN_IF(memory->zero(be, be->main_stream(be), o->exp_avg, bytes));
    EC_RETURN_IF(memory->zero(be, be->main_stream(be), o->exp_avg_sq, bytes));
    return be->synchronize(be);
}

ec_status ec__optimizer_new(ec_backend *be, const ec_optimizer_config *config, int64_t count, ec_optimizer **out) {
    ec_status status = EC_OK;
    ec_optimizer *o = NULL;
    EC_TRY(check_config(config));
    o = calloc(1, sizeof *o);
    if (!o) EC_FAIL(EC_ERR_MEMORY, "no memory for an optimizer");
    o->be = be;
    o->config = *config;
    o->count = count;
    EC_TRY(make_memory(o));
    *out = o;
    o = NULL;
done:
    ec__optimizer_free(o);
    return status;
}

void ec__optimizer_free(ec_optimizer *o) {
    if (!o) return;
    const ec_memory_ops *memory = o->be->memory;
    memory->free(o->be, o->exp_avg);
    memory->free(o->be, o->exp_avg_sq);
    memory->free(o->be, o->part);
    memory->free(o->be, o->adam);
    memory->free(o->be, o->norm);
    memory->free_host(o->be, o->adam_told);
    memory->free_host(o->be, o->norm_told);
    free(o);
}

typedef struct update {
    const ec_optimizer *optimizer;
    float *param;
    const float *grad;
} update;

/* A chunk of the flat arrays: where it begins, and how long it is. */
static int64_t chunk_at(const ec_optimizer *o, int32_t task) { return (int64_t)task * o->be->grain.elements; }

static int64_t chunk_length(const ec_optimizer *o, int32_t task) {
    int64_t left = o->count - chunk_at(o, task);
    return left < o->be->grain.elements ? left : o->be->grain.elements;
}

static ec_status sum_chunk(void *arg, int32_t task, ec_stream *stream) {
    const update *u = arg;
    const ec_optimizer *o = u->optimizer;
    return o->be->optim->square_sum(o->be, stream, chunk_length(o, task), u->grad + chunk_at(o, task), o->part + task);
}

static ec_status update_chunk(void *arg, int32_t task, ec_stream *stream) {
    const update *u = arg;
    const ec_optimizer *o = u->optimizer;
    int64_t at = chunk_at(o, task);
    return o->be->optim->adam(o->be, stream, o->adam, chunk_length(o, task), u->grad + at, o->exp_avg + at,
                              o->exp_avg_sq + at, u->param + at);
}

static ec_adam adam_of(const ec_optimizer_config *c, int64_t step) {
    double t = (double)step + 1, rate = ec__learning_rate(c, step);
    bool decoupled = c->kind == EC_ADAMW;
    return (ec_adam){
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

ec_status ec__optimizer_begin(ec_optimizer *o, int64_t step, int32_t turn) {
    ec_adam *told = &o->adam_told[turn];
    o->step[turn] = step;
    *told = adam_of(&o->config, step);
    return o->be->memory->upload(o->be, o->be->main_stream(o->be), o->adam, told, sizeof *told);
}

/* The norm is made of chunks of fixed length, added in order. */
ec_status ec__optimizer_enqueue(ec_optimizer *o, float *param, const float *grad) {
    ec_backend *be = o->be;
    ec_stream *stream = be->main_stream(be);
    update u = {.optimizer = o, .param = param, .grad = grad};
    int32_t chunks = chunk_count(o);
    EC_RETURN_IF(be->for_each(be, chunks, sum_chunk, &u));
    EC_RETURN_IF(be->optim->clip(be, stream, chunks, o->part, o->config.clip_norm, o->adam, o->norm));
    return be->for_each(be, chunks, update_chunk, &u);
}

ec_status ec__optimizer_tell(ec_optimizer *o, int32_t turn) {
    return o->be->memory->download(o->be, o->be->main_stream(o->be), &o->norm_told[turn], o->norm, sizeof *o->norm);
}

ec_status ec__optimizer_result(const ec_optimizer *o, int32_t turn, double *grad_norm) {
    const double norm = o->norm_told[turn].norm;
    if (!isfinite(norm))
        return EC_ERROR(EC_ERR_DATA, "the gradient of step %lld is not finite (norm %g)", (long long)o->step[turn],
                        norm);
    if (grad_norm) *grad_norm = norm;
    return EC_OK;
}

ec_status ec__optimizer_resume(ec_optimizer *o) {
    return o->be->memory->zero(o->be, o->be->main_stream(o->be), o->norm, sizeof *o->norm);
}

ec_status ec__optimizer_step(ec_optimizer *o, int64_t step, float *param, const float *grad, double *grad_norm) {
    EC_RETURN_IF(ec__optimizer_begin(o, step, 0));
    EC_RETURN_IF(ec__optimizer_enqueue(o, param, grad));
    EC_RETURN_IF(ec__optimizer_tell(o, 0));
    EC_RETURN_IF(ec__optimizer_resume(o));
    EC_RETURN_IF(o->be->synchronize(o->be));
    return ec__optimizer_result(o, 0, grad_norm);
}
