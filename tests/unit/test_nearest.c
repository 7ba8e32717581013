#include <string.h>

#include "core/nearest.h"
#include "support.h"

static void test_distances(void **state) {
    (void)state;
    const struct {
        const char *a, *b;
        size_t distance;
    } cases[] = {
        {"", "", 0},           {"", "abc", 3},      {"kitten", "sitting", 3}, {"flaw", "lawn", 2},
        {"ouput", "output", 1}, {"ab", "ba", 1},     {"ca", "abc", 3},         {"Adam", "adam", 0},
        {"abcd", "acbd", 1},   {"intent", "execu", 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(ec__edit_distance(cases[i].a, cases[i].b), cases[i].distance);
        assert_int_equal(ec__edit_distance(cases[i].b, cases[i].a), cases[i].distance);
    }
    char longest[EC_NEAREST_LONGEST + 1], longer[EC_NEAREST_LONGEST + 2];
    memset(longest, 'x', sizeof longest);
    longest[EC_NEAREST_LONGEST] = '\0';
    memset(longer, 'x', sizeof longer);
    longer[EC_NEAREST_LONGEST + 1] = '\0';
    assert_int_equal(ec__edit_distance(longest, ""), EC_NEAREST_LONGEST);
    assert_true(ec__edit_distance(longer, "x") == SIZE_MAX);
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const words[] = {"train", "eval", NULL, "embed", "export", "learning_rate"};
    const size_t count = sizeof words / sizeof words[0];
    assert_string_equal(ec__nearest("trian", words, count), "train");
    assert_string_equal(ec__nearest("emebd", words, count), "embed");
    assert_string_equal(ec__nearest("learn", words, count), "learning_rate"); /* the beginning of it */
    assert_string_equal(ec__nearest("learn_rate", words, count), "learning_rate");
    assert_null(ec__nearest("x", words, count));
    assert_null(ec__nearest("quickstart", words, count));
    assert_null(ec__nearest("train", words, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distances), cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
