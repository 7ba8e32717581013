/* Initial weights from a file: a checkpoint of this program, or safetensors with the original's names. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "nn/safetensors.h"
#include "train/checkpoint.h"
#include "train/run.h"

typedef ec_status (*import_fn)(ec_heads *heads, int32_t number, const float *state);

static ec_status check_shape(const char *path, const ec_param *p, int32_t rank, const int64_t *dim) {
    char found[EC_SHAPE_TEXT], expected[EC_SHAPE_TEXT];
    bool same = rank == p->dims;
    for (int32_t d = 0; same && d < rank; d++) same = dim[d] == p->shape[d];
    if (same) return EC_OK;
    ec__shape_text(rank, dim, found);
    ec__shape_text(p->dims, p->shape, expected);
    return EC_ERROR(EC_ERR_DATA, "%s: %s has shape %s, the model's is %s (section full_model)", path, p->name, found,
                    expected);
}

/* Parameters must all be there; buffers, which a trainer without BatchNorm statistics lacks, may be missing. */
static ec_status absent(const char *path, const ec_param *p, bool required) {
    if (required) return EC_ERROR(EC_ERR_DATA, "%s has no tensor %s", path, p->name);
    EC_WARN("%s has no tensor %s: it keeps its initial value", path, p->name);
    return EC_OK;
}

static ec_status from_safetensors(ec_heads *heads, const ec_safetensors *file, const char *path,
                                  const ec_param_set *set, import_fn import, bool required) {
    ec_status status = EC_OK;
    float *state = NULL;
    for (int32_t i = 0; i < set->count; i++) {
        const ec_param *p = &set->items[i];
        int32_t at = ec__safetensors_find(file, p->name);
        if (at < 0) {
            EC_TRY(absent(path, p, required));
            continue;
        }
        const ec_tensor_info *info = ec__safetensors_info(file, at);
        EC_TRY(check_shape(path, p, info->rank, info->dim));
        free(state);
        state = malloc(sizeof *state * (size_t)p->count);
        if (!state) EC_FAIL(EC_ERR_MEMORY, "no memory for %s", p->name);
        EC_TRY(ec__safetensors_read(file, at, state));
        EC_TRY(import(heads, i, state));
    }
done:
    free(state);
    return status;
}

static ec_status from_section(ec_heads *heads, const ec_checkpoint *file, const char *section, const ec_param_set *set,
                              import_fn import, bool required) {
    char name[EC_PARAM_NAME + 16];
    for (int32_t i = 0; i < set->count; i++) {
        const ec_param *p = &set->items[i];
        snprintf(name, sizeof name, "%s/%s", section, p->name);
        const ec_checkpoint_array *array = ec__checkpoint_find(file, name);
        if (!array) {
            EC_RETURN_IF(absent(file->path, p, required));
            continue;
        }
        if (array->type != EC_H5_F32)
            return EC_ERROR(EC_ERR_DATA, "%s: %s is of type %s, float32 expected", file->path, name,
                            ec__h5_type_name(array->type));
        EC_RETURN_IF(check_shape(file->path, p, array->rank, array->dim));
        EC_RETURN_IF(import(heads, i, array->data));
    }
    return EC_OK;
}

ec_status ec__heads_from_checkpoint(ec_heads *heads, const ec_checkpoint *checkpoint) {
    EC_RETURN_IF(from_section(heads, checkpoint, "params", &heads->params, ec__heads_import_param, true));
    return from_section(heads, checkpoint, "buffers", &heads->buffers, ec__heads_import_buffer, false);
}

static bool is_hdf5(const char *path) {
    static const unsigned char magic[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    unsigned char head[8] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not block */
    bool same =
        fd >= 0 && read(fd, head, sizeof head) == (ssize_t)sizeof head && memcmp(head, magic, sizeof magic) == 0;
    if (fd >= 0) close(fd);
    return same;
}

ec_status ec__heads_load(ec_heads *heads, const char *path) {
    ec_status status = EC_OK;
    ec_checkpoint *checkpoint = NULL;
    ec_safetensors *tensors = NULL;
    if (is_hdf5(path)) {
        EC_TRY(ec__checkpoint_load(path, &checkpoint));
        EC_TRY(ec__heads_from_checkpoint(heads, checkpoint));
    } else {
        EC_TRY(ec__safetensors_open(path, &tensors));
        EC_TRY(from_safetensors(heads, tensors, path, &heads->params, ec__heads_import_param, true));
        EC_TRY(from_safetensors(heads, tensors, path, &heads->buffers, ec__heads_import_buffer, false));
    }
done:
    ec__safetensors_close(tensors);
    ec__checkpoint_free(checkpoint);
    return status;
}
