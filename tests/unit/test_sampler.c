/* Samplers: a pure function of (seed, step), with the shares and orders that they promise. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/h5.h"
#include "core/file.h"
#include "core/rng.h"
#include "pipeline/sampler.h"
#include "support.h"

enum { IMAGES = 103, MUSIC = 37, G = 16 };

static int32_t image_label[IMAGES], music_label[MUSIC];

/* Labels far apart and out of order; the classes of images are of very different sizes. */
static void make_labels(void) {
    for (int i = 0; i < IMAGES; i++) image_label[i] = i % 10 == 0 ? 1000 : i % 10 < 3 ? -5 : 7;
    for (int i = 0; i < MUSIC; i++) music_label[i] = i % 2 ? 7 : 90;
}

static ec_sampler *make(ec_sampling sampling, uint64_t seed, int64_t rows) {
    const ec_sample_pool pool[EC_MODALITIES] = {{.rows = IMAGES, .count = IMAGES, .label = image_label},
                                                {.rows = MUSIC, .count = MUSIC, .label = music_label}};
    const ec_sampler_config config = {.global_rows = rows, .sampling = sampling, .seed = seed};
    ec_sampler *sampler = NULL;
    make_labels();
    CHECK_OK(ec__sampler_new(&config, pool, &sampler));
    return sampler;
}

static void test_parts_and_resume(void **state) {
    (void)state;
    for (int sampling = 0; sampling < 2; sampling++) {
        ec_sampler *a = make((ec_sampling)sampling, 5, G), *b = make((ec_sampling)sampling, 5, G);
        ec_sampler *other = make((ec_sampling)sampling, 6, G);
        int differing = 0;
        for (int64_t step = 0; step < 60; step++)
            for (int m = 0; m < EC_MODALITIES; m++) {
                int64_t whole[G], part[G], again[G], seed6[G];
                CHECK_OK(ec__sampler_rows(a, (ec_modality)m, step, 0, G, whole));
                for (int ranks = 1; ranks <= G; ranks *= 2) {
                    for (int r = 0; r < ranks; r++)
                        CHECK_OK(ec__sampler_rows(a, (ec_modality)m, step, r * (G / ranks), G / ranks,
                                                  part + r * (G / ranks)));
                    assert_memory_equal(part, whole, sizeof whole);
                }
                /* Another sampler, asked for steps in another order. */
                CHECK_OK(ec__sampler_rows(b, (ec_modality)m, 59 - step, 0, G, again));
                CHECK_OK(ec__sampler_rows(a, (ec_modality)m, 59 - step, 0, G, part));
                assert_memory_equal(part, again, sizeof again);
                CHECK_OK(ec__sampler_rows(other, (ec_modality)m, step, 0, G, seed6));
                differing += memcmp(whole, seed6, sizeof whole) != 0;
            }
        assert_true(differing >= 119);
        ec__sampler_free(a);
        ec__sampler_free(b);
        ec__sampler_free(other);
    }
}

/* Every class has the same chance, and every row of a class. Limits are 5 standard deviations. */
static void test_class_balance(void **state) {
    (void)state;
    enum { STEPS = 20000 };
    ec_sampler *sampler = make(EC_SAMPLE_CLASS_BALANCED, 9, G);
    const int32_t *label[EC_MODALITIES] = {image_label, music_label};
    const int count[EC_MODALITIES] = {IMAGES, MUSIC};
    const int classes[EC_MODALITIES] = {3, 2};
    for (int m = 0; m < EC_MODALITIES; m++) {
        double *drawn = calloc((size_t)count[m], sizeof *drawn);
        for (int64_t step = 0; step < STEPS; step++) {
            int64_t row[G];
            CHECK_OK(ec__sampler_rows(sampler, (ec_modality)m, step, 0, G, row));
            for (int i = 0; i < G; i++) {
                assert_true(row[i] >= 0 && row[i] < count[m]);
                drawn[row[i]]++;
            }
        }
        const double total = (double)STEPS * G;
        for (int i = 0; i < count[m]; i++) {
            double in_class = 0, members = 0;
            for (int j = 0; j < count[m]; j++)
                if (label[m][j] == label[m][i]) in_class += drawn[j], members++;
            double p = 1.0 / classes[m], q = p / members;
            test_limit("share of a class", fabs(in_class - total * p), 5 * sqrt(total * p * (1 - p)));
            test_limit("share of a row", fabs(drawn[i] - total * q), 5 * sqrt(total * q * (1 - q)));
        }
        free(drawn);
    }
    ec__sampler_free(sampler);
}

