/* Every operation of the encoders against loops in double precision, in all variants that this processor can run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/encoder.h"
#include "compute/cpu/transformer.h"
#include "support.h"

static ec_backend *be;

static float *filled(int64_t count, uint64_t seed) {
    float *x = malloc(sizeof(float) * (size_t)count);
    assert_non_null(x);
    test_fill(x, count, seed);
    return x;
}

static float of_bf16(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
}

static double activated(double x, ec_activation activation) {
    switch (activation) {
    case EC_ACT_RELU: return x > 0 ? x : 0;
    case EC_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    case EC_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    default: return x;
    }
}

static void check_linear(int32_t m, int32_t n, int32_t k, bool with_bias, bool accumulate, ec_activation activation) {
    float *w = filled((int64_t)n * k, 1), *b = filled(n, 2), *x = filled((int64_t)m * k, 3), *y = filled((int64_t)m * n,
                                                                                                         4);
    double *ref = malloc(sizeof(double) * (size_t)(m * n));
    ec_linear *layer = NULL;
    const ec_linear_call call = {.m = m, .ldx = k, .ldy = n, .accumulate = accumulate, .activation = activation};
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = with_bias ? b[j] : 0;
            for (int l = 0; l < k; l++) sum += (double)x[i * k + l] * w[j * k + l];
            ref[i * n + j] = activated(sum, activation) + (accumulate ? y[i * n + j] : 0);
        }
    CHECK_OK(be->encoder->linear_new(be, EC_PRECISION_FLOAT32, n, k, w, with_bias ? b : NULL, &layer));
    CHECK_OK(be->encoder->linear(be, be->main_stream(be), layer, &call, x, y));
    test_limit("linear rel_l2", test_compare(y, ref, m * n).rel_l2, 1e-6);
    be->encoder->linear_free(be, layer);
    free(w), free(b), free(x), free(y), free(ref);
}

static void test_linear(void **state) {
    (void)state;
    const int32_t shapes[][3] = {{1, 1, 1}, {50, 48, 16}, {7, 13, 19}, {100, 192, 64}};
    for (int s = 0; s < 4; s++)
        for (int flags = 0; flags < 4; flags++) {
            check_linear(shapes[s][0], shapes[s][1], shapes[s][2], flags & 1, flags & 2, EC_ACT_NONE);
            if (!(flags & 2)) {
                check_linear(shapes[s][0], shapes[s][1], shapes[s][2], flags & 1, false, EC_ACT_QUICK_GELU);
                check_linear(shapes[s][0], shapes[s][1], shapes[s][2], flags & 1, false, EC_ACT_RELU);
            }
        }
}

/* Products of bf16 numbers are exact in float32, so only the sums round: the reference uses the rounded inputs. */
static void test_linear_bf16(void **state) {
    (void)state;
    enum { M = 37, N = 80, K = 96 };
    float *w = filled(N * K, 1), *x = filled(M * K, 3), *y = malloc(sizeof(float) * M * N);
    uint16_t *half = malloc(2 * M * K), *whalf = malloc(2 * N * K);
    double *ref = malloc(sizeof(double) * M * N);
    ec_linear *layer = NULL;
    const ec_linear_call call = {.m = M, .ldx = K, .ldy = N};
    if (!ec__cpu_has_bf16()) {
        CHECK_ERROR(be->encoder->linear_new(be, EC_PRECISION_BF16, N, K, w, NULL, &layer), EC_ERR_ENV, "bf16");
    } else {
        ec__transformer_base.to_bf16(M * K, x, half);
        ec__transformer_base.to_bf16(N * K, w, whalf);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                ref[i * N + j] = 0;
                for (int l = 0; l < K; l++)
                    ref[i * N + j] += (double)of_bf16(half[i * K + l]) * of_bf16(whalf[j * K + l]);
            }
        CHECK_OK(be->encoder->linear_new(be, EC_PRECISION_BF16, N, K, w, NULL, &layer));
        CHECK_OK(be->encoder->linear(be, be->main_stream(be), layer, &call, half, y));
        test_limit("bf16 linear rel_l2", test_compare(y, ref, M * N).rel_l2, 1e-6);
        be->encoder->linear_free(be, layer);
    }
    free(w), free(x), free(y), free(half), free(whalf), free(ref);
}

/* The variants this processor can run. */
static int variants(const ec_transformer_kernels *kernels[EC_ISAS]) {
    int count = 0;
    kernels[count++] = &ec__transformer_base;
    if (ec__cpu_isa() >= EC_ISA_AVX2) kernels[count++] = &ec__transformer_avx2;
    if (ec__cpu_isa() >= EC_ISA_AVX512) kernels[count++] = &ec__transformer_avx512;
    return count;
}

