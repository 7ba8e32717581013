/* ranks: 1 2 3 4 8 */
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "dist/comm_impl.h"
#include "dist/share.h"
#include "dist/tree.h"
#include "support.h"

/* Messages of many pieces in little time. */
enum { SMALL_PIECE = 64 << 10 };

static ec_comm *comm; /* the communicator under test */
static uint32_t rounds; /* of test_back_to_back: thousands for code of ours, fewer where MPI does the work */

static void *take(size_t bytes) {
    void *memory = malloc(bytes + 1);
    assert_non_null(memory);
    memset(memory, 0xab, bytes + 1);
    return memory;
}

/* What rank r sends, for comparison everywhere. */
static void fill_bytes(unsigned char *x, size_t bytes, int32_t rank, uint32_t round) {
    for (size_t i = 0; i < bytes; i++) x[i] = (unsigned char)(i * 7 + (size_t)rank * 31 + round * 13 + (i >> 8));
}

static void check_gathered(const unsigned char *all, size_t bytes, uint32_t round) {
    unsigned char *expected = take(bytes);
    for (int32_t r = 0; r < comm->size; r++) {
        fill_bytes(expected, bytes, r, round);
        assert_memory_equal(all + (size_t)r * bytes, expected, bytes);
    }
    free(expected);
}

static const size_t gather_sizes[] = {0, 1, 3, 64, 1000, 4097, 65536, 300001, 2 << 20};

static void test_all_gather(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof gather_sizes / sizeof gather_sizes[0]; i++) {
        size_t bytes = gather_sizes[i];
        unsigned char *mine = take(bytes), *all = take(bytes * (size_t)comm->size);
        const void *view = NULL;
        fill_bytes(mine, bytes, comm->rank, 1);
        CHECK_OK(ec__comm_all_gather(comm, mine, all, bytes));
        check_gathered(all, bytes, 1);

        /* In place. */
        memset(all, 0, bytes * (size_t)comm->size);
        fill_bytes(all + (size_t)comm->rank * bytes, bytes, comm->rank, 2);
        CHECK_OK(ec__comm_all_gather(comm, all + (size_t)comm->rank * bytes, all, bytes));
        check_gathered(all, bytes, 2);

        CHECK_OK(ec__comm_all_gather_view(comm, mine, &view, bytes));
        check_gathered(view, bytes, 1);
        free(mine);
        free(all);
    }
}

/* Parts of one rank's bytes, of several, of all, and of none. */
static void test_gather_part(void **state) {
    (void)state;
    enum { BYTES = 1000 };
    const size_t total = BYTES * (size_t)comm->size;
    const struct { size_t begin, end; } parts[] = {
        {0, BYTES}, {3, 5}, {BYTES - 1, total}, {0, total}, {total / 3, total - 17}, {total - 1, total}, {7, 7}};
    unsigned char *mine = take(BYTES), *all = take(total), *part = take(total);
    for (uint32_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const size_t begin = parts[i].begin, count = parts[i].end - begin;
        for (int32_t r = 0; r < comm->size; r++) fill_bytes(all + (size_t)r * BYTES, BYTES, r, i);
        fill_bytes(mine, BYTES, comm->rank, i);
        memset(part, 0xab, total + 1);
        CHECK_OK(ec__comm_all_gather_part(comm, mine, BYTES, begin, count, part));
        assert_memory_equal(part, all + begin, count);
        assert_int_equal(part[count], 0xab);
    }
    free(mine), free(all), free(part);
}

static void test_broadcast(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof gather_sizes / sizeof gather_sizes[0]; i++)
        for (int32_t root = 0; root < comm->size; root++) {
            size_t bytes = gather_sizes[i];
            unsigned char *x = take(bytes), *expected = take(bytes);
            fill_bytes(expected, bytes, root, 3);
            if (comm->rank == root) memcpy(x, expected, bytes);
            CHECK_OK(ec__comm_broadcast(comm, x, bytes, root));
            assert_memory_equal(x, expected, bytes);
            free(x);
            free(expected);
        }
}

