#include "nn/weights.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

static ec_weight *find(const ec_weights *weights, const char *name) {
    for (int32_t i = 0; i < weights->count; i++)
        if (strcmp(weights->item[i].name, name) == 0) return &weights->item[i];
    return NULL;
}

ec_status ec__weights_add(ec_weights *weights, ec_init init, bool optional, int32_t rank, const int64_t *dim,
                          const char *format, ...) {
    if (weights->count == weights->capacity) {
        const int32_t capacity = weights->capacity ? weights->capacity * 2 : 64;
        ec_weight *item = realloc(weights->item, sizeof *item * (size_t)capacity);
        if (!item) return EC_ERROR(EC_ERR_MEMORY, "no memory for %d weights", capacity);
        weights->item = item;
        weights->capacity = capacity;
    }
    ec_weight *w = &weights->item[weights->count];
    *w = (ec_weight){.rank = rank, .count = 1, .init = init, .optional = optional};
    va_list args;
    va_start(args, format);
    vsnprintf(w->name, sizeof w->name, format, args);
    va_end(args);
    for (int32_t i = 0; i < rank; i++) {
        w->dim[i] = dim[i];
        if (dim[i] < 0 || __builtin_mul_overflow(w->count, dim[i], &w->count))
            return EC_ERROR(EC_ERR_DATA, "%s: a size overflows", w->name);
    }
    w->data = calloc((size_t)w->count + 1, sizeof *w->data);
    if (!w->data) return EC_ERROR(EC_ERR_MEMORY, "no memory for the %lld numbers of %s", (long long)w->count, w->name);
    weights->count++;
    return EC_OK;
}