static void check_layernorm(const ec_transformer_kernels *kernels, int32_t m, int32_t w, int32_t ldx) {
    float *x = filled((int64_t)m * ldx, 5), *gain = filled(w, 6), *offset = filled(w, 7);
    float *y = malloc(sizeof(float) * (size_t)(m * w));
    uint16_t *half = malloc(2 * (size_t)(m * w));
    double *ref = malloc(sizeof(double) * (size_t)(m * w));
    for (int i = 0; i < m * ldx; i++) x[i] = x[i] * 3 + 100; /* a mean far from zero: one pass would lose digits */
    for (int i = 0; i < m; i++) {
        double mean = 0, variance = 0;
        for (int j = 0; j < w; j++) mean += x[i * ldx + j];
        mean /= w;
        for (int j = 0; j < w; j++) variance += (x[i * ldx + j] - mean) * (x[i * ldx + j] - mean);
        for (int j = 0; j < w; j++)
            ref[i * w + j] = (x[i * ldx + j] - mean) / sqrt(variance / w + 1e-5) * gain[j] + offset[j];
    }
    kernels->layernorm(m, w, ldx, 1e-5f, x, gain, offset, EC_PRECISION_FLOAT32, y);
    test_limit("layernorm rel_max", test_compare(y, ref, m * w).rel_max, 1e-5);
    kernels->layernorm(m, w, ldx, 1e-5f, x, gain, offset, EC_PRECISION_BF16, half);
    for (int i = 0; i < m * w; i++) assert_true(fabs(of_bf16(half[i]) - (double)y[i]) <= fabs(y[i]) * 0x1p-8);
    free(x), free(gain), free(offset), free(y), free(half), free(ref);
}

static void test_layernorm(void **state) {
    (void)state;
    const ec_transformer_kernels *kernels[EC_ISAS];
    for (int v = 0, n = variants(kernels); v < n; v++) {
        check_layernorm(kernels[v], 3, 16, 16);
        check_layernorm(kernels[v], 5, 768, 800);
        check_layernorm(kernels[v], 1, 112, 112);
    }
    assert_int_equal(be->encoder->layernorm(be, be->main_stream(be), 1, 17, 17, 1e-5f, NULL, NULL, NULL,
                                            EC_PRECISION_FLOAT32, NULL),
                     EC_ERR_USAGE);
}

/* Attention of one head row by row. */
static void attention_reference(const ec_attention *d, const float *qkv, double *y) {
    const int w = d->heads * d->head_width, hw = d->head_width;
    double *p = malloc(sizeof(double) * (size_t)d->tokens);
    for (int row = 0; row < d->batch * d->tokens; row++)
        for (int h = 0; h < d->heads; h++) {
            const float *q = qkv + row * 3 * w + h * hw, *first = qkv + row / d->tokens * d->tokens * 3 * w + h * hw;
            double largest = -1e300, sum = 0;
            for (int j = 0; j < d->tokens; j++) {
                p[j] = 0;
                for (int i = 0; i < hw; i++) p[j] += (double)q[i] * first[j * 3 * w + w + i];
                p[j] *= d->scale;
                if (p[j] > largest) largest = p[j];
            }
            for (int j = 0; j < d->tokens; j++) sum += p[j] = exp(p[j] - largest);
            for (int i = 0; i < hw; i++) {
                double out = 0;
                for (int j = 0; j < d->tokens; j++) out += p[j] / sum * first[j * 3 * w + 2 * w + i];
                y[row * w + h * hw + i] = out;
            }
        }
    free(p);
}

static void check_attention(const ec_transformer_kernels *kernels, int32_t batch, int32_t tokens, int32_t heads,
                            int32_t width, float size) {
    const ec_attention d = {.batch = batch, .tokens = tokens, .heads = heads, .head_width = width,
                            .scale = 1 / sqrtf((float)width)};
    const int64_t w = heads * width, rows = batch * tokens;
    float *qkv = filled(rows * 3 * w, 8), *y = malloc(sizeof(float) * (size_t)(rows * w));
    float *scratch = aligned_alloc(64, (sizeof(float) * ec__attention_scratch(&d) + 63) / 64 * 64);
    double *ref = malloc(sizeof(double) * (size_t)(rows * w));
    for (int64_t i = 0; i < rows * 3 * w; i++) qkv[i] *= size;
    attention_reference(&d, qkv, ref);
    kernels->attention(&d, qkv, y, scratch);
    test_limit("attention rel_max", test_compare(y, ref, rows * w).rel_max, 1e-5 * (size > 4 ? size : 4));
    free(qkv), free(y), free(scratch), free(ref);
}

