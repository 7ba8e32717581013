#include "pipeline/embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dist/share.h"

/* Items that are brought through the heads at a time, at least. */
enum { BLOCK = 256 };

ec_status ec__embed_check(const ec_heads *heads, ec_modality modality, const ec_cache_info *cache) {
    const char *wanted = modality == EC_IMAGE ? "image" : "music";
    int32_t width = ec__heads_input_dim(&heads->config, modality);
    if (strcmp(cache->identity.modality, wanted) != 0)
        return EC_ERROR(EC_ERR_DATA, "%s holds features of modality %s; %s was expected", cache->path,
                        cache->identity.modality, wanted);
    if (cache->identity.width != width)
        return EC_ERROR(EC_ERR_DATA, "%s holds features of width %lld; the %s heads of the model take %d", cache->path,
                        (long long)cache->identity.width, wanted, width);
    return EC_OK;
}

/* out (count, dim) = mean over views of each, in (count * views, dim), at unit length; sums in double, in view
 * order. */
static void mean_of_views(const float *in, int64_t count, int32_t views, int32_t dim, double *sum, float *out) {
    for (int64_t r = 0; r < count; r++) {
        if (views == 1) {
            memcpy(out + r * dim, in + r * dim, sizeof *out * (size_t)dim);
            continue;
        }
        double norm2 = 0;
        for (int32_t d = 0; d < dim; d++) {
            sum[d] = 0;
            for (int32_t v = 0; v < views; v++) sum[d] += in[(r * views + v) * dim + d];
            norm2 += sum[d] * sum[d];
        }
        double scale = norm2 > 0 ? 1 / sqrt(norm2) : 0;
        for (int32_t d = 0; d < dim; d++) out[r * dim + d] = (float)(sum[d] * scale);
    }
}

/* Work memory of one call: a block of features and of embeddings, in host and back end memory. */
typedef struct workspace {
    ec_backend *be;
    int64_t block;                /* items */
    float *features, *embeddings; /* back end */
    float *host;                  /* (block * views, output), the back end's host memory */
    double *sum;                  /* (output) */
} workspace;

static void workspace_release(workspace *w) {
    if (!w->be) return;
    w->be->memory->free(w->be, w->features);
    w->be->memory->free(w->be, w->embeddings);
    w->be->memory->free_host(w->be, w->host);
    free(w->sum);
}

static int64_t block_of(const ec_backend *be, int32_t views) {
    const int64_t rows = be->grain.row_block / views;
    return rows > BLOCK ? rows : BLOCK;
}

size_t ec__embed_bytes(ec_heads *heads, ec_modality modality, int64_t count, int32_t views) {
    const int64_t block = block_of(heads->be, views), most = count < block ? count : block;
    const int64_t width = ec__heads_input_dim(&heads->config, modality) +
                          (int64_t)heads->config.output_dim * EC_EMBEDDINGS;
    return sizeof(float) * (size_t)(block * views * width) + ec__heads_embed_bytes(heads, most * views);
}

static ec_status workspace_init(workspace *w, ec_backend *be, int32_t views, int32_t input, int32_t output) {
    w->block = block_of(be, views);
    const size_t rows = (size_t)w->block * (size_t)views;
    w->be = be;
    EC_RETURN_IF(be->memory->alloc(be, sizeof(float) * rows * (size_t)input, (void **)&w->features));
    EC_RETURN_IF(be->memory->alloc(be, sizeof(float) * rows * (size_t)output * EC_EMBEDDINGS, (void **)&w->embeddings));
    EC_RETURN_IF(be->memory->alloc_host(be, sizeof *w->host * rows * (size_t)output, (void **)&w->host));
    w->sum = malloc(sizeof *w->sum * (size_t)output);
    if (!w->sum) return EC_ERROR(EC_ERR_MEMORY, "no memory to embed %zu rows", rows);
    return EC_OK;
}

