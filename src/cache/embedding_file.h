/* Joint embeddings in a file: what `embed` writes, `search` and `eval` read.
 *
 * HDF5, format version 1: /embedding (N,D) float32, rows of unit length; /id (N) text; /label (N) int32, an index into
 * /class_names (C) text, or -1 for none; attributes format, format_version, created_by, modality, checkpoint_digest (of
 * the model, train/checkpoint.h), and checksum: XXH3-64 of all of it as 16 hex digits. Equal contents are equal bytes.
 * */
#ifndef EC_CACHE_EMBEDDING_FILE_H
#define EC_CACHE_EMBEDDING_FILE_H

#include <stdint.h>

#include "cache/h5.h"

#define EC_EMBEDDING_FORMAT "emoclim embeddings"

enum { EC_EMBEDDING_VERSION = 1 };

/* What is written; all borrowed. */
typedef struct ec_embedding_content {
    const char *modality;           /* "image" or "music" */
    const char *checkpoint_digest;  /* 64 hex digits */
    int64_t rows;                   /* N >= 1 */
    int32_t width;                  /* D >= 1 */
    int32_t class_count;            /* C >= 0 */
    const float *embedding;         /* (N,D) finite */
    const int32_t *label;           /* (N) in [-1,C) */
    const char *const *id;          /* (N) */
    const char *const *class_names; /* (C) */
} ec_embedding_content;

/* What was read; all owned by it. */
typedef struct ec_embeddings {
    ec_embedding_content content; /* points into the fields below */
    char *path;
    char *modality, *checkpoint_digest, *created_by;
    float *embedding;
    int32_t *label;
    ec_h5_strings ids, classes;
    const char **texts; /* what content.id and content.class_names point to */
} ec_embeddings;

/* Writes atomically. EC_ERR_DATA when the contents break a rule above (the row is named), EC_ERR_IO when the disk
 * refuses. */
ec_status ec__embedding_write(const char *path, const ec_embedding_content *content);

/* Reads and checks everything. EC_ERR_DATA names file and place. The caller owns *out (ec__embedding_free). */
ec_status ec__embedding_read(const char *path, ec_embeddings **out);
void ec__embedding_free(ec_embeddings *embeddings); /* accepts NULL */

/* Are both from the same model, so that their rows may be compared? EC_ERR_DATA says what differs. */
ec_status ec__embedding_check_pair(const ec_embeddings *a, const ec_embeddings *b);

#endif
