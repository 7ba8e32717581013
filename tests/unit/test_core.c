#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/file.h"
#include "core/pool.h"
#include "core/rng.h"
#include "core/sha256.h"
#include "support.h"

static void test_philox_known_answers(void **state) {
    (void)state;
    /* From the Random123 distribution's known-answer file. */
    const struct {
        uint32_t counter[4], key[2], out[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t out[4];
        ec__philox(cases[i].key, cases[i].counter, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void test_rng_moments(void **state) {
    (void)state;
    enum { N = 200000 };
    ec_rng rng = ec__rng_at(7, EC_RNG_TEST, 3, 5);
    double sum = 0, sum2 = 0;
    int64_t counts[6] = {0};
    for (int i = 0; i < N; i++) {
        double x = ec__rng_normal(&rng);
        sum += x;
        sum2 += x * x;
        counts[ec__rng_below(&rng, 6)]++;
    }
    test_limit("mean of normals", fabs(sum / N), 0.01);
    test_limit("variance of normals", fabs(sum2 / N - 1), 0.02);
    for (int i = 0; i < 6; i++) test_limit("share of a face", fabs((double)counts[i] / N - 1.0 / 6), 0.005);
}

static ec_status add_task(void *arg, int32_t task, int32_t worker) {
    (void)worker;
    atomic_fetch_add((atomic_long *)arg, task + 1);
    return EC_OK;
}

static ec_status fail_odd(void *arg, int32_t task, int32_t worker) {
    (void)arg, (void)worker;
    return task % 2 ? EC_ERROR(EC_ERR_DATA, "task %d", task) : EC_OK;
}

static void test_pool(void **state) {
    (void)state;
    for (int32_t threads = 1; threads <= 4; threads++) {
        ec_pool *pool = NULL;
        CHECK_OK(ec__pool_new(threads, &pool));
        for (int round = 0; round < 200; round++) {
            atomic_long sum = 0;
            CHECK_OK(ec__pool_run(pool, 100, add_task, &sum));
            assert_int_equal(sum, 5050);
        }
        /* The error that comes back is that of the lowest task, whichever thread met it. */
        CHECK_ERROR(ec__pool_run(pool, 9, fail_odd, NULL), EC_ERR_DATA, "task 1");
        ec__pool_free(pool);
    }
}

static void test_arena_counts_what_it_carves(void **state) {
    (void)state;
    ec_arena plan = ec__arena_counting();
    assert_null(ec__arena_take(&plan, 3, 4));
    assert_null(ec__arena_take(&plan, 100, 4));
    char *memory = aligned_alloc(EC_ARENA_ALIGN, ec__arena_used(&plan));
    ec_arena arena = ec__arena_over(memory, ec__arena_used(&plan));
    assert_ptr_equal(ec__arena_take(&arena, 3, 4), memory);
    assert_ptr_equal(ec__arena_take(&arena, 100, 4), memory + EC_ARENA_ALIGN);
    assert_int_equal(ec__arena_used(&arena), ec__arena_used(&plan));
    free(memory);
}

static void test_atomic_file(void **state) {
    (void)state;
    char *path = NULL, *text = NULL;
    size_t count = 0;
    CHECK_OK(ec__path_join(test_folder(), "a.txt", &path));
    CHECK_OK(ec__file_write(path, "one", 3));
    ec_atomic_file *file = NULL;
    CHECK_OK(ec__atomic_open(path, &file));
    ec__atomic_discard(file); /* the old contents stay */
    CHECK_OK(ec__file_read(path, 100, &text, &count));
    assert_string_equal(text, "one");
    free(text);
    CHECK_ERROR(ec__file_read(path, 2, &text, &count), EC_ERR_DATA, "at most 2");
    CHECK_ERROR(ec__file_read("/nonexistent/x", 2, &text, &count), EC_ERR_DATA, "/nonexistent/x");
    CHECK_ERROR(ec__file_write("/nonexistent/x", "", 0), EC_ERR_IO, "/nonexistent/x");
    CHECK_ERROR(ec__make_folders(""), EC_ERR_IO, "a folder without a name");
    free(path);
}

static void test_sha256(void **state) {
    (void)state;
    char hex[EC_SHA256_HEX];
    CHECK_OK(ec__sha256_bytes("abc", 3, hex));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers), cmocka_unit_test(test_rng_moments),
        cmocka_unit_test(test_pool),                 cmocka_unit_test(test_arena_counts_what_it_carves),
        cmocka_unit_test(test_atomic_file),          cmocka_unit_test(test_sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
