/* The loader: batches that do not depend on timing or ranks, errors that arrive, threads that end. ctest: clock */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/cache_writer.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/rng.h"
#include "pipeline/loader.h"
#include "support.h"

enum { IMAGES = 90, MUSIC = 40, G = 16 };

static int32_t label[IMAGES];

/* Rows in memory: element d of view v of row i is 1000 i + 10 v + d. */
typedef struct memory_source {
    int64_t rows;
    int32_t width;
    int64_t bad_row;  /* reading it fails; -1: none */
    int32_t delay_us; /* of every read */
} memory_source;

static float element(int64_t row, int32_t view, int32_t d) { return (float)(1000 * row + 10 * view + d); }

static ec_status memory_read(void *arg, const int64_t *row, const int32_t *view, int32_t count, float *out) {
    const memory_source *m = arg;
    if (m->delay_us > 0) usleep((unsigned)m->delay_us);
    for (int32_t k = 0; k < count; k++) {
        if (row[k] == m->bad_row) return EC_ERROR(EC_ERR_DATA, "row %lld cannot be read", (long long)row[k]);
        for (int32_t d = 0; d < m->width; d++) out[k * m->width + d] = element(row[k], view ? view[k] : 0, d);
    }
    return EC_OK;
}

static memory_source memory[EC_MODALITIES];
static ec_row_source source[EC_MODALITIES];

static void make_sources(int32_t image_views) {
    memory[EC_IMAGE] = (memory_source){IMAGES, 5, -1, 0};
    memory[EC_MUSIC] = (memory_source){MUSIC, 3, -1, 0};
    for (int i = 0; i < IMAGES; i++) label[i] = i % 4;
    for (int m = 0; m < EC_MODALITIES; m++)
        source[m] = (ec_row_source){.arg = &memory[m], .width = memory[m].width, .views = m == EC_IMAGE ? image_views : 1,
                                    .label = label, .read = memory_read};
}

static ec_sampler *make_sampler(void) {
    const ec_sample_pool pool[EC_MODALITIES] = {{.rows = IMAGES, .count = IMAGES, .label = label},
                                                {.rows = MUSIC, .count = MUSIC, .label = label}};
    const ec_sampler_config config = {.global_rows = G, .sampling = EC_SAMPLE_SHUFFLED, .seed = 4};
    ec_sampler *sampler = NULL;
    CHECK_OK(ec__sampler_new(&config, pool, &sampler));
    return sampler;
}

static ec_loader *open_loader(ec_sampler *sampler, int32_t rank, int32_t size, int64_t first, int64_t end) {
    const ec_loader_config config = {.global_rows = G, .rank = rank, .size = size, .seed = 4, .first_step = first,
                                     .end_step = end};
    ec_loader *loader = NULL;
    CHECK_OK(ec__loader_open(&config, sampler, source, &loader));
    return loader;
}

/* What a batch must hold, apart from the view, which is returned. */
static int32_t check_element(const ec_batch *batch, ec_modality m, int32_t b, int64_t row) {
    const int32_t width = source[m].width;
    const float *x = batch->x[m] + b * width;
    int32_t view = ((int32_t)x[0] - (int32_t)(1000 * row)) / 10;
    assert_int_equal(batch->row[m][b], row);
    assert_int_equal(batch->label[m][b], label[row]);
    assert_true(view >= 0 && view < source[m].views);
    for (int32_t d = 0; d < width; d++) assert_true(x[d] == element(row, view, d));
    return view;
}

