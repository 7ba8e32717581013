/* ranks: 2
 * The loss on several GPUs, embeddings gathered or passed along in blocks: the bits of one GPU, from recordings too. */
#define _POSIX_C_SOURCE 200112L /* setenv */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/backend.h"
#include "dist/comm.h"
#include "loss/supcon.h"
#include "support.h"

enum { SKIPPED = 77 };

static ec_comm *host, *self;
static int32_t device;

/* A batch on the host, and this rank's rows of it on the device. */
typedef struct batch {
    int64_t rows;
    int32_t dim;
    float *z[2]; /* (G, D) */
    int32_t *label[2];
} batch;

/* What a loss made of it. */
typedef struct outcome {
    double losses[EC_DIRECTIONS];
    float *grad[2]; /* (rows of the communicator's rank, D) */
} outcome;

static void *take(size_t bytes) {
    void *memory = calloc(1, bytes + 1);
    assert_non_null(memory);
    return memory;
}

static batch batch_new(int64_t rows, int32_t dim, uint64_t seed) {
    batch b = {.rows = rows, .dim = dim};
    for (int m = 0; m < 2; m++) {
        b.z[m] = take((size_t)(rows * dim) * sizeof(float));
        b.label[m] = take((size_t)rows * sizeof(int32_t));
        test_fill(b.z[m], rows * dim, seed + (uint64_t)m);
        for (int64_t i = 0; i < rows; i++) {
            double norm2 = 0;
            for (int64_t k = i * dim; k < (i + 1) * dim; k++) norm2 += (double)b.z[m][k] * (double)b.z[m][k];
            for (int64_t k = i * dim; k < (i + 1) * dim; k++) b.z[m][k] /= (float)sqrt(norm2);
            b.label[m][i] = (int32_t)((i * 5 + i / 7 + (int64_t)seed + m) % 6);
        }
    }
    return b;
}

static void batch_free(batch *b) {
    for (int m = 0; m < 2; m++) free(b->z[m]), free(b->label[m]);
}

/* A loss with its arrays. */
typedef struct setup {
    ec_backend *be;
    ec_comm *comm;
    ec_supcon *loss;
    int64_t rows; /* of this rank */
    int32_t dim;
    float *z[2], *grad[2];
} setup;

static ec_status enqueue(void *arg) {
    const setup *s = arg;
    const float *const z[2] = {s->z[0], s->z[1]};
    for (int m = 0; m < 2; m++) EC_RETURN_IF(ec__supcon_gather(s->loss, m, z[m]));
    return ec__supcon_enqueue(s->loss, z, s->grad);
}

/* One step, from the recording where there is one. */
static outcome run(setup *s, const batch *b, const ec_recording *recording) {
    outcome o;
    const size_t first = (size_t)s->comm->rank * (size_t)s->rows, row = (size_t)s->dim;
    const size_t bytes = (size_t)s->rows * row * sizeof(float);
    const int32_t *const label[2] = {b->label[0] + first, b->label[1] + first};
    ec_stream *stream = s->be->main_stream(s->be);
    for (int m = 0; m < 2; m++) CHECK_OK(s->be->memory->upload(s->be, stream, s->z[m], b->z[m] + first * row, bytes));
    CHECK_OK(ec__supcon_begin(s->loss, label, 0));
    if (recording) CHECK_OK(s->be->replay(s->be, recording));
    else CHECK_OK(enqueue(s));
    CHECK_OK(ec__supcon_tell(s->loss, 0));
    CHECK_OK(ec__comm_wait(s->comm));
    for (int m = 0; m < 2; m++) {
        o.grad[m] = take(bytes);
        CHECK_OK(s->be->memory->download(s->be, stream, o.grad[m], s->grad[m], bytes));
    }
    CHECK_OK(s->be->synchronize(s->be));
    CHECK_OK(ec__supcon_result(s->loss, 0, o.losses));
    return o;
}

static setup setup_new(ec_comm *below, ec_math math, const ec_supcon_config *config) {
    setup s = {.rows = config->global_rows / below->size, .dim = config->dim};
    const ec_backend_options options = {.threads = 1, .device = device, .math = math, .deterministic = true};
    CHECK_OK(ec__backend_open_with("cuda", &options, &s.be));
    CHECK_OK(ec__comm_open_over(below, s.be->native_queue(s.be), &s.comm));
    CHECK_OK(ec__supcon_new(s.be, s.comm, config, &s.loss));
    for (int m = 0; m < 2; m++) {
        const size_t bytes = (size_t)s.rows * (size_t)s.dim * sizeof(float);
        CHECK_OK(s.be->memory->alloc(s.be, bytes, (void **)&s.z[m]));
        CHECK_OK(s.be->memory->alloc(s.be, bytes, (void **)&s.grad[m]));
    }
    return s;
}

