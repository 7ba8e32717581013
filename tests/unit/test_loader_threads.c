/* The loader on several threads: the batches of one thread, bit by bit, in float32 and in float16; the same error; ends
 * that come at any moment. Batches are large enough to be shared. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/half.h"
#include "core/rng.h"
#include "pipeline/loader.h"
#include "support.h"

enum { ROWS = 5000, G = 1500, VIEWS = 3, CLASSES = 7, STEPS = 12, THREADS = 4 };

static const int32_t width[EC_MODALITIES] = {6, 3};
static int32_t label[ROWS];
static int64_t bad[EC_MODALITIES]; /* reading it fails; -1: none */

static int modality_of(const void *arg) { return *(const int *)arg; }

/* A float16 number that tells modality, row, view and place. */
static uint16_t element(int m, int64_t row, int32_t view, int32_t d) {
    return (uint16_t)((row * 37 + view * 11 + d * 5 + m) % 0x7bff);
}

static ec_status read_half(void *arg, const int64_t *row, const int32_t *view, int32_t count, uint16_t *out) {
    const int m = modality_of(arg);
    for (int32_t k = 0; k < count; k++) {
        if (row[k] == bad[m]) return EC_ERROR(EC_ERR_DATA, "modality %d: row %lld", m, (long long)row[k]);
        for (int32_t d = 0; d < width[m]; d++) *out++ = element(m, row[k], view ? view[k] : 0, d);
    }
    return EC_OK;
}

static ec_status read_float(void *arg, const int64_t *row, const int32_t *view, int32_t count, float *out) {
    uint16_t half[8];
    for (int32_t k = 0; k < count; k++, out += width[modality_of(arg)]) {
        EC_RETURN_IF(read_half(arg, row + k, view ? view + k : NULL, 1, half));
        ec__half_to_float(half, out, width[modality_of(arg)]);
    }
    return EC_OK;
}

static bool good(void *arg, int64_t row) { return (row + modality_of(arg)) % 9 != 0; }

typedef struct kind {
    ec_sampling sampling;
    bool half, replaces;
    int32_t rank, size, threads;
} kind;

typedef struct opened {
    ec_sampler *sampler;
    ec_loader *loader;
} opened;

static opened open_loader(const kind *k) {
    static int modality[EC_MODALITIES] = {0, 1};
    opened o = {0};
    ec_sample_pool pool[EC_MODALITIES];
    ec_row_source source[EC_MODALITIES];
    for (int i = 0; i < ROWS; i++) label[i] = i % CLASSES;
    for (int m = 0; m < EC_MODALITIES; m++) {
        pool[m] = (ec_sample_pool){.rows = ROWS, .count = ROWS, .label = label};
        source[m] = (ec_row_source){.arg = &modality[m], .width = width[m], .views = m == 0 ? VIEWS : 1, .label = label,
                                    .read = read_float, .read_half = m == 0 ? read_half : NULL,
                                    .good = k->replaces ? good : NULL};
    }
    const ec_sampler_config drawing = {.global_rows = G, .sampling = k->sampling, .seed = 9};
    const ec_loader_config loading = {.global_rows = G, .rank = k->rank, .size = k->size, .seed = 9, .end_step = STEPS,
                                      .threads = k->threads, .half = k->half};
    CHECK_OK(ec__sampler_new(&drawing, pool, &o.sampler));
    CHECK_OK(ec__loader_open(&loading, o.sampler, source, &o.loader));
    return o;
}

static void close_loader(opened *o) {
    ec__loader_close(o->loader);
    ec__sampler_free(o->sampler);
}

/* The features of a batch as float32, in memory of the test's. */
static const float *features(const ec_batch *batch, int m, int32_t rows, bool half) {
    static float x[EC_MODALITIES][G * 6];
    assert_true((batch->half[m] != NULL) == half);
    assert_true((batch->x[m] == NULL) == half);
    if (!half) return batch->x[m];
    ec__half_to_float(batch->half[m], x[m], (int64_t)rows * width[m]);
    return x[m];
}

