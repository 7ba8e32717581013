/* Reading safetensors: the header is checked as a whole, arrays are then read one at a time with pread (a file that
 * shrinks under a mapping would kill the process; a short read is an error like any other). */
#define _GNU_SOURCE
#include "nn/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"

enum { HEADER_LIMIT = 100000000, PREFIX = 8, PIECE = 1 << 20 };

typedef struct tensor {
    ec_tensor_info info;
    ec_dtype dtype;
    int64_t begin, end; /* bytes, from the first byte of the data */
} tensor;

struct ec_safetensors {
    char *name;        /* for messages */
    const char *bytes; /* whole contents when in memory, else NULL */
    int fd;            /* -1 when in memory */
    int64_t size;      /* bytes of the file */
    int64_t data;      /* where the data begin */
    json_t *header;    /* owns all names and metadata */
    tensor *tensors;   /* in name order */
    int32_t count;
};

static ec_status read_at(const ec_safetensors *file, void *into, size_t count, int64_t offset) {
    if (!file->bytes) return ec__pread_exact(file->fd, file->name, into, count, offset);
    if (count > 0) memcpy(into, file->bytes + offset, count);
    return EC_OK;
}

void ec__shape_text(int32_t rank, const int64_t *dim, char text[EC_SHAPE_TEXT]) {
    int at = snprintf(text, EC_SHAPE_TEXT, "(");
    for (int32_t i = 0; i < rank; i++)
        at += snprintf(text + at, (size_t)(EC_SHAPE_TEXT - at), "%s%" PRId64, i ? ", " : "", dim[i]);
    snprintf(text + at, (size_t)(EC_SHAPE_TEXT - at), ")");
}

/* A JSON value in at most 60 characters, for messages. */
static void json_text(const json_t *value, char text[64]) {
    char *dump = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    snprintf(text, 64, "%.60s", dump ? dump : "nothing");
    free(dump);
}

static ec_status read_dtype(const ec_safetensors *file, const char *name, const json_t *value, ec_dtype *out) {
    const char *found = json_string_value(value);
    for (int d = 0; found && d < EC_DTYPES; d++)
        if (strcmp(found, ec__dtype_name((ec_dtype)d)) == 0) {
            *out = (ec_dtype)d;
            return EC_OK;
        }
    char text[64];
    json_text(value, text);
    return EC_ERROR(EC_ERR_DATA, "%s: %s: dtype is %s; known are F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL", file->name,
                    name, text);
}

/* Sets the shape and *bytes, its size. */
static ec_status read_shape(const ec_safetensors *file, const json_t *value, tensor *t, int64_t *bytes) {
    char text[64];
    json_text(value, text);
    const char *name = t->info.name;
    if (!json_is_array(value) || json_array_size(value) > EC_TENSOR_DIMS)
        return EC_ERROR(EC_ERR_DATA, "%s: %s: shape is %s; expected an array of at most %d integers", file->name, name,
                        text, EC_TENSOR_DIMS);
    int64_t count = (int64_t)ec__dtype_size(t->dtype);
    t->info.rank = (int32_t)json_array_size(value);
    for (int32_t i = 0; i < t->info.rank; i++) {
        const json_t *item = json_array_get(value, (size_t)i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            return EC_ERROR(EC_ERR_DATA, "%s: %s: shape is %s; expected integers >= 0", file->name, name, text);
        t->info.dim[i] = json_integer_value(item);
        if (__builtin_mul_overflow(count, t->info.dim[i], &count))
            return EC_ERROR(EC_ERR_DATA, "%s: %s: shape %s has more than 2^63 bytes", file->name, name, text);
    }
    *bytes = count;
    return EC_OK;
}

static ec_status read_offsets(const ec_safetensors *file, const json_t *value, tensor *t, int64_t bytes) {
    const int64_t data_size = file->size - file->data;
    const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
    char text[64];
    json_text(value, text);
    if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 ||
        json_integer_value(end) < json_integer_value(begin))
        return EC_ERROR(EC_ERR_DATA, "%s: %s: data_offsets is %s; expected [begin, end] with 0 <= begin <= end",
                        file->name, t->info.name, text);
    t->begin = json_integer_value(begin);
    t->end = json_integer_value(end);
    if (t->end > data_size)
        return EC_ERROR(EC_ERR_DATA,
                        "%s: %s: data_offsets %s reach behind the end: the file has %" PRId64 " bytes of data",
                        file->name, t->info.name, text, data_size);
    if (t->end - t->begin != bytes) {
        char shape[EC_SHAPE_TEXT];
        ec__shape_text(t->info.rank, t->info.dim, shape);
        return EC_ERROR(EC_ERR_DATA, "%s: %s: data_offsets %s hold %" PRId64 " bytes; %s of shape %s has %" PRId64,
                        file->name, t->info.name, text, t->end - t->begin, ec__dtype_name(t->dtype), shape, bytes);
    }
    return EC_OK;
}

