/* Files of embeddings: round trip, rules, damage. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cache/embedding_file.h"
#include "core/file.h"

enum { ROWS = 17, WIDTH = 24 };

#define DIGEST "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static float embedding[ROWS * WIDTH];
static int32_t label[ROWS];
static const char *id[ROWS];
static const char *const class_names[] = {"joy", "peur"};

static ec_embedding_content make(void) {
    test_fill(embedding, ROWS * WIDTH, 3);
    for (int i = 0; i < ROWS; i++) {
        double length2 = 0;
        for (int k = 0; k < WIDTH; k++) length2 += (double)embedding[i * WIDTH + k] * embedding[i * WIDTH + k];
        for (int k = 0; k < WIDTH; k++) embedding[i * WIDTH + k] /= (float)sqrt(length2);
        label[i] = i % 3 - 1;
        id[i] = i % 2 ? "a/ü.wav" : "b.wav";
    }
    return (ec_embedding_content){.modality = "music", .checkpoint_digest = DIGEST, .rows = ROWS, .width = WIDTH,
                                  .class_count = 2, .embedding = embedding, .label = label, .id = id,
                                  .class_names = class_names};
}

static bool same(const ec_embeddings *e) {
    const ec_embedding_content *x = &e->content;
    bool equal = x->rows == ROWS && x->width == WIDTH && x->class_count == 2 && strcmp(x->modality, "music") == 0 &&
                 strcmp(x->checkpoint_digest, DIGEST) == 0 && strcmp(x->class_names[1], "peur") == 0 &&
                 memcmp(x->embedding, embedding, sizeof embedding) == 0 && memcmp(x->label, label, sizeof label) == 0;
    for (int i = 0; i < ROWS && equal; i++) equal = strcmp(x->id[i], id[i]) == 0;
    return equal;
}

static void test_round_trip(void **state) {
    (void)state;
    char *path = NULL, *other_path = NULL;
    ec_embeddings *e = NULL, *other = NULL;
    ec_embedding_content content = make();
    CHECK_OK(ec__path_join(test_folder(), "e.h5", &path));
    CHECK_OK(ec__path_join(test_folder(), "f.h5", &other_path));
    CHECK_OK(ec__embedding_write(path, &content));
    CHECK_OK(ec__embedding_read(path, &e));
    assert_true(same(e));
    CHECK_OK(ec__embedding_check_pair(e, e));
    content.checkpoint_digest = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    content.class_count = 0;
    content.class_names = NULL;
    for (int i = 0; i < ROWS; i++) label[i] = -1;
    CHECK_OK(ec__embedding_write(other_path, &content));
    CHECK_OK(ec__embedding_read(other_path, &other));
    assert_int_equal(other->content.class_count, 0);
    CHECK_ERROR(ec__embedding_check_pair(e, other), EC_ERR_DATA,
                "different models: checkpoint digests 001122334455 and");
    ec__embedding_free(other);
    ec__embedding_free(e);
    free(other_path);
    free(path);
}

static void test_rules(void **state) {
    (void)state;
    char *path = NULL;
    ec_embedding_content content = make();
    CHECK_OK(ec__path_join(test_folder(), "rules.h5", &path));
    embedding[5 * WIDTH] += 0.5f;
    CHECK_ERROR(ec__embedding_write(path, &content), EC_ERR_DATA, "embedding[5] (a/ü.wav) has length");
    content = make();
    embedding[6 * WIDTH + 1] = NAN;
    CHECK_ERROR(ec__embedding_write(path, &content), EC_ERR_DATA, "embedding[6]");
    content = make();
    label[4] = 2;
    CHECK_ERROR(ec__embedding_write(path, &content), EC_ERR_DATA, "label[4] is 2, expected -1 to 1");
    content = make();
    content.checkpoint_digest = "abc";
    CHECK_ERROR(ec__embedding_write(path, &content), EC_ERR_DATA, "checkpoint_digest");
    content = make();
    content.modality = "text";
    CHECK_ERROR(ec__embedding_write(path, &content), EC_ERR_DATA, "modality");
    assert_false(ec__file_exists(path));
    content = make();
    CHECK_ERROR(ec__embedding_write("/nonexistent/e.h5", &content), EC_ERR_IO, "/nonexistent/e.h5");
    ec_embeddings *e = NULL;
    CHECK_ERROR(ec__embedding_read(EMOCLIM_SOURCE_DIR "/tests/data/cache-v1.h5", &e), EC_ERR_DATA,
                "is not a file of embeddings but of the format \"emoclim feature cache\"");
    free(path);
}

static void test_damage(void **state) {
    (void)state;
    char *path = NULL, *bad = NULL, *bytes = NULL;
    size_t count = 0;
    int refused = 0;
    ec_embedding_content content = make();
    CHECK_OK(ec__path_join(test_folder(), "e.h5", &path));
    CHECK_OK(ec__path_join(test_folder(), "bad.h5", &bad));
    CHECK_OK(ec__embedding_write(path, &content));
    CHECK_OK(ec__file_read(path, 1 << 20, &bytes, &count));
    for (size_t at = 0; at < count; at += 17) {
        ec_embeddings *e = NULL;
        bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
        test_write_file(bad, bytes, count);
        ec_status status = ec__embedding_read(bad, &e);
        if (status == EC_OK) assert_true(same(e));
        else assert_int_equal(status, EC_ERR_DATA);
        refused += status != EC_OK;
        ec__embedding_free(e);
        bytes[at] = (char)(bytes[at] ^ (1 << at % 8));
    }
    assert_true(refused > 100);
    for (size_t keep = 0; keep < count; keep += count / 31) {
        ec_embeddings *e = NULL;
        test_write_file(bad, bytes, keep);
        CHECK_ERROR(ec__embedding_read(bad, &e), EC_ERR_DATA, "bad.h5");
    }
    free(bytes);
    free(bad);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