/* features (n, views, input) in host memory, n <= block; z[e] (n, output). */
static ec_status embed_block(ec_heads *heads, ec_modality modality, workspace *w, const float *features, int64_t n,
                             int32_t views, float *const z[EC_EMBEDDINGS]) {
    ec_backend *be = w->be;
    ec_stream *stream = be->main_stream(be);
    int32_t input = ec__heads_input_dim(&heads->config, modality), output = heads->config.output_dim;
    int64_t rows = n * views;
    float *on_device[EC_EMBEDDINGS] = {0};
    for (int e = 0; e < ec__heads_embeddings(&heads->config); e++)
        if (z[e]) on_device[e] = w->embeddings + e * w->block * views * output;
    EC_RETURN_IF(be->memory->upload(be, stream, w->features, features, sizeof *features * (size_t)(rows * input)));
    EC_RETURN_IF(ec__heads_embed(heads, modality, w->features, rows, on_device));
    for (int e = 0; e < EC_EMBEDDINGS; e++) {
        if (!on_device[e]) continue;
        EC_RETURN_IF(
            be->memory->download(be, stream, w->host, on_device[e], sizeof *w->host * (size_t)(rows * output)));
        EC_RETURN_IF(be->synchronize(be));
        mean_of_views(w->host, n, views, output, w->sum, z[e]);
    }
    return EC_OK;
}

ec_status ec__embed_features(ec_heads *heads, ec_modality modality, const float *features, int64_t count, int32_t views,
                             float *const z[EC_EMBEDDINGS]) {
    ec_status status = EC_OK;
    workspace w = {0};
    int32_t input = ec__heads_input_dim(&heads->config, modality), output = heads->config.output_dim;
    EC_TRY(workspace_init(&w, heads->be, views, input, output));
    for (int64_t first = 0; first < count; first += w.block) {
        int64_t n = count - first < w.block ? count - first : w.block;
        float *at[EC_EMBEDDINGS];
        for (int e = 0; e < EC_EMBEDDINGS; e++) at[e] = z[e] ? z[e] + first * output : NULL;
        EC_TRY(embed_block(heads, modality, &w, features + first * views * input, n, views, at));
    }
done:
    workspace_release(&w);
    return status;
}

/* Embeddings of a share of the list into their places in z. */
static ec_status embed_share(ec_heads *heads, ec_modality modality, ec_cache *cache, const int64_t *rows,
                             ec_share share, float *const z[EC_EMBEDDINGS]) {
    ec_status status = EC_OK;
    workspace w = {0};
    const ec_cache_identity *identity = &ec__cache_info(cache)->identity;
    int32_t views = identity->views, output = heads->config.output_dim;
    const size_t item = sizeof(float) * (size_t)views * (size_t)identity->width;
    float *features = NULL;
    EC_TRY(workspace_init(&w, heads->be, views, (int32_t)identity->width, output));
    EC_TRY(heads->be->memory->alloc_host(heads->be, (size_t)w.block * item, (void **)&features));
    for (int64_t at = share.first; at < share.last; at += w.block) {
        int64_t n = share.last - at < w.block ? share.last - at : w.block;
        for (int64_t r = 0; r < n; r++)
            for (int32_t v = 0; v < views; v++)
                EC_TRY(ec__cache_row(cache, rows[at + r], v, features + (r * views + v) * identity->width));
        float *into[EC_EMBEDDINGS];
        for (int e = 0; e < EC_EMBEDDINGS; e++) into[e] = z[e] ? z[e] + at * output : NULL;
        EC_TRY(embed_block(heads, modality, &w, features, n, views, into));
    }
done:
    heads->be->memory->free_host(heads->be, features);
    workspace_release(&w);
    return status;
}

ec_status ec__embed_rows(ec_heads *heads, ec_comm *comm, ec_modality modality, ec_cache *cache, const int64_t *rows,
                         int64_t count, float *const z[EC_EMBEDDINGS]) {
    const ec_share share = ec__share_of(comm->rank, comm->size, count);
    ec_status mine = ec__embed_check(heads, modality, ec__cache_info(cache));
    if (mine == EC_OK) mine = embed_share(heads, modality, cache, rows, share, z);
    EC_RETURN_IF(ec__comm_agree(comm, mine));
    for (int e = 0; e < EC_EMBEDDINGS; e++)
        if (z[e]) EC_RETURN_IF(ec__share_rows(comm, z[e], count, sizeof(float) * (size_t)heads->config.output_dim));
    return EC_OK;
}
