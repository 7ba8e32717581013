/* Spectrograms, CUDA against the CPU and against the reference; on several streams at once, and recorded. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/ops_encoder.h"
#include "cuda_support.h"
#include "logmel_golden.h"

/* Of both back ends. */
typedef struct layer {
    ec_spectra *spectra[2];
    void *work[2];
} layer;

static int number(const ec_backend *be) { return be == test_cuda; }

/* A filterbank of uneven bands, one of them empty. */
static void open_layer(ec_spectra_desc desc, layer *l) {
    const int32_t bins = desc.n_fft / 2 + 1;
    float *window = malloc(sizeof(float) * (size_t)desc.n_fft);
    float *bank = calloc((size_t)bins * (size_t)desc.mels, sizeof *bank);
    ec__hann_window(desc.n_fft, window);
    for (int32_t m = 0; m < desc.mels; m++)
        for (int32_t k = m * bins / desc.mels; m != 1 && k < bins && k <= m * bins / desc.mels + m; k++)
            bank[k * desc.mels + m] = 0.25f + 0.01f * (float)(k % 7);
    desc.window = window;
    desc.filterbank = bank;
    for TEST_EACH(be) {
        CHECK_OK(be->encoder->spectra_new(be, &desc, &l->spectra[number(be)]));
        CHECK_OK(be->memory->alloc(be, be->encoder->spectra_bytes(be, l->spectra[number(be)]), &l->work[number(be)]));
    }
    free(window), free(bank);
}

static void close_layer(layer *l) {
    for TEST_EACH(be) {
        be->encoder->spectra_free(be, l->spectra[number(be)]);
        be->memory->free(be, l->work[number(be)]);
    }
}

static void check(ec_spectra_desc desc, int32_t count, double limit) {
    layer l;
    open_layer(desc, &l);
    test_pair x = test_pair_new((int64_t)count * desc.samples, 31);
    test_pair y = test_pair_new(desc.batch * desc.mels * ec__spectra_frames(&desc), 0);
    for TEST_EACH(be)
        CHECK_OK(be->encoder->spectra(be, be->main_stream(be), l.spectra[number(be)], count, test_pair_in(&x, be),
                                      l.work[number(be)], test_pair_in(&y, be)));
    test_pair_check("spectra", &y, limit);
    close_layer(&l);
    test_pair_free(&x), test_pair_free(&y);
}

static void test_shapes(void **state) {
    (void)state;
    check((ec_spectra_desc){.batch = 2, .samples = 9, .n_fft = 16, .hop = 16, .mels = 2, .power = true, .scale = 1}, 2,
          2e-6);
    check((ec_spectra_desc){.batch = 3, .samples = 700, .n_fft = 48, .hop = 11, .mels = 5, .power = true, .scale = 1},
          2, 2e-6);
    check((ec_spectra_desc){.batch = 2, .samples = 8500, .n_fft = 512, .hop = 256, .mels = 128, .scale = 0.25f,
                            .offset = -1}, 1, 2e-5);
    check((ec_spectra_desc){.batch = 2, .samples = 9000, .n_fft = 1024, .hop = 480, .mels = 64, .frames_first = true,
                            .scale = 1}, 2, 2e-5);
}

static void test_golden(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("logmel.h5"));
    test_logmel_golden(test_cuda, file, true);
    test_logmel_golden(test_cuda, file, false);
    H5Fclose(file);
}

/* A sample that is not a number shows in its frames alone. */
static void test_not_finite(void **state) {
    (void)state;
    enum { SAMPLES = 2000, FRAMES = 1 + SAMPLES / 32, MELS = 4 };
    const ec_spectra_desc desc = {.batch = 1, .samples = SAMPLES, .n_fft = 64, .hop = 32, .mels = MELS, .scale = 1};
    layer l;
    float out[MELS * FRAMES];
    open_layer(desc, &l);
    test_pair x = test_pair_new(SAMPLES, 32), y = test_pair_new(MELS * FRAMES, 0);
    x.cpu[20 * 32 + 5] = NAN;
    test_pair_upload(&x);
    CHECK_OK(test_cuda->encoder->spectra(test_cuda, test_cuda->main_stream(test_cuda), l.spectra[1], 1, x.cuda,
                                         l.work[1], y.cuda));
    test_cuda_download(out, y.cuda, sizeof out);
    for (int i = 0; i < MELS * FRAMES; i++)
        assert_int_equal(isnan(out[i]) != 0, (i % FRAMES == 20 || i % FRAMES == 21) && i / FRAMES != 1);
    close_layer(&l);
    test_pair_free(&x), test_pair_free(&y);
}

