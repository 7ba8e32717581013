#include "nn/params.h"

#include <stdlib.h>
#include <string.h>

static ec_status reserve(ec_param_set *set) {
    if (set->count < set->capacity) return EC_OK;
    int32_t capacity = set->capacity ? 2 * set->capacity : 16;
    ec_param *items = realloc(set->items, (size_t)capacity * sizeof *items);
    if (!items) return EC_ERROR(EC_ERR_MEMORY, "no memory for a list of %d parameters", capacity);
    set->items = items;
    set->capacity = capacity;
    return EC_OK;
}

ec_status ec__param_set_add(ec_param_set *set, const char *name, int32_t dims, const int64_t shape[],
                            ec_param_traits traits, int32_t *number) {
    if (strlen(name) >= EC_PARAM_NAME) return EC_ERROR(EC_ERR_BUG, "parameter name too long: %s", name);
    if (dims < 0 || dims > EC_PARAM_DIMS || (traits.transposed && dims != 2))
        return EC_ERROR(EC_ERR_BUG, "parameter %s has %d dimensions", name, dims);
    if (ec__param_find(set, name)) return EC_ERROR(EC_ERR_BUG, "two parameters named %s", name);
    EC_RETURN_IF(reserve(set));
    ec_param *p = &set->items[set->count];
    *p = (ec_param){.dims = dims, .offset = set->total, .count = 1, .transposed = traits.transposed,
                    .zero_gradient = traits.zero_gradient};
    memcpy(p->name, name, strlen(name) + 1);
    for (int32_t i = 0; i < dims; i++) p->count *= p->shape[i] = shape[i];
    set->total += (p->count + EC_PARAM_ALIGN - 1) / EC_PARAM_ALIGN * EC_PARAM_ALIGN;
    *number = set->count++;
    return EC_OK;
}

void ec__param_set_release(ec_param_set *set) {
    free(set->items);
    *set = (ec_param_set){0};
}

const ec_param *ec__param_find(const ec_param_set *set, const char *name) {
    for (int32_t i = 0; i < set->count; i++)
        if (strcmp(set->items[i].name, name) == 0) return &set->items[i];
    return NULL;
}

/* to (columns,rows) becomes the transpose of from (rows,columns). */
static void transpose(int64_t rows, int64_t columns, const float *from, float *to) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j];
}

void ec__param_export(const ec_param *param, const float *flat, float *state) {
    const float *from = flat + param->offset;
    if (param->transposed) transpose(param->shape[1], param->shape[0], from, state);
    else memcpy(state, from, (size_t)param->count * sizeof *state);
}

void ec__param_import(const ec_param *param, const float *state, float *flat) {
    float *to = flat + param->offset;
    if (param->transposed) transpose(param->shape[0], param->shape[1], state, to);
    else memcpy(to, state, (size_t)param->count * sizeof *to);
}