static void test_attention(void **state) {
    (void)state;
    const ec_transformer_kernels *kernels[EC_ISAS];
    const int32_t shapes[][4] = {{1, 1, 1, 16}, {2, 5, 3, 32}, {2, 50, 2, 64}, {1, 197, 1, 80}, {3, 16, 1, 48},
                                 {1, 33, 2, 256}};
    for (int v = 0, n = variants(kernels); v < n; v++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            check_attention(kernels[v], shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3], 1);
            check_attention(kernels[v], shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3],
                            12); /* nearly one-hot */
        }
    const ec_attention odd = {.batch = 1, .tokens = 1, .heads = 1, .head_width = 24};
    assert_int_equal(be->encoder->attention(be, be->main_stream(be), &odd, NULL, NULL), EC_ERR_USAGE);
}

static void test_bf16_rounding(void **state) {
    (void)state;
    const ec_transformer_kernels *kernels[EC_ISAS];
    const uint32_t bits[16] = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0xbf80ffff, 0x7f7fffff, 0x7f800000,
                               0xff800000,
                               0x7fc00000, 0x7fffffff, 0x7f800001, 0x00000000, 0x80000000, 0x00008000, 0x00018000,
                               0x3f807fff};
    const uint16_t expected[16] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xbf81, 0x7f80, 0x7f80, 0xff80,
                                   0x7fc0, 0x7fc0, 0x7fc0, 0x0000, 0x8000, 0x0000, 0x0002, 0x3f80};
    for (int v = 0, n = variants(kernels); v < n; v++) {
        float x[16];
        uint16_t y[16];
        memcpy(x, bits, sizeof x);
        kernels[v]->to_bf16(16, x, y);
        assert_memory_equal(y, expected, sizeof y);
    }
}

static void test_patches(void **state) {
    (void)state;
    enum { N = 2, C = 3, H = 12, W = 8, P = 4 };
    float *x = filled(N * C * H * W, 9), *y = malloc(sizeof(float) * N * C * H * W);
    uint16_t *half = malloc(2 * N * C * H * W);
    CHECK_OK(be->encoder->patches(be, be->main_stream(be), N, C, H, W, P, EC_PRECISION_FLOAT32, x, y));
    CHECK_OK(be->encoder->patches(be, be->main_stream(be), N, C, H, W, P, EC_PRECISION_BF16, x, half));
    for (int n = 0; n < N; n++)
        for (int c = 0; c < C; c++)
            for (int i = 0; i < H; i++)
                for (int j = 0; j < W; j++) {
                    const int patch = (n * (H / P) + i / P) * (W / P) + j / P, place = (c * P + i % P) * P + j % P;
                    const float expected = x[((n * C + c) * H + i) * W + j];
                    assert_true(y[patch * C * P * P + place] == expected);
                    const float rounded = of_bf16(half[patch * C * P * P + place]);
                    assert_true(fabsf(rounded - expected) <= fabsf(expected) * 0x1p-8f);
                }
    free(x), free(y), free(half);
}

static void test_tokens(void **state) {
    (void)state;
    enum { N = 3, T = 4, W = 5 };
    float *patch = filled(N * (T - 1) * W, 10), *first = filled(W, 11), *position = filled(T * W, 12), y[N * T * W];
    CHECK_OK(be->encoder->tokens(be, be->main_stream(be), N, T, W, patch, first, position, y));
    for (int n = 0; n < N; n++)
        for (int t = 0; t < T; t++)
            for (int w = 0; w < W; w++)
                assert_true(y[(n * T + t) * W + w] ==
                            (t ? patch[(n * (T - 1) + t - 1) * W + w] : first[w]) + position[t * W + w]);
    free(patch), free(first), free(position);
}

static double conv_at(const ec_conv_desc *d, const float *x, const float *w, int n, int o, int row, int column) {
    double sum = 0;
    for (int c = 0; c < d->in_channels; c++)
        for (int i = 0; i < d->kernel; i++)
            for (int j = 0; j < d->kernel; j++) {
                const int r = row * d->stride + i - d->padding, s = column * d->stride + j - d->padding;
                if (r < 0 || s < 0 || r >= d->in_height || s >= d->in_width) continue;
                sum += (double)x[((n * d->in_channels + c) * d->in_height + r) * d->in_width + s] *
                       w[((o * d->in_channels + c) * d->kernel + i) * d->kernel + j];
            }
    return sum;
}

