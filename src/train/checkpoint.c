/* What a checkpoint is, apart from files. */
#include "train/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cache/json_text.h"
#include "core/file.h"
#include "train/checkpoint_internal.h"

const char *const ec__checkpoint_section[EC_CHECKPOINT_SECTIONS] = {
    "params", "buffers", "optimizer/exp_avg", "optimizer/exp_avg_sq",
};

const char *const ec__checkpoint_origin[EC_CHECKPOINT_ORIGINS] = {"image_features", "music_features"};

size_t ec__checkpoint_array_bytes(const ec_checkpoint_array *array) {
    size_t bytes = ec__h5_type_bytes(array->type);
    for (int32_t i = 0; i < array->rank; i++) bytes *= (size_t)array->dim[i];
    return bytes;
}

static bool in_section(const char *name) {
    for (int i = 0; i < EC_CHECKPOINT_SECTIONS; i++) {
        size_t length = strlen(ec__checkpoint_section[i]);
        if (strncmp(name, ec__checkpoint_section[i], length) == 0 && name[length] == '/')
            return name[length + 1] != '\0' && strchr(name + length + 1, '/') == NULL && strlen(name) < EC_H5_NAME;
    }
    return false;
}

static int compare_names(const void *a, const void *b) {
    const ec_checkpoint_array *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

ec_status ec__checkpoint_sort(const ec_checkpoint_array *arrays, int32_t count, const ec_checkpoint_array ***out) {
    ec_status status = EC_OK;
    const ec_checkpoint_array **sorted = malloc(((size_t)count + 1) * sizeof(*sorted));
    if (!sorted) EC_FAIL(EC_ERR_MEMORY, "no memory for a list of %d arrays", count);
    for (int32_t k = 0; k < count; k++) {
        if (!in_section(arrays[k].name)) EC_FAIL(EC_ERR_BUG, "\"%s\" is no name for an array", arrays[k].name);
        sorted[k] = &arrays[k];
    }
    qsort(sorted, (size_t)count, sizeof(*sorted), compare_names);
    for (int32_t k = 1; k < count; k++)
        if (strcmp(sorted[k]->name, sorted[k - 1]->name) == 0)
            EC_FAIL(EC_ERR_BUG, "two arrays of the name %s", sorted[k]->name);
    *out = sorted;
    sorted = NULL;
done:
    free(sorted);
    return status;
}

ec_status ec__checkpoint_index_checksum(const ec_checkpoint_meta *meta, const char *program,
                                        const ec_checkpoint_array *const *sorted, const uint64_t *value, int32_t count,
                                        char hex[EC_CHECKSUM_HEX]) {
    ec_checksum *sum = NULL;
    EC_RETURN_IF(ec__checksum_new(&sum));
    ec__checksum_text(sum, program);
    ec__checksum_number(sum, meta->step);
    ec__checksum_number(sum, meta->epoch);
    ec__checksum_number(sum, meta->sampler_position);
    ec__checksum_number(sum, (int64_t)meta->seed);
    ec__checksum_number(sum, meta->ranks);
    ec__checksum_number(sum, meta->shards);
    ec__checksum_bytes(sum, &meta->best_metric, sizeof meta->best_metric);
    ec__checksum_text(sum, meta->config);
    if (meta->validation_due) ec__checksum_text(sum, "validation_due");
    for (int i = 0; i < EC_CHECKPOINT_ORIGINS; i++) {
        if (!meta->features[i]) continue;
        ec__checksum_number(sum, i);
        ec__checksum_text(sum, meta->features[i]);
    }
    ec__checksum_number(sum, count);
    for (int32_t k = 0; k < count; k++) {
        ec__checksum_text(sum, sorted[k]->name);
        ec__checksum_text(sum, ec__h5_type_name(sorted[k]->type));
        ec__checksum_bytes(sum, sorted[k]->dim, (size_t)sorted[k]->rank * sizeof sorted[k]->dim[0]);
        ec__checksum_number(sum, (int64_t)value[k]);
    }
    ec__checksum_hex(ec__checksum_end(sum), hex);
    return EC_OK;
}

static int compare_key(const void *key, const void *element) {
    return strcmp(key, ((const ec_checkpoint_array *)element)->name);
}

const ec_checkpoint_array *ec__checkpoint_find(const ec_checkpoint *checkpoint, const char *name) {
    return bsearch(name, checkpoint->array, (size_t)checkpoint->count, sizeof *checkpoint->array, compare_key);
}

/* "float32 (256,512)" */
static void describe(const ec_checkpoint_array *array, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%s (", ec__h5_type_name(array->type));
    for (int32_t i = 0; i < array->rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, i ? ",%lld" : "%lld", (long long)array->dim[i]);
    if (used < size) snprintf(text + used, size - used, ")");
}

static bool same_kind(const ec_checkpoint_array *a, const ec_checkpoint_array *b) {
    return a->type == b->type && a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

ec_status ec__checkpoint_expect(const ec_checkpoint *checkpoint, const ec_checkpoint_array *expected, int32_t count) {
    ec_status status = EC_OK;
    const ec_checkpoint_array **sorted = NULL;
    char here[256], there[256];
    EC_TRY(ec__checkpoint_sort(expected, count, &sorted));
    for (int32_t k = 0; k < count; k++) {
        const ec_checkpoint_array *found = ec__checkpoint_find(checkpoint, sorted[k]->name);
        if (!found)
            EC_FAIL(EC_ERR_DATA, "%s: the array %s is missing: the checkpoint is of another model", checkpoint->path,
                    sorted[k]->name);
        if (same_kind(found, sorted[k])) continue;
        describe(sorted[k], here, sizeof here);
        describe(found, there, sizeof there);
        EC_FAIL(EC_ERR_DATA, "%s: %s: expected %s, found %s", checkpoint->path, sorted[k]->name, here, there);
    }
    /* Every expected array is there, so an array without a partner is one too many. */
    for (int32_t k = 0; k < checkpoint->count; k++)
        if (k >= count || strcmp(checkpoint->array[k].name, sorted[k]->name) != 0)
            EC_FAIL(EC_ERR_DATA, "%s: the array %s is not of this model", checkpoint->path, checkpoint->array[k].name);
done:
    free(sorted);
    return status;
}

ec_status ec__checkpoint_check_config(const ec_checkpoint *checkpoint, const ec_config *now) {
    ec_status status = EC_OK;
    char *folder = NULL, *name = NULL;
    ec_config *then = NULL;
    EC_TRY(ec__path_folder(checkpoint->path, &folder));
    EC_TRY(ec__format(&name, "configuration in %s", checkpoint->path));
    EC_TRY(ec__config_parse(name, folder, checkpoint->config, strlen(checkpoint->config), NULL, 0, &then));
    status = ec__config_check_resume(then, now);
    if (status != EC_OK) ec__error_prefix("%s: ", checkpoint->path);
done:
    ec__config_free(then);
    free(name);
    free(folder);
    return status;
}

static ec_status add_array(ec_sha256 *hash, const ec_checkpoint_array *array) {
    const char *type = ec__h5_type_name(array->type);
    int64_t rank = array->rank;
    EC_RETURN_IF(ec__sha256_update(hash, array->name, strlen(array->name) + 1));
    EC_RETURN_IF(ec__sha256_update(hash, type, strlen(type) + 1));
    EC_RETURN_IF(ec__sha256_update(hash, &rank, sizeof rank));
    EC_RETURN_IF(ec__sha256_update(hash, array->dim, (size_t)rank * sizeof array->dim[0]));
    return ec__sha256_update(hash, array->data, ec__checkpoint_array_bytes(array));
}

ec_status ec__checkpoint_digest_arrays(const ec_checkpoint_array *arrays, int32_t count, int64_t step,
                                       char hex[EC_SHA256_HEX]) {
    ec_status status = EC_OK;
    const ec_checkpoint_array **sorted = NULL;
    ec_sha256 *hash = NULL;
    EC_TRY(ec__checkpoint_sort(arrays, count, &sorted));
    EC_TRY(ec__sha256_new(&hash));
    for (int32_t k = 0; k < count; k++) EC_TRY(add_array(hash, sorted[k]));
    EC_TRY(ec__sha256_update(hash, &step, sizeof step));
    EC_TRY(ec__sha256_hex(hash, hex));
done:
    ec__sha256_free(hash);
    free(sorted);
    return status;
}

ec_status ec__checkpoint_digest(const ec_checkpoint *checkpoint, char hex[EC_SHA256_HEX]) {
    return ec__checkpoint_digest_arrays(checkpoint->array, checkpoint->count, checkpoint->meta.step, hex);
}

static json_t *text_json(const char *text) { return text ? json_string(text) : NULL; }

static json_t *array_json(const ec_checkpoint_array *array) {
    json_t *shape = json_array();
    for (int32_t i = 0; i < array->rank; i++) json_array_append_new(shape, json_integer(array->dim[i]));
    return json_pack("{s:s, s:s, s:o}", "name", array->name, "dtype", ec__h5_type_name(array->type), "shape", shape);
}

ec_status ec__checkpoint_json(const ec_checkpoint *checkpoint, json_t **out) {
    ec_status status = EC_OK;
    const ec_checkpoint_meta *meta = &checkpoint->meta;
    char hex[EC_SHA256_HEX];
    json_t *root = NULL, *arrays = json_array();
    EC_TRY(ec__checkpoint_digest(checkpoint, hex));
    for (int32_t k = 0; k < checkpoint->count; k++) json_array_append_new(arrays, array_json(&checkpoint->array[k]));
    root = json_pack("{s:o, s:s, s:i, s:I, s:I, s:I, s:I, s:i, s:i, s:o*, s:s, s:s, s:o*, s:o*, s:O}", "path",
                     ec__json_text(checkpoint->path), "program", checkpoint->program, "format_version",
                     EC_CHECKPOINT_VERSION, "step", (json_int_t)meta->step, "epoch", (json_int_t)meta->epoch,
                     "sampler_position", (json_int_t)meta->sampler_position, "seed", (json_int_t)meta->seed, "ranks",
                     (int)meta->ranks, "shards", (int)meta->shards, "best_metric",
                     isfinite(meta->best_metric) ? json_real(meta->best_metric) : NULL, "config", meta->config,
                     "digest", hex, ec__checkpoint_origin[0], text_json(meta->features[0]), ec__checkpoint_origin[1],
                     text_json(meta->features[1]), "arrays", arrays);
    if (!root || !arrays) EC_FAIL(EC_ERR_MEMORY, "no memory for the description of %s", checkpoint->path);
    *out = json_incref(root);
done:
    json_decref(root);
    json_decref(arrays);
    return status;
}
