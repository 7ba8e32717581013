#include "emoclim/index.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/threads.h"
#include "cache/embedding_file.h"
#include "eval/similarity.h"

struct ec_index {
    ec_backend *be;
    ec_embeddings *file;
};

ec_status ec_index_open(const char *path, int32_t threads, ec_index **out) {
    ec_status status = EC_OK;
    ec_index *index = calloc(1, sizeof *index);
    if (!index) EC_FAIL(EC_ERR_MEMORY, "no memory for an index");
    EC_TRY(ec__api_backend(threads, &index->be));
    EC_TRY(ec__embedding_read(path, &index->file));
    if (index->file->content.rows > INT32_MAX)
        EC_FAIL(EC_ERR_DATA, "%s has %lld items; at most 2^31 - 1 can be ranked", path,
                (long long)index->file->content.rows);
    *out = index;
    index = NULL;
done:
    ec_index_close(index);
    return status;
}

void ec_index_close(ec_index *index) {
    if (!index) return;
    ec__embedding_free(index->file);
    if (index->be) index->be->close(index->be);
    free(index);
}

ec_status ec_index_check_model(const ec_index *index, const ec_model *model) {
    const char *made = index->file->content.checkpoint_digest, *now = ec_model_digest(model);
    if (strcmp(made, now) != 0)
        return EC_ERROR(EC_ERR_DATA, "%s was made with another model (digest %.12s...) than this one (%.12s...); "
                        "embed it again", index->file->path, made, now);
    return EC_OK;
}

int64_t ec_index_items(const ec_index *index) { return index->file->content.rows; }

int32_t ec_index_width(const ec_index *index) { return index->file->content.width; }

const char *ec_index_modality(const ec_index *index) { return index->file->content.modality; }

static bool has(const ec_index *index, int64_t item) { return item >= 0 && item < index->file->content.rows; }

const char *ec_index_id(const ec_index *index, int64_t item) {
    return has(index, item) ? index->file->content.id[item] : NULL;
}

const char *ec_index_label(const ec_index *index, int64_t item) {
    const ec_embedding_content *c = &index->file->content;
    return has(index, item) && c->label[item] >= 0 ? c->class_names[c->label[item]] : NULL;
}

const float *ec_index_embedding(const ec_index *index, int64_t item) {
    const ec_embedding_content *c = &index->file->content;
    return has(index, item) ? c->embedding + item * c->width : NULL;
}

ec_status ec_index_search(ec_index *index, const float *query, int32_t k, ec_match *matches, int32_t *found) {
    ec_status status = EC_OK;
    const ec_embedding_content *c = &index->file->content;
    ec_backend *be = index->be;
    float *scores = NULL;
    ec_ranked *top = NULL;
    if (k < 1) EC_FAIL(EC_ERR_USAGE, "a search for k = %d items; at least 1 expected", (int)k);
    for (int32_t d = 0; d < c->width; d++)
        if (!isfinite(query[d])) EC_FAIL(EC_ERR_USAGE, "number %d of the query is not finite", (int)d);
    int32_t n = (int32_t)(k < c->rows ? k : c->rows);
    scores = malloc(sizeof *scores * (size_t)c->rows);
    top = malloc(sizeof *top * (size_t)n);
    if (!scores || !top) EC_FAIL(EC_ERR_MEMORY, "no memory to rank %lld items", (long long)c->rows);
    EC_TRY(ec__similarity_block(be, be->main_stream(be), query, 1, c->embedding, c->rows, c->width, scores));
    ec__ranked_top(scores, c->rows, n, top);
    for (int32_t i = 0; i < n; i++) matches[i] = (ec_match){.item = top[i].index, .score = top[i].score};
    *found = n;
done:
    free(top);
    free(scores);
    return status;
}
