/* The float32 weights of one network in host memory, under its canonical names: declared with their shapes, then filled
 * from a file (whose names may differ) or with random numbers. */
#ifndef EC_NN_WEIGHTS_H
#define EC_NN_WEIGHTS_H

#include <stdbool.h>

#include "compute/backend.h"
#include "core/sha256.h"
#include "nn/tensor_source.h"

enum { EC_NAME = 160 };

/* How a weight starts when no file gives it. */
typedef enum ec_init_kind { EC_INIT_CONSTANT, EC_INIT_NORMAL, EC_INIT_UNIFORM } ec_init_kind;

typedef struct ec_init {
    ec_init_kind kind;
    double value; /* the constant; the standard deviation; the bound b of [-b, b) */
} ec_init;

typedef struct ec_weight {
    char name[EC_NAME];
    int32_t rank;
    int64_t dim[EC_TENSOR_DIMS];
    int64_t count;
    ec_init init;
    bool optional;      /* a file may lack it; it then keeps its initial value */
    unsigned int found; /* bit i: third i has been read; 7: all of it */
    float *data;
} ec_weight;

typedef struct ec_weights {
    int32_t count, capacity;
    ec_weight *item; /* in the order of declaration */
} ec_weights;

/* What a name in a file stands for. */
typedef struct ec_mapped {
    char name[EC_NAME]; /* canonical */
    int32_t third;      /* 0, 1, 2: this third of the rows (queries, keys, values apart); -1: all */
    bool transposed;    /* stored as the transpose of a matrix */
} ec_mapped;

/* False: the name belongs to some other network of the same file. */
typedef bool (*ec_name_map)(void *arg, const char *name, ec_mapped *out);

/* Declares a weight (memory zeroed). data moves nowhere until freed. */
ec_status ec__weights_add(ec_weights *weights, ec_init init, bool optional, int32_t rank, const int64_t *dim,
                          const char *format, ...) __attribute__((format(printf, 6, 7)));
/* A declared weight's data, or NULL. */
float *ec__weights_get(const ec_weights *weights, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ec__weights_release(ec_weights *weights);

/* Index in source of the tensor that maps to name as a whole or in thirds (the first); -1: none. */
ec_status ec__weights_locate(const ec_tensor_source *source, ec_name_map map, void *arg, const char *name,
                             int32_t *index);

/* Fills every weight from source. A tensor that maps to no declared weight, one of another shape, one that is there
 * twice or a weight without a tensor is EC_ERR_DATA that names the tensor, what was found and what was expected. */
ec_status ec__weights_load(ec_weights *weights, const ec_tensor_source *source, ec_name_map map, void *arg);

/* Fills every weight by its ec_init with EC_RNG_INIT, index = number of the weight. */
ec_status ec__weights_randomize(ec_weights *weights, ec_backend *be, uint64_t seed);

/* SHA-256 over the weights in name order: name with its NUL, rank and dimensions as 64-bit little-endian integers, data
 * as little-endian float32. The same weights give the same hash whatever file they came from. */
ec_status ec__weights_hash(const ec_weights *weights, char hex[EC_SHA256_HEX]);

#endif
