/* Writing a checkpoint. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "train/checkpoint_internal.h"

static const char program[] = "emoclim " EMOCLIM_VERSION;

static ec_status write_attributes(ec_h5 *file, const ec_checkpoint_meta *meta, const char *index_checksum) {
    EC_RETURN_IF(ec__h5_set_text(file, "format", EC_CHECKPOINT_FORMAT));
    EC_RETURN_IF(ec__h5_set_i64(file, "format_version", EC_CHECKPOINT_VERSION));
    EC_RETURN_IF(ec__h5_set_text(file, "program", program));
    EC_RETURN_IF(ec__h5_set_i64(file, "step", meta->step));
    EC_RETURN_IF(ec__h5_set_i64(file, "epoch", meta->epoch));
    EC_RETURN_IF(ec__h5_set_i64(file, "sampler_position", meta->sampler_position));
    EC_RETURN_IF(ec__h5_set_i64(file, "seed", (int64_t)meta->seed));
    EC_RETURN_IF(ec__h5_set_i64(file, "ranks", meta->ranks));
    EC_RETURN_IF(ec__h5_set_i64(file, "shards", meta->shards));
    EC_RETURN_IF(ec__h5_set_f64(file, "best_metric", meta->best_metric));
    if (meta->validation_due) EC_RETURN_IF(ec__h5_set_i64(file, "validation_due", 1));
    for (int i = 0; i < EC_CHECKPOINT_ORIGINS; i++)
        if (meta->features[i]) EC_RETURN_IF(ec__h5_set_text(file, ec__checkpoint_origin[i], meta->features[i]));
    return ec__h5_set_text(file, "index_checksum", index_checksum);
}

/* The arrays, their names and their sums. sum and name: scratch (count). */
static ec_status write_arrays(ec_h5 *file, const ec_checkpoint_array *const *sorted, int32_t count, uint64_t *sum,
                              const char **name) {
    int64_t total = count;
    for (int i = 0; i < EC_CHECKPOINT_SECTIONS; i++) EC_RETURN_IF(ec__h5_group(file, ec__checkpoint_section[i]));
    for (int32_t k = 0; k < count; k++) {
        const ec_checkpoint_array *x = sorted[k];
        EC_RETURN_IF(ec__h5_write(file, x->name, x->type, x->rank, x->dim, x->data));
        sum[k] = ec__checksum_of(x->data, ec__checkpoint_array_bytes(x));
        name[k] = x->name;
    }
    EC_RETURN_IF(ec__h5_write_strings(file, "checksum/name", name, total));
    return ec__h5_write(file, "checksum/xxh3", EC_H5_U64, 1, &total, sum);
}

static ec_status write_all(const char *path, const ec_checkpoint_meta *meta, const ec_checkpoint_array *const *sorted,
                           int32_t count) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    char hex[EC_CHECKSUM_HEX];
    uint64_t *sum = calloc((size_t)count + 1, sizeof *sum);
    const char **name = calloc((size_t)count + 1, sizeof *name);
    if (!sum || !name) EC_FAIL(EC_ERR_MEMORY, "no memory for the checksums of %d arrays", count);
    EC_TRY(ec__h5_create(path, &file));
    EC_TRY(write_arrays(file, sorted, count, sum, name));
    EC_TRY(ec__h5_write_strings(file, "config", &meta->config, 1));
    EC_TRY(ec__checkpoint_index_checksum(meta, program, sorted, sum, count, hex));
    EC_TRY(write_attributes(file, meta, hex));
    ec_h5 *complete = file;
    file = NULL;
    EC_TRY(ec__h5_finish(complete));
done:
    ec__h5_close(file);
    free(name);
    free(sum);
    return status;
}

ec_status ec__checkpoint_write(const char *path, const ec_checkpoint_meta *meta, const ec_checkpoint_array *arrays,
                               int32_t count) {
    const ec_checkpoint_array **sorted = NULL;
    ec_status status = ec__checkpoint_sort(arrays, count, &sorted);
    if (status == EC_OK) status = write_all(path, meta, sorted, count);
    free(sorted);
    return status;
}

ec_status ec__checkpoint_save(const char *path, const ec_checkpoint_meta *meta, const ec_checkpoint_array *arrays,
                              int32_t count) {
    ec_status status = EC_OK;
    ec_atomic_file *file = NULL;
    EC_TRY(ec__atomic_open(path, &file));
    EC_TRY(ec__checkpoint_write(ec__atomic_path(file), meta, arrays, count));
    ec_atomic_file *complete = file;
    file = NULL;
    EC_TRY(ec__atomic_commit(complete));
done:
    ec__atomic_discard(file);
    return status;
}
