/* Reading and checking what a cache file says about itself. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache_reader.h"
#include "core/file.h"

static ec_status read_identity(ec_h5 *file, ec_cache *cache) {
    int64_t random_weights;
    EC_RETURN_IF(ec__h5_get_text(file, "created_by", &cache->created_by));
    EC_RETURN_IF(ec__h5_get_text(file, "modality", &cache->modality));
    EC_RETURN_IF(ec__h5_get_text(file, "encoder", &cache->encoder));
    EC_RETURN_IF(ec__h5_get_text(file, "encoder_sha256", &cache->encoder_sha256));
    EC_RETURN_IF(ec__h5_get_text(file, "preprocessing", &cache->preprocessing));
    EC_RETURN_IF(ec__h5_get_text(file, "manifest_sha256", &cache->manifest_sha256));
    EC_RETURN_IF(ec__h5_get_i64(file, "random_weights", &random_weights));
    EC_RETURN_IF(ec__h5_get_i64(file, "block_rows", &cache->info.block_rows));
    if (random_weights != 0 && random_weights != 1)
        return EC_ERROR(EC_ERR_DATA, "%s: random_weights is %lld, expected 0 or 1", cache->path,
                        (long long)random_weights);
    cache->info.path = cache->path;
    cache->info.created_by = cache->created_by;
    cache->info.identity = (ec_cache_identity){
        .modality = cache->modality, .encoder = cache->encoder, .encoder_sha256 = cache->encoder_sha256,
        .random_weights = random_weights != 0, .preprocessing = cache->preprocessing,
        .manifest_sha256 = cache->manifest_sha256,
    };
    return EC_OK;
}

/* Type and shape of the features, and with them every other size. */
static ec_status read_shape(ec_h5 *file, ec_cache *cache, int64_t *offset) {
    ec_cache_info *x = &cache->info;
    ec_h5_info features;
    int64_t any[3] = {-1, -1, -1};
    EC_RETURN_IF(ec__h5_shape(file, "features", 3, any));
    EC_RETURN_IF(ec__h5_info(file, "features", &features));
    if (features.dim[1] > INT32_MAX)
        return EC_ERROR(EC_ERR_DATA, "%s: %lld views", cache->path, (long long)features.dim[1]);
    x->rows = features.dim[0];
    x->identity.dtype = features.type;
    x->identity.views = (int32_t)features.dim[1];
    x->identity.width = features.dim[2];
    EC_RETURN_IF(ec__cache_check_identity(cache->path, &x->identity));
    if (x->rows < 1 || features.offset < 0) return EC_ERROR(EC_ERR_DATA, "%s: a cache without rows", cache->path);
    *offset = features.offset;
    if (features.offset % (int64_t)features.element_bytes != 0)
        return EC_ERROR(EC_ERR_DATA, "%s: features begin at byte %lld, which is not aligned", cache->path,
                        (long long)features.offset);
    cache->item_bytes = x->identity.width * (int64_t)features.element_bytes;
    x->row_bytes = cache->item_bytes * x->identity.views;
    if (x->block_rows != ec__cache_block_rows(x->row_bytes))
        return EC_ERROR(EC_ERR_DATA, "%s: blocks of %lld rows, expected %lld", cache->path, (long long)x->block_rows,
                        (long long)ec__cache_block_rows(x->row_bytes));
    cache->block_shift = __builtin_ctzll((unsigned long long)x->block_rows);
    x->blocks = (x->rows + x->block_rows - 1) / x->block_rows;
    return EC_OK;
}

/* A data set of a known shape into new memory. Sizes were compared with the file's length before the allocation. */
static ec_status read_array(ec_h5 *file, const char *name, ec_h5_type type, int32_t rank, const int64_t *dim,
                            void **out) {
    ec_status status = EC_OK;
    int64_t found[EC_H5_DIMS];
    ec_h5_info info;
    void *data = NULL;
    memcpy(found, dim, (size_t)rank * sizeof *dim);
    EC_TRY(ec__h5_shape(file, name, rank, found));
    EC_TRY(ec__h5_info(file, name, &info));
    data = malloc((size_t)info.count * ec__h5_type_bytes(type) + 1);
    if (!data) EC_FAIL(EC_ERR_MEMORY, "no memory for %s of %s", name, ec__h5_path(file));
    EC_TRY(ec__h5_read(file, name, type, rank, dim, data));
    *out = data;
    data = NULL;
done:
    free(data);
    return status;
}

static ec_status read_texts(ec_h5 *file, const char *name, int64_t count, ec_h5_strings *out) {
    EC_RETURN_IF(ec__h5_shape(file, name, 1, &count));
    return ec__h5_read_strings(file, name, out);
}