static void setup_free(setup *s) {
    ec__supcon_free(s->loss);
    for (int m = 0; m < 2; m++) s->be->memory->free(s->be, s->z[m]), s->be->memory->free(s->be, s->grad[m]);
    ec__comm_close(s->comm);
    s->be->close(s->be);
}

/* o, and those of its rows in all that this rank owns, which is freed. */
static void check_same(const char *what, const batch *b, outcome all, outcome o) {
    const int64_t rows = b->rows / host->size;
    const size_t at = (size_t)(host->rank * rows * b->dim), bytes = (size_t)(rows * b->dim) * sizeof(float);
    if (memcmp(all.losses, o.losses, sizeof o.losses) != 0) fail_msg("%s: other losses than on one GPU", what);
    for (int m = 0; m < 2; m++) {
        if (memcmp(all.grad[m] + at, o.grad[m], bytes) != 0) fail_msg("%s: other gradients than on one GPU", what);
        free(o.grad[m]);
    }
}

/* Two batches through every form of the loss: as it is called, and replayed. */
static void check(int64_t rows, int32_t dim, ec_math math, float temperature, const float weight[EC_DIRECTIONS]) {
    ec_supcon_config config = {.global_rows = rows, .dim = dim, .temperature = temperature, .classes = 6};
    for (int d = 0; d < EC_DIRECTIONS; d++) config.weight[d] = weight[d];
    batch b[2] = {batch_new(rows, dim, 3), batch_new(rows, dim, 8)};
    outcome one[2];
    setup alone = setup_new(self, math, &config);
    for (int i = 0; i < 2; i++) one[i] = run(&alone, &b[i], NULL);
    setup_free(&alone);
    for (ec_supcon_gather gather = EC_SUPCON_WHOLE; gather <= EC_SUPCON_STREAMED; gather++) {
        char what[96];
        ec_recording *recording = NULL;
        config.gather = gather;
        setup s = setup_new(host, math, &config);
        snprintf(what, sizeof what, "G %lld, D %d, %s", (long long)rows, dim, gather == EC_SUPCON_WHOLE ? "whole" : "streamed");
        assert_int_equal(ec__supcon_streams(s.loss), gather == EC_SUPCON_STREAMED);
        CHECK_OK(s.be->record(s.be, enqueue, &s, &recording));
        for (int i = 0; i < 2; i++) check_same(what, &b[i], one[i], run(&s, &b[i], i ? recording : NULL));
        check_same(what, &b[0], one[0], run(&s, &b[0], recording));
        s.be->recording_free(s.be, recording);
        setup_free(&s);
    }
    for (int i = 0; i < 2; i++) {
        free(one[i].grad[0]), free(one[i].grad[1]);
        batch_free(&b[i]);
    }
}

/* Rows of the last block are few, and all are the last rank's. */
static void test_narrow(void **state) {
    (void)state;
    check(520, 12, EC_MATH_BF16, 0.07f, (const float[]){0, 0.4f, 0.6f, 1});
}

static void test_wide(void **state) {
    (void)state;
    setenv("EMOCLIM_SUPCON", "portable", 1);
    check(516, 130, EC_MATH_BF16, 0.01f, (const float[]){0, 0, 0.5f, 0.5f});
    unsetenv("EMOCLIM_SUPCON");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_narrow), cmocka_unit_test(test_wide)};
    ec_backend *be = NULL;
    CHECK_OK(ec__comm_open("mpi", &host));
    CHECK_OK(ec__comm_open("self", &self));
    setenv("EMOCLIM_CUEMU_DEVICES", "8", 1);
    setenv("EMOCLIM_SUPCON_BLOCK", "1", 1); /* the smallest blocks that there are */
    device = ec__backend_device_for(host->node_rank);
    const ec_backend_options options = {.threads = 1, .device = device};
    if (ec__backend_open_with("cuda", &options, &be) != EC_OK) {
        printf("%s\n", ec_error_last()->text);
        ec__comm_close(self);
        ec__comm_close(host);
        return SKIPPED;
    }
    be->close(be);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ec__comm_close(self);
    ec__comm_close(host);
    return failed;
}
