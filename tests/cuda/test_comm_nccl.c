/* ranks: 1 2 3 8
 * The communicator over a GPU's memory: every collective at once and from a recording, against what the host
 * computes. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "compute/backend.h"
#include "compute/ops_head.h"
#include "core/module.h"
#include "dist/comm_impl.h"
#include "dist/tree.h"
#include "support.h"

enum { SKIPPED = 77 };

static ec_comm *host, *comm;
static ec_backend *be;

static void *take(size_t bytes) {
    void *memory = calloc(1, bytes + 1);
    assert_non_null(memory);
    return memory;
}

static void *device_take(size_t bytes) {
    void *memory = NULL;
    CHECK_OK(be->memory->alloc(be, bytes, &memory));
    return memory;
}

static void upload(void *to, const void *from, size_t bytes) {
    CHECK_OK(be->memory->upload(be, be->main_stream(be), to, from, bytes));
}

/* Through the communicator's wait: where a rank is missing the test ends. */
static void download(void *to, const void *from, size_t bytes) {
    CHECK_OK(ec__comm_wait(comm));
    CHECK_OK(be->memory->download(be, be->main_stream(be), to, from, bytes));
    CHECK_OK(be->synchronize(be));
}

static void device_free(void *memory) { be->memory->free(be, memory); }

/* One collective with its arrays; what the numbers mean is the collective's. */
typedef struct call {
    ec_status (*run)(const struct call *call);
    const void *from;
    void *to;
    const void *view;
    int64_t count;
    int32_t number; /* leaves, or root, or the byte that a part begins with */
    size_t part;    /* bytes of it */
} call;

static ec_status run_call(void *arg) {
    const call *c = arg;
    return c->run(c);
}

/* recorded: by way of a recording, which is replayed once. */
static void run(call *c, bool recorded) {
    ec_recording *recording = NULL;
    if (!recorded) {
        CHECK_OK(run_call(c));
        return;
    }
    CHECK_OK(be->record(be, run_call, c, &recording));
    CHECK_OK(be->replay(be, recording));
    CHECK_OK(ec__comm_wait(comm));
    be->recording_free(be, recording);
}

static void fill_bytes(unsigned char *x, size_t bytes, int32_t rank, int round) {
    const size_t key = (size_t)rank * 31 + (size_t)round * 13;
    for (size_t i = 0; i < bytes; i++) x[i] = (unsigned char)(i * 7 + key + (i >> 8));
}

static ec_status gather(const call *c) { return ec__comm_all_gather(comm, c->from, c->to, (size_t)c->count); }

static ec_status gather_view(const call *c) {
    call *out = (call *)(uintptr_t)c;
    return ec__comm_all_gather_view(comm, c->from, &out->view, (size_t)c->count);
}

static void check_gathered(const void *all, size_t bytes, int round) {
    const size_t total = bytes * (size_t)comm->size;
    unsigned char *got = take(total), *expected = take(total);
    for (int32_t r = 0; r < comm->size; r++) fill_bytes(expected + (size_t)r * bytes, bytes, r, round);
    download(got, all, total);
    assert_memory_equal(got, expected, total);
    free(got);
    free(expected);
}

static void check_gather(size_t bytes, bool recorded, int round) {
    unsigned char *mine = take(bytes);
    char *x = device_take(bytes), *all = device_take(bytes * (size_t)comm->size);
    fill_bytes(mine, bytes, comm->rank, round);
    upload(x, mine, bytes);
    run(&(call){.run = gather, .from = x, .to = all, .count = (int64_t)bytes}, recorded);
    check_gathered(all, bytes, round);
    call view = {.run = gather_view, .from = x, .count = (int64_t)bytes};
    run(&view, recorded);
    check_gathered(view.view, bytes, round);
    /* In place. */
    fill_bytes(mine, bytes, comm->rank, round + 1);
    CHECK_OK(be->memory->zero(be, be->main_stream(be), all, bytes * (size_t)comm->size));
    upload(all + (size_t)comm->rank * bytes, mine, bytes);
    run(&(call){.run = gather, .from = all + (size_t)comm->rank * bytes, .to = all, .count = (int64_t)bytes}, recorded);
    check_gathered(all, bytes, round + 1);
    free(mine);
    device_free(x);
    device_free(all);
}