/* Images and music of one position have nothing to do with each other, nor have neighbours. */
static void test_independence(void **state) {
    (void)state;
    enum { STEPS = 20000 };
    ec_sampler *sampler = make(EC_SAMPLE_CLASS_BALANCED, 11, G);
    double pairs[2] = {0};
    for (int64_t step = 0; step < STEPS; step++) {
        int64_t image[G], music[G];
        CHECK_OK(ec__sampler_rows(sampler, EC_IMAGE, step, 0, G, image));
        CHECK_OK(ec__sampler_rows(sampler, EC_MUSIC, step, 0, G, music));
        for (int i = 0; i < G; i++) {
            pairs[0] += image_label[image[i]] == 7 && music_label[music[i]] == 7;
            pairs[1] += i > 0 && music_label[music[i]] == 7 && music_label[music[i - 1]] == 7;
        }
    }
    const double n = (double)STEPS * G, m = (double)STEPS * (G - 1);
    test_limit("pairs of one class", fabs(pairs[0] - n / 6), 5 * sqrt(n / 6));
    test_limit("neighbours of one class", fabs(pairs[1] - m / 4), 6 * sqrt(m / 4));
    ec__sampler_free(sampler);
}

static void test_shuffled_epochs(void **state) {
    (void)state;
    ec_sampler *sampler = make(EC_SAMPLE_SHUFFLED, 3, G);
    const int64_t steps = ec__sampler_steps_per_epoch(sampler);
    int64_t first[G], row[G];
    assert_int_equal(steps, IMAGES / G);
    for (int64_t epoch = 0; epoch < 4; epoch++) {
        int seen[IMAGES] = {0};
        for (int64_t step = epoch * steps; step < (epoch + 1) * steps; step++) {
            CHECK_OK(ec__sampler_rows(sampler, EC_IMAGE, step, 0, G, row));
            for (int i = 0; i < G; i++) assert_int_equal(seen[row[i]]++, 0);
            if (step == 0) memcpy(first, row, sizeof row);
            if (step == steps) assert_memory_not_equal(first, row, sizeof row);
        }
    }
    /* Music: whole rounds, one after the other, across the borders of batches and epochs. */
    int seen[MUSIC] = {0};
    for (int64_t at = 0; at < 50 * G; at++) {
        CHECK_OK(ec__sampler_rows(sampler, EC_MUSIC, at / G, at % G, 1, row));
        assert_int_equal(seen[row[0]]++, at / MUSIC);
    }
    ec__sampler_free(sampler);
}

