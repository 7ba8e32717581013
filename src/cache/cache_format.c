#include "cache/cache_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *ec__split_name(ec_split split) {
    static const char *const name[EC_SPLITS] = {"train", "valid", "test"};
    return (unsigned)split < EC_SPLITS ? name[split] : "unknown";
}

static bool is_sha256(const char *text) { return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64; }

static bool is_json_object(const char *text) {
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    bool good = json_is_object(root);
    json_decref(root);
    return good;
}

ec_status ec__cache_check_identity(const char *path, const ec_cache_identity *x) {
    if (strcmp(x->modality, "image") != 0 && strcmp(x->modality, "music") != 0)
        return EC_ERROR(EC_ERR_DATA, "%s: modality is \"%.40s\", expected \"image\" or \"music\"", path, x->modality);
    if (!*x->encoder) return EC_ERROR(EC_ERR_DATA, "%s: encoder is empty", path);
    bool raw = strcmp(x->encoder, "none") == 0;
    if (raw ? *x->encoder_sha256 != '\0' : !is_sha256(x->encoder_sha256))
        return EC_ERROR(EC_ERR_DATA, "%s: encoder_sha256 is \"%.80s\", expected %s", path, x->encoder_sha256,
                        raw ? "nothing, as there is no encoder" : "64 hex digits");
    if (!is_sha256(x->manifest_sha256))
        return EC_ERROR(EC_ERR_DATA, "%s: manifest_sha256 is \"%.80s\", expected 64 hex digits", path,
                        x->manifest_sha256);
    if (!is_json_object(x->preprocessing))
        return EC_ERROR(EC_ERR_DATA, "%s: preprocessing is not a JSON object: %.200s", path, x->preprocessing);
    if (x->dtype != EC_H5_F16 && x->dtype != EC_H5_F32 && x->dtype != EC_H5_U8 && x->dtype != EC_H5_I16)
        return EC_ERROR(EC_ERR_DATA, "%s: features of type %s, expected float16, float32, uint8 or int16", path,
                        ec__h5_type_name(x->dtype));
    if (x->views < 1 || x->width < 1 || x->width > INT32_MAX || x->width > INT32_MAX / x->views)
        return EC_ERROR(EC_ERR_DATA, "%s: %d views of %lld numbers are not a row", path, x->views, (long long)x->width);
    return EC_OK;
}

static ec_status check_class_names(const ec_cache_info *x) {
    if (x->class_count < 1 || x->class_count > EC_CACHE_CLASSES)
        return EC_ERROR(EC_ERR_DATA, "%s: %d classes; 1 to %d are expected", x->path, x->class_count, EC_CACHE_CLASSES);
    if (x->class_names.count != x->class_count)
        return EC_ERROR(EC_ERR_DATA, "%s: %lld class names for %d classes", x->path, (long long)x->class_names.count,
                        x->class_count);
    for (int32_t c = 0; c < x->class_count; c++) {
        const char *name = ec__h5_string(&x->class_names, c);
        if (!*name) return EC_ERROR(EC_ERR_DATA, "%s: class_names[%d] is empty", x->path, c);
        for (int32_t other = 0; other < c; other++)
            if (strcmp(name, ec__h5_string(&x->class_names, other)) == 0)
                return EC_ERROR(EC_ERR_DATA, "%s: class_names[%d] and [%d] are both \"%s\"", x->path, other, c, name);
    }
    return EC_OK;
}