static ec_status read_tensor(const ec_safetensors *file, const char *name, json_t *value, tensor *t) {
    int64_t bytes = 0;
    if (!json_is_object(value)) {
        char text[64];
        json_text(value, text);
        return EC_ERROR(EC_ERR_DATA, "%s: %s: found %s; expected an object with dtype, shape and data_offsets",
                        file->name, name, text);
    }
    t->info.name = name;
    EC_RETURN_IF(read_dtype(file, name, json_object_get(value, "dtype"), &t->dtype));
    EC_RETURN_IF(read_shape(file, json_object_get(value, "shape"), t, &bytes));
    EC_RETURN_IF(read_offsets(file, json_object_get(value, "data_offsets"), t, bytes));
    return EC_OK;
}

static ec_status check_metadata(const ec_safetensors *file, json_t *metadata) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) return EC_ERROR(EC_ERR_DATA, "%s: __metadata__ is not an object of texts",
                                                   file->name);
    json_object_foreach(metadata, key, value)
        if (!json_is_string(value)) return EC_ERROR(EC_ERR_DATA, "%s: __metadata__: %s is not a text", file->name, key);
    return EC_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tensor *)a)->info.name, ((const tensor *)b)->info.name);
}

static int by_place(const void *a, const void *b) {
    const tensor *s = a, *t = b;
    if (s->begin != t->begin) return s->begin < t->begin ? -1 : 1;
    if (s->end != t->end) return s->end < t->end ? -1 : 1; /* empty arrays first */
    return 0;
}

/* Every byte of the data belongs to exactly one array. Leaves the arrays in name order. */
static ec_status check_cover(ec_safetensors *file) {
    int64_t at = 0;
    const char *before = "the header";
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_place);
    for (int32_t i = 0; i < file->count; i++) {
        const tensor *t = &file->tensors[i];
        if (t->begin != at)
            return EC_ERROR(EC_ERR_DATA,
                            "%s: %s: begins at byte %" PRId64 " of the data, %s %s, which ends at %" PRId64,
                            file->name, t->info.name, t->begin,
                            t->begin < at ? "inside" : "leaving a hole after", before, at);
        at = t->end;
        before = t->info.name;
    }
    if (at != file->size - file->data)
        return EC_ERROR(EC_ERR_DATA, "%s: %" PRId64 " bytes behind the last array (%s); expected none", file->name,
                        file->size - file->data - at, before);
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, by_name);
    return EC_OK;
}

static ec_status read_header(ec_safetensors *file, const char *text, size_t bytes) {
    json_error_t error;
    const char *name;
    json_t *value;
    if (bytes == 0 ||
        text[0] != '{') return EC_ERROR(EC_ERR_DATA, "%s: the header does not begin with '{'", file->name);
    file->header = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!file->header)
        return EC_ERROR(EC_ERR_DATA, "%s: header, byte %d: %s", file->name, error.position, error.text);
    file->tensors = calloc(json_object_size(file->header) + 1, sizeof *file->tensors);
    if (!file->tensors) return EC_ERROR(EC_ERR_MEMORY, "no memory for the header of %s", file->name);
    json_object_foreach(file->header, name, value) {
        if (strcmp(name, "__metadata__") == 0) EC_RETURN_IF(check_metadata(file, value));
        else EC_RETURN_IF(read_tensor(file, name, value, &file->tensors[file->count++]));
    }
    return check_cover(file);
}

static ec_status check(ec_safetensors *file) {
    ec_status status = EC_OK;
    char *text = NULL;
    unsigned char prefix[PREFIX];
    uint64_t bytes = 0;
    if (file->size < PREFIX)
        EC_FAIL(EC_ERR_DATA,
                "%s: has %" PRId64 " bytes; a safetensors file begins with %d bytes that give the header's size",
                file->name, file->size, PREFIX);
    EC_TRY(read_at(file, prefix, PREFIX, 0));
    for (int i = PREFIX - 1; i >= 0; i--) bytes = bytes << 8 | prefix[i];
    if (bytes > HEADER_LIMIT)
        EC_FAIL(EC_ERR_DATA, "%s: a header of %" PRIu64 " bytes; at most %d are allowed (is this a safetensors file?)",
                file->name, bytes, HEADER_LIMIT);
    if (bytes > (uint64_t)(file->size - PREFIX))
        EC_FAIL(EC_ERR_DATA, "%s: a header of %" PRIu64 " bytes in a file of %" PRId64, file->name, bytes, file->size);
    text = malloc((size_t)bytes + 1);
    if (!text) EC_FAIL(EC_ERR_MEMORY, "no memory for the %" PRIu64 " bytes of the header of %s", bytes, file->name);
    EC_TRY(read_at(file, text, (size_t)bytes, PREFIX));
    file->data = PREFIX + (int64_t)bytes;
    EC_TRY(read_header(file, text, (size_t)bytes));
done:
    free(text);
    return status;
}

