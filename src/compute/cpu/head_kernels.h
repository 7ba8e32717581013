/* The loops behind ops_head.h, written once in plain C and compiled for several instruction sets: head_base.c,
 * head_avx2.c and head_avx512.c define HEAD_TABLE (the name of their table) and include this file. Sums are kept in a
 * fixed number of lanes and nothing is contracted, so all of them give the same bits.
 *
 * Columns are worked off in tiles that fit into registers; a full tile has a constant width for the compiler's sake. */
#include <math.h>
#include <string.h>

#include "compute/cpu/head_table.h"
#include "core/rng.h"

enum { LANES = 16, TILE = 64, DRAWS = 256, PHILOX_LANES = DRAWS / 8 };

#define INLINE static inline __attribute__((always_inline))

static const float smallest_norm = 1e-12f;

INLINE int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

INLINE float lane_sum(float lane[LANES]) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

INLINE float dot(int32_t width, const float *x, const float *y) {
    float lane[LANES] = {0};
    int32_t j = 0;
    for (; j + LANES <= width; j += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += x[j + l] * y[j + l];
    for (int l = 0; j + l < width; l++) lane[l] += x[j + l] * y[j + l];
    return lane_sum(lane);
}

static void row_scales(int32_t rows, int32_t width, const float *x, float *scale) {
    for (int32_t i = 0; i < rows; i++, x += width) scale[i] = 1.f / fmaxf(sqrtf(dot(width, x, x)), smallest_norm);
}

static void scale_rows(int32_t rows, int32_t width, float *h, const float *scale, const float *bias) {
    for (int32_t i = 0; i < rows; i++, h += width) {
        float s = scale ? scale[i] : 1.f;
        for (int32_t j = 0; j < width; j++) h[j] = h[j] * s + bias[j];
    }
}

/* One column tile of one block of rows for bn_leaf. */
INLINE void leaf_tile(int32_t rows, int32_t w, int32_t ld, float *h, const float *scale, const float *bias,
                      int32_t before, float *mean, float *m2) {
    float sum[TILE] = {0}, square[TILE] = {0};
    for (int32_t i = 0; i < rows; i++) {
        float *row = h + (int64_t)i * ld, s = scale ? scale[i] : 1.f;
        for (int32_t j = 0; j < w; j++) sum[j] += row[j] = row[j] * s + bias[j];
    }
    for (int32_t j = 0; j < w; j++) sum[j] /= (float)rows;
    for (int32_t i = 0; i < rows; i++) {
        const float *row = h + (int64_t)i * ld;
        for (int32_t j = 0; j < w; j++) square[j] += (row[j] - sum[j]) * (row[j] - sum[j]);
    }
    if (before == 0) {
        memcpy(mean, sum, (size_t)w * sizeof *mean);
        memcpy(m2, square, (size_t)w * sizeof *m2);
        return;
    }
    float share = (float)rows / (float)(before + rows), weight = (float)before * share;
    for (int32_t j = 0; j < w; j++) {
        float delta = sum[j] - mean[j];
        mean[j] += delta * share;
        m2[j] += square[j] + delta * delta * weight;
    }
}

static void bn_leaf(int32_t rows, int32_t width, float *h, const float *scale, const float *bias, int32_t before,
                    float *mean, float *m2) {
    for (int32_t i = 0; i < rows; i += EC_HEAD_BLOCK) {
        int32_t n = least(EC_HEAD_BLOCK, rows - i);
        const float *s = scale ? scale + i : NULL;
        for (int32_t j = 0; j < width; j += TILE) {
            float *tile = h + (int64_t)i * width + j;
            if (width - j >= TILE) leaf_tile(n, TILE, width, tile, s, bias + j, before + i, mean + j, m2 + j);
            else leaf_tile(n, width - j, width, tile, s, bias + j, before + i, mean + j, m2 + j);
        }
    }
}

/* Ten rounds of Philox4x32 (core/rng.h) on neighbouring blocks at once, first .. first + PHILOX_LANES - 1; number i of
 * block first + l in out[i][l]. */
static void philox_lanes(const uint32_t key[2], uint32_t first, const uint32_t counter[4],
                         uint32_t out[4][PHILOX_LANES]) {
    uint32_t k0 = key[0], k1 = key[1];
    for (int l = 0; l < PHILOX_LANES; l++) {
        out[0][l] = first + (uint32_t)l;
        out[1][l] = counter[1];
        out[2][l] = counter[2];
        out[3][l] = counter[3];
    }
    for (int round = 0; round < 10; round++) {
        for (int l = 0; l < PHILOX_LANES; l++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * out[0][l], p1 = (uint64_t)0xCD9E8D57u * out[2][l];
            uint32_t n0 = (uint32_t)(p1 >> 32) ^ out[1][l] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ out[3][l] ^ k1;
            out[1][l] = (uint32_t)p1;
            out[3][l] = (uint32_t)p0;
            out[0][l] = n0;
            out[2][l] = n2;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* The 16-bit numbers of columns column .. column + DRAWS - 1 (a multiple of DRAWS) of a row. */
static void draw(const ec_dropout *dropout, int64_t row, int32_t column, int32_t number[DRAWS]) {
    uint32_t bits[4][PHILOX_LANES];
    uint64_t index = (uint64_t)dropout->layer << 32 | (uint64_t)row;
    const uint32_t key[2] = {(uint32_t)dropout->seed, (uint32_t)(dropout->seed >> 32)};
    const uint32_t counter[4] = {0, (uint32_t)index, *dropout->step,
                                 ((uint32_t)(index >> 32) << 16) | (uint32_t)EC_RNG_DROPOUT};
    philox_lanes(key, (uint32_t)column / 8, counter, bits);
    for (int l = 0; l < PHILOX_LANES; l++)
        for (int i = 0; i < 4; i++) {
            number[8 * l + 2 * i] = (int32_t)(bits[i][l] & 0xffffu);
            number[8 * l + 2 * i + 1] = (int32_t)(bits[i][l] >> 16);
        }
}

INLINE float normalised(const ec_bn *bn, int32_t j, float h) { return (h - bn->mean[j]) * bn->inv_std[j]; }

INLINE float relu(float v) { return v < 0.f ? 0.f : v; } /* a NaN stays */

static void bn_forward(int32_t rows, int32_t width, const ec_bn *bn, const ec_dropout *dropout, int64_t first,
                       const float *h, float *a) {
    const ec_bn b = *bn;
    for (int32_t i = 0; i < rows; i++, h += width, a += width) {
        for (int32_t j = 0; j < width; j++) a[j] = relu(normalised(&b, j, h[j]) * b.gamma[j] + b.beta[j]);
        if (!dropout || dropout->threshold == 0) continue;
        int32_t number[DRAWS], threshold = (int32_t)dropout->threshold;
        float scale = dropout->scale;
        for (int32_t column = 0; column < width; column += DRAWS) {
            draw(dropout, first + i, column, number);
            float *to = a + column;
            int32_t n = least(DRAWS, width - column);
            for (int32_t j = 0; j < n; j++) to[j] = number[j] >= threshold ? to[j] * scale : 0.f;
        }
    }
}

INLINE void backward_leaf_tile(int32_t rows, int32_t w, int32_t ld, const ec_bn *bn, float scale, const float *h,
                               const float *a, float *d, bool fresh, float *sum_d, float *sum_dx) {
    float sum[TILE] = {0}, sum_x[TILE] = {0};
    const float *mean = bn->mean, *inv_std = bn->inv_std;
    for (int32_t i = 0; i < rows; i++) {
        const float *hi = h + (int64_t)i * ld, *ai = a + (int64_t)i * ld;
        float *di = d + (int64_t)i * ld;
        for (int32_t j = 0; j < w; j++) {
            float kept = ai[j] > 0.f ? di[j] * scale : 0.f;
            di[j] = kept;
            sum[j] += kept;
            sum_x[j] += kept * ((hi[j] - mean[j]) * inv_std[j]);
        }
    }
    for (int32_t j = 0; j < w; j++) {
        sum_d[j] = fresh ? sum[j] : sum_d[j] + sum[j];
        sum_dx[j] = fresh ? sum_x[j] : sum_dx[j] + sum_x[j];
    }
}

static void bn_backward_leaf(int32_t rows, int32_t width, const ec_bn *bn, float dropout_scale, const float *h,
                             const float *a, float *d, int32_t before, float *sum_d, float *sum_dx) {
    for (int32_t i = 0; i < rows; i += EC_HEAD_BLOCK) {
        int32_t n = least(EC_HEAD_BLOCK, rows - i);
        bool fresh = before + i == 0;
        for (int32_t j = 0; j < width; j += TILE) {
            const ec_bn at = {.mean = bn->mean + j, .inv_std = bn->inv_std + j};
            int64_t k = (int64_t)i * width + j;
            if (width - j >= TILE)
                backward_leaf_tile(n, TILE, width, &at, dropout_scale, h + k, a + k, d + k, fresh, sum_d + j,
                                   sum_dx + j);
            else
                backward_leaf_tile(n, width - j, width, &at, dropout_scale, h + k, a + k, d + k, fresh, sum_d + j,
                                   sum_dx + j);
        }
    }
}

/* With x the normalised h: the gradient is f (d - p - x q), f = gamma inv_std, p and q the means of d and d x. */
INLINE void backward_tile(int32_t rows, int32_t w, int32_t ld, const ec_bn *bn, float inverse_n, const float *sum_d,
                          const float *sum_dx, const float *scale, const float *h, float *d) {
    float f[TILE], p[TILE], q[TILE], mean[TILE];
    for (int32_t j = 0; j < w; j++) {
        f[j] = bn->gamma[j] * bn->inv_std[j];
        p[j] = sum_d[j] * inverse_n;
        q[j] = sum_dx[j] * inverse_n * bn->inv_std[j];
        mean[j] = bn->mean[j];
    }
    for (int32_t i = 0; i < rows; i++) {
        const float *hi = h + (int64_t)i * ld;
        float *di = d + (int64_t)i * ld, s = scale ? scale[i] : 1.f;
        for (int32_t j = 0; j < w; j++) di[j] = (di[j] - p[j] - (hi[j] - mean[j]) * q[j]) * f[j] * s;
    }
}

static void bn_backward(int32_t rows, int32_t width, const ec_bn *bn, int64_t n, const float *sum_d,
                        const float *sum_dx, const float *scale, const float *h, float *d) {
    float inverse_n = (float)(1.0 / (double)n);
    for (int32_t j = 0; j < width; j += TILE) {
        const ec_bn at = {bn->mean + j, bn->inv_std + j, bn->gamma + j, NULL};
        if (width - j >= TILE)
            backward_tile(rows, TILE, width, &at, inverse_n, sum_d + j, sum_dx + j, scale, h + j, d + j);
        else
            backward_tile(rows, width - j, width, &at, inverse_n, sum_d + j, sum_dx + j, scale, h + j, d + j);
    }
}

static void l2_forward(int32_t rows, int32_t width, const float *y, float *z, float *inv_norm) {
    for (int32_t i = 0; i < rows; i++, y += width, z += width) {
        float factor = 1.f / fmaxf(sqrtf(dot(width, y, y)), smallest_norm);
        for (int32_t j = 0; j < width; j++) z[j] = y[j] * factor;
        if (inv_norm) inv_norm[i] = factor;
    }
}

INLINE void column_sum_tile(int32_t rows, int32_t w, int32_t ld, const float *x, bool fresh, float *sum) {
    float s[TILE] = {0};
    for (int32_t i = 0; i < rows; i++)
        for (int32_t j = 0; j < w; j++) s[j] += x[(int64_t)i * ld + j];
    for (int32_t j = 0; j < w; j++) sum[j] = fresh ? s[j] : sum[j] + s[j];
}

static void l2_backward(int32_t rows, int32_t width, const float *z, const float *inv_norm, const float *dz, float *dy,
                        int32_t before, float *sum) {
    const float clamped = 1.f / smallest_norm;
    for (int32_t i = 0; i < rows; i += EC_HEAD_BLOCK) {
        int32_t n = least(EC_HEAD_BLOCK, rows - i);
        for (int32_t r = i; r < i + n; r++) {
            int64_t at = (int64_t)r * width;
            float factor = inv_norm[r], along = factor < clamped ? dot(width, z + at, dz + at) : 0.f;
            for (int32_t j = 0; j < width; j++) dy[at + j] = (dz[at + j] - z[at + j] * along) * factor;
        }
        for (int32_t j = 0; j < width; j += TILE) {
            const float *tile = dy + (int64_t)i * width + j;
            if (width - j >= TILE) column_sum_tile(n, TILE, width, tile, before + i == 0, sum + j);
            else column_sum_tile(n, width - j, width, tile, before + i == 0, sum + j);
        }
    }
}

static void add(int64_t count, const float *restrict from, float *restrict to) {
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

const ec_cpu_head_table HEAD_TABLE = {
    .row_scales = row_scales,
    .scale_rows = scale_rows,
    .bn_leaf = bn_leaf,
    .bn_forward = bn_forward,
    .bn_backward_leaf = bn_backward_leaf,
    .bn_backward = bn_backward,
    .l2_forward = l2_forward,
    .l2_backward = l2_backward,
    .add = add,
};