float *ec__weights_get(const ec_weights *weights, const char *format, ...) {
    char name[EC_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const ec_weight *w = find(weights, name);
    return w ? w->data : NULL;
}

void ec__weights_release(ec_weights *weights) {
    for (int32_t i = 0; i < weights->count; i++) free(weights->item[i].data);
    free(weights->item);
    *weights = (ec_weights){0};
}

ec_status ec__weights_locate(const ec_tensor_source *source, ec_name_map map, void *arg, const char *name,
                             int32_t *index) {
    *index = -1;
    for (int32_t i = 0; i < source->count && *index < 0; i++) {
        ec_tensor_info info;
        ec_mapped mapped;
        EC_RETURN_IF(source->info(source->arg, i, &info));
        if (map(arg, info.name, &mapped) && mapped.third <= 0 && strcmp(mapped.name, name) == 0) *index = i;
    }
    return EC_OK;
}

/* The shape that a file should have for its part of w. */
static void expected_shape(const ec_weight *w, const ec_mapped *mapped, int64_t dim[EC_TENSOR_DIMS]) {
    memcpy(dim, w->dim, sizeof w->dim);
    if (mapped->third >= 0) dim[0] /= 3;
    if (mapped->transposed) {
        dim[0] = w->dim[1];
        dim[1] = w->dim[0];
    }
}

static ec_status read_transposed(const ec_tensor_source *source, int32_t index, ec_weight *w) {
    float *stored = malloc(sizeof *stored * ((size_t)w->count + 1));
    if (!stored) return EC_ERROR(EC_ERR_MEMORY, "no memory to transpose %s", w->name);
    ec_status status = EC_OK;
    EC_TRY(source->read(source->arg, index, stored));
    for (int64_t i = 0; i < w->dim[0]; i++)
        for (int64_t j = 0; j < w->dim[1]; j++) w->data[i * w->dim[1] + j] = stored[j * w->dim[0] + i];
done:
    free(stored);
    return status;
}

static ec_status load_one(ec_weights *weights, const ec_tensor_source *source, int32_t index,
                          const ec_tensor_info *info, const ec_mapped *mapped) {
    ec_weight *w = find(weights, mapped->name);
    if (!w)
        return EC_ERROR(EC_ERR_DATA, "%s: %s is no weight of this network; expected only what its shapes ask for",
                        source->origin, info->name);
    int64_t dim[EC_TENSOR_DIMS];
    expected_shape(w, mapped, dim);
    if (info->rank != w->rank || memcmp(info->dim, dim, sizeof *dim * (size_t)w->rank) != 0) {
        char found[EC_SHAPE_TEXT], expected[EC_SHAPE_TEXT];
        ec__shape_text(info->rank, info->dim, found);
        ec__shape_text(w->rank, dim, expected);
        return EC_ERROR(EC_ERR_DATA, "%s: %s has shape %s; expected %s", source->origin, info->name, found, expected);
    }
    const unsigned int part = mapped->third < 0 ? 7u : 1u << mapped->third;
    if (w->found & part)
        return EC_ERROR(EC_ERR_DATA, "%s: %s is there twice, the second time as %s", source->origin, w->name,
                        info->name);
    w->found |= part;
    if (mapped->transposed) return read_transposed(source, index, w);
    return source->read(source->arg, index, w->data + (mapped->third > 0 ? w->count / 3 * mapped->third : 0));
}

ec_status ec__weights_load(ec_weights *weights, const ec_tensor_source *source, ec_name_map map, void *arg) {
    for (int32_t i = 0; i < source->count; i++) {
        ec_tensor_info info;
        ec_mapped mapped;
        EC_RETURN_IF(source->info(source->arg, i, &info));
        if (map(arg, info.name, &mapped)) EC_RETURN_IF(load_one(weights, source, i, &info, &mapped));
    }
    for (int32_t i = 0; i < weights->count; i++) {
        const ec_weight *w = &weights->item[i];
        if (w->found == 7 || (w->optional && !w->found)) continue;
        char shape[EC_SHAPE_TEXT];
        ec__shape_text(w->rank, w->dim, shape);
        static const char *const third[] = {"queries", "keys", "values"};
        const int missing = !(w->found & 1) ? 0 : !(w->found & 2) ? 1 : 2;
        return EC_ERROR(EC_ERR_DATA, "%s: %s%s%s is missing; expected shape %s", source->origin, w->name,
                        w->found ? ": the part of the " : "", w->found ? third[missing] : "", shape);
    }
    return EC_OK;
}

typedef struct fill {
    ec_weights *weights;
    uint64_t seed;
} fill;

/* Elements 4*block .. 4*block+3 of a weight, from one block of the generator. Single precision: a network of 88 million
 * weights is drawn in a second. Normal numbers by Box and Muller, two from each pair of uniform ones. */
static void draw_four(uint64_t seed, uint64_t number, uint32_t block, const ec_init *init, float out[4]) {
    uint32_t bits[4];
    const float value = (float)init->value;
    ec__rng_block(seed, EC_RNG_INIT, 0, number, block, bits);
    for (int i = 0; i < 4; i += 2) switch (init->kind) {
        case EC_INIT_CONSTANT: out[i] = out[i + 1] = value; break;
        case EC_INIT_UNIFORM:
            for (int j = i; j < i + 2; j++) out[j] = value * ((float)(bits[j] >> 8) * 0x1p-23f - 1);
            break;
        case EC_INIT_NORMAL: {
            const float radius = value * sqrtf(-2 * logf(((float)(bits[i] >> 8) + 0.5f) * 0x1p-24f)); /* log of (0,
                                                                                                                 1) */
            const float angle = 6.28318531f * ((float)(bits[i + 1] >> 8) * 0x1p-24f);
            out[i] = radius * cosf(angle);
            out[i + 1] = radius * sinf(angle);
            break;
        }
        }
}

static ec_status fill_one(void *arg, int32_t task, int32_t worker) {
    const fill *f = arg;
    (void)worker;
    ec_weight *w = &f->weights->item[task];
    for (int64_t at = 0; at < w->count; at += 4) {
        float four[4];
        draw_four(f->seed, (uint64_t)task, (uint32_t)(at / 4), &w->init, four);
        const int64_t left = w->count - at;
        memcpy(w->data + at, four, sizeof *four * (size_t)(left < 4 ? left : 4));
    }
    return EC_OK;
}

ec_status ec__weights_randomize(ec_weights *weights, ec_backend *be, uint64_t seed) {
    fill f = {.weights = weights, .seed = seed};
    return ec__pool_run(be->pool, weights->count, fill_one, &f);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const ec_weight *const *)a)->name, (*(const ec_weight *const *)b)->name);
}

ec_status ec__weights_hash(const ec_weights *weights, char hex[EC_SHA256_HEX]) {
    ec_status status = EC_OK;
    ec_sha256 *hash = NULL;
    const ec_weight **sorted = calloc((size_t)weights->count + 1, sizeof *sorted);
    if (!sorted) EC_FAIL(EC_ERR_MEMORY, "no memory to hash the weights");
    for (int32_t i = 0; i < weights->count; i++) sorted[i] = &weights->item[i];
    qsort(sorted, (size_t)weights->count, sizeof *sorted, by_name);
    EC_TRY(ec__sha256_new(&hash));
    for (int32_t i = 0; i < weights->count; i++) {
        const ec_weight *w = sorted[i];
        const int64_t rank = w->rank;
        EC_TRY(ec__sha256_update(hash, w->name, strlen(w->name) + 1));
        EC_TRY(ec__sha256_update(hash, &rank, sizeof rank));
        EC_TRY(ec__sha256_update(hash, w->dim, sizeof *w->dim * (size_t)w->rank));
        EC_TRY(ec__sha256_update(hash, w->data, sizeof *w->data * (size_t)w->count));
    }
    EC_TRY(ec__sha256_hex(hash, hex));
done:
    ec__sha256_free(hash);
    free(sorted);
    return status;
}