enum { TASKS = 8, BATCH = 3, SAMPLES = 1500, MELS = 6, HOP = 50, SIZE = BATCH * MELS * (1 + SAMPLES / HOP) };

typedef struct job {
    const ec_spectra *spectra;
    const float *x;
    float *y;
    void *work[TASKS];
} job;

static ec_status task(void *arg, int32_t number_, ec_stream *stream) {
    const job *j = arg;
    return test_cuda->encoder->spectra(test_cuda, stream, j->spectra, BATCH, j->x, j->work[number_],
                                       j->y + number_ * SIZE);
}

static ec_status all_tasks(void *arg) { return test_cuda->for_each(test_cuda, TASKS, task, arg); }

/* The same spectra on every stream at once, now and replayed: the bits of one alone. */
static void test_streams(void **state) {
    (void)state;
    const ec_spectra_desc desc = {.batch = BATCH, .samples = SAMPLES, .n_fft = 128, .hop = HOP, .mels = MELS,
                                  .scale = 1};
    layer l;
    ec_recording *recording = NULL;
    ec_backend *be = test_cuda;
    open_layer(desc, &l);
    test_pair x = test_pair_new(BATCH * SAMPLES, 33), y = test_pair_new(TASKS * SIZE, 34);
    float *alone = malloc(sizeof(float) * SIZE), *all = malloc(sizeof(float) * TASKS * SIZE);
    job j = {.spectra = l.spectra[1], .x = x.cuda, .y = y.cuda};
    for (int i = 0; i < TASKS; i++)
        CHECK_OK(be->memory->alloc(be, be->encoder->spectra_bytes(be, l.spectra[1]), &j.work[i]));
    CHECK_OK(task(&j, 0, be->main_stream(be)));
    test_cuda_download(alone, y.cuda, sizeof(float) * SIZE);
    CHECK_OK(be->record(be, all_tasks, &j, &recording));
    for (int pass = 0; pass < 2; pass++) {
        CHECK_OK(be->memory->zero(be, be->main_stream(be), y.cuda, sizeof(float) * TASKS * SIZE));
        CHECK_OK(pass == 0 ? all_tasks(&j) : be->replay(be, recording));
        test_cuda_download(all, y.cuda, sizeof(float) * TASKS * SIZE);
        for (int i = 0; i < TASKS; i++) assert_memory_equal(all + i * SIZE, alone, sizeof(float) * SIZE);
    }
    be->recording_free(be, recording);
    for (int i = 0; i < TASKS; i++) test_cuda_free(j.work[i]);
    close_layer(&l);
    free(alone), free(all);
    test_pair_free(&x), test_pair_free(&y);
}

static void test_limits(void **state) {
    (void)state;
    float numbers[2048 * 2] = {0};
    ec_spectra *spectra = NULL;
    ec_spectra_desc desc = {.batch = 1, .samples = 4000, .n_fft = 2048, .hop = 32, .mels = 1, .window = numbers,
                            .filterbank = numbers};
    CHECK_ERROR(test_cuda->encoder->spectra_new(test_cuda, &desc, &spectra), EC_ERR_USAGE, "at most 1024 on a GPU");
    desc.n_fft = 64;
    desc.batch = 1 << 16;
    CHECK_ERROR(test_cuda->encoder->spectra_new(test_cuda, &desc, &spectra), EC_ERR_USAGE, "65536 clips of 4000");
    desc.batch = 1;
    desc.samples = 32;
    CHECK_ERROR(test_cuda->encoder->spectra_new(test_cuda, &desc, &spectra), EC_ERR_DATA, "32 samples is too short");
    desc.samples = 33;
    numbers[7] = -1;
    CHECK_ERROR(test_cuda->encoder->spectra_new(test_cuda, &desc, &spectra), EC_ERR_DATA, "weight -1 at bin 7");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes),     cmocka_unit_test(test_golden),
                                       cmocka_unit_test(test_not_finite), cmocka_unit_test(test_streams),
                                       cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, test_cuda_open, test_cuda_close);
}
