/* ops_encoder.h, CUDA against the CPU: products, the pieces of a transformer, pooling. */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include "compute/ops_encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_support.h"

static ec_stream *stream_of(ec_backend *be) { return be->main_stream(be); }

static float of_bf16(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
}

/* Nearest bfloat16, ties to even. */
static uint16_t to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* bf16 numbers of the device. Owned by the caller. */
static float *from_device(const void *device, int64_t count) {
    uint16_t *bits = malloc(2 * (size_t)count);
    float *x = malloc(sizeof *x * (size_t)count);
    test_cuda_download(bits, device, 2 * (size_t)count);
    for (int64_t i = 0; i < count; i++) x[i] = of_bf16(bits[i]);
    free(bits);
    return x;
}

/* Room on the device for count bf16 numbers. */
static void *half_memory(int64_t count) {
    void *memory = NULL;
    CHECK_OK(test_cuda->memory->alloc(test_cuda, 2 * (size_t)count, &memory));
    return memory;
}

/* y in bf16 on the device must be within that many roundings to bf16 (2^-8) of the CPU's float32. */
static void check_half(const char *what, const void *device, const float *reference, int64_t count, double roundings,
                       double noise) {
    float *got = from_device(device, count);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - reference[i]) <= roundings * 0x1p-8 * fabs(reference[i]) + noise))
            fail_msg("%s: element %lld is %g, not %g", what, (long long)i, (double)got[i], (double)reference[i]);
    free(got);
}

static void check_linear(int32_t m, int32_t n, int32_t k, int32_t pad, bool bias, bool accumulate,
                         ec_activation activation) {
    test_pair x = test_pair_new((int64_t)m * (k + pad), 1), y = test_pair_new((int64_t)m * (n + pad), 2);
    test_pair w = test_pair_new((int64_t)n * k, 3), b = test_pair_new(n, 4);
    const ec_linear_call call = {.m = m, .ldx = k + pad, .ldy = n + pad, .accumulate = accumulate,
                                 .activation = activation};
    for TEST_EACH(be) {
        ec_linear *layer = NULL;
        CHECK_OK(be->encoder->linear_new(be, EC_PRECISION_FLOAT32, n, k, w.cpu, bias ? b.cpu : NULL, &layer));
        CHECK_OK(be->encoder->linear(be, stream_of(be), layer, &call, test_pair_in(&x, be), test_pair_in(&y, be)));
        CHECK_OK(be->synchronize(be));
        be->encoder->linear_free(be, layer);
    }
    test_pair_check("linear", &y, 2e-6);
    test_pair_free(&x), test_pair_free(&y), test_pair_free(&w), test_pair_free(&b);
}

static void test_linear(void **state) {
    (void)state;
    const int32_t shapes[][3] = {{1, 1, 1}, {50, 48, 16}, {7, 13, 19}, {100, 192, 64}};
    for (int s = 0; s < 4; s++)
        for (int flags = 0; flags < 4; flags++) {
            const int32_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            check_linear(m, n, k, flags ? 0 : 5, flags & 1, flags & 2, EC_ACT_NONE);
            if (flags & 2) continue;
            check_linear(m, n, k, 0, flags & 1, false, EC_ACT_RELU);
            check_linear(m, n, k, 4, flags & 1, false, EC_ACT_GELU);
            check_linear(m, n, k, 0, flags & 1, false, EC_ACT_QUICK_GELU);
        }
}

/* A library that takes an algorithm for one number of rows only, which the emulation plays when asked to. */
static void test_linear_refused(void **state) {
    (void)state;
    setenv("EMOCLIM_CUEMU_LT_COLUMNS", "1", 1);
    check_linear(37, 48, 16, 0, true, true, EC_ACT_NONE);
    check_linear(37, 48, 16, 0, true, false, EC_ACT_GELU);
    unsetenv("EMOCLIM_CUEMU_LT_COLUMNS");
}