/* Sums of leaves all the same way on one process, and by every rank bringing its share. */
static void check_ordered(int32_t leaf_count, int64_t count) {
    const int32_t local = leaf_count / comm->size;
    const size_t bytes = (size_t)count * sizeof(float);
    float *all = take(bytes * (size_t)leaf_count), *mine = take(bytes * (size_t)local), *out = take(bytes);
    const float *own = all + (int64_t)comm->rank * local * count;
    test_fill(all, leaf_count * count, (uint64_t)(leaf_count * 1000 + count));
    memcpy(mine, own, bytes * (size_t)local);
    float *expected = take(bytes * (size_t)leaf_count);
    memcpy(expected, all, bytes * (size_t)leaf_count);
    ec__tree_sum(expected, leaf_count, count);

    CHECK_OK(ec__comm_all_reduce_ordered(comm, mine, local, count, out));
    assert_memory_equal(out, expected, bytes);
    if (count % comm->size == 0) {
        int64_t part = count / comm->size;
        memcpy(mine, own, bytes * (size_t)local);
        memset(out, 0, bytes);
        CHECK_OK(ec__comm_reduce_scatter_ordered(comm, mine, local, count, out));
        assert_memory_equal(out, expected + comm->rank * part, (size_t)part * sizeof(float));
    }
    free(all);
    free(mine);
    free(out);
    free(expected);
}

static void test_ordered_sums(void **state) {
    (void)state;
    const int64_t counts[] = {0, 1, 7, 24, 1000, 8192, 30000, 100001};
    for (int32_t local = 1; local <= 4; local++)
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) check_ordered(local * comm->size, counts[i]);
    /* The run's usual number of virtual shards and one that all of these numbers of ranks divide. */
    if (8 % comm->size == 0) check_ordered(8, 50000);
    check_ordered(24, 50000);
    check_ordered(2 * comm->size, 300 * 1000);
}

static void test_fast_sum(void **state) {
    (void)state;
    const int64_t counts[] = {0, 1, 5, 1000, 65536, 1000001};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int64_t count = counts[i];
        float *x = take((size_t)count * sizeof *x);
        /* Small whole numbers: the sum is exact in any order. */
        for (int64_t j = 0; j < count; j++) x[j] = (float)(j % 1000 + comm->rank * 3);
        CHECK_OK(ec__comm_all_reduce_fast(comm, x, count));
        for (int64_t j = 0; j < count; j++)
            if (x[j] != (float)(comm->size * (j % 1000) + 3 * comm->size * (comm->size - 1) / 2))
                fail_msg("element %lld of %lld is %g", (long long)j, (long long)count, (double)x[j]);
        free(x);
    }
}

/* Many collectives of changing kind and size in a row: a rank may be ahead of the others by as much as is allowed. */
static void test_back_to_back(void **state) {
    (void)state;
    enum { MOST = 512 };
    unsigned char mine[MOST], expected[MOST];
    unsigned char *all = take((size_t)MOST * (size_t)comm->size);
    float leaf[4], sum[4];
    for (uint32_t round = 0; round < rounds; round++) {
        size_t bytes = 1 + round * 37 % MOST;
        int32_t root = (int32_t)round % comm->size;
        const void *view = NULL;
        fill_bytes(mine, bytes, comm->rank, round);
        CHECK_OK(ec__comm_all_gather_view(comm, mine, &view, bytes));
        for (int32_t r = 0; r < comm->size; r++) {
            fill_bytes(expected, bytes, r, round);
            if (memcmp((const unsigned char *)view + (size_t)r * bytes, expected, bytes) != 0)
                fail_msg("round %u: the view of rank %d's part is wrong", round, r);
        }
        CHECK_OK(ec__comm_all_gather(comm, mine, all, bytes));
        for (int32_t r = 0; r < comm->size; r++) {
            fill_bytes(expected, bytes, r, round);
            if (memcmp(all + (size_t)r * bytes, expected, bytes) != 0) fail_msg("round %u: rank %d's part", round, r);
        }
        for (int i = 0; i < 4; i++) leaf[i] = (float)(comm->rank + i + (int)round % 100);
        CHECK_OK(ec__comm_all_reduce_ordered(comm, leaf, 1, 4, sum));
        for (int i = 0; i < 4; i++)
            assert_true(sum[i] == (float)(comm->size * (i + (int)round % 100) + comm->size * (comm->size - 1) / 2));
        if (comm->rank == root) fill_bytes(expected, MOST, root, round);
        else memset(expected, 0, sizeof expected);
        CHECK_OK(ec__comm_broadcast(comm, expected, MOST, root));
        fill_bytes(mine, MOST, root, round);
        assert_memory_equal(mine, expected, MOST);
        if (round % 16 == 0) CHECK_OK(ec__comm_barrier(comm));
    }
    free(all);
}

static ec_status fail_deeply(int32_t rank) {
    ec_status status = EC_OK;
    EC_TRY(EC_ERROR(EC_ERR_DATA, "row 17 of rank %d's file is bad", rank));
done:
    return status;
}