static void test_all_gather(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 3, 64, 4097, 300001};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int recorded = 0; recorded < 2; recorded++) check_gather(sizes[i], recorded, (int)i + 5 * recorded);
    CHECK_OK(ec__comm_all_gather(comm, NULL, NULL, 0));
}

/* to: the part, from its byte number on. */
static ec_status gather_part(const call *c) {
    return ec__comm_all_gather_part(comm, c->from, (size_t)c->count, (size_t)c->number, c->part, c->to);
}

/* Parts of one rank's bytes, of several, of all, and of none. */
static void test_gather_part(void **state) {
    (void)state;
    enum { BYTES = 1000 };
    const size_t total = BYTES * (size_t)comm->size;
    const struct { size_t begin, end; } parts[] = {
        {0, BYTES}, {3, 5}, {BYTES - 1, total}, {0, total}, {total / 3, total - 17}, {total - 1, total}, {7, 7}};
    unsigned char *mine = take(BYTES), *all = take(total), *got = take(total);
    char *x = device_take(BYTES), *to = device_take(total);
    for (int i = 0; i < (int)(sizeof parts / sizeof parts[0]); i++)
        for (int recorded = 0; recorded < 2; recorded++) {
            const size_t begin = parts[i].begin, count = parts[i].end - begin;
            for (int32_t r = 0; r < comm->size; r++) fill_bytes(all + (size_t)r * BYTES, BYTES, r, 2 * i + recorded);
            fill_bytes(mine, BYTES, comm->rank, 2 * i + recorded);
            upload(x, mine, BYTES);
            run(&(call){.run = gather_part, .from = x, .to = to, .count = BYTES, .number = (int32_t)begin, .part = count},
                recorded);
            if (count > 0) download(got, to, count);
            assert_memory_equal(got, all + begin, count);
        }
    free(mine), free(all), free(got);
    device_free(x);
    device_free(to);
}

static ec_status broadcast(const call *c) { return ec__comm_broadcast(comm, c->to, (size_t)c->count, c->number); }

static void test_broadcast(void **state) {
    (void)state;
    enum { BYTES = 70001 };
    unsigned char *x = take(BYTES), *expected = take(BYTES);
    void *d = device_take(BYTES);
    for (int32_t root = 0; root < comm->size; root++)
        for (int recorded = 0; recorded < 2; recorded++) {
            fill_bytes(expected, BYTES, root, recorded);
            fill_bytes(x, BYTES, comm->rank, recorded);
            upload(d, x, BYTES);
            run(&(call){.run = broadcast, .to = d, .count = BYTES, .number = root}, recorded);
            download(x, d, BYTES);
            assert_memory_equal(x, expected, BYTES);
        }
    CHECK_OK(ec__comm_broadcast(comm, NULL, 0, 0));
    free(x);
    free(expected);
    device_free(d);
}

static ec_status reduce(const call *c) {
    return ec__comm_all_reduce_ordered(comm, (float *)(uintptr_t)c->from, c->number, c->count, c->to);
}

static ec_status reduce_scatter(const call *c) {
    return ec__comm_reduce_scatter_ordered(comm, (float *)(uintptr_t)c->from, c->number, c->count, c->to);
}

/* Sums of leaves all the same way on one process, and by every rank bringing its share. */
static void check_ordered(int32_t leaf_count, int64_t count, bool recorded) {
    const int32_t local = leaf_count / comm->size;
    const int64_t part = count / comm->size;
    const size_t bytes = (size_t)count * sizeof(float);
    float *all = take(bytes * (size_t)leaf_count), *got = take(bytes);
    float *leaves = device_take(bytes * (size_t)local + 1), *out = device_take(bytes + 1);
    const float *own = all + (int64_t)comm->rank * local * count;
    test_fill(all, leaf_count * count, (uint64_t)(leaf_count * 1000 + count));
    float *expected = take(bytes * (size_t)leaf_count);
    memcpy(expected, all, bytes * (size_t)leaf_count);
    ec__tree_sum(expected, leaf_count, count);

    CHECK_OK(ec__comm_prepare(comm, local, count));
    if (count > 0) upload(leaves, own, bytes * (size_t)local);
    run(&(call){.run = reduce, .from = leaves, .to = out, .count = count, .number = local}, recorded);
    if (count > 0) download(got, out, bytes);
    assert_memory_equal(got, expected, bytes);
    if (count % comm->size == 0) {
        if (count > 0) upload(leaves, own, bytes * (size_t)local);
        run(&(call){.run = reduce_scatter, .from = leaves, .to = out, .count = count, .number = local}, recorded);
        if (part > 0) download(got, out, (size_t)part * sizeof(float));
        assert_memory_equal(got, expected + comm->rank * part, (size_t)part * sizeof(float));
    }
    free(all);
    free(got);
    free(expected);
    device_free(leaves);
    device_free(out);
}