/* bf16 products against double precision on the rounded factors. */
static void check_linear_bf16(int32_t m, bool accumulate, ec_activation activation, ec_precision y_precision) {
    enum { N = 80, K = 96 };
    test_pair x = test_pair_new((int64_t)m * K, 1), y = test_pair_new((int64_t)m * N, 2);
    test_pair w = test_pair_new((int64_t)N * K, 3), b = test_pair_new(N, 4);
    uint16_t *half = malloc(2 * (size_t)x.count);
    float *expected = malloc(sizeof(float) * (size_t)y.count);
    for (int64_t i = 0; i < x.count; i++) half[i] = to_bf16(x.cpu[i]);
    for (int64_t i = 0; i < y.count; i++) {
        double sum = b.cpu[i % N];
        for (int k = 0; k < K; k++)
            sum += (double)of_bf16(half[i / N * K + k]) * of_bf16(to_bf16(w.cpu[i % N * K + k]));
        if (accumulate) sum += y.cpu[i];
        if (activation == EC_ACT_QUICK_GELU) sum = sum / (1 + exp(-1.702 * sum));
        expected[i] = (float)sum;
    }
    ec_linear *layer = NULL;
    const ec_linear_call call = {.m = m, .ldx = K, .ldy = N, .accumulate = accumulate, .activation = activation,
                                 .y_precision = y_precision};
    void *device_x = test_cuda_upload(half, 2 * (size_t)x.count), *device_y = half_memory(y.count);
    CHECK_OK(test_cuda->encoder->linear_new(test_cuda, EC_PRECISION_BF16, N, K, w.cpu, b.cpu, &layer));
    void *to = y_precision == EC_PRECISION_BF16 ? device_y : (void *)y.cuda;
    CHECK_OK(test_cuda->encoder->linear(test_cuda, stream_of(test_cuda), layer, &call, device_x, to));
    memcpy(y.cpu, expected, sizeof(float) * (size_t)y.count);
    /* 2.5: rounded before the activation, whose slope is at most 1.1, and behind it. */
    if (y_precision == EC_PRECISION_BF16) check_half("bf16 linear", device_y, expected, y.count, 2.5, 0.02);
    else test_pair_check("bf16 linear to float32", &y, 2e-6);
    CHECK_OK(test_cuda->synchronize(test_cuda));
    test_cuda->encoder->linear_free(test_cuda, layer);
    test_cuda_free(device_x), test_cuda_free(device_y);
    free(half), free(expected);
    test_pair_free(&x), test_pair_free(&y), test_pair_free(&w), test_pair_free(&b);
}

static void test_linear_bf16(void **state) {
    (void)state;
    check_linear_bf16(37, false, EC_ACT_NONE, EC_PRECISION_FLOAT32);
    check_linear_bf16(37, true, EC_ACT_NONE, EC_PRECISION_FLOAT32);
    check_linear_bf16(1, false, EC_ACT_QUICK_GELU, EC_PRECISION_BF16);
    check_linear_bf16(64, false, EC_ACT_QUICK_GELU, EC_PRECISION_BF16);
}

/* A row alone has the bits that it has among others, wherever it is. */
static void test_linear_rows(void **state) {
    (void)state;
    enum { M = 333, N = 96, K = 160 };
    test_pair x = test_pair_new(M * K, 1), w = test_pair_new(N * K, 3), y = test_pair_new(M * N, 2);
    float *all = malloc(sizeof(float) * M * N), one[N];
    ec_backend *be = test_cuda;
    ec_linear *layer = NULL;
    ec_linear_call call = {.m = M, .ldx = K, .ldy = N, .activation = EC_ACT_QUICK_GELU};
    CHECK_OK(be->encoder->linear_new(be, EC_PRECISION_FLOAT32, N, K, w.cpu, NULL, &layer));
    CHECK_OK(be->encoder->linear(be, stream_of(be), layer, &call, x.cuda, y.cuda));
    test_cuda_download(all, y.cuda, sizeof(float) * M * N);
    for (int row = 0; row < M; row += 83) {
        call.m = 1 + row % 2;
        CHECK_OK(be->encoder->linear(be, stream_of(be), layer, &call, x.cuda + row * K, y.cuda));
        test_cuda_download(one, y.cuda, sizeof one);
        assert_memory_equal(one, all + row * N, sizeof one);
    }
    be->encoder->linear_free(be, layer);
    free(all);
    test_pair_free(&x), test_pair_free(&w), test_pair_free(&y);
}

static void check_patches(int32_t batch, int32_t height, int32_t width, int32_t patch) {
    test_pair images = test_pair_new((int64_t)batch * 3 * height * width, 5);
    test_pair y = test_pair_new(images.count, 0);
    void *half = half_memory(images.count);
    for TEST_EACH(be)
        CHECK_OK(be->encoder->patches(be, stream_of(be), batch, 3, height, width, patch, EC_PRECISION_FLOAT32,
                                      test_pair_in(&images, be), test_pair_in(&y, be)));
    test_pair_check_bits("patches", &y);
    CHECK_OK(test_cuda->encoder->patches(test_cuda, stream_of(test_cuda), batch, 3, height, width, patch,
                                         EC_PRECISION_BF16, images.cuda, half));
    float *got = from_device(half, y.count);
    for (int64_t i = 0; i < y.count; i++) assert_true(got[i] == of_bf16(to_bf16(y.cpu[i])));
    free(got);
    test_cuda_free(half);
    test_pair_free(&images), test_pair_free(&y);
}

