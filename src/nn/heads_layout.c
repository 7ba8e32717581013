/* Which projectors there are, what their tensors are called, and initial weights. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "nn/heads.h"
#include "nn/heads_internal.h"

/* The original calls music "audio" in the names of its projectors. */
static const char *const modality_name[EC_MODALITIES] = {"image", "audio"};

static ec_status check_config(const ec_heads_config *c) {
    const struct {
        const char *name;
        int32_t value;
    } size[] = {{"image_dim", c->image_dim},
                {"audio_dim", c->audio_dim},
                {"hidden_dim", c->hidden_dim},
                {"output_dim", c->output_dim},
                {"base_output_dim", c->multi_task ? c->base_output_dim : 1}};
    for (size_t i = 0; i < sizeof size / sizeof size[0]; i++)
        if (size[i].value < 1 || size[i].value > 1 << 20)
            return EC_ERROR(EC_ERR_CONFIG, "%s of the projection heads is %d, expected 1 to %d", size[i].name,
                            size[i].value, 1 << 20);
    if (!(c->dropout >= 0.f && c->dropout < 1.f))
        return EC_ERROR(EC_ERR_CONFIG, "dropout of the projection heads is %g, expected 0 <= dropout < 1", c->dropout);
    return EC_OK;
}

typedef struct tensor {
    const char *suffix;
    int32_t dims, rows, columns;
    ec_param_traits traits;
    int32_t *number;
} tensor;

static ec_status add_tensors(ec_param_set *set, const char *prefix, const tensor *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char name[EC_PARAM_NAME];
        snprintf(name, sizeof name, "%s.%s", prefix, list[i].suffix);
        const int64_t shape[] = {list[i].rows, list[i].columns};
        EC_RETURN_IF(ec__param_set_add(set, name, list[i].dims, shape, list[i].traits, list[i].number));
    }
    return EC_OK;
}

static ec_status add_projector(ec_heads *heads, const char *prefix, const ec_projector *shape) {
    const ec_param_traits plain = {0}, linear = {.transposed = true}, cancelled = {.zero_gradient = true};
    ec_projector *p = &heads->projector[heads->projector_count++];
    *p = *shape;
    const tensor params[] = {
        {"0.weight", 2, p->hidden, p->in, linear, &p->weight0},
        {"0.bias", 1, p->hidden, 0, cancelled, &p->bias0},
        {"1.weight", 1, p->hidden, 0, plain, &p->gamma},
        {"1.bias", 1, p->hidden, 0, plain, &p->beta},
        {"4.weight", 2, p->out, p->hidden, linear, &p->weight4},
        {"4.bias", 1, p->out, 0, p->last ? plain : cancelled, &p->bias4},
    };
    const tensor buffers[] = {
        {"1.running_mean", 1, p->hidden, 0, plain, &p->running_mean},
        {"1.running_var", 1, p->hidden, 0, plain, &p->running_var},
    };
    const tensor counters[] = {{"1.num_batches_tracked", 0, 0, 0, plain, &p->batches}};
    EC_RETURN_IF(add_tensors(&heads->params, prefix, params, 6));
    EC_RETURN_IF(add_tensors(&heads->buffers, prefix, buffers, 2));
    EC_RETURN_IF(add_tensors(&heads->counters, prefix, counters, 1));
    return EC_OK;
}

static ec_status lay_out(ec_heads *heads) {
    const ec_heads_config *c = &heads->config;
    char prefix[EC_PARAM_NAME];
    for (ec_modality m = EC_IMAGE; m < EC_MODALITIES; m++) {
        const ec_projector shape = {.in = ec__heads_input_dim(c, m), .hidden = c->hidden_dim, .modality = m,
                                    .out = c->multi_task ? c->base_output_dim : c->output_dim, .last = !c->multi_task};
        snprintf(prefix, sizeof prefix, c->multi_task ? "%s_base_projector" : "%s_projector", modality_name[m]);
        EC_RETURN_IF(add_projector(heads, prefix, &shape));
    }
    heads->levels = 1;
    if (!c->multi_task) return EC_OK;
    heads->levels = 2;
    for (ec_modality m = EC_IMAGE; m < EC_MODALITIES; m++)
        for (ec_embedding e = EC_INTRA; e < EC_EMBEDDINGS; e++) {
            const ec_projector shape = {.in = c->base_output_dim, .hidden = c->base_output_dim, .out = c->output_dim,
                                        .modality = m, .level = 1, .last = true, .embedding = e};
            snprintf(prefix, sizeof prefix, "%s_%s_projector", modality_name[m], e == EC_INTRA ? "intra" : "cross");
            EC_RETURN_IF(add_projector(heads, prefix, &shape));
        }
    return EC_OK;
}

/* Uniform in +-1/sqrt(in), element i in state-dict order from draw i; 24 bits, so that no value rounds onto a bound. */
static void draw_linear(float *state, const ec_param *param, uint64_t seed, int32_t number, int32_t in) {
    ec_rng rng = ec__rng_at(seed, EC_RNG_INIT, 0, (uint64_t)number);
    double bound = 1.0 / sqrt((double)in);
    for (int64_t i = 0; i < param->count; i++)
        state[i] = (float)(bound * ((double)(ec__rng_u32(&rng) >> 8) * 0x1p-23 - 1.0 + 0x1p-24));
}

static void fill(float *x, int64_t count, float value) {
    for (int64_t i = 0; i < count; i++) x[i] = value;
}