/* From sums that every rank makes for itself to parts of different length, and more leaves than a kernel takes. */
static void test_ordered_sums(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 7, 1000, 70000, 70001};
    for (int recorded = 0; recorded < 2; recorded++) {
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            check_ordered(comm->size, counts[i], recorded);
            check_ordered(3 * comm->size, counts[i], recorded);
        }
        check_ordered(24, 24 * 1500, recorded);
        check_ordered(8 * comm->size, 9600, recorded);
        check_ordered(21 * comm->size, 480, recorded);
        if (8 % comm->size == 0) check_ordered(8, 50000, recorded);
    }
}

static ec_status fast(const call *c) { return ec__comm_all_reduce_fast(comm, c->to, c->count); }

static void test_fast_sum(void **state) {
    (void)state;
    enum { COUNT = 50001 };
    float *x = take(COUNT * sizeof *x), *d = device_take(COUNT * sizeof *x);
    for (int recorded = 0; recorded < 2; recorded++) {
        /* Small whole numbers: the sum is exact in any order. */
        for (int j = 0; j < COUNT; j++) x[j] = (float)(j % 1000 + comm->rank * 3);
        upload(d, x, COUNT * sizeof *x);
        run(&(call){.run = fast, .to = d, .count = COUNT}, recorded);
        download(x, d, COUNT * sizeof *x);
        for (int j = 0; j < COUNT; j++)
            if (x[j] != (float)(comm->size * (j % 1000) + 3 * comm->size * (comm->size - 1) / 2))
                fail_msg("element %d is %g", j, (double)x[j]);
    }
    CHECK_OK(ec__comm_all_reduce_fast(comm, NULL, 0));
    free(x);
    device_free(d);
}

/* A step as training has it: sums beside work of this rank's own. a: leaves, doubled in front of the fork; b: a sum's
 * place; c: doubled meanwhile; then c += b. */
typedef struct step {
    float *a, *b, *c;
    int64_t count;
} step;

static ec_status enqueue_step(void *arg) {
    const step *s = arg;
    ec_stream *stream = be->main_stream(be);
    EC_RETURN_IF(be->head->add(be, stream, s->count, s->a, s->a));
    EC_RETURN_IF(ec__comm_fork(comm));
    EC_RETURN_IF(ec__comm_all_reduce_ordered(comm, s->a, 1, s->count / 2, s->b));
    EC_RETURN_IF(be->head->add(be, stream, s->count, s->c, s->c));
    EC_RETURN_IF(be->head->add(be, stream, s->count / 2, s->a + s->count / 2, s->a + s->count / 2));
    EC_RETURN_IF(ec__comm_fork(comm));
    EC_RETURN_IF(ec__comm_all_reduce_ordered(comm, s->a + s->count / 2, 1, s->count / 2, s->b + s->count / 2));
    EC_RETURN_IF(be->head->add(be, stream, s->count, s->c, s->c));
    EC_RETURN_IF(ec__comm_join(comm));
    return be->head->add(be, stream, s->count, s->b, s->c);
}