static void compare(const kind *k) {
    kind alone = *k;
    alone.threads = 1;
    alone.half = false;
    opened one = open_loader(&alone), many = open_loader(k);
    const int32_t rows = G / k->size;
    int replaced = 0;
    for (int64_t step = 0; step < STEPS; step++) {
        const ec_batch *a = NULL, *b = NULL;
        CHECK_OK(ec__loader_next(one.loader, &a));
        CHECK_OK(ec__loader_next(many.loader, &b));
        assert_int_equal(b->step, step);
        for (int m = 0; m < EC_MODALITIES; m++) {
            const bool half = k->half && m == 0; /* the other source has no float16 */
            assert_memory_equal(a->row[m], b->row[m], (size_t)rows * sizeof *a->row[m]);
            assert_memory_equal(a->label[m], b->label[m], (size_t)rows * sizeof *a->label[m]);
            assert_memory_equal(a->x[m], features(b, m, rows, half), sizeof(float) * (size_t)(rows * width[m]));
            for (int32_t i = 0; i < rows; i++) {
                assert_int_equal(b->label[m][i], label[b->row[m][i]]);
                if (k->replaces) assert_true(good(&(int){m}, b->row[m][i]));
                replaced += k->replaces && b->row[m][i] % 9 != 0;
            }
        }
    }
    assert_true(!k->replaces || replaced > 0);
    const ec_batch *last = NULL;
    CHECK_OK(ec__loader_next(many.loader, &last));
    assert_null(last);
    close_loader(&one);
    close_loader(&many);
}

static void test_bits_of_one_thread(void **state) {
    (void)state;
    bad[0] = bad[1] = -1;
    for (int i = 0; i < 16; i++)
        compare(&(kind){.sampling = i & 1 ? EC_SAMPLE_SHUFFLED : EC_SAMPLE_CLASS_BALANCED, .half = i & 2,
                        .replaces = i & 4, .rank = i & 8 ? 1 : 0, .size = i & 8 ? 2 : 1, .threads = THREADS});
}

/* Of many rows that cannot be read, the first of the batch is told, images before music, however threads come. */
static void test_first_error(void **state) {
    (void)state;
    kind k = {.sampling = EC_SAMPLE_CLASS_BALANCED, .size = 1, .threads = THREADS};
    const ec_batch *batch = NULL;
    int64_t row[2];
    bad[0] = bad[1] = -1;
    opened o = open_loader(&k);
    CHECK_OK(ec__loader_next(o.loader, &batch));
    for (int m = 0; m < EC_MODALITIES; m++) row[m] = batch->row[m][G - 1 - m];
    close_loader(&o);
    for (int round = 0; round < 20; round++) {
        const int first = round % 2; /* music alone, or both */
        bad[0] = first == 0 ? row[0] : -1;
        bad[1] = row[1];
        o = open_loader(&k);
        char text[64];
        snprintf(text, sizeof text, "modality %d: row %lld", first, (long long)row[first]);
        for (int again = 0; again < 2; again++) CHECK_ERROR(ec__loader_next(o.loader, &batch), EC_ERR_DATA, text);
        assert_string_equal(ec_error_last()->frame[0].function, "read_half");
        close_loader(&o);
    }
}

static void test_closing_at_any_moment(void **state) {
    (void)state;
    bad[0] = bad[1] = -1;
    for (int round = 0; round < 60; round++) {
        const kind k = {.sampling = EC_SAMPLE_CLASS_BALANCED, .half = true, .size = 1, .threads = 1 + round % THREADS};
        opened o = open_loader(&k);
        const ec_batch *batch = NULL;
        for (int step = 0; step < round % 5; step++) CHECK_OK(ec__loader_next(o.loader, &batch));
        if (round % 3 == 0) usleep(100);
        close_loader(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_of_one_thread),
        cmocka_unit_test(test_first_error),
        cmocka_unit_test(test_closing_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