static void test_patches(void **state) {
    (void)state;
    check_patches(2, 32, 48, 16);
    check_patches(1, 14, 28, 14);
    check_patches(3, 6, 9, 3);
}

static void test_tokens(void **state) {
    (void)state;
    const int32_t shapes[][3] = {{1, 1, 16}, {3, 5, 64}, {2, 50, 7}};
    for (int s = 0; s < 3; s++) {
        const int32_t n = shapes[s][0], t = shapes[s][1], w = shapes[s][2];
        test_pair patch = test_pair_new((int64_t)n * (t - 1) * w + 1, 6), first = test_pair_new(w, 7);
        test_pair position = test_pair_new((int64_t)t * w, 8), y = test_pair_new((int64_t)n * t * w, 0);
        for TEST_EACH(be)
            CHECK_OK(be->encoder->tokens(be, stream_of(be), n, t, w, test_pair_in(&patch, be), test_pair_in(&first, be),
                                         test_pair_in(&position, be), test_pair_in(&y, be)));
        test_pair_check_bits("tokens", &y);
        test_pair_free(&patch), test_pair_free(&first), test_pair_free(&position), test_pair_free(&y);
    }
}

static void check_layernorm(int32_t m, int32_t w, int32_t ldx) {
    test_pair x = test_pair_new((int64_t)m * ldx, 9), gain = test_pair_new(w, 10), offset = test_pair_new(w, 11);
    test_pair y = test_pair_new((int64_t)m * w, 0);
    void *half = half_memory(y.count);
    for (int64_t i = 0; i < x.count; i++) x.cpu[i] = i < w ? 2.f : x.cpu[i] * 3 + 20; /* the first row is constant */
    test_pair_upload(&x);
    for TEST_EACH(be)
        CHECK_OK(be->encoder->layernorm(be, stream_of(be), m, w, ldx, 1e-5f, test_pair_in(&x, be),
                                        test_pair_in(&gain, be), test_pair_in(&offset, be), EC_PRECISION_FLOAT32,
                                        test_pair_in(&y, be)));
    test_pair_check("layernorm", &y, 3e-6);
    CHECK_OK(test_cuda->encoder->layernorm(test_cuda, stream_of(test_cuda), m, w, ldx, 1e-5f, x.cuda, gain.cuda,
                                           offset.cuda, EC_PRECISION_BF16, half));
    check_half("layernorm to bf16", half, y.cpu, y.count, 1, 1e-5);
    if (ldx == w) {
        CHECK_OK(test_cuda->encoder->layernorm(test_cuda, stream_of(test_cuda), m, w, w, 1e-5f, x.cuda, gain.cuda,
                                               offset.cuda, EC_PRECISION_FLOAT32, x.cuda));
        memcpy(x.cpu, y.cpu, sizeof(float) * (size_t)y.count);
        test_pair_check("layernorm in place", &x, 3e-6);
    }
    test_cuda_free(half);
    test_pair_free(&x), test_pair_free(&gain), test_pair_free(&offset), test_pair_free(&y);
}

static void test_layernorm(void **state) {
    (void)state;
    check_layernorm(3, 16, 16);
    check_layernorm(5, 768, 800);
    check_layernorm(17, 112, 112);
    check_layernorm(2, 64, 67);
    CHECK_ERROR(test_cuda->encoder->layernorm(test_cuda, stream_of(test_cuda), 1, 17, 17, 1e-5f, NULL, NULL, NULL,
                                              EC_PRECISION_FLOAT32, NULL),
                EC_ERR_USAGE, "rows of 17 numbers");
}

