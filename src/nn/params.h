/* Parameters and buffers of a model: an ordered list of named tensors that lie in one flat array.
 *
 * The list says where a tensor is and what it is called in the original's state dict; the array itself (values,
 * gradients, moments: all of the same layout) belongs to whoever made it. Checkpoints, digests, safetensors files and
 * optimizers walk this list. */
#ifndef EC_NN_PARAMS_H
#define EC_NN_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

enum { EC_PARAM_NAME = 128, EC_PARAM_DIMS = 4, EC_PARAM_ALIGN = 16 };

typedef struct ec_param {
    char name[EC_PARAM_NAME];      /* as in the state dict, e.g. "image_projector.0.weight" */
    int32_t dims;                  /* 0 .. EC_PARAM_DIMS */
    int64_t shape[EC_PARAM_DIMS];  /* as PyTorch has it: a Linear weight is (out,in) */
    int64_t offset;                /* of the first element in the flat array; a multiple of EC_PARAM_ALIGN */
    int64_t count;                 /* elements; 1 for dims = 0 */
    bool transposed;               /* stored as the transpose of shape: a Linear weight lies as [in,out] */
    bool zero_gradient;            /* a bias in front of a BatchNorm: its gradient is exactly 0 */
} ec_param;

/* Zero-initialised, a set is empty and valid. */
typedef struct ec_param_set {
    ec_param *items;
    int32_t count, capacity;
    int64_t total; /* elements of the flat array, gaps between tensors included; gaps hold 0 */
} ec_param_set;

typedef struct ec_param_traits {
    bool transposed, zero_gradient;
} ec_param_traits;

/* Appends a tensor behind the last one and returns its number. transposed only for dims = 2. */
ec_status ec__param_set_add(ec_param_set *set, const char *name, int32_t dims, const int64_t shape[],
                            ec_param_traits traits, int32_t *number);
void ec__param_set_release(ec_param_set *set);

/* The tensor of that name, or NULL. Borrowed. */
const ec_param *ec__param_find(const ec_param_set *set, const char *name);

/* Copies one tensor out of or into a flat array, in host memory; state (count elements) is in state-dict layout. */
void ec__param_export(const ec_param *param, const float *flat, float *state);
void ec__param_import(const ec_param *param, const float *state, float *flat);

#endif
