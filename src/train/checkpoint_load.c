/* Reading a checkpoint, and believing nothing of it that is not checked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "train/checkpoint_internal.h"

static ec_status get_count(ec_h5 *file, const char *name, int32_t *out) {
    int64_t value;
    EC_RETURN_IF(ec__h5_get_i64(file, name, &value));
    if (value < 1 || value > INT32_MAX)
        return EC_ERROR(EC_ERR_DATA, "%s: %s is %" PRId64 ", which no run has", ec__h5_path(file), name, value);
    *out = (int32_t)value;
    return EC_OK;
}

static ec_status read_origins(ec_h5 *file, ec_checkpoint *c) {
    for (int i = 0; i < EC_CHECKPOINT_ORIGINS; i++) {
        bool known = false;
        EC_RETURN_IF(ec__h5_has_attribute(file, ec__checkpoint_origin[i], &known));
        if (!known) continue;
        EC_RETURN_IF(ec__h5_get_text(file, ec__checkpoint_origin[i], &c->features[i]));
        c->meta.features[i] = c->features[i];
    }
    return EC_OK;
}

static ec_status read_meta(ec_h5 *file, ec_checkpoint *c) {
    ec_status status = EC_OK;
    ec_h5_strings config = {0};
    int64_t one = 1, seed = 0;
    EC_TRY(ec__h5_get_text(file, "program", &c->program));
    EC_TRY(ec__h5_get_i64(file, "step", &c->meta.step));
    EC_TRY(ec__h5_get_i64(file, "epoch", &c->meta.epoch));
    EC_TRY(ec__h5_get_i64(file, "sampler_position", &c->meta.sampler_position));
    EC_TRY(ec__h5_get_i64(file, "seed", &seed));
    c->meta.seed = (uint64_t)seed;
    EC_TRY(get_count(file, "ranks", &c->meta.ranks));
    EC_TRY(get_count(file, "shards", &c->meta.shards));
    EC_TRY(ec__h5_get_f64(file, "best_metric", &c->meta.best_metric));
    EC_TRY(ec__h5_has_attribute(file, "validation_due", &c->meta.validation_due));
    if (c->meta.step < 0 || c->meta.epoch < 0 || c->meta.sampler_position < 0)
        EC_FAIL(EC_ERR_DATA, "%s: step, epoch or sampler_position is negative", c->path);
    EC_TRY(ec__h5_shape(file, "config", 1, &one));
    EC_TRY(ec__h5_read_strings(file, "config", &config));
    EC_TRY(ec__format(&c->config, "%s", ec__h5_string(&config, 0)));
    c->meta.config = c->config;
    EC_TRY(read_origins(file, c));
done:
    ec__h5_strings_release(&config);
    return status;
}

/* The members of a group must be exactly these. */
static ec_status check_members(ec_h5 *file, const char *group, const char *const *allowed, int count) {
    ec_status status = EC_OK;
    ec_h5_strings names = {0};
    EC_TRY(ec__h5_list(file, group, &names));
    for (int64_t k = 0; k < names.count; k++) {
        bool known = false;
        for (int i = 0; i < count; i++) known |= strcmp(ec__h5_string(&names, k), allowed[i]) == 0;
        if (!known)
            EC_FAIL(EC_ERR_DATA, "%s: %s in %s does not belong to a checkpoint", ec__h5_path(file),
                    ec__h5_string(&names, k), group);
    }
done:
    ec__h5_strings_release(&names);
    return status;
}

/* What is in the sections and not in the list of checksums. Called when every listed array was found, so the first
 * surplus name is one too many. */
static ec_status check_surplus(ec_h5 *file, const ec_checkpoint *c) {
    ec_status status = EC_OK;
    ec_h5_strings names = {0};
    char path[2 * EC_H5_NAME];
    EC_TRY(check_members(file, "/", (const char *[]){"params", "buffers", "optimizer", "config", "checksum"}, 5));
    EC_TRY(check_members(file, "optimizer", (const char *[]){"exp_avg", "exp_avg_sq"}, 2));
    EC_TRY(check_members(file, "checksum", (const char *[]){"name", "xxh3"}, 2));
    for (int i = 0; i < EC_CHECKPOINT_SECTIONS; i++) {
        EC_TRY(ec__h5_list(file, ec__checkpoint_section[i], &names));
        for (int64_t k = 0; k < names.count; k++) {
            snprintf(path, sizeof path, "%s/%s", ec__checkpoint_section[i], ec__h5_string(&names, k));
            if (!ec__checkpoint_find(c, path))
                EC_FAIL(EC_ERR_DATA, "%s: the array %s has no checksum: it was added later", c->path, path);
        }
        ec__h5_strings_release(&names);
    }
done:
    ec__h5_strings_release(&names);
    return status;
}

