/* Writing safetensors. */
#define _GNU_SOURCE
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "nn/safetensors.h"

enum { ALIGN = 8 };

static int by_name(const void *a, const void *b) {
    return strcmp((*(const ec_safetensors_item *const *)a)->name, (*(const ec_safetensors_item *const *)b)->name);
}

static size_t item_bytes(const ec_safetensors_item *item) {
    size_t bytes = ec__dtype_size(item->dtype);
    for (int32_t i = 0; i < item->rank; i++) bytes *= (size_t)item->dim[i];
    return bytes;
}

static ec_status sort_items(const ec_safetensors_item *items, int32_t count, const ec_safetensors_item ***out) {
    ec_status status = EC_OK;
    const ec_safetensors_item **sorted = calloc((size_t)count + 1, sizeof *sorted);
    if (!sorted) EC_FAIL(EC_ERR_MEMORY, "no memory to sort %d arrays", count);
    for (int32_t i = 0; i < count; i++) sorted[i] = &items[i];
    qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    for (int32_t i = 0; i < count; i++) {
        if (strcmp(sorted[i]->name, "__metadata__") == 0)
            EC_FAIL(EC_ERR_USAGE, "an array cannot be named __metadata__ in a safetensors file");
        if (i > 0 && strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            EC_FAIL(EC_ERR_USAGE, "two arrays named %s for one safetensors file", sorted[i]->name);
    }
    *out = sorted;
    sorted = NULL;
done:
    free(sorted);
    return status;
}

/* The header as text, owned by the caller. */
static ec_status header_text(const ec_safetensors_item *const *items, int32_t count, const char *const (*metadata)[2],
                             int32_t pairs, char **out) {
    ec_status status = EC_OK;
    int failed = 0;
    json_t *header = json_object(), *texts = json_object();
    size_t at = 0;
    for (int32_t i = 0; i < pairs; i++) failed |= json_object_set_new(texts, metadata[i][0],
                                                                      json_string(metadata[i][1]));
    if (pairs > 0) failed |= json_object_set(header, "__metadata__", texts);
    for (int32_t i = 0; i < count; i++) {
        json_t *shape = json_array(), *entry;
        for (int32_t d = 0; d < items[i]->rank; d++) failed |= json_array_append_new(shape,
                                                                                     json_integer(items[i]->dim[d]));
        const size_t end = at + item_bytes(items[i]);
        entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", ec__dtype_name(items[i]->dtype), "shape", shape,
                          "data_offsets", (json_int_t)at, (json_int_t)end);
        failed |= json_object_set_new(header, items[i]->name, entry);
        at = end;
    }
    char *text = failed ? NULL : json_dumps(header, JSON_COMPACT);
    if (!text) EC_FAIL(EC_ERR_USAGE, "a safetensors header cannot be made: a name or text is not UTF-8, or no memory");
    *out = text;
done:
    json_decref(texts);
    json_decref(header);
    return status;
}

static ec_status write_bytes(FILE *stream, const void *bytes, size_t count, const char *path) {
    if (count > 0 && fwrite(bytes, 1, count, stream) != count)
        return EC_ERROR(EC_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    return EC_OK;
}

ec_status ec__safetensors_write(const char *path, const ec_safetensors_item *items, int32_t count,
                                const char *const (*metadata)[2], int32_t pairs) {
    ec_status status = EC_OK;
    const ec_safetensors_item **sorted = NULL;
    ec_atomic_file *file = NULL;
    FILE *stream = NULL;
    char *text = NULL;
    unsigned char prefix[8];
    EC_TRY(sort_items(items, count, &sorted));
    EC_TRY(header_text(sorted, count, metadata, pairs, &text));
    const size_t length = strlen(text), padded = (length + ALIGN - 1) / ALIGN * ALIGN;
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)(padded >> 8 * i);
    EC_TRY(ec__atomic_open(path, &file));
    stream = fopen(ec__atomic_path(file), "we");
    if (!stream) EC_FAIL(EC_ERR_IO, "cannot open %s: %s", ec__atomic_path(file), strerror(errno));
    EC_TRY(write_bytes(stream, prefix, sizeof prefix, path));
    EC_TRY(write_bytes(stream, text, length, path));
    EC_TRY(write_bytes(stream, "       ", padded - length, path));
    for (int32_t i = 0; i < count; i++) EC_TRY(write_bytes(stream, sorted[i]->data, item_bytes(sorted[i]), path));
    const int failed = fclose(stream);
    stream = NULL;
    if (failed) EC_FAIL(EC_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    ec_atomic_file *complete = file;
    file = NULL;
    EC_TRY(ec__atomic_commit(complete));
done:
    if (stream) fclose(stream);
    ec__atomic_discard(file);
    free(text);
    free(sorted);
    return status;
}