static void test_union_over_ranks(void **state) {
    (void)state;
    enum { STEPS = 25 };
    static int32_t view[STEPS][G]; /* of images, on one rank */
    int drawn[3] = {0};
    make_sources(3);
    ec_sampler *reference = make_sampler();
    for (int32_t size = 1; size <= G; size *= 2)
        for (int32_t rank = 0; rank < size; rank++) {
            ec_sampler *sampler = make_sampler();
            ec_loader *loader = open_loader(sampler, rank, size, 0, STEPS);
            const ec_batch *batch = NULL;
            const int32_t rows = G / size;
            for (int64_t step = 0; step < STEPS; step++) {
                CHECK_OK(ec__loader_next(loader, &batch));
                assert_int_equal(batch->step, step);
                for (int m = 0; m < EC_MODALITIES; m++) {
                    int64_t row[G];
                    CHECK_OK(ec__sampler_rows(reference, (ec_modality)m, step, rank * rows, rows, row));
                    for (int32_t b = 0; b < rows; b++) {
                        int32_t v = check_element(batch, (ec_modality)m, b, row[b]);
                        if (m != EC_IMAGE) continue;
                        if (size == 1) view[step][b] = v, drawn[v]++;
                        assert_int_equal(v, view[step][rank * rows + b]);
                    }
                }
            }
            CHECK_OK(ec__loader_next(loader, &batch));
            assert_null(batch);
            ec__loader_close(loader);
            ec__sampler_free(sampler);
        }
    /* 400 views of 3. */
    for (int v = 0; v < 3; v++) assert_true(drawn[v] > 90 && drawn[v] < 180);
    ec__sampler_free(reference);
}

static void test_resume(void **state) {
    (void)state;
    make_sources(2);
    ec_sampler *a = make_sampler(), *b = make_sampler();
    ec_loader *whole = open_loader(a, 0, 2, 0, 40);
    for (int64_t step = 0; step < 40; step++) {
        const ec_batch *expected = NULL, *batch = NULL;
        ec_loader *late = open_loader(b, 0, 2, step, 40);
        CHECK_OK(ec__loader_next(whole, &expected));
        CHECK_OK(ec__loader_next(late, &batch));
        for (int m = 0; m < EC_MODALITIES; m++)
            assert_memory_equal(batch->x[m], expected->x[m], (size_t)(G / 2 * source[m].width) * sizeof(float));
        ec__loader_close(late);
    }
    ec__loader_close(whole);
    ec__sampler_free(a);
    ec__sampler_free(b);
}

/* Batches before the failure are good, then the error comes, again and again. */
static void test_error_arrives(void **state) {
    (void)state;
    make_sources(1);
    ec_sampler *sampler = make_sampler();
    int64_t row[G], bad_step = 3;
    CHECK_OK(ec__sampler_rows(sampler, EC_IMAGE, bad_step, 0, G, row));
    memory[EC_IMAGE].bad_row = row[7];
    ec_loader *loader = open_loader(sampler, 0, 1, 0, 5);
    const ec_batch *batch = NULL;
    for (int64_t step = 0; step < bad_step; step++) {
        CHECK_OK(ec__loader_next(loader, &batch));
        assert_int_equal(batch->step, step);
    }
    for (int i = 0; i < 3; i++) {
        char text[64];
        snprintf(text, sizeof text, "row %lld cannot be read", (long long)row[7]);
        CHECK_ERROR(ec__loader_next(loader, &batch), EC_ERR_DATA, text);
        assert_string_equal(ec_error_last()->frame[0].function, "memory_read");
    }
    ec__loader_close(loader);
    ec__sampler_free(sampler);
}

/* Of images: the rows of class 3, and every fifth row; of music: all but row 2. Classes are row mod 4. */
static bool memory_good(void *arg, int64_t row) {
    return arg == &memory[EC_IMAGE] ? label[row] != 3 && row % 5 != 0 : row == 2;
}

/* Rows that cannot be read: others of their class take their place where there are any, others at all where not, and
 * the same ones on any number of ranks; positions of good rows keep them. */