/* params and buffers in host memory. */
static void initial_values(const ec_heads *heads, uint64_t seed, float *scratch, float *params, float *buffers) {
    const ec_param *item = heads->params.items, *buffer = heads->buffers.items;
    for (int32_t i = 0; i < heads->projector_count; i++) {
        const ec_projector *p = &heads->projector[i];
        const struct {
            int32_t number, in;
        } linear[] = {{p->weight0, p->in}, {p->bias0, p->in}, {p->weight4, p->hidden}, {p->bias4, p->hidden}};
        for (int l = 0; l < 4; l++) {
            draw_linear(scratch, &item[linear[l].number], seed, linear[l].number, linear[l].in);
            ec__param_import(&item[linear[l].number], scratch, params);
        }
        fill(params + item[p->gamma].offset, p->hidden, 1.f);
        fill(buffers + buffer[p->running_var].offset, p->hidden, 1.f);
    }
}

static ec_status initialize(ec_heads *heads, uint64_t seed) {
    ec_status status = EC_OK;
    const ec_memory_ops *memory = heads->be->memory;
    ec_stream *stream = heads->be->main_stream(heads->be);
    size_t params = (size_t)heads->params.total, buffers = (size_t)heads->buffers.total;
    float *host = calloc(2 * params + buffers, sizeof *host); /* a single tensor is no larger than all of them */
    heads->counter = calloc((size_t)heads->counters.count, sizeof *heads->counter);
    if (!host || !heads->counter) EC_FAIL(EC_ERR_MEMORY, "no memory for the projection heads");
    initial_values(heads, seed, host + params + buffers, host, host + params);
    EC_TRY(memory->alloc(heads->be, params * sizeof(float), (void **)&heads->param));
    EC_TRY(memory->alloc(heads->be, buffers * sizeof(float), (void **)&heads->buffer));
    EC_TRY(memory->upload(heads->be, stream, heads->param, host, params * sizeof(float)));
    EC_TRY(memory->upload(heads->be, stream, heads->buffer, host + params, buffers * sizeof(float)));
    EC_TRY(heads->be->synchronize(heads->be));
done:
    free(host);
    return status;
}

ec_status ec__heads_new(ec_backend *be, const ec_heads_config *config, uint64_t seed, ec_heads **out) {
    ec_status status = EC_OK;
    ec_heads *heads = NULL;
    EC_TRY(check_config(config));
    heads = calloc(1, sizeof *heads);
    if (!heads) EC_FAIL(EC_ERR_MEMORY, "no memory for the projection heads");
    heads->be = be;
    heads->config = *config;
    EC_TRY(lay_out(heads));
    EC_TRY(initialize(heads, seed));
    *out = heads;
    heads = NULL;
done:
    ec__heads_free(heads);
    return status;
}

void ec__heads_free(ec_heads *heads) {
    if (!heads) return;
    heads->be->memory->free(heads->be, heads->param);
    heads->be->memory->free(heads->be, heads->buffer);
    free(heads->counter);
    ec__param_set_release(&heads->params);
    ec__param_set_release(&heads->buffers);
    ec__param_set_release(&heads->counters);
    free(heads);
}

int32_t ec__heads_embeddings(const ec_heads_config *config) { return config->multi_task ? EC_EMBEDDINGS : 1; }

int32_t ec__heads_embedding(const ec_heads_config *config, ec_embedding which) {
    return config->multi_task ? (int32_t)which : 0;
}

const char *ec__heads_embedding_name(const ec_heads_config *config, ec_modality modality, ec_embedding which) {
    static const char *const single[] = {"image", "music"};
    static const char *const multi[][EC_EMBEDDINGS] = {{"image_intra", "image_cross"}, {"music_intra", "music_cross"}};
    return config->multi_task ? multi[modality][which] : single[modality];
}

int32_t ec__heads_input_dim(const ec_heads_config *config, ec_modality modality) {
    return modality == EC_IMAGE ? config->image_dim : config->audio_dim;
}

/* Copies item number of a set between back end memory (flat) and a host array in state-dict layout. */
static ec_status exchange(ec_heads *heads, const ec_param_set *set, float *flat, int32_t number, float *out,
                          const float *in) {
    ec_status status = EC_OK;
    ec_backend *be = heads->be;
    ec_param item = set->items[number];
    float *device = flat + item.offset;
    size_t bytes = (size_t)item.count * sizeof(float);
    float *host = malloc(bytes);
    if (!host) EC_FAIL(EC_ERR_MEMORY, "no memory for %s", item.name);
    item.offset = 0;
    if (in) {
        ec__param_import(&item, in, host);
        EC_TRY(be->memory->upload(be, be->main_stream(be), device, host, bytes));
        EC_TRY(be->synchronize(be));
    } else {
        EC_TRY(be->memory->download(be, be->main_stream(be), host, device, bytes));
        EC_TRY(be->synchronize(be));
        ec__param_export(&item, host, out);
    }
done:
    free(host);
    return status;
}

ec_status ec__heads_export_param(ec_heads *heads, int32_t number, float *state) {
    return exchange(heads, &heads->params, heads->param, number, state, NULL);
}

ec_status ec__heads_import_param(ec_heads *heads, int32_t number, const float *state) {
    return exchange(heads, &heads->params, heads->param, number, NULL, state);
}

ec_status ec__heads_export_buffer(ec_heads *heads, int32_t number, float *state) {
    return exchange(heads, &heads->buffers, heads->buffer, number, state, NULL);
}

ec_status ec__heads_import_buffer(ec_heads *heads, int32_t number, const float *state) {
    return exchange(heads, &heads->buffers, heads->buffer, number, NULL, state);
}
