#define _GNU_SOURCE
#include "pipeline/sampler_indices.h"

#include <stdlib.h>
#include <string.h>

#include "cache/h5.h"
#include "core/file.h"

static const char *const set_name[EC_MODALITIES] = {"image_index", "audio_index"};

struct ec_indices {
    char *path;
    int64_t steps, global_rows;
    int32_t *row[EC_MODALITIES]; /* (steps, G) */
};

/* A data set in chunks may claim any size, whatever its file holds: that is found before memory is asked for. Rows of
 * batches are never packed tighter than by deflate at its best, 1032 bytes into one (zlib's documentation). */
static ec_status check_size(const ec_indices *x, const char *name, const int64_t dim[2]) {
    enum { PACKED = 1032 };
    int64_t bytes = 0;
    EC_RETURN_IF(ec__file_size(x->path, &bytes));
    const int64_t numbers = bytes > INT64_MAX / PACKED ? INT64_MAX : bytes * PACKED / (int64_t)sizeof(int32_t);
    if (dim[0] > numbers / dim[1])
        return EC_ERROR(EC_ERR_DATA,
                        "%s: %s claims %lld steps of %lld rows, more than a file of %lld bytes can hold: expected at "
                        "most %lld steps",
                        x->path, name, (long long)dim[0], (long long)dim[1], (long long)bytes,
                        (long long)(numbers / dim[1]));
    return EC_OK;
}

static ec_status read_one(ec_indices *x, ec_h5 *file, ec_modality m, int64_t rows) {
    ec_status status = EC_OK;
    const char *name = set_name[m];
    int64_t dim[2] = {m == EC_IMAGE ? -1 : x->steps, x->global_rows};
    EC_TRY(ec__h5_shape(file, name, 2, dim));
    if (dim[0] < 1) EC_FAIL(EC_ERR_DATA, "%s: %s has no steps", x->path, name);
    EC_TRY(check_size(x, name, dim));
    x->steps = dim[0];
    x->row[m] = malloc((size_t)(dim[0] * dim[1]) * sizeof(int32_t));
    if (!x->row[m])
        EC_FAIL(EC_ERR_MEMORY, "no memory for %s of %s: %lld steps of %lld rows", name, x->path, (long long)dim[0],
                (long long)dim[1]);
    EC_TRY(ec__h5_read(file, name, EC_H5_I32, 2, dim, x->row[m]));
    for (int64_t i = 0; i < dim[0] * dim[1]; i++)
        if (x->row[m][i] < 0 || x->row[m][i] >= rows)
            EC_FAIL(EC_ERR_DATA, "%s: %s[%lld,%lld] is %d, expected a row in [0,%lld)", x->path, name,
                    (long long)(i / dim[1]), (long long)(i % dim[1]), x->row[m][i], (long long)rows);
done:
    return status;
}

ec_status ec__indices_read(const char *path, int64_t global_rows, const int64_t rows[EC_MODALITIES], ec_indices **out) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    ec_indices *x = calloc(1, sizeof *x);
    if (!x || !(x->path = strdup(path))) EC_FAIL(EC_ERR_MEMORY, "no memory for the indices of %s", path);
    x->global_rows = global_rows;
    EC_TRY(ec__h5_open(path, &file));
    ec__h5_allow_chunks(file);
    for (int m = 0; m < EC_MODALITIES; m++) EC_TRY(read_one(x, file, (ec_modality)m, rows[m]));
    *out = x;
    x = NULL;
done:
    ec__h5_close(file);
    ec__indices_free(x);
    return status;
}

void ec__indices_free(ec_indices *x) {
    if (!x) return;
    for (int m = 0; m < EC_MODALITIES; m++) free(x->row[m]);
    free(x->path);
    free(x);
}

int64_t ec__indices_steps(const ec_indices *x) { return x->steps; }

ec_status ec__indices_rows(const ec_indices *x, ec_modality m, int64_t step, int64_t first, int32_t count,
                           int64_t *row) {
    if (step >= x->steps)
        return EC_ERROR(EC_ERR_DATA, "%s holds the rows of %lld steps; step %lld (counted from 0) is not among them",
                        x->path, (long long)x->steps, (long long)step);
    const int32_t *from = x->row[m] + step * x->global_rows + first;
    for (int32_t i = 0; i < count; i++) row[i] = from[i];
    return EC_OK;
}
