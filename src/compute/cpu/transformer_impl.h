/* The code of transformer.h's kernels; included once by each variant's file. */
#include "compute/cpu/transformer.h"
#include "compute/cpu/vec.h"

#include <math.h>

enum { ROWS = EC_ATTENTION_ROWS };

static inline void store_as(ec_precision precision, void *y, size_t at, vec v) {
    if (precision == EC_PRECISION_BF16) vec_store_bf16((uint16_t *)y + at, v);
    else vec_store((float *)y + at, v);
}

/* Mean first, then the variance of the differences: two passes over a row that lies in the nearest cache. */
static void layernorm(int32_t m, int32_t w, int32_t ldx, float eps, const float *x, const float *gain,
                      const float *offset, ec_precision y_precision, void *y) {
    for (int32_t row = 0; row < m; row++, x += ldx) {
        vec sum = {0}, square = {0};
        for (int32_t i = 0; i < w; i += LANES) sum += vec_load(x + i);
        const vec mean = vec_set(vec_sum(sum) / (float)w);
        for (int32_t i = 0; i < w; i += LANES) {
            const vec d = vec_load(x + i) - mean;
            square = vec_fma(d, d, square);
        }
        const vec scale = vec_set(1.f / sqrtf(vec_sum(square) / (float)w + eps));
        for (int32_t i = 0; i < w; i += LANES) {
            const vec d = (vec_load(x + i) - mean) * scale;
            store_as(y_precision, y, (size_t)row * (size_t)w + (size_t)i,
                     vec_fma(d, vec_load(gain + i), vec_load(offset + i)));
        }
    }
}

/* out[r][0 .. vecs*LANES) = sum over k of a[r][k] * b[k][...], for ROWS rows; the sums stay in registers. */
static inline __attribute__((always_inline)) void block(int vecs, int32_t k, const float *const a[ROWS], const float *b,
                                                        size_t ldb, vec out[ROWS][VECS]) {
    vec sum[ROWS][VECS];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vecs; v++) sum[r][v] = (vec){0};
    for (int32_t i = 0; i < k; i++, b += ldb)
        for (int v = 0; v < vecs; v++) {
            const vec column = vec_load(b + v * LANES);
            for (int r = 0; r < ROWS; r++) sum[r][v] = vec_fma(vec_set(a[r][i]), column, sum[r][v]);
        }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vecs; v++) out[r][v] = sum[r][v];
}

/* As block, for 1 .. VECS vectors: one copy of the code for each number, so that sums have fixed registers. */
static void block_of(int vecs, int32_t k, const float *const a[ROWS], const float *b, size_t ldb, vec out[ROWS][VECS]) {
    switch (vecs) {
    case 1: block(1, k, a, b, ldb, out); break;
    case 2: block(2, k, a, b, ldb, out); break;
#if defined(__AVX512F__)
    case 3: block(3, k, a, b, ldb, out); break;
#endif
    default: block(VECS, k, a, b, ldb, out); break;
    }
}

static int vecs_left(int32_t width, int32_t at) {
    const int32_t left = (width - at) / LANES;
    return left < VECS ? left : VECS;
}

/* Replaces scores by exp(scale (score - largest)), 0 in the padding; returns their sum. */
static float softmax_row(float *score, int32_t tokens, int32_t padded, float scale) {
    vec largest = vec_set(-INFINITY), sum = {0};
    for (int32_t j = tokens; j < padded; j++) score[j] = -INFINITY;
    for (int32_t j = 0; j < padded; j += LANES) largest = vec_max(vec_load(score + j), largest);
    const vec top = vec_set(vec_largest(largest));
    for (int32_t j = 0; j < padded; j += LANES) vec_store(score + j, vec_exp((vec_load(score + j) - top) * scale));
    for (int32_t j = tokens; j < padded; j++) score[j] = 0;
    for (int32_t j = 0; j < padded; j += LANES) sum += vec_load(score + j);
    return vec_sum(sum);
}

static void one_head(const ec_attention *desc, const float *q, const float *k, const float *v, size_t ld, void *y,
                     size_t at, size_t ldy, float *scratch) {
    const int32_t t = desc->tokens, padded = ec__attention_padded(t), w = desc->head_width;
    float *keys = scratch, *score = keys + (size_t)w * (size_t)padded;
    for (int32_t j = 0; j < padded; j++)
        for (int32_t i = 0; i < w; i++)
            keys[(size_t)i * (size_t)padded + (size_t)j] = j < t ? k[(size_t)j * ld + (size_t)i] : 0;
    for (int32_t first = 0; first < t; first += ROWS) {
        const float *query[ROWS], *weight[ROWS];
        float sum[ROWS];
        vec out[ROWS][VECS];
        /* Rows behind the last one repeat it and are not stored. */
        for (int r = 0; r < ROWS; r++) {
            query[r] = q + (size_t)(first + r < t ? first + r : t - 1) * ld;
            weight[r] = score + r * padded;
        }
        for (int32_t j = 0; j < padded; j += VECS * LANES) {
            const int vecs = vecs_left(padded, j);
            block_of(vecs, w, query, keys + j, (size_t)padded, out);
            for (int r = 0; r < ROWS; r++)
                for (int i = 0; i < vecs; i++) vec_store(score + r * padded + j + i * LANES, out[r][i]);
        }
        for (int r = 0; r < ROWS; r++) sum[r] = softmax_row(score + r * padded, t, padded, desc->scale);
        for (int32_t i = 0; i < w; i += VECS * LANES) {
            const int vecs = vecs_left(w, i);
            block_of(vecs, t, weight, v + i, ld, out);
            for (int r = 0; r < ROWS && first + r < t; r++)
                for (int j = 0; j < vecs; j++)
                    store_as(desc->y_precision, y, at + (size_t)(first + r) * ldy + (size_t)(i + j * LANES),
                             out[r][j] / sum[r]);
        }
    }
}

static void attention(const ec_attention *desc, const float *qkv, void *y, float *scratch) {
    const size_t w = (size_t)desc->heads * (size_t)desc->head_width, ld = 3 * w;
    for (int32_t n = 0; n < desc->batch; n++)
        for (int32_t h = 0; h < desc->heads; h++) {
            const size_t row = (size_t)n * (size_t)desc->tokens, column = (size_t)h * (size_t)desc->head_width;
            const float *q = qkv + row * ld + column;
            one_head(desc, q, q + w, q + 2 * w, ld, y, row * w + column, w, scratch);
        }
}

static void to_bf16(int64_t count, const float *x, uint16_t *y) {
    for (int64_t i = 0; i < count; i += LANES) vec_store_bf16(y + i, vec_load(x + i));
}
