/* The public interface: searching against a plain double-precision ranking, and refusals. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/embedding_file.h"
#include "emoclim/emoclim.h"
#include "support.h"

enum { ITEMS = 57, WIDTH = 12 };

static const char digest[] = "00000000000000000000000000000000000000000000000000000000000000aa";
static float embedding[ITEMS][WIDTH];
static char path[600];

/* Items 20 and 40 are the same; every third has no label. */
static int write_index(void **state) {
    (void)state;
    static const char *const classes[] = {"happy", "sad"};
    static char name[ITEMS][16];
    const char *id[ITEMS];
    int32_t label[ITEMS];
    test_fill(embedding[0], ITEMS * WIDTH, 1);
    for (int i = 0; i < ITEMS; i++) {
        double sum = 0;
        for (int d = 0; d < WIDTH; d++) sum += (double)embedding[i][d] * (double)embedding[i][d];
        for (int d = 0; d < WIDTH; d++) embedding[i][d] = (float)(embedding[i][d] / sqrt(sum));
        snprintf(name[i], sizeof name[i], "item-%02d", i);
        id[i] = name[i];
        label[i] = i % 3 - 1;
    }
    memcpy(embedding[40], embedding[20], sizeof embedding[20]);
    const ec_embedding_content content = {.modality = "music", .checkpoint_digest = digest, .rows = ITEMS,
                                          .width = WIDTH,
                                          .class_count = 2, .embedding = embedding[0], .label = label, .id = id,
                                          .class_names = classes};
    snprintf(path, sizeof path, "%s/index.h5", test_folder());
    CHECK_OK(ec__embedding_write(path, &content));
    return 0;
}

static void test_items(void **state) {
    (void)state;
    ec_index *index = NULL;
    CHECK_OK(ec_index_open(path, 1, &index));
    assert_int_equal(ec_index_items(index), ITEMS);
    assert_int_equal(ec_index_width(index), WIDTH);
    assert_string_equal(ec_index_modality(index), "music");
    assert_string_equal(ec_index_id(index, 56), "item-56");
    assert_null(ec_index_label(index, 3));
    assert_string_equal(ec_index_label(index, 4), "happy");
    assert_string_equal(ec_index_label(index, 5), "sad");
    assert_memory_equal(ec_index_embedding(index, 7), embedding[7], sizeof embedding[7]);
    for (int64_t i = -1; i <= ITEMS; i += ITEMS + 1) {
        assert_null(ec_index_id(index, i));
        assert_null(ec_index_label(index, i));
        assert_null(ec_index_embedding(index, i));
    }
    ec_index_close(index);
    ec_index_close(NULL);
    ec_model_close(NULL);
}

static double exact(const float *query, int64_t item) {
    double sum = 0;
    for (int d = 0; d < WIDTH; d++) sum += (double)query[d] * (double)embedding[item][d];
    return sum;
}

static void test_search(void **state) {
    (void)state;
    ec_match match[ITEMS + 3], few[5];
    float query[WIDTH];
    for (int32_t threads = 1; threads <= 3; threads += 2) {
        ec_index *index = NULL;
        int32_t found = 0;
        CHECK_OK(ec_index_open(path, threads, &index));
        test_fill(query, WIDTH, 2);
        CHECK_OK(ec_index_search(index, query, ITEMS + 3, match, &found));
        assert_int_equal(found, ITEMS);
        bool seen[ITEMS] = {false};
        for (int i = 0; i < found; i++) {
            assert_true(match[i].item >= 0 && match[i].item < ITEMS && !seen[match[i].item]);
            seen[match[i].item] = true;
            test_limit("score", fabs((double)match[i].score - exact(query, match[i].item)), 1e-6);
            if (i > 0) test_limit("order", exact(query, match[i].item) - exact(query, match[i - 1].item), 1e-6);
        }
        CHECK_OK(ec_index_search(index, query, 5, few, &found));
        assert_int_equal(found, 5);
        for (int i = 0; i < 5; i++) assert_true(few[i].item == match[i].item && few[i].score == match[i].score);
        /* Equal items in the order of the index. */
        CHECK_OK(ec_index_search(index, embedding[40], 2, few, &found));
        assert_true(few[0].item == 20 && few[1].item == 40 && few[0].score == few[1].score);
        ec_index_close(index);
    }
}

static void test_refusals(void **state) {
    (void)state;
    ec_index *index = NULL;
    ec_model *model = NULL;
    ec_match match;
    int32_t found = -1;
    float query[WIDTH] = {0};
    CHECK_ERROR(ec_index_open("absent.h5", 1, &index), EC_ERR_DATA, "absent.h5");
    CHECK_ERROR(ec_index_open(EMOCLIM_SOURCE_DIR "/tests/data/cache-v1.h5", 1, &index), EC_ERR_DATA, "cache-v1.h5");
    CHECK_ERROR(ec_index_open(path, -1, &index), EC_ERR_USAGE, "-1 threads");
    CHECK_ERROR(ec_index_open(path, 4097, &index), EC_ERR_USAGE, "4097 threads");
    assert_null(index);
    CHECK_ERROR(ec_model_open("absent.h5", 1, &model), EC_ERR_DATA, "absent.h5");
    CHECK_ERROR(ec_model_open(path, 1, &model), EC_ERR_DATA, "is not a checkpoint");
    CHECK_ERROR(ec_model_open(path, 5000, &model), EC_ERR_USAGE, "5000 threads");
    assert_null(model);
    CHECK_OK(ec_index_open(path, 1, &index));
    CHECK_ERROR(ec_index_search(index, query, 0, &match, &found), EC_ERR_USAGE, "k = 0 items");
    query[3] = NAN;
    CHECK_ERROR(ec_index_search(index, query, 1, &match, &found), EC_ERR_USAGE, "number 3");
    assert_int_equal(found, -1);
    ec_index_close(index);
}

static void test_version(void **state) {
    (void)state;
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", EC_VERSION_MAJOR, EC_VERSION_MINOR, EC_VERSION_PATCH);
    assert_string_equal(text, EMOCLIM_VERSION);
    assert_string_equal(text, ec_version());
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_items), cmocka_unit_test(test_search),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_version)};
    return cmocka_run_group_tests(tests, write_index, NULL);
}