static ec_status read_rows(ec_h5 *file, ec_cache *cache) {
    ec_cache_info *x = &cache->info;
    int64_t classes = -1, skipped = -1;
    EC_RETURN_IF(ec__h5_shape(file, "class_names", 1, &classes));
    if (classes > EC_CACHE_CLASSES) return EC_ERROR(EC_ERR_DATA, "%s: %lld classes", cache->path, (long long)classes);
    x->class_count = (int32_t)classes;
    EC_RETURN_IF(read_texts(file, "class_names", classes, &x->class_names));
    EC_RETURN_IF(read_texts(file, "id", x->rows, &x->id));
    EC_RETURN_IF(ec__h5_shape(file, "skipped/id", 1, &skipped));
    EC_RETURN_IF(read_texts(file, "skipped/id", skipped, &x->skipped_id));
    EC_RETURN_IF(read_texts(file, "skipped/reason", skipped, &x->skipped_reason));
    EC_RETURN_IF(read_array(file, "split", EC_H5_U8, 1, &x->rows, (void **)&cache->split));
    EC_RETURN_IF(read_array(file, "checksum", EC_H5_U64, 1, &x->blocks, (void **)&cache->checksum));
    if (ec__h5_has(file, "tags"))
        EC_RETURN_IF(read_array(file, "tags", EC_H5_U8, 2, (int64_t[]){x->rows, classes}, (void **)&cache->tags));
    else
        EC_RETURN_IF(read_array(file, "label", EC_H5_I32, 1, &x->rows, (void **)&cache->label));
    x->split = cache->split;
    x->checksum = cache->checksum;
    x->label = cache->label;
    x->tags = cache->tags;
    return EC_OK;
}

static ec_status check_sum(ec_h5 *file, const ec_cache *cache) {
    ec_status status = EC_OK;
    char *stored = NULL, computed[EC_CHECKSUM_HEX];
    EC_TRY(ec__h5_get_text(file, "index_checksum", &stored));
    EC_TRY(ec__cache_index_checksum(&cache->info, computed));
    if (strcmp(stored, computed) != 0)
        EC_FAIL(EC_ERR_DATA, "%s is corrupt: labels, ids or attributes have checksum %s, %.16s expected", cache->path,
                computed, stored);
done:
    free(stored);
    return status;
}

ec_status ec__cache_read_index(const char *path, ec_cache *cache, int64_t *offset) {
    ec_status status = EC_OK;
    ec_h5 *file = NULL;
    EC_TRY(ec__format(&cache->path, "%s", path));
    EC_TRY(ec__h5_open(path, &file));
    EC_TRY(ec__h5_check_format(file, "a feature cache", EC_CACHE_FORMAT, EC_CACHE_VERSION));
    EC_TRY(read_identity(file, cache));
    EC_TRY(read_shape(file, cache, offset));
    EC_TRY(read_rows(file, cache));
    EC_TRY(ec__cache_check_rows(&cache->info));
    EC_TRY(check_sum(file, cache));
done:
    ec__h5_close(file);
    return status;
}

void ec__cache_release_index(ec_cache *cache) {
    ec__h5_strings_release(&cache->info.id);
    ec__h5_strings_release(&cache->info.class_names);
    ec__h5_strings_release(&cache->info.skipped_id);
    ec__h5_strings_release(&cache->info.skipped_reason);
    free(cache->label);
    free(cache->tags);
    free(cache->split);
    free(cache->checksum);
    free(cache->path);
    free(cache->created_by);
    free(cache->modality);
    free(cache->encoder);
    free(cache->encoder_sha256);
    free(cache->preprocessing);
    free(cache->manifest_sha256);
}

ec_status ec__cache_check_replaceable(const char *path) {
    static const char signature[] = "\211HDF\r\n\032\n"; /* what every HDF5 file begins with */
    ec_status status = EC_OK;
    char begin[sizeof signature] = "";
    char *format = NULL;
    ec_h5 *file = NULL;
    int64_t bytes;
    EC_TRY(ec__file_size(path, &bytes));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool hdf5 = fd >= 0 && pread(fd, begin, sizeof begin - 1, 0) == sizeof begin - 1 && strcmp(begin, signature) == 0;
    if (fd >= 0) close(fd);
    if (hdf5 && ec__h5_open(path, &file) != EC_OK) {
        ec_error_clear();
        goto done;
    }
    if (hdf5 && ec__h5_get_text(file, "format", &format) == EC_OK && strcmp(format, EC_CACHE_FORMAT) == 0) goto done;
    EC_FAIL(EC_ERR_DATA,
            "%s is not a feature cache, and --rebuild replaces nothing else: remove it, or give another name", path);
done:
    ec__h5_close(file);
    free(format);
    return status;
}