static void test_agree(void **state) {
    (void)state;
    char text[64];
    CHECK_OK(ec__comm_agree(comm, EC_OK));
    for (int32_t bad = 0; bad < comm->size; bad++) {
        snprintf(text, sizeof text, "row 17 of rank %d's file is bad", bad);
        /* Every rank from bad on fails; the lowest one is reported everywhere. */
        ec_status mine = comm->rank >= bad ? fail_deeply(comm->rank) : EC_OK;
        CHECK_ERROR(ec__comm_agree(comm, mine), EC_ERR_DATA, text);
        assert_int_equal(ec_error_last()->rank, bad);
        assert_true(ec_error_last()->frame_count >= 2);
        assert_string_equal(ec_error_last()->frame[0].function, "fail_deeply");
        ec_error_clear();
        CHECK_OK(ec__comm_agree(comm, EC_OK));
    }
    /* A code without a record still says whose it is. */
    if (comm->size > 1) {
        ec_error_clear();
        CHECK_ERROR(ec__comm_agree(comm, comm->rank == 1 ? EC_STOPPED : EC_OK), EC_STOPPED, "rank 1");
    }
}

static void test_another_size(void **state) {
    (void)state;
    char x[8192 * 2] = {0};
    if (comm->size == 1) skip();
    char *all = take(sizeof x * (size_t)comm->size);
    /* Ranks 1 and up bring twice as much. */
    size_t bytes = comm->rank == 0 ? 8192 : 16384;
    CHECK_ERROR(ec__comm_all_gather(comm, x, all, bytes), EC_ERR_DIST, "rank 0 called all_gather of 8192 bytes");
    assert_non_null(strstr(ec_error_last()->text, "called all_gather of 16384 bytes"));
    free(all);
}

static void test_another_call(void **state) {
    (void)state;
    float x[4] = {0};
    if (comm->size == 1) skip();
    ec_status status = comm->rank == comm->size - 1 ? ec__comm_barrier(comm) : ec__comm_all_reduce_fast(comm, x, 4);
    CHECK_ERROR(status, EC_ERR_DIST, "called barrier as collective number");
    assert_non_null(strstr(ec_error_last()->text, "called all_reduce_fast of 16 bytes"));
}

static void test_unknown_kind(void **state) {
    (void)state;
    ec_comm *none = NULL;
    CHECK_ERROR(ec__comm_open("carrier pigeon", &none), EC_ERR_USAGE, "carrier pigeon");
    assert_null(none);
}

/* Every row comes from the one rank whose share it is, and shares cover all rows. */
static void test_share(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 7, 8, 9, 1001};
    enum { BYTES = 12 };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int64_t count = counts[i], next = 0;
        size_t bytes = (size_t)count * BYTES;
        unsigned char *rows = take(bytes), *expected = take(bytes);
        for (int32_t r = 0; r < comm->size; r++) {
            const ec_share share = ec__share_of(r, comm->size, count);
            assert_true(share.first == next && share.last >= share.first);
            next = share.last;
            fill_bytes(expected + share.first * BYTES, (size_t)(share.last - share.first) * BYTES, r, 3);
            if (r == comm->rank)
                fill_bytes(rows + share.first * BYTES, (size_t)(share.last - share.first) * BYTES, r, 3);
        }
        assert_int_equal(next, count);
        CHECK_OK(ec__share_rows(comm, rows, count, BYTES));
        assert_memory_equal(rows, expected, bytes + 1); /* and nothing behind them */
        free(expected);
        free(rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_gather),  cmocka_unit_test(test_broadcast),    cmocka_unit_test(test_ordered_sums),
        cmocka_unit_test(test_gather_part),
        cmocka_unit_test(test_fast_sum),    cmocka_unit_test(test_back_to_back), cmocka_unit_test(test_agree),
        cmocka_unit_test(test_unknown_kind), cmocka_unit_test(test_share),
    };
    const struct CMUnitTest mistakes[] = {cmocka_unit_test(test_another_size), cmocka_unit_test(test_another_call)};
    const char *const kinds[] = {"self", "mpi", "mpi-plain", "mpi", "mpi-plain"};
    int failed = 0;
    ec_comm *first = NULL; /* keeps MPI running from one kind to the next */
    CHECK_OK(ec__comm_open("mpi", &first));
    for (int i = 0; i < 5; i++) {
        CHECK_OK(ec__comm_open(kinds[i], &comm));
        if (i >= 3) ec__comm_set_piece(comm, SMALL_PIECE);
        rounds = strcmp(kinds[i], "mpi-plain") == 0 ? 200 : 3000;
        failed += cmocka_run_group_tests_name(kinds[i], tests, NULL, NULL);
        /* Only the window, inside one node, notices mistakes; the communicator can only be closed afterwards. */
        if (i == 3 && comm->node_size == comm->size)
            failed += cmocka_run_group_tests_name("mistakes", mistakes, NULL, NULL);
        ec__comm_close(comm);
    }
    ec__comm_close(first);
    return failed;
}