static void check_conv(const ec_conv_desc *d) {
    const int h = ec__conv_size(d->in_height, d->kernel, d->stride, d->padding);
    const int w = ec__conv_size(d->in_width, d->kernel, d->stride, d->padding);
    const ec_maps in = {d->batch, d->in_channels, d->in_height, d->in_width}, out = {d->batch, d->out_channels, h, w};
    const int64_t in_count = (int64_t)in.batch * in.channels * in.height * in.width;
    const int64_t out_count = (int64_t)out.batch * out.channels * h * w;
    float *x = filled(in_count, 13), *weight = filled((int64_t)d->out_channels * d->in_channels * d->kernel * d->kernel,
                                                      14);
    float *bias = filled(d->out_channels, 15), *old = filled(out_count,
                                                             16), *got = malloc(sizeof(float) * (size_t)out_count);
    double *ref = malloc(sizeof(double) * (size_t)out_count);
    void *mx = NULL, *my = NULL;
    ec_stream *stream = be->main_stream(be);
    ec_conv *layer = NULL;
    for (int n = 0, at = 0; n < d->batch; n++)
        for (int o = 0; o < d->out_channels; o++)
            for (int i = 0; i < h * w; i++, at++) {
                ref[at] = conv_at(d, x, weight, n, o, i / w, i % w) + bias[o] + (d->add ? old[at] : 0);
                if (d->relu && ref[at] < 0) ref[at] = 0;
            }
    CHECK_OK(be->memory->alloc(be, be->encoder->maps_bytes(be, &in), &mx));
    CHECK_OK(be->memory->alloc(be, be->encoder->maps_bytes(be, &out), &my));
    CHECK_OK(be->encoder->maps_load(be, stream, &in, x, mx));
    CHECK_OK(be->encoder->maps_load(be, stream, &out, old, my));
    CHECK_OK(be->encoder->conv_new(be, d, weight, bias, &layer));
    CHECK_OK(be->encoder->conv(be, stream, layer, mx, my));
    CHECK_OK(be->encoder->maps_store(be, stream, &out, my, got));
    test_limit("conv rel_max", test_compare(got, ref, out_count).rel_max, 5e-6);
    be->encoder->conv_free(be, layer);
    be->memory->free(be, mx), be->memory->free(be, my);
    free(x), free(weight), free(bias), free(old), free(got), free(ref);
}

static void test_conv(void **state) {
    (void)state;
    const ec_conv_desc descs[] = {
        {1, 1, 16, 23, 20, 3, 2, 1, false, false}, {4, 1, 9, 8, 16, 3, 2, 1, false, true},
        {2, 12, 8, 15, 12, 3, 1, 1, true, true},   {3, 32, 7, 5, 40, 3, 1, 1, false, true},
        {4, 64, 16, 29, 64, 3, 1, 1, true, true},  {4, 24, 2, 4, 48, 3, 2, 1, false, true},
        {4, 48, 1, 2, 48, 3, 1, 1, true, true},    {1, 5, 6, 6, 7, 1, 1, 0, false, false},
        {2, 16, 11, 10, 16, 5, 2, 2, true, false},
    };
    for (size_t i = 0; i < sizeof descs / sizeof descs[0]; i++) check_conv(&descs[i]);
}

static void test_pool(void **state) {
    (void)state;
    const int32_t channels[] = {1, 7, 32};
    for (int c = 0; c < 3; c++) {
        const ec_maps maps = {3, channels[c], 2, 5};
        const int count = maps.batch * maps.channels;
        float *x = filled(count * 10, 17), y[2][96];
        void *m = NULL;
        CHECK_OK(be->memory->alloc(be, be->encoder->maps_bytes(be, &maps), &m));
        for (int i = 0; i < count * 10; i++) x[i] -= 2; /* all negative: padding must not win */
        x[3] = NAN;
        CHECK_OK(be->encoder->maps_load(be, be->main_stream(be), &maps, x, m));
        CHECK_OK(be->encoder->pool(be, be->main_stream(be), &maps, EC_POOL_MAX, m, y[0]));
        CHECK_OK(be->encoder->pool(be, be->main_stream(be), &maps, EC_POOL_AVERAGE, m, y[1]));
        assert_true(isnan(y[0][0]) && isnan(y[1][0])); /* a fault upstream shows */
        for (int i = 1; i < count; i++) {
            double sum = 0, largest = -1e300;
            for (int j = 0; j < 10; j++) {
                sum += x[i * 10 + j];
                if (x[i * 10 + j] > largest) largest = x[i * 10 + j];
            }
            assert_true(y[0][i] == (float)largest && fabs(y[1][i] - sum / 10) < 1e-6);
        }
        be->memory->free(be, m);
        free(x);
    }
}

static int set_up(void **state) {
    (void)state;
    return ec__backend_open("cpu", 2, &be) != EC_OK;
}

static int tear_down(void **state) {
    (void)state;
    be->close(be);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),    cmocka_unit_test(test_linear_bf16),   cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_bf16_rounding), cmocka_unit_test(test_patches),
        cmocka_unit_test(test_tokens),    cmocka_unit_test(test_conv),          cmocka_unit_test(test_pool),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
