/* One encoder for all networks: opening, and the cut of a batch into tasks. */
#include "nn/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/log.h"
#include "nn/encoder_net.h"
#include "nn/safetensors.h"

static const char *const names[EC_ENCODERS] = {[EC_ENCODER_CLIP_VIT] = "clip_vit",
                                               [EC_ENCODER_SHORTCHUNK] = "shortchunk"};

struct ec_encoder {
    ec_backend *be;
    ec_encoder_info info;
    ec_net net;
    ec_encoder_probe probe;
    void *probe_arg;
    int32_t lanes;    /* tasks at the same time, at most */
    void **workspace; /* one a lane, from its first use on */
    /* Embeddings of the largest call so far, the back end's host memory: a download to other memory would wait, and
     * keep the next lane from being enqueued. */
    float *result;
    size_t results;
};

ec_status ec__encoder_kind_parse(const char *name, ec_encoder_kind *out) {
    for (int i = 0; i < EC_ENCODERS; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (ec_encoder_kind)i;
            return EC_OK;
        }
    return EC_ERROR(EC_ERR_CONFIG, "no encoder named \"%s\"; there are clip_vit and shortchunk", name);
}

static ec_status open_net(ec_encoder *encoder, const ec_encoder_options *options, const ec_tensor_source *source) {
    ec_encoder_info *info = &encoder->info;
    info->kind = options->kind;
    info->name = names[options->kind];
    info->random = source == NULL;
    info->seed = options->seed;
    info->precision = options->precision;
    if (options->kind == EC_ENCODER_CLIP_VIT)
        EC_RETURN_IF(ec__clip_vit_open(encoder->be, options, source, &encoder->net, info));
    else EC_RETURN_IF(ec__shortchunk_open(encoder->be, options, source, &encoder->net, info));
    if (info->random)
        EC_WARN("%s has RANDOM weights (seed %llu): no weight file was given, its embeddings carry no learned meaning",
                info->name, (unsigned long long)options->seed);
    return EC_OK;
}

ec_status ec__encoder_open(ec_backend *be, const ec_encoder_options *options, ec_encoder **out) {
    ec_status status = EC_OK;
    ec_safetensors *file = NULL;
    ec_tensor_source source;
    const ec_tensor_source *from = options->source;
    ec_encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder) EC_FAIL(EC_ERR_MEMORY, "no memory for an encoder");
    encoder->be = be;
    encoder->lanes = be->grain.encoder_tasks;
    encoder->workspace = calloc((size_t)encoder->lanes, sizeof *encoder->workspace);
    if (!encoder->workspace) EC_FAIL(EC_ERR_MEMORY, "no memory for an encoder");
    encoder->probe = options->probe;
    encoder->probe_arg = options->probe_arg;
    if (options->path) {
        EC_TRY(ec__safetensors_open(options->path, &file));
        source = ec__safetensors_source(file);
        from = &source;
    }
    EC_TRY(open_net(encoder, options, from));
    *out = encoder;
    encoder = NULL;
done:
    ec__encoder_free(encoder);
    ec__safetensors_close(file);
    return status;
}

void ec__encoder_free(ec_encoder *encoder) {
    if (!encoder) return;
    for (int32_t i = 0; encoder->workspace && i < encoder->lanes; i++)
        encoder->be->memory->free(encoder->be, encoder->workspace[i]);
    free(encoder->workspace);
    encoder->be->memory->free_host(encoder->be, encoder->result);
    if (encoder->net.free) encoder->net.free(encoder->net.state, encoder->be);
    free(encoder);
}

const ec_encoder_info *ec__encoder_info(const ec_encoder *encoder) { return &encoder->info; }

typedef struct batch {
    ec_encoder *encoder;
    int32_t count, per_task, tasks, lanes;
    const float *inputs;
} batch;

static ec_encode call_of(const batch *b, int32_t task, ec_stream *stream) {
    const ec_encoder *e = b->encoder;
    const int32_t first = task * b->per_task, left = b->count - first;
    return (ec_encode){
        .be = e->be,
        .stream = stream,
        .workspace = e->workspace[task % b->lanes],
        .workspace_bytes = e->net.workspace,
        .first = first,
        .count = left < b->per_task ? left : b->per_task,
        .inputs = b->inputs + (size_t)first * (size_t)e->info.input_count,
        .embeddings = e->result + (size_t)first * (size_t)e->info.embedding,
        .probe = e->probe,
        .probe_arg = e->probe_arg,
    };
}

/* A lane takes every lanes-th task, one after the other over the same workspace. */
static ec_status run_lane(void *arg, int32_t lane, ec_stream *stream) {
    const batch *b = arg;
    for (int32_t t = lane; t < b->tasks; t += b->lanes) {
        const ec_encode call = call_of(b, t, stream);
        EC_RETURN_IF(b->encoder->net.forward(b->encoder->net.state, &call));
    }
    return EC_OK;
}

/* Rounds of one task a lane, the rounds as equal as possible: no lane waits for a last small one. The cut does not show
 * in the results, because rows do not depend on each other. */
static void cut(const ec_encoder *e, batch *b) {
    const int64_t most = e->net.micro_batch, round = most * e->lanes;
    const int64_t tasks = (b->count + round - 1) / round * e->lanes;
    b->per_task = (int32_t)(e->net.filled ? most : (b->count + tasks - 1) / tasks);
    b->tasks = (b->count + b->per_task - 1) / b->per_task;
    /* Whoever is shown inner layers waits for each of them, which only the main stream allows. */
    b->lanes = e->probe ? 1 : b->tasks < e->lanes ? b->tasks : e->lanes;
}

static ec_status reserve(ec_encoder *e, const batch *b) {
    const size_t results = (size_t)b->count * (size_t)e->info.embedding;
    void *memory = NULL;
    for (int32_t i = 0; i < b->lanes; i++)
        if (!e->workspace[i]) EC_RETURN_IF(e->be->memory->alloc(e->be, e->net.workspace, &e->workspace[i]));
    if (results <= e->results) return EC_OK;
    e->be->memory->free_host(e->be, e->result);
    e->result = NULL;
    e->results = 0;
    EC_RETURN_IF(e->be->memory->alloc_host(e->be, results * sizeof(float), &memory));
    e->result = memory;
    e->results = results;
    return EC_OK;
}

static ec_status enqueue(ec_encoder *e, batch *b) {
    return e->probe ? run_lane(b, 0, e->be->main_stream(e->be)) : e->be->for_each(e->be, b->lanes, run_lane, b);
}

ec_status ec__encoder_forward(ec_encoder *encoder, int32_t count, const float *inputs, float *embeddings) {
    if (count < 0) return EC_ERROR(EC_ERR_USAGE, "a batch of %d", count);
    if (count == 0) return EC_OK;
    batch b = {.encoder = encoder, .count = count, .inputs = inputs};
    cut(encoder, &b);
    EC_RETURN_IF(reserve(encoder, &b));
    const ec_status status = enqueue(encoder, &b);
    if (status != EC_OK) {
        const ec_error record = *ec_error_last();
        (void)encoder->be->synchronize(encoder->be); /* the caller's array is in use until then */
        return ec__error_adopt(&record);
    }
    EC_RETURN_IF(encoder->be->synchronize(encoder->be));
    memcpy(embeddings, encoder->result, sizeof(float) * (size_t)count * (size_t)encoder->info.embedding);
    return EC_OK;
}