void ec__safetensors_close(ec_safetensors *file) {
    if (!file) return;
    if (file->fd >= 0) close(file->fd);
    json_decref(file->header);
    free(file->tensors);
    free(file->name);
    free(file);
}

static ec_status handle_new(const char *name, ec_safetensors **out) {
    ec_safetensors *file = calloc(1, sizeof *file);
    char *copy = strdup(name);
    if (!file || !copy) {
        free(copy);
        free(file);
        return EC_ERROR(EC_ERR_MEMORY, "no memory for the handle of %s", name);
    }
    file->name = copy;
    file->fd = -1;
    *out = file;
    return EC_OK;
}

ec_status ec__safetensors_open(const char *path, ec_safetensors **out) {
    ec_status status = EC_OK;
    ec_safetensors *file = NULL;
    struct stat info;
    EC_TRY(handle_new(path, &file));
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not block */
    if (file->fd < 0) EC_FAIL(EC_ERR_DATA, "cannot open %s: %s", path, strerror(errno));
    if (fstat(file->fd, &info) != 0) EC_FAIL(EC_ERR_IO, "cannot examine %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) EC_FAIL(EC_ERR_DATA, "%s is not a regular file", path);
    file->size = info.st_size;
    EC_TRY(check(file));
    *out = file;
    file = NULL;
done:
    ec__safetensors_close(file);
    return status;
}

ec_status ec__safetensors_parse(const char *name, const void *bytes, size_t count, ec_safetensors **out) {
    ec_status status = EC_OK;
    ec_safetensors *file = NULL;
    EC_TRY(handle_new(name, &file));
    file->bytes = bytes ? bytes : "";
    file->size = (int64_t)count;
    EC_TRY(check(file));
    *out = file;
    file = NULL;
done:
    ec__safetensors_close(file);
    return status;
}

int32_t ec__safetensors_count(const ec_safetensors *file) { return file->count; }
const ec_tensor_info *ec__safetensors_info(const ec_safetensors *file,
                                           int32_t index) { return &file->tensors[index].info; }
ec_dtype ec__safetensors_dtype(const ec_safetensors *file, int32_t index) { return file->tensors[index].dtype; }

int32_t ec__safetensors_find(const ec_safetensors *file, const char *name) {
    const tensor key = {.info.name = name};
    const tensor *found = bsearch(&key, file->tensors, (size_t)file->count, sizeof key, by_name);
    return found ? (int32_t)(found - file->tensors) : -1;
}

const char *ec__safetensors_metadata(const ec_safetensors *file, const char *key) {
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

ec_status ec__safetensors_read(const ec_safetensors *file, int32_t index, float *into) {
    const tensor *t = &file->tensors[index];
    const int64_t size = (int64_t)ec__dtype_size(t->dtype), count = (t->end - t->begin) / size;
    if (t->dtype == EC_DTYPE_F32) return read_at(file, into, (size_t)(t->end - t->begin), file->data + t->begin);
    char *piece = malloc(PIECE);
    if (!piece) return EC_ERROR(EC_ERR_MEMORY, "no memory to read %s", file->name);
    ec_status status = EC_OK;
    for (int64_t at = 0; at < count; at += PIECE / size) {
        const int64_t n = count - at < PIECE / size ? count - at : PIECE / size;
        EC_TRY(read_at(file, piece, (size_t)(n * size), file->data + t->begin + at * size));
        ec__dtype_to_float(t->dtype, piece, n, into + at);
    }
done:
    free(piece);
    return status;
}

static ec_status source_info(void *arg, int32_t index, ec_tensor_info *out) {
    *out = *ec__safetensors_info(arg, index);
    return EC_OK;
}

static ec_status source_read(void *arg, int32_t index, float *into) { return ec__safetensors_read(arg, index, into); }

ec_tensor_source ec__safetensors_source(ec_safetensors *file) {
    return (ec_tensor_source){
        .origin = file->name, .count = file->count, .info = source_info, .read = source_read, .arg = file};
}