static void test_replaced_rows(void **state) {
    (void)state;
    enum { STEPS = 30 };
    static int64_t taken[EC_MODALITIES][STEPS][G]; /* on one rank */
    int64_t row[G];
    make_sources(1);
    for (int m = 0; m < EC_MODALITIES; m++) source[m].good = memory_good;
    ec_sampler *reference = make_sampler();
    int seen[IMAGES] = {0}, replaced = 0;
    for (int32_t size = 1; size <= G; size *= 4)
        for (int32_t rank = 0; rank < size; rank++) {
            ec_sampler *sampler = make_sampler();
            ec_loader *loader = open_loader(sampler, rank, size, 0, STEPS);
            const int32_t rows = G / size;
            for (int64_t i = 0; i < STEPS * EC_MODALITIES; i++) {
                ec_modality m = (ec_modality)(i % EC_MODALITIES);
                const int64_t step = i / EC_MODALITIES;
                static const ec_batch *batch;
                if (m == 0) CHECK_OK(ec__loader_next(loader, &batch));
                CHECK_OK(ec__sampler_rows(reference, m, step, rank * rows, rows, row));
                for (int32_t b = 0; b < rows; b++) {
                    const int64_t now = batch->row[m][b];
                    int64_t *first = &taken[m][step][rank * rows + b];
                    check_element(batch, m, b, now);
                    if (size == 1) *first = now;
                    assert_int_equal(now, *first);
                    assert_true(memory_good(&memory[m], now));
                    if (memory_good(&memory[m], row[b])) assert_int_equal(now, row[b]);
                    else if (m == EC_IMAGE && label[row[b]] != 3) assert_int_equal(label[now], label[row[b]]);
                    if (m == EC_IMAGE && now != row[b]) seen[now]++, replaced++;
                }
            }
            ec__loader_close(loader);
            ec__sampler_free(sampler);
        }
    /* Spread over the good rows: 54 of them, some 40 % of 1,440 positions replaced. */
    assert_true(replaced > 400);
    for (int i = 0; i < IMAGES; i++) assert_true(seen[i] < 60);
    ec__sampler_free(reference);
}

static bool none_good(void *arg, int64_t row) {
    (void)arg, (void)row;
    return false;
}

static void test_nothing_left(void **state) {
    (void)state;
    make_sources(1);
    source[EC_MUSIC].good = none_good;
    ec_sampler *sampler = make_sampler();
    ec_loader *loader = open_loader(sampler, 0, 1, 0, 2);
    const ec_batch *batch = NULL;
    CHECK_ERROR(ec__loader_next(loader, &batch), EC_ERR_DATA, "every one of the 40 rows that may be drawn is in a corrupt block");
    ec__loader_close(loader);
    ec__sampler_free(sampler);
}

/* A file of indices that ends: the steps that it has come first, though rows are drawn ahead. */
static void test_steps_run_out(void **state) {
    (void)state;
    const int32_t index[3 * G] = {0};
    char *path = NULL;
    ec_h5 *file = NULL;
    ec_sampler *sampler = NULL;
    CHECK_OK(ec__path_join(test_folder(), "three.h5", &path));
    CHECK_OK(ec__h5_create(path, &file));
    CHECK_OK(ec__h5_write(file, "image_index", EC_H5_I32, 2, (int64_t[]){3, G}, index));
    CHECK_OK(ec__h5_write(file, "audio_index", EC_H5_I32, 2, (int64_t[]){3, G}, index));
    CHECK_OK(ec__h5_finish(file));
    make_sources(1);
    const ec_sample_pool pool[EC_MODALITIES] = {{.rows = IMAGES}, {.rows = MUSIC}};
    const ec_sampler_config config = {.global_rows = G, .indices = path};
    CHECK_OK(ec__sampler_new(&config, pool, &sampler));
    ec_loader *loader = open_loader(sampler, 0, 1, 0, 10);
    const ec_batch *batch = NULL;
    for (int64_t step = 0; step < 3; step++) {
        CHECK_OK(ec__loader_next(loader, &batch));
        assert_int_equal(batch->step, step);
    }
    CHECK_ERROR(ec__loader_next(loader, &batch), EC_ERR_DATA, "holds the rows of 3 steps; step 3");
    ec__loader_close(loader);
    ec__sampler_free(sampler);
    free(path);
}

static void test_closing_at_any_moment(void **state) {
    (void)state;
    make_sources(2);
    for (int round = 0; round < 200; round++) {
        ec_sampler *sampler = make_sampler();
        ec_loader *loader = open_loader(sampler, 0, 1, 0, 1000);
        const ec_batch *batch = NULL;
        for (int step = 0; step < round % 5; step++) CHECK_OK(ec__loader_next(loader, &batch));
        if (round % 3 == 0) usleep(100);
        ec__loader_close(loader);
        ec__sampler_free(sampler);
    }
    ec__loader_close(NULL);
}

