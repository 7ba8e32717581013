/* HDF5 files, as far as this program needs them: the only wrapper around the library.
 *
 * Files are created in the latest format, whose metadata carry checksums; data sets are contiguous, allocated at once
 * and aligned to EC_H5_ALIGN, so that they can be mapped or read at their offset; no time stamps, so that equal
 * contents are equal bytes. Raw data carry no checksum of HDF5's: each format that is built on this adds its own.
 *
 * One thread at a time is inside the library: every function here takes one global lock. Different threads may use
 * different files; one file belongs to one thread at a time. The library's own printing is off; its innermost message
 * becomes part of ours, with the names of the file and of the object.
 *
 * Object names are paths from the root ("params/head.0.weight"); a dot is an ordinary character. Errors, where nothing
 * else is said: EC_ERR_DATA for a file that is read, EC_ERR_IO for one that is written. */
#ifndef EC_CACHE_H5_H
#define EC_CACHE_H5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum {
    EC_H5_DIMS = 8,         /* largest number of dimensions of an array */
    EC_H5_ALIGN = 4096,     /* a page; data sets smaller than that are packed */
    EC_H5_TEXT = 1 << 24,   /* longest string in bytes */
    EC_H5_NAME = 512,       /* longest name of an object, with its NUL */
};

typedef struct ec_h5 ec_h5;

/* Types of elements; little-endian in the file. F16 is IEEE binary16 and has no conversion here: it is written and read
 * as 16-bit patterns. STRING is fixed-length UTF-8, padded with NUL. */
typedef enum ec_h5_type {
    EC_H5_U8, EC_H5_I16, EC_H5_I32, EC_H5_I64, EC_H5_U64, EC_H5_F16, EC_H5_F32, EC_H5_F64, EC_H5_STRING, EC_H5_TYPES
} ec_h5_type;

size_t ec__h5_type_bytes(ec_h5_type type);      /* 0 for STRING */
const char *ec__h5_type_name(ec_h5_type type);  /* "float32" */

/* What a data set is. */
typedef struct ec_h5_info {
    ec_h5_type type;
    size_t element_bytes; /* of one element in the file */
    int32_t rank;         /* number of dimensions; 0 for a scalar */
    int64_t dim[EC_H5_DIMS];
    int64_t count;        /* product of dim */
    int64_t bytes;        /* count * element_bytes; lies inside the file, which was checked */
    int64_t offset;       /* of the first element from the beginning of the file; -1 for an empty or compact data set */
} ec_h5_info;

/* Strings of one data set: text k is data + k * stride, and ends with a NUL. */
typedef struct ec_h5_strings {
    char *data; /* owned */
    size_t stride;
    int64_t count;
} ec_h5_strings;

/* Creates path, or empties it. Data sets of at least align_from bytes begin at a multiple of EC_H5_ALIGN. */
ec_status ec__h5_create_aligned(const char *path, int64_t align_from, ec_h5 **out);
static inline ec_status ec__h5_create(const char *path, ec_h5 **out) {
    return ec__h5_create_aligned(path, EC_H5_ALIGN, out);
}

/* Opens a complete file for reading. Takes no lock on the file: complete files are never changed in place. */
ec_status ec__h5_open(const char *path, ec_h5 **out);

/* Writes everything down and closes; frees the handle on error too. Only a file whose finish returned EC_OK is
 * complete. */
ec_status ec__h5_finish(ec_h5 *file);

/* Closes a file that was read, or gives up one that was written. Accepts NULL. */
void ec__h5_close(ec_h5 *file);

/* Hands to the operating system what was written so far, so that ec__h5_info knows offsets. */
ec_status ec__h5_flush(ec_h5 *file);

const char *ec__h5_path(const ec_h5 *file);

/* From now on data sets of this file may also be stored in chunks, compressed or not, as other programs write them:
 * they have no offset (-1), and their bytes are not known to lie inside the file. Without this they are refused. */
void ec__h5_allow_chunks(ec_h5 *file);

/* Creates a group and its missing parents. */
ec_status ec__h5_group(ec_h5 *file, const char *name);

/* Creates a data set (and missing groups above it) of shape dim[rank] and fills it; data == NULL only allocates it: its
 * contents are then up to whoever writes at its offset. */
ec_status ec__h5_write(ec_h5 *file, const char *name, ec_h5_type type, int32_t rank, const int64_t *dim,
                       const void *data);

/* Creates a data set of count strings, as wide as the longest. EC_ERR_DATA for text that is not UTF-8 or too long. */
ec_status ec__h5_write_strings(ec_h5 *file, const char *name, const char *const *text, int64_t count);

bool ec__h5_has(ec_h5 *file, const char *name);

/* EC_ERR_DATA when there is no such data set, when its type is none of ours, or when it is neither contiguous nor
 * compact. */
ec_status ec__h5_info(ec_h5 *file, const char *name, ec_h5_info *out);

/* Checks the shape of a data set; a dimension of -1 means any, and is replaced by what was found. The message reads
 * "expected (N,512), found (10,256)". */
ec_status ec__h5_shape(ec_h5 *file, const char *name, int32_t rank, int64_t *dim);

/* Reads a whole data set of exactly this shape into memory of the wanted type. Integers convert to other integers (a
 * value that does not fit is an error) and to floats, floats to floats; F16 only to itself. */
ec_status ec__h5_read(ec_h5 *file, const char *name, ec_h5_type type, int32_t rank, const int64_t *dim, void *into);

/* Reads a one-dimensional data set of strings. Owned by the caller, ec__h5_strings_release. */
ec_status ec__h5_read_strings(ec_h5 *file, const char *name, ec_h5_strings *out);
void ec__h5_strings_release(ec_h5_strings *strings);
static inline const char *ec__h5_string(const ec_h5_strings *strings, int64_t k) {
    return strings->data + (size_t)k * strings->stride;
}

/* Names of the members of a group in the order of their bytes. */
ec_status ec__h5_list(ec_h5 *file, const char *group, ec_h5_strings *out);
bool ec__h5_is_group(ec_h5 *file, const char *name);

/* Attributes of the root. Text is fixed-length UTF-8. */
ec_status ec__h5_set_i64(ec_h5 *file, const char *name, int64_t value);
ec_status ec__h5_set_f64(ec_h5 *file, const char *name, double value);
ec_status ec__h5_set_text(ec_h5 *file, const char *name, const char *text);
ec_status ec__h5_has_attribute(ec_h5 *file, const char *name, bool *out);
ec_status ec__h5_get_i64(ec_h5 *file, const char *name, int64_t *out);
ec_status ec__h5_get_f64(ec_h5 *file, const char *name, double *out);
ec_status ec__h5_get_text(ec_h5 *file, const char *name, char **out); /* owned by the caller */

/* Do the attributes format and format_version say that this file is of that format, in the one version that is read?
 * what: its kind, for messages: "a checkpoint". EC_ERR_DATA otherwise. */
ec_status ec__h5_check_format(ec_h5 *file, const char *what, const char *format, int64_t version);

#endif
