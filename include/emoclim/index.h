/* A file of embeddings, as "emoclim embed" writes it, to be searched.
 *
 * The search is exact: every item is compared. An index may be used by one thread at a time. */
#ifndef EMOCLIM_INDEX_H
#define EMOCLIM_INDEX_H

#include <stdint.h>

#include "emoclim/model.h"
#include "emoclim/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ec_index ec_index;

typedef struct ec_match {
    int64_t item; /* number in the index, from 0 */
    float score;  /* dot product of query and item: the cosine, for a query of unit length */
} ec_match;

/* Reads the file into memory and verifies it. threads: as for ec_model_open. *out belongs to the caller
 * (ec_index_close). EC_ERR_USAGE, EC_ERR_DATA, EC_ERR_ENV, EC_ERR_MEMORY: as ec_model_open. */
ec_status ec_index_open(const char *path, int32_t threads, ec_index **out);
void ec_index_close(ec_index *index); /* accepts NULL */

/* EC_ERR_DATA unless the index was made with this very model: embeddings of two models have nothing to do with each
 * other. */
ec_status ec_index_check_model(const ec_index *index, const ec_model *model);

int64_t ec_index_items(const ec_index *index);        /* at least 1 */
int32_t ec_index_width(const ec_index *index);        /* floats of an embedding */
const char *ec_index_modality(const ec_index *index); /* "image" or "music"; valid until closed, as the texts below */

/* Of an item in [0, items): its name, its class (NULL: it has none), its embedding (width floats of unit length;
 * borrowed). NULL for a number out of range. */
const char *ec_index_id(const ec_index *index, int64_t item);
const char *ec_index_label(const ec_index *index, int64_t item);
const float *ec_index_embedding(const ec_index *index, int64_t item);

/* The k items nearest to query (width floats, finite), best first; equal scores in the order of the index. matches:
 * room for k, of which *found = min(k, items) are written. k >= 1. EC_ERR_USAGE for k out of range or a query that is
 * not finite. */
ec_status ec_index_search(ec_index *index, const float *query, int32_t k, ec_match *matches, int32_t *found);

#ifdef __cplusplus
}
#endif
#endif