static void check_step(const step *s, const ec_recording *recording, int round) {
    const int64_t count = s->count;
    const size_t bytes = (size_t)count * sizeof(float);
    float *leaves = take(bytes * (size_t)comm->size), *c = take(bytes), *got = take(bytes);
    test_fill(leaves, count * comm->size, (uint64_t)(100 + round));
    test_fill(c, count, (uint64_t)(200 + 10 * round + comm->rank));
    upload(s->a, leaves + comm->rank * count, bytes);
    upload(s->c, c, bytes);
    if (recording) CHECK_OK(be->replay(be, recording));
    else CHECK_OK(enqueue_step((void *)(uintptr_t)s));
    download(got, s->c, bytes);
    for (int64_t i = 0; i < count * comm->size; i++) leaves[i] *= i % count < count / 2 ? 2 : 4;
    ec__tree_sum(leaves, comm->size, count);
    for (int64_t i = 0; i < count; i++)
        if (got[i] != 4 * c[i] + leaves[i])
            fail_msg("round %d: element %lld is %g, expected %g", round, (long long)i, (double)got[i],
                     (double)(4 * c[i] + leaves[i]));
    free(leaves);
    free(c);
    free(got);
}

static void test_beside(void **state) {
    (void)state;
    enum { COUNT = 40000 };
    const size_t bytes = COUNT * sizeof(float);
    ec_recording *recording = NULL;
    step s = {device_take(bytes), device_take(bytes), device_take(bytes), COUNT};
    CHECK_OK(ec__comm_prepare(comm, 1, COUNT / 2));
    CHECK_OK(be->record(be, enqueue_step, &s, &recording));
    for (int round = 0; round < 6; round++) check_step(&s, round % 2 ? recording : NULL, round);
    for (int round = 6; round < 9; round++) check_step(&s, recording, round);
    be->recording_free(be, recording);
    device_free(s.a);
    device_free(s.b);
    device_free(s.c);
}

/* A recording must not allocate: too little room is an error there, and none once it was asked for. */
static void test_room(void **state) {
    (void)state;
    const int64_t count = 3000000;
    ec_recording *recording = NULL;
    void *leaves = device_take((size_t)count * sizeof(float)), *out = device_take((size_t)count * sizeof(float));
    call c = {.run = reduce, .from = leaves, .to = out, .count = count, .number = 1};
    if (comm->size == 1) skip();
    CHECK_ERROR(be->record(be, run_call, &c, &recording), EC_ERR_USAGE, "bytes of work space");
    assert_null(recording);
    ec__comm_close(comm);
    CHECK_OK(ec__comm_open_over(host, be->native_queue(be), &comm));
    /* Of two sums the smaller may want more: every rank makes it for itself. */
    CHECK_OK(ec__comm_prepare(comm, 1, 40000));
    c.count = 65536 / comm->size;
    CHECK_OK(be->record(be, run_call, &c, &recording));
    be->recording_free(be, recording);
    c.count = count;
    CHECK_OK(ec__comm_prepare(comm, 1, count));
    CHECK_OK(be->record(be, run_call, &c, &recording));
    be->recording_free(be, recording);
    device_free(leaves);
    device_free(out);
}

static void test_meetings(void **state) {
    (void)state;
    CHECK_OK(ec__comm_barrier(comm));
    CHECK_OK(ec__comm_agree(comm, EC_OK));
    ec_status mine = comm->rank == comm->size - 1 ? EC_ERROR(EC_ERR_DATA, "a bad row") : EC_OK;
    CHECK_ERROR(ec__comm_agree(comm, mine), EC_ERR_DATA, "a bad row");
    assert_string_equal(comm->kind, "nccl");
    assert_ptr_equal(comm->host, host);
}

/* Pieces of an array: as many elements in a pattern as will fit, with gaps between them that stay as they are. */
typedef struct pieces {
    float *from, *to; /* from NULL: in place, in the library's order */
    const ec_comm_piece *piece;
    int32_t count;
} pieces;

static ec_status reduce_pieces(void *arg) {
    const pieces *p = arg;
    EC_RETURN_IF(ec__comm_fork(comm));
    EC_RETURN_IF(ec__comm_all_reduce_pieces(comm, p->from, p->piece, p->count, p->to));
    return ec__comm_join(comm);
}