static void check_attention(int32_t batch, int32_t tokens, int32_t heads, int32_t head_width) {
    const int64_t w = (int64_t)heads * head_width, rows = (int64_t)batch * tokens;
    test_pair qkv = test_pair_new(rows * 3 * w, 12), y = test_pair_new(rows * w, 0);
    ec_attention desc = {.batch = batch, .tokens = tokens, .heads = heads, .head_width = head_width,
                         .scale = 4.f / sqrtf((float)head_width)}; /* some weights near 0, some near 1 */
    void *half = half_memory(y.count);
    for TEST_EACH(be)
        CHECK_OK(be->encoder->attention(be, stream_of(be), &desc, test_pair_in(&qkv, be), test_pair_in(&y, be)));
    test_pair_check("attention", &y, 2e-6);
    desc.y_precision = EC_PRECISION_BF16;
    CHECK_OK(test_cuda->encoder->attention(test_cuda, stream_of(test_cuda), &desc, qkv.cuda, half));
    /* Queries, keys, values and weights are rounded, too: of sums of numbers below 1. */
    check_half("attention to bf16", half, y.cpu, y.count, 1, 5e-3);
    test_cuda_free(half);
    test_pair_free(&qkv), test_pair_free(&y);
}

static void test_attention(void **state) {
    (void)state;
    check_attention(1, 1, 1, 16);
    check_attention(2, 5, 3, 16);
    check_attention(1, 31, 2, 48);
    check_attention(1, 33, 1, 64);
    check_attention(2, 50, 2, 64);
    check_attention(1, 65, 1, 80);
    check_attention(1, 40, 1, 256);
    check_attention(1, 200, 1, 32);
    const ec_attention odd = {.batch = 1, .tokens = 2, .heads = 1, .head_width = 24};
    CHECK_ERROR(test_cuda->encoder->attention(test_cuda, stream_of(test_cuda), &odd, NULL, NULL), EC_ERR_USAGE,
                "attention heads of width 24");
}

/* Maps in the back end's layout, filled from plain ones on either. */
typedef struct maps_pair {
    void *cpu, *cuda;
} maps_pair;

static maps_pair maps_from(const ec_maps *maps, const test_pair *plain) {
    maps_pair m = {0};
    for TEST_EACH(be) {
        void **to = be == test_cpu ? &m.cpu : &m.cuda;
        CHECK_OK(be->memory->alloc(be, be->encoder->maps_bytes(be, maps), to));
        CHECK_OK(be->encoder->maps_load(be, stream_of(be), maps, test_pair_in(plain, be), *to));
    }
    return m;
}

static void maps_to(const ec_maps *maps, const maps_pair *m, const test_pair *plain) {
    for TEST_EACH(be)
        CHECK_OK(be->encoder->maps_store(be, stream_of(be), maps, be == test_cpu ? m->cpu : m->cuda,
                                         test_pair_in(plain, be)));
}

static void maps_release(maps_pair *m) {
    test_cpu->memory->free(test_cpu, m->cpu);
    test_cuda->memory->free(test_cuda, m->cuda);
}

static void check_pool(int32_t batch, int32_t channels, int32_t height, int32_t width) {
    const ec_maps maps = {batch, channels, height, width};
    test_pair plain = test_pair_new((int64_t)batch * channels * height * width, 13);
    test_pair y = test_pair_new((int64_t)batch * channels, 0), back = test_pair_new(plain.count, 0);
    plain.cpu[plain.count - 1] = NAN;
    test_pair_upload(&plain);
    maps_pair m = maps_from(&maps, &plain);
    for (int pooling = EC_POOL_MAX; pooling <= EC_POOL_AVERAGE; pooling++) {
        for TEST_EACH(be)
            CHECK_OK(be->encoder->pool(be, stream_of(be), &maps, (ec_pooling)pooling, be == test_cpu ? m.cpu : m.cuda,
                                       test_pair_in(&y, be)));
        float last;
        test_cuda_download(&last, y.cuda + y.count - 1, sizeof last);
        assert_true(isnan(last) && isnan(y.cpu[y.count - 1]));
        const test_pair others = {.cpu = y.cpu, .cuda = y.cuda, .count = y.count - 1};
        if (pooling == EC_POOL_MAX) test_pair_check_bits("largest of a map", &others);
        else test_pair_check("mean of a map", &others, 2e-7);
    }
    maps_to(&maps, &m, &back);
    test_pair_check_bits("maps there and back", &back);
    maps_release(&m);
    test_pair_free(&plain), test_pair_free(&y), test_pair_free(&back);
}

static void test_pool(void **state) {
    (void)state;
    check_pool(1, 2, 1, 1);
    check_pool(2, 3, 4, 5);
    check_pool(3, 17, 9, 11);
}