static ec_status read_array(ec_h5 *file, const char *name, uint64_t sum, ec_checkpoint_array *out) {
    ec_h5_info info;
    if (!ec__h5_has(file, name)) return EC_ERROR(EC_ERR_DATA, "%s: the array %s is missing", ec__h5_path(file), name);
    EC_RETURN_IF(ec__h5_info(file, name, &info));
    if (info.type != EC_H5_F32 && info.type != EC_H5_F64 && info.type != EC_H5_I64 && info.type != EC_H5_I32 &&
        info.type != EC_H5_U8)
        return EC_ERROR(EC_ERR_DATA, "%s: %s is of type %s", ec__h5_path(file), name, ec__h5_type_name(info.type));
    *out = (ec_checkpoint_array){.name = name, .type = info.type, .rank = info.rank};
    memcpy(out->dim, info.dim, sizeof out->dim);
    out->data = malloc((size_t)info.bytes + 1);
    if (!out->data)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for the %" PRId64 " bytes of %s", info.bytes, name);
    EC_RETURN_IF(ec__h5_read(file, name, info.type, info.rank, info.dim, out->data));
    if (ec__checksum_of(out->data, (size_t)info.bytes) != sum)
        return EC_ERROR(EC_ERR_DATA, "%s is corrupt: the checksum of %s differs", ec__h5_path(file), name);
    return EC_OK;
}

/* Names must ascend: that makes them different, and lets ec__checkpoint_find search. */
static ec_status read_arrays(ec_h5 *file, ec_checkpoint *c, uint64_t **sum) {
    ec_status status = EC_OK;
    ec_h5_strings names = {0};
    EC_TRY(ec__h5_read_strings(file, "checksum/name", &names));
    if (names.count > EC_CHECKPOINT_ARRAYS) EC_FAIL(EC_ERR_DATA, "%s: %" PRId64 " arrays", c->path, names.count);
    size_t count = (size_t)names.count;
    *sum = calloc(count + 1, sizeof **sum);
    c->names = calloc(count + 1, sizeof *c->names);
    c->array = calloc(count + 1, sizeof *c->array);
    if (!*sum || !c->names || !c->array) EC_FAIL(EC_ERR_MEMORY, "no memory for %zu arrays", count);
    EC_TRY(ec__h5_read(file, "checksum/xxh3", EC_H5_U64, 1, &names.count, *sum));
    for (int32_t k = 0; k < names.count; k++) {
        c->count = k + 1; /* what ec__checkpoint_free has to look at */
        EC_TRY(ec__format(&c->names[k], "%s", ec__h5_string(&names, k)));
        if (k > 0 && strcmp(c->names[k - 1], c->names[k]) >= 0)
            EC_FAIL(EC_ERR_DATA, "%s: checksum/name[%d] is not in order: %s", c->path, k, c->names[k]);
        EC_TRY(read_array(file, c->names[k], (*sum)[k], &c->array[k]));
    }
done:
    ec__h5_strings_release(&names);
    return status;
}

static ec_status check_index(ec_h5 *file, const ec_checkpoint *c, const uint64_t *sum) {
    ec_status status = EC_OK;
    char hex[EC_CHECKSUM_HEX], *stored = NULL;
    const ec_checkpoint_array **sorted = NULL;
    EC_TRY(ec__h5_get_text(file, "index_checksum", &stored));
    status = ec__checkpoint_sort(c->array, c->count, &sorted);
    if (status == EC_ERR_BUG) EC_FAIL(EC_ERR_DATA, "%s: %s", c->path, ec_error_last()->text);
    EC_TRY(status);
    EC_TRY(ec__checkpoint_index_checksum(&c->meta, c->program, sorted, sum, c->count, hex));
    if (strcmp(hex, stored) != 0)
        EC_FAIL(EC_ERR_DATA, "%s is corrupt: attributes, names or shapes have checksum %s, %.16s expected", c->path,
                hex, stored);
done:
    free(sorted);
    free(stored);
    return status;
}

ec_status ec__checkpoint_load(const char *path, ec_checkpoint **out) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    uint64_t *sum = NULL;
    ec_checkpoint *c = calloc(1, sizeof *c);
    if (!c) EC_FAIL(EC_ERR_MEMORY, "no memory for a checkpoint");
    EC_TRY(ec__format(&c->path, "%s", path));
    EC_TRY(ec__h5_open(path, &file));
    EC_TRY(ec__h5_check_format(file, "a checkpoint", EC_CHECKPOINT_FORMAT, EC_CHECKPOINT_VERSION));
    EC_TRY(read_meta(file, c));
    EC_TRY(read_arrays(file, c, &sum));
    EC_TRY(check_surplus(file, c));
    EC_TRY(check_index(file, c, sum));
    *out = c;
    c = NULL;
done:
    free(sum);
    ec__h5_close(file);
    ec__checkpoint_free(c);
    return status;
}

void ec__checkpoint_free(ec_checkpoint *c) {
    if (!c) return;
    for (int32_t k = 0; k < c->count; k++) {
        free(c->array[k].data);
        free(c->names[k]);
    }
    free(c->array);
    free(c->names);
    free(c->config);
    for (int i = 0; i < EC_CHECKPOINT_ORIGINS; i++) free(c->features[i]);
    free(c->program);
    free(c->path);
    free(c);
}
