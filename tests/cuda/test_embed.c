/* The heads' embeddings, CUDA against the CPU, and rows that do not depend on each other. */
#include "pipeline/embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_support.h"

enum { WIDTH = 300, OUTPUT = 12, ITEMS = 300, VIEWS = 2 };

static ec_heads *heads_of(ec_backend *be, bool multi_task) {
    const ec_heads_config config = {.multi_task = multi_task, .image_dim = WIDTH, .audio_dim = 8, .hidden_dim = 270,
                                    .base_output_dim = 260, .output_dim = OUTPUT, .normalize_inputs = true};
    ec_heads *heads = NULL;
    CHECK_OK(ec__heads_new(be, &config, 3, &heads));
    return heads;
}

/* Embeddings (count, OUTPUT) by the last loss that has some. Owned by the caller. */
static float *embed(ec_heads *heads, const float *features, int64_t count, int32_t views) {
    float *out = malloc(sizeof *out * (size_t)count * OUTPUT), *z[EC_EMBEDDINGS] = {0};
    z[ec__heads_embeddings(&heads->config) - 1] = out;
    CHECK_OK(ec__embed_features(heads, EC_IMAGE, features, count, views, z));
    return out;
}

static void check(bool multi_task) {
    ec_heads *cpu = heads_of(test_cpu, multi_task), *cuda = heads_of(test_cuda, multi_task);
    const int32_t block = test_cuda->grain.row_block;
    float *features = malloc(sizeof *features * ITEMS * VIEWS * WIDTH);
    test_fill(features, ITEMS * VIEWS * WIDTH, 21);
    float *expected = embed(cpu, features, ITEMS, VIEWS), *got = embed(cuda, features, ITEMS, VIEWS);
    for (int i = 0; i < ITEMS * OUTPUT; i++) test_limit("embedding", fabs(got[i] - expected[i]), 2e-6);
    for (int i = 0; i < ITEMS; i += 99) { /* one item alone: two rows */
        float *one = embed(cuda, features + i * VIEWS * WIDTH, 1, VIEWS);
        assert_memory_equal(one, got + i * OUTPUT, sizeof *one * OUTPUT);
        free(one);
    }
    free(got);
    got = embed(cuda, features, ITEMS, 1);
    test_cuda->grain.row_block = 32; /* many tasks, in rounds, the last one of 12 rows */
    float *small = embed(cuda, features, ITEMS, 1);
    test_cuda->grain.row_block = block;
    assert_memory_equal(small, got, sizeof *got * ITEMS * OUTPUT);
    free(features), free(expected), free(got), free(small);
    ec__heads_free(cpu), ec__heads_free(cuda);
}

static void test_single(void **state) {
    (void)state;
    check(false);
}

static void test_multi(void **state) {
    (void)state;
    check(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_single), cmocka_unit_test(test_multi)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