static void check_conv(ec_conv_desc desc) {
    const ec_maps in = {desc.batch, desc.in_channels, desc.in_height, desc.in_width};
    const ec_maps out = {desc.batch, desc.out_channels,
                         ec__conv_size(desc.in_height, desc.kernel, desc.stride, desc.padding),
                         ec__conv_size(desc.in_width, desc.kernel, desc.stride, desc.padding)};
    const int64_t taps = (int64_t)desc.in_channels * desc.kernel * desc.kernel;
    test_pair x = test_pair_new((int64_t)in.batch * in.channels * in.height * in.width, 14);
    test_pair y = test_pair_new((int64_t)out.batch * out.channels * out.height * out.width, 15);
    test_pair w = test_pair_new(desc.out_channels * taps, 16), b = test_pair_new(desc.out_channels, 17);
    maps_pair mx = maps_from(&in, &x), my = maps_from(&out, &y);
    for TEST_EACH(be) {
        ec_conv *layer = NULL;
        CHECK_OK(be->encoder->conv_new(be, &desc, w.cpu, b.cpu, &layer));
        CHECK_OK(be->encoder->conv(be, stream_of(be), layer, be == test_cpu ? mx.cpu : mx.cuda,
                                   be == test_cpu ? my.cpu : my.cuda));
        CHECK_OK(be->synchronize(be));
        be->encoder->conv_free(be, layer);
    }
    maps_to(&out, &my, &y);
    test_pair_check("conv", &y, 5e-6);
    maps_release(&mx), maps_release(&my);
    test_pair_free(&x), test_pair_free(&y), test_pair_free(&w), test_pair_free(&b);
}

static void test_conv(void **state) {
    (void)state;
    for (int flags = 0; flags < 4; flags++) {
        const bool add = flags & 1, relu = flags & 2;
        check_conv((ec_conv_desc){2, 1, 12, 17, 8, 3, 2, 1, add, relu});
        check_conv((ec_conv_desc){1, 16, 7, 6, 16, 3, 1, 1, add, relu});
        check_conv((ec_conv_desc){2, 5, 9, 8, 3, 3, 2, 1, add, relu});
        check_conv((ec_conv_desc){1, 4, 5, 5, 6, 1, 1, 0, add, relu});
    }
}

/* A back end that is deterministic makes the same bits every time; one that is not may choose faster ways. */
static void check_conv_twice(bool deterministic) {
    const ec_backend_options options = {.threads = 1, .deterministic = deterministic};
    const ec_conv_desc desc = {2, 24, 9, 8, 16, 3, 1, 1, false, true};
    const ec_maps maps = {2, 24, 9, 8}, result = {2, 16, 9, 8};
    ec_backend *be = NULL;
    ec_conv *layer = NULL, *on_cpu = NULL;
    float twice[2][2 * 16 * 9 * 8];
    test_pair x = test_pair_new(2 * 24 * 9 * 8, 14), y = test_pair_new(2 * 16 * 9 * 8, 0);
    test_pair w = test_pair_new(16 * 24 * 9, 16), b = test_pair_new(16, 17);
    maps_pair mx = maps_from(&maps, &x), my = maps_from(&result, &x);
    CHECK_OK(test_cpu->encoder->conv_new(test_cpu, &desc, w.cpu, b.cpu, &on_cpu));
    CHECK_OK(test_cpu->encoder->conv(test_cpu, stream_of(test_cpu), on_cpu, mx.cpu, my.cpu));
    CHECK_OK(test_cpu->encoder->maps_store(test_cpu, stream_of(test_cpu), &result, my.cpu, y.cpu));
    CHECK_OK(ec__backend_open_with("cuda", &options, &be));
    CHECK_OK(be->encoder->conv_new(be, &desc, w.cpu, b.cpu, &layer));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(be->encoder->conv(be, stream_of(be), layer, x.cuda, y.cuda));
        CHECK_OK(be->synchronize(be));
        test_cuda_download(twice[i], y.cuda, sizeof twice[i]);
        test_pair_check("conv", &y, 5e-6);
    }
    if (deterministic) assert_memory_equal(twice[0], twice[1], sizeof twice[0]);
    test_cpu->encoder->conv_free(test_cpu, on_cpu);
    be->encoder->conv_free(be, layer);
    be->close(be);
    maps_release(&mx), maps_release(&my);
    test_pair_free(&x), test_pair_free(&y), test_pair_free(&w), test_pair_free(&b);
}

static void test_conv_deterministic(void **state) {
    (void)state;
    check_conv_twice(true);
    check_conv_twice(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),  cmocka_unit_test(test_linear_bf16), cmocka_unit_test(test_linear_rows),
        cmocka_unit_test(test_linear_refused),
        cmocka_unit_test(test_patches), cmocka_unit_test(test_tokens),      cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_pool),      cmocka_unit_test(test_conv),
        cmocka_unit_test(test_conv_deterministic),
    };
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
