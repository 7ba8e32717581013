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
    int32_t width;    /* tasks that can run at the same time */
    void **workspace; /* one a stream */
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

static ec_status open_workspaces(ec_encoder *encoder) {
    encoder->width = encoder->be->width(encoder->be);
    encoder->workspace = calloc((size_t)encoder->width, sizeof *encoder->workspace);
    if (!encoder->workspace) return EC_ERROR(EC_ERR_MEMORY, "no memory for an encoder");
    for (int32_t i = 0; i < encoder->width; i++)
        EC_RETURN_IF(encoder->be->memory->alloc(encoder->be, encoder->net.workspace, &encoder->workspace[i]));
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
    encoder->probe = options->probe;
    encoder->probe_arg = options->probe_arg;
    if (options->path) {
        EC_TRY(ec__safetensors_open(options->path, &file));
        source = ec__safetensors_source(file);
        from = &source;
    }
    EC_TRY(open_net(encoder, options, from));
    EC_TRY(open_workspaces(encoder));
    *out = encoder;
    encoder = NULL;
done:
    ec__encoder_free(encoder);
    ec__safetensors_close(file);
    return status;
}

void ec__encoder_free(ec_encoder *encoder) {
    if (!encoder) return;
    for (int32_t i = 0; encoder->workspace && i < encoder->width; i++)
        encoder->be->memory->free(encoder->be, encoder->workspace[i]);
    free(encoder->workspace);
    if (encoder->net.free) encoder->net.free(encoder->net.state, encoder->be);
    free(encoder);
}

const ec_encoder_info *ec__encoder_info(const ec_encoder *encoder) { return &encoder->info; }

typedef struct batch {
    ec_encoder *encoder;
    int32_t count, per_task;
    const float *inputs;
    float *embeddings;
} batch;

static ec_encode call_of(const batch *b, int32_t task, ec_stream *stream) {
    const ec_encoder *e = b->encoder;
    const int32_t first = task * b->per_task, left = b->count - first;
    return (ec_encode){
        .be = e->be,
        .stream = stream,
        .workspace = e->workspace[e->be->stream_index(stream)],
        .workspace_bytes = e->net.workspace,
        .first = first,
        .count = left < b->per_task ? left : b->per_task,
        .inputs = b->inputs + (size_t)first * (size_t)e->info.input_count,
        .embeddings = b->embeddings + (size_t)first * (size_t)e->info.embedding,
        .probe = e->probe,
        .probe_arg = e->probe_arg,
    };
}

static ec_status encode_task(void *arg, int32_t task, ec_stream *stream) {
    const batch *b = arg;
    const ec_encode call = call_of(b, task, stream);
    return b->encoder->net.forward(b->encoder->net.state, &call);
}

/* Whoever is shown inner layers waits for each of them, which only the main stream allows. */
static ec_status enqueue_tasks(ec_encoder *e, batch *b, int32_t tasks) {
    if (!e->probe) return e->be->for_each(e->be, tasks, encode_task, b);
    for (int32_t t = 0; t < tasks; t++) EC_RETURN_IF(encode_task(b, t, e->be->main_stream(e->be)));
    return EC_OK;
}

/* Rounds of one task a thread, the rounds as equal as possible: no thread waits for a last small one. The cut does not
 * show in the results, because rows do not depend on each other. */
static int32_t samples_per_task(const ec_encoder *encoder, int32_t count) {
    const int64_t round = (int64_t)encoder->net.micro_batch * encoder->width;
    const int64_t rounds = (count + round - 1) / round, tasks = rounds * encoder->width;
    return (int32_t)((count + tasks - 1) / tasks);
}

ec_status ec__encoder_forward(ec_encoder *encoder, int32_t count, const float *inputs, float *embeddings) {
    if (count < 0) return EC_ERROR(EC_ERR_USAGE, "a batch of %d", count);
    if (count == 0) return EC_OK;
    batch b = {.encoder = encoder, .count = count, .inputs = inputs, .embeddings = embeddings};
    b.per_task = samples_per_task(encoder, count);
    const int32_t tasks = (count + b.per_task - 1) / b.per_task;
    const ec_status status = enqueue_tasks(encoder, &b, tasks);
    if (status == EC_OK) return encoder->be->synchronize(encoder->be);
    const ec_error record = *ec_error_last();
    (void)encoder->be->synchronize(encoder->be); /* the caller's arrays are in use until then */
    return ec__error_adopt(&record);
}
