#include "train/export.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/safetensors.h"
#include "train/checkpoint_internal.h"

static const struct {
    ec_h5_type from;
    ec_dtype to;
} types[] = {
    {EC_H5_F32, EC_DTYPE_F32}, {EC_H5_F64, EC_DTYPE_F64}, {EC_H5_I64, EC_DTYPE_I64},
    {EC_H5_I32, EC_DTYPE_I32}, {EC_H5_U8, EC_DTYPE_U8},
};

/* The name in the state dict, or NULL for what does not belong there. */
static const char *state_name(const char *name) {
    if (strncmp(name, "params/", 7) == 0) return name + 7;
    if (strncmp(name, "buffers/", 8) == 0) return name + 8;
    return NULL;
}

static ec_status make_item(const ec_checkpoint *c, const ec_checkpoint_array *x, ec_safetensors_item *out) {
    *out = (ec_safetensors_item){.name = state_name(x->name), .rank = x->rank, .data = x->data};
    if (x->rank > EC_TENSOR_DIMS) return EC_ERROR(EC_ERR_DATA, "%s: %s has %d dimensions", c->path, x->name, x->rank);
    for (int32_t d = 0; d < x->rank; d++) out->dim[d] = x->dim[d];
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].from != x->type) continue;
        out->dtype = types[i].to;
        return EC_OK;
    }
    return EC_ERROR(EC_ERR_DATA, "%s: %s is of type %s", c->path, x->name, ec__h5_type_name(x->type));
}

static ec_status write_items(const ec_checkpoint *c, const char *path, const ec_safetensors_item *item, int32_t count) {
    char digest[EC_SHA256_HEX], config[EC_SHA256_HEX], step[24], version[12];
    const char *pair[8][2];
    int32_t pairs = 0;
    EC_RETURN_IF(ec__checkpoint_digest(c, digest));
    EC_RETURN_IF(ec__sha256_bytes(c->config, strlen(c->config), config));
    snprintf(step, sizeof step, "%" PRId64, c->meta.step);
    snprintf(version, sizeof version, "%d", EC_EXPORT_VERSION);
    const char *const fixed[][2] = {{"format", "pt"},      {"emoclim_version", version}, {"program", c->program},
                                    {"checkpoint_digest", digest}, {"step", step},       {"config_sha256", config}};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) memcpy(pair[pairs++], fixed[i], sizeof fixed[i]);
    for (int i = 0; i < EC_CHECKPOINT_ORIGINS; i++) {
        if (!c->meta.features[i]) continue;
        pair[pairs][0] = ec__checkpoint_origin[i];
        pair[pairs++][1] = c->meta.features[i];
    }
    return ec__safetensors_write(path, item, count, (const char *const(*)[2])pair, pairs);
}

ec_status ec__export_heads(const ec_checkpoint *c, const char *path, int32_t *arrays) {
    ec_status status = EC_OK;
    int32_t count = 0;
    ec_safetensors_item *item = calloc((size_t)c->count + 1, sizeof *item);
    if (!item) EC_FAIL(EC_ERR_MEMORY, "no memory for a list of %d arrays", c->count);
    for (int32_t k = 0; k < c->count; k++)
        if (state_name(c->array[k].name)) EC_TRY(make_item(c, &c->array[k], &item[count++]));
    EC_TRY(write_items(c, path, item, count));
    if (arrays) *arrays = count;
done:
    free(item);
    return status;
}