static void check_pieces(const ec_comm_piece *piece, int32_t count, bool ordered, bool recorded) {
    const int64_t floats = piece[count - 1].at + piece[count - 1].count + 3;
    const size_t bytes = (size_t)floats * sizeof(float);
    float *leaves = take(bytes * (size_t)comm->size), *got = take(bytes), *expected = take(bytes);
    pieces p = {ordered ? device_take(bytes) : NULL, device_take(bytes), piece, count};
    ec_recording *recording = NULL;
    test_fill(leaves, floats * comm->size, 7);
    memcpy(expected, leaves + comm->rank * floats, bytes);
    upload(p.to, expected, bytes);
    if (ordered) upload(p.from, expected, bytes);
    ec__tree_sum(leaves, comm->size, floats);
    for (int32_t i = 0; i < count; i++)
        memcpy(expected + piece[i].at, leaves + piece[i].at, (size_t)piece[i].count * sizeof(float));
    if (recorded) {
        CHECK_OK(be->record(be, reduce_pieces, &p, &recording));
        CHECK_OK(be->replay(be, recording));
    } else {
        CHECK_OK(reduce_pieces(&p));
    }
    download(got, p.to, bytes);
    be->recording_free(be, recording);
    if (ordered) assert_memory_equal(got, expected, bytes);
    for (int64_t i = 0; i < floats; i++)
        if (!(got[i] - expected[i] <= 1e-5f && expected[i] - got[i] <= 1e-5f))
            fail_msg("element %lld is %g, expected %g", (long long)i, (double)got[i], (double)expected[i]);
    device_free(p.from), device_free(p.to);
    free(leaves), free(got), free(expected);
}

static void test_pieces(void **state) {
    (void)state;
    static const ec_comm_piece few[] = {{2, 7}, {9, 1}, {12, 300}}, many[] = {{0, 5}, {6, 40001}, {50000, 30000}};
    CHECK_OK(ec__comm_prepare(comm, 1, 70006 + 3 * comm->size));
    for (int i = 0; i < 4; i++) {
        check_pieces(few, 3, i % 2 != 0, i / 2 != 0);
        check_pieces(many, 3, i % 2 != 0, i / 2 != 0);
        check_pieces(few, 1, i % 2 != 0, i / 2 != 0);
    }
}

/* Without being asked to, two ranks do not share a GPU. */
static void test_sharing(void **state) {
    (void)state;
    const ec_module *module = NULL;
    ec_comm *none = NULL;
    CHECK_OK(ec__module_cuda(&module));
    if (comm->size < 2 || !strstr(module->kind, "emulated")) skip();
    setenv("EMOCLIM_CUEMU_DEVICES", "1", 1);
    const ec_backend_options options = {.threads = 1, .device = 0};
    ec_backend *same = NULL;
    CHECK_OK(ec__backend_open_with("cuda", &options, &same));
    CHECK_ERROR(ec__comm_open_over(host, same->native_queue(same), &none), EC_ERR_ENV,
                "ranks 0 and 1 both use GPU 0000:01:00.0 of host");
    assert_null(none);
    /* Asked for, they take each other for ranks of different hosts. */
    setenv("EMOCLIM_SHARE_GPU", "1", 1);
    CHECK_OK(ec__comm_open_over(host, same->native_queue(same), &none));
    assert_non_null(strstr(getenv("NCCL_HOSTID"), "rank"));
    assert_string_equal(getenv("NCCL_SOCKET_IFNAME"), "lo");
    ec__comm_close(none);
    same->close(same);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_gather), cmocka_unit_test(test_broadcast), cmocka_unit_test(test_ordered_sums),
        cmocka_unit_test(test_gather_part),
        cmocka_unit_test(test_fast_sum),   cmocka_unit_test(test_beside),    cmocka_unit_test(test_room),
        cmocka_unit_test(test_pieces),     cmocka_unit_test(test_meetings),
        cmocka_unit_test(test_sharing),
    };
    CHECK_OK(ec__comm_open("mpi", &host));
    setenv("EMOCLIM_CUEMU_DEVICES", "8", 1);
    const int32_t device = ec__backend_device_for(host->node_rank);
    const ec_backend_options options = {.threads = 1, .device = device, .deterministic = true};
    if (ec__backend_open_with("cuda", &options, &be) != EC_OK) {
        printf("%s\n", ec_error_last()->text);
        ec__comm_close(host);
        return SKIPPED;
    }
    CHECK_OK(ec__comm_open_over(host, be->native_queue(be), &comm));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ec__comm_close(comm);
    be->close(be);
    ec__comm_close(host);
    return failed;
}
