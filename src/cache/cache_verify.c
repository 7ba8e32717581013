/* Checking a whole cache, and describing it. */
#include <string.h>

#include "cache/cache_reader.h"
#include "cache/json_text.h"

/* First element that is infinite or NaN; -1 when there is none. The first pass has no branch: it runs with every block
 * that is read for the first time, at the speed of memory. */
static int64_t not_finite(const void *data, ec_h5_type dtype, int64_t count) {
    const uint16_t *half = data;
    const uint32_t *single = data;
    uint32_t any = 0;
    for (int64_t i = 0; dtype == EC_H5_F16 && i < count; i++) any |= (half[i] & 0x7c00u) == 0x7c00u;
    for (int64_t i = 0; dtype == EC_H5_F32 && i < count; i++) any |= (single[i] & 0x7f800000u) == 0x7f800000u;
    for (int64_t i = 0; any && i < count; i++)
        if (dtype == EC_H5_F16 ? (half[i] & 0x7c00u) == 0x7c00u : (single[i] & 0x7f800000u) == 0x7f800000u) return i;
    return -1;
}

ec_status ec__cache_check_finite(const ec_cache *cache, int64_t first, int64_t end) {
    const ec_cache_info *x = &cache->info;
    int64_t count = x->identity.views * x->identity.width;
    int64_t at = not_finite(cache->features + first * x->row_bytes, x->identity.dtype, (end - first) * count);
    if (at < 0) return EC_OK;
    int64_t row = first + at / count;
    at %= count;
    return EC_ERROR(EC_ERR_DATA, "%s: features[%lld,%lld,%lld] (%s) is not a finite number", x->path, (long long)row,
                    (long long)(at / x->identity.width), (long long)(at % x->identity.width),
                    ec__h5_string(&x->id, row));
}

ec_status ec__cache_verify(const char *path, const ec_progress *progress) {
    ec_status status = EC_OK;
    ec_cache *cache = NULL;
    EC_TRY(ec__cache_open(path, NULL, &cache));
    EC_TRY(ec__cache_load(cache, progress));
done:
    ec__cache_close(cache);
    return status;
}

static json_t *classes_json(const ec_cache_info *x) {
    json_t *classes = json_object();
    for (int32_t c = 0; c < x->class_count; c++) {
        int64_t count = 0;
        for (int64_t i = 0; i < x->rows; i++) count += x->label ? x->label[i] == c : x->tags[i * x->class_count + c];
        json_object_set_new(classes, ec__h5_string(&x->class_names, c), json_integer(count));
    }
    return classes;
}

static json_t *splits_json(const ec_cache_info *x) {
    json_t *splits = json_object();
    for (int split = 0; split < EC_SPLITS; split++) {
        int64_t count = 0;
        for (int64_t i = 0; i < x->rows; i++) count += x->split[i] == split;
        json_object_set_new(splits, ec__split_name(split), json_integer(count));
    }
    return splits;
}

static json_t *skipped_json(const ec_cache_info *x) {
    json_t *skipped = json_array();
    for (int64_t k = 0; k < x->skipped_id.count; k++)
        json_array_append_new(skipped, json_pack("{s:s,s:s}", "id", ec__h5_string(&x->skipped_id, k), "reason",
                                                 ec__h5_string(&x->skipped_reason, k)));
    return skipped;
}

ec_status ec__cache_json(const ec_cache_info *x, json_t **out) {
    ec_status status = EC_OK;
    json_t *root = NULL;
    EC_TRY(ec__cache_identity_json(&x->identity, &root));
    int failed = json_object_set_new(root, "path", ec__json_text(x->path)) |
                 json_object_set_new(root, "format_version", json_integer(EC_CACHE_VERSION)) |
                 json_object_set_new(root, "created_by", json_string(x->created_by)) |
                 json_object_set_new(root, "rows", json_integer(x->rows)) |
                 json_object_set_new(root, "block_rows", json_integer(x->block_rows)) |
                 json_object_set_new(root, x->label ? "classes" : "tags", classes_json(x)) |
                 json_object_set_new(root, "splits", splits_json(x)) |
                 json_object_set_new(root, "skipped", skipped_json(x));
    if (failed) EC_FAIL(EC_ERR_MEMORY, "no memory for the description of %s", x->path);
    *out = json_incref(root);
done:
    json_decref(root);
    return status;
}
