/* Files of named arrays in the safetensors format (https://github.com/huggingface/safetensors, "Format"):
 *
 *     8 bytes   N, little-endian: bytes of the header
 *     N bytes   JSON: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
 *               "__metadata__": {"KEY": "text"}}, padded with spaces
 *     rest      the data; offsets count from its first byte, every byte belongs to exactly one array
 *
 * A file is checked completely before any array is read: N at most 100 MB and inside the file, no duplicate names,
 * known dtypes, sizes that match shapes, no overlap, no hole, nothing behind the last array. Each violation is
 * EC_ERR_DATA with file, array, what was found and what was expected. */
#ifndef EC_NN_SAFETENSORS_H
#define EC_NN_SAFETENSORS_H

#include <stddef.h>

#include "nn/tensor_source.h"

typedef enum ec_dtype {
    EC_DTYPE_F64, EC_DTYPE_F32, EC_DTYPE_F16, EC_DTYPE_BF16,
    EC_DTYPE_I64, EC_DTYPE_I32, EC_DTYPE_I16, EC_DTYPE_I8,
    EC_DTYPE_U8, EC_DTYPE_BOOL,
    EC_DTYPES,
} ec_dtype;

/* Bytes of an element, and the format's name of the type. */
size_t ec__dtype_size(ec_dtype dtype);
const char *ec__dtype_name(ec_dtype dtype);

/* count little-endian elements of dtype, at any alignment, as float32. Integers and doubles are rounded to nearest. */
void ec__dtype_to_float(ec_dtype dtype, const void *from, int64_t count, float *to);

typedef struct ec_safetensors ec_safetensors;

/* Opens and checks a file. It must not change until closed. EC_ERR_DATA when it is missing or violates the format. */
ec_status ec__safetensors_open(const char *path, ec_safetensors **out);
/* The same over bytes in memory, which stay the caller's and must outlive the handle; name is for messages. */
ec_status ec__safetensors_parse(const char *name, const void *bytes, size_t count, ec_safetensors **out);
void ec__safetensors_close(ec_safetensors *file); /* accepts NULL */

/* Arrays are numbered in name order (bytes compared). */
int32_t ec__safetensors_count(const ec_safetensors *file);
const ec_tensor_info *ec__safetensors_info(const ec_safetensors *file, int32_t index);
ec_dtype ec__safetensors_dtype(const ec_safetensors *file, int32_t index);
int32_t ec__safetensors_find(const ec_safetensors *file, const char *name); /* -1: there is none */
/* Text of __metadata__ under key, or NULL. Borrowed. */
const char *ec__safetensors_metadata(const ec_safetensors *file, const char *key);

/* Array index as float32, into ec__tensor_elements floats. */
ec_status ec__safetensors_read(const ec_safetensors *file, int32_t index, float *into);

/* A source over an open file; valid until the file is closed. */
ec_tensor_source ec__safetensors_source(ec_safetensors *file);

/* An array to be written; everything is borrowed. */
typedef struct ec_safetensors_item {
    const char *name;
    ec_dtype dtype;
    int32_t rank;
    int64_t dim[EC_TENSOR_DIMS];
    const void *data; /* host bytes, little-endian, row-major */
} ec_safetensors_item;

/* Writes count arrays atomically: header and data in name order, header padded so that data begin at a multiple of 8.
 * metadata: pairs of key and text, pairs of them. Equal input gives equal bytes. EC_ERR_USAGE for a duplicate or
 * reserved name, EC_ERR_IO when the disk refuses. */
ec_status ec__safetensors_write(const char *path, const ec_safetensors_item *items, int32_t count,
                                const char *const (*metadata)[2], int32_t pairs);

#endif