/* Every row comes to every place equally often: a biased shuffle would not show in the counts above. */
static void test_shuffle_is_uniform(void **state) {
    (void)state;
    enum { N = 5, ROUNDS = 40000 };
    const ec_sample_pool pool[EC_MODALITIES] = {{.rows = N, .count = N}, {.rows = N, .count = N}};
    const ec_sampler_config config = {.global_rows = N, .sampling = EC_SAMPLE_SHUFFLED, .seed = 1};
    double count[N][N] = {{0}};
    ec_sampler *sampler = NULL;
    CHECK_OK(ec__sampler_new(&config, pool, &sampler));
    for (int64_t step = 0; step < ROUNDS; step++) {
        int64_t row[N];
        CHECK_OK(ec__sampler_rows(sampler, EC_IMAGE, step, 0, N, row));
        for (int i = 0; i < N; i++) count[i][row[i]]++;
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            test_limit("share of a place", fabs(count[i][j] - ROUNDS / N), 5 * sqrt(ROUNDS * 0.2 * 0.8));
    ec__sampler_free(sampler);
}

static void test_candidates(void **state) {
    (void)state;
    const int64_t some[] = {3, 30, 100, 7, 20, 21, 22, 23};
    make_labels();
    const ec_sample_pool pool[EC_MODALITIES] = {
        {.rows = IMAGES, .count = 8, .candidate = some, .label = image_label},
        {.rows = MUSIC, .count = 1, .candidate = some, .label = music_label}};
    for (int sampling = 0; sampling < 2; sampling++) {
        const ec_sampler_config config = {.global_rows = 8, .sampling = (ec_sampling)sampling, .seed = 1};
        ec_sampler *sampler = NULL;
        CHECK_OK(ec__sampler_new(&config, pool, &sampler));
        bool found[IMAGES] = {false};
        for (int64_t step = 0; step < 50; step++) {
            int64_t row[8];
            CHECK_OK(ec__sampler_rows(sampler, EC_IMAGE, step, 0, 8, row));
            for (int i = 0; i < 8; i++) found[row[i]] = true;
            CHECK_OK(ec__sampler_rows(sampler, EC_MUSIC, step, 0, 8, row));
            for (int i = 0; i < 8; i++) assert_int_equal(row[i], 3);
        }
        for (int i = 0; i < IMAGES; i++) {
            bool wanted = false;
            for (int k = 0; k < 8; k++) wanted |= some[k] == i;
            assert_int_equal(found[i], wanted);
        }
        ec__sampler_free(sampler);
    }
    const ec_sampler_config config = {.global_rows = 9, .sampling = EC_SAMPLE_SHUFFLED};
    ec_sampler *sampler = NULL;
    CHECK_ERROR(ec__sampler_new(&config, pool, &sampler), EC_ERR_CONFIG, "8 images to draw from");
    assert_null(sampler);
}

static ec_status open_indices(const char *path, int64_t rows, int64_t images, ec_sampler **out) {
    const ec_sample_pool pool[EC_MODALITIES] = {{.rows = images, .count = 0}, {.rows = 384, .count = 0}};
    const ec_sampler_config config = {.global_rows = rows, .indices = path};
    return ec__sampler_new(&config, pool, out);
}

static void test_indices(void **state) {
    (void)state;
    const char *path = test_golden_path("trace.h5");
    hid_t file = test_h5_open(path);
    test_array features[EC_MODALITIES] = {test_h5_f32(file, "image_features"), test_h5_f32(file, "audio_features")};
    test_array index[EC_MODALITIES] = {test_h5_i32(file, "image_index"), test_h5_i32(file, "audio_index")};
    H5Fclose(file);
    const int64_t steps = index[0].dim[0], rows = index[0].dim[1];
    const ec_sample_pool pool[EC_MODALITIES] = {{.rows = features[0].dim[0]}, {.rows = features[1].dim[0]}};
    const ec_sampler_config config = {.global_rows = rows, .indices = path};
    int64_t *row = malloc((size_t)rows * sizeof *row);
    ec_sampler *sampler = NULL;
    CHECK_OK(ec__sampler_new(&config, pool, &sampler));
    assert_int_equal(ec__sampler_steps(sampler), steps);
    for (int m = 0; m < EC_MODALITIES; m++) {
        for (int64_t step = 0; step < steps; step++) {
            CHECK_OK(ec__sampler_rows(sampler, (ec_modality)m, step, 0, (int32_t)rows, row));
            for (int64_t i = 0; i < rows; i++) assert_int_equal(row[i], index[m].i32[step * rows + i]);
        }
        CHECK_ERROR(ec__sampler_rows(sampler, (ec_modality)m, steps, 0, 1, row), EC_ERR_DATA, "is not among them");
        test_array_release(&index[m]);
        test_array_release(&features[m]);
    }
    ec__sampler_free(sampler);
    free(row);
}

static void write_indices(const char *path, const int32_t *image, int64_t steps, int64_t music_steps, int64_t rows) {
    ec_h5 *file = NULL;
    CHECK_OK(ec__h5_create(path, &file));
    CHECK_OK(ec__h5_write(file, "image_index", EC_H5_I32, 2, (int64_t[]){steps, rows}, image));
    if (music_steps) CHECK_OK(ec__h5_write(file, "audio_index", EC_H5_I32, 2, (int64_t[]){music_steps, rows}, image));
    CHECK_OK(ec__h5_finish(file));
}

/* A chunked image_index of that many steps, none of which was ever written. */
static void claim_indices(const char *path, int64_t steps, int64_t rows) {
    const hsize_t dim[2] = {(hsize_t)steps, (hsize_t)rows}, chunk[2] = {1, (hsize_t)rows};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(2, dim, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_chunk(list, 2, chunk) >= 0);
    hid_t set = H5Dcreate2(file, "image_index", H5T_STD_I32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(set >= 0);
    H5Dclose(set);
    H5Pclose(list);
    H5Sclose(space);
    H5Fclose(file);
}

static void test_bad_indices(void **state) {
    (void)state;
    int32_t image[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    ec_sampler *sampler = NULL;
    char *path = NULL;
    CHECK_OK(ec__path_join(test_folder(), "indices.h5", &path));
    write_indices(path, image, 3, 3, 4);
    CHECK_OK(open_indices(path, 4, 12, &sampler));
    ec__sampler_free(sampler);
    CHECK_ERROR(open_indices(path, 4, 11, &sampler), EC_ERR_DATA, "image_index[2,3] is 11, expected a row in [0,11)");
    CHECK_ERROR(open_indices(path, 6, 12, &sampler), EC_ERR_DATA, "image_index: shape expected (N,6), found (3,4)");
    image[5] = -1;
    write_indices(path, image, 3, 3, 4);
    CHECK_ERROR(open_indices(path, 4, 12, &sampler), EC_ERR_DATA, "image_index[1,1] is -1");
    image[5] = 5;
    write_indices(path, image, 3, 2, 4);
    CHECK_ERROR(open_indices(path, 4, 12, &sampler), EC_ERR_DATA, "audio_index: shape expected (3,4), found (2,4)");
    write_indices(path, image, 3, 0, 4);
    CHECK_ERROR(open_indices(path, 4, 12, &sampler), EC_ERR_DATA, "audio_index");
    write_indices(path, image, 0, 0, 4);
    CHECK_ERROR(open_indices(path, 4, 12, &sampler), EC_ERR_DATA, "image_index has no steps");
    claim_indices(path, (int64_t)1 << 28, 4);
    CHECK_ERROR(open_indices(path, 4, 12, &sampler), EC_ERR_DATA,
                "indices.h5: image_index claims 268435456 steps of 4 rows, more than a file of");
    CHECK_ERROR(open_indices("/nonexistent/indices.h5", 4, 12, &sampler), EC_ERR_DATA, "/nonexistent/indices.h5");
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_and_resume), cmocka_unit_test(test_class_balance),
        cmocka_unit_test(test_independence),     cmocka_unit_test(test_shuffled_epochs),
        cmocka_unit_test(test_shuffle_is_uniform), cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_indices),          cmocka_unit_test(test_bad_indices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