ec_status ec__cache_check_rows(const ec_cache_info *x) {
    EC_RETURN_IF(check_class_names(x));
    int64_t bytes;
    if (x->rows < 1) return EC_ERROR(EC_ERR_DATA, "%s: a cache without rows", x->path);
    if (__builtin_mul_overflow(x->rows, x->row_bytes, &bytes))
        return EC_ERROR(EC_ERR_DATA, "%s: %lld rows of %lld bytes", x->path, (long long)x->rows,
                        (long long)x->row_bytes);
    for (int64_t i = 0; i < x->rows; i++) {
        if (x->split[i] >= EC_SPLITS)
            return EC_ERROR(EC_ERR_DATA, "%s: split[%lld] is %d, expected 0 to %d", x->path, (long long)i, x->split[i],
                            EC_SPLITS - 1);
        if (x->label && (x->label[i] < 0 || x->label[i] >= x->class_count))
            return EC_ERROR(EC_ERR_DATA, "%s: label[%lld] is %d, expected 0 to %d (%s)", x->path, (long long)i,
                            x->label[i], x->class_count - 1, ec__h5_string(&x->id, i));
    }
    for (int64_t i = 0; x->tags && i < x->rows * x->class_count; i++)
        if (x->tags[i] > 1)
            return EC_ERROR(EC_ERR_DATA, "%s: tags[%lld,%lld] is %d, expected 0 or 1", x->path,
                            (long long)(i / x->class_count), (long long)(i % x->class_count), x->tags[i]);
    return EC_OK;
}

ec_status ec__cache_check_classes(const ec_cache_info *a, const ec_cache_info *b) {
    static const char advice[] = "both must be built with the same list (dataset.class_names)";
    if (a->class_count != b->class_count)
        return EC_ERROR(EC_ERR_DATA, "%s has %d classes and %s has %d; %s", a->path, a->class_count, b->path,
                        b->class_count, advice);
    for (int32_t c = 0; c < a->class_count; c++) {
        const char *x = ec__h5_string(&a->class_names, c), *y = ec__h5_string(&b->class_names, c);
        if (strcmp(x, y) != 0)
            return EC_ERROR(EC_ERR_DATA, "class %d is \"%s\" in %s and \"%s\" in %s; %s", c, x, a->path, y, b->path,
                            advice);
    }
    return EC_OK;
}

int64_t ec__cache_block_rows(int64_t row_bytes) {
    int64_t rows = 1;
    while (2 * rows * row_bytes <= EC_CACHE_BLOCK_BYTES) rows *= 2;
    return rows;
}

static void add_strings(ec_checksum *sum, const ec_h5_strings *strings) {
    ec__checksum_number(sum, strings->count);
    for (int64_t k = 0; k < strings->count; k++) ec__checksum_text(sum, ec__h5_string(strings, k));
}

static void add_identity(ec_checksum *sum, const ec_cache_identity *x) {
    ec__checksum_text(sum, x->modality);
    ec__checksum_text(sum, x->encoder);
    ec__checksum_text(sum, x->encoder_sha256);
    ec__checksum_number(sum, x->random_weights);
    ec__checksum_text(sum, x->preprocessing);
    ec__checksum_text(sum, x->manifest_sha256);
    ec__checksum_text(sum, ec__h5_type_name(x->dtype));
    ec__checksum_number(sum, x->views);
    ec__checksum_number(sum, x->width);
}

ec_status ec__cache_index_checksum(const ec_cache_info *x, char hex[EC_CHECKSUM_HEX]) {
    ec_checksum *sum = NULL;
    EC_RETURN_IF(ec__checksum_new(&sum));
    add_identity(sum, &x->identity);
    ec__checksum_text(sum, x->created_by);
    ec__checksum_number(sum, x->rows);
    ec__checksum_number(sum, x->class_count);
    ec__checksum_bytes(sum, x->label, x->label ? (size_t)x->rows * sizeof *x->label : 0);
    ec__checksum_bytes(sum, x->tags, x->tags ? (size_t)x->rows * (size_t)x->class_count : 0);
    ec__checksum_bytes(sum, x->split, (size_t)x->rows);
    add_strings(sum, &x->id);
    add_strings(sum, &x->class_names);
    add_strings(sum, &x->skipped_id);
    add_strings(sum, &x->skipped_reason);
    ec__checksum_number(sum, x->block_rows);
    ec__checksum_bytes(sum, x->checksum, (size_t)x->blocks * sizeof *x->checksum);
    ec__checksum_hex(ec__checksum_end(sum), hex);
    return EC_OK;
}