static void test_waiting_is_counted(void **state) {
    (void)state;
    make_sources(1);
    memory[EC_IMAGE].delay_us = 20000;
    ec_sampler *sampler = make_sampler();
    ec_loader *loader = open_loader(sampler, 0, 1, 0, 100);
    const ec_batch *batch = NULL;
    int64_t start_ns = ec__now_ns();
    for (int step = 0; step < 5; step++) CHECK_OK(ec__loader_next(loader, &batch));
    int64_t took_ns = ec__now_ns() - start_ns, waited_ns = ec__loader_wait_ns(loader);
    /* Every batch takes 20 ms to read; how much of that is waited for depends on how busy the machine is. */
    assert_true(waited_ns <= took_ns);
    assert_true(waited_ns >= 1000000);
    /* With time to read ahead there is no wait. */
    usleep(500000);
    waited_ns = ec__loader_wait_ns(loader);
    CHECK_OK(ec__loader_next(loader, &batch));
    CHECK_OK(ec__loader_next(loader, &batch));
    assert_true(ec__loader_wait_ns(loader) == waited_ns);
    ec__loader_close(loader);
    ec__sampler_free(sampler);
}

static void write_cache(const char *path, ec_h5_type dtype, int32_t views, int64_t width, bool tags) {
    static const char *const classes[] = {"a", "b", "c", "d"};
    static const char sha[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const char *id[MUSIC];
    char names[MUSIC][8];
    uint8_t split[MUSIC] = {0}, tag[MUSIC * 4] = {0};
    float values[64];
    ec_cache_build *build = NULL;
    ec_cache_part *part = NULL;
    for (int i = 0; i < MUSIC; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        id[i] = names[i];
    }
    const ec_cache_spec spec = {
        .identity = {.modality = "music", .encoder = "shortchunk", .encoder_sha256 = sha, .preprocessing = "{}",
                     .manifest_sha256 = sha, .dtype = dtype, .views = views, .width = width},
        .rows = MUSIC, .id = id, .label = tags ? NULL : label, .tags = tags ? tag : NULL, .split = split,
        .class_names = classes, .class_count = 4};
    CHECK_OK(ec__cache_build_begin(path, &spec, &build));
    CHECK_OK(ec__cache_part_open(path, &spec, 0, &part));
    for (int64_t i = 0; i < MUSIC; i++) {
        for (int32_t v = 0; v < views; v++)
            for (int32_t d = 0; d < width; d++) values[v * width + d] = element(i, v, d);
        CHECK_OK(ec__cache_part_append(part, i, values));
    }
    CHECK_OK(ec__cache_part_close(part));
    CHECK_OK(ec__cache_build_finish(build, NULL));
}

static void test_from_a_cache(void **state) {
    (void)state;
    char *path = NULL;
    ec_cache *cache = NULL;
    make_sources(1);
    CHECK_OK(ec__path_join(test_folder(), "music.h5", &path));
    write_cache(path, EC_H5_F32, 2, 3, false);
    CHECK_OK(ec__cache_open(path, NULL, &cache));
    CHECK_OK(ec__row_source_cache(cache, &source[EC_MUSIC]));
    assert_int_equal(source[EC_MUSIC].views, 2);
    ec_sampler *sampler = make_sampler(), *reference = make_sampler();
    ec_loader *loader = open_loader(sampler, 1, 4, 0, 20);
    for (int64_t step = 0; step < 20; step++) {
        const ec_batch *batch = NULL;
        int64_t row[G];
        CHECK_OK(ec__loader_next(loader, &batch));
        CHECK_OK(ec__sampler_rows(reference, EC_MUSIC, step, 4, 4, row));
        for (int32_t b = 0; b < 4; b++) check_element(batch, EC_MUSIC, b, row[b]);
    }
    ec__loader_close(loader);
    ec__sampler_free(sampler);
    ec__sampler_free(reference);
    ec__cache_close(cache);
    free(path);

    CHECK_OK(ec__path_join(test_folder(), "tags.h5", &path));
    write_cache(path, EC_H5_F32, 1, 3, true);
    CHECK_OK(ec__cache_open(path, NULL, &cache));
    CHECK_ERROR(ec__row_source_cache(cache, &source[EC_MUSIC]), EC_ERR_DATA, "class labels expected");
    ec__cache_close(cache);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_union_over_ranks),      cmocka_unit_test(test_resume),
        cmocka_unit_test(test_error_arrives),         cmocka_unit_test(test_steps_run_out),
        cmocka_unit_test(test_closing_at_any_moment), cmocka_unit_test(test_waiting_is_counted),
        cmocka_unit_test(test_from_a_cache),          cmocka_unit_test(test_replaced_rows),
        cmocka_unit_test(test_nothing_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
