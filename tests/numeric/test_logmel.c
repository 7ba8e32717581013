/* Spectrograms and mel filterbanks against reference outputs of torchaudio and of CLAP's front end. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/stft.h"
#include "core/arena.h"
#include "logmel_golden.h"
#include "support.h"

static ec_backend *be;

static int open_backend(void **state) {
    (void)state;
    CHECK_OK(ec__backend_open("cpu", 4, &be));
    return 0;
}

static int close_backend(void **state) {
    (void)state;
    be->close(be);
    return 0;
}

static ec_spectra_desc shape_of(int64_t samples, bool power) {
    return (ec_spectra_desc){.batch = 1, .samples = (int32_t)samples, .power = power, .scale = 1};
}

/* Of one clip, on that stream. */
static float *run_on(ec_stream *stream, const ec_spectra *spectra, const float *x, int64_t values) {
    float *out = malloc((size_t)values * sizeof *out);
    void *work = aligned_alloc(EC_ARENA_ALIGN, be->encoder->spectra_bytes(be, spectra));
    memset(out, 0xff, (size_t)values * sizeof *out);
    CHECK_OK(be->encoder->spectra(be, stream, spectra, 1, x, work, out));
    free(work);
    return out;
}

static float *run(const ec_logmel_config *config, const float *x, int64_t samples, bool power, int64_t values) {
    ec_spectra *spectra = NULL;
    const ec_spectra_desc shape = shape_of(samples, power);
    CHECK_OK(ec__logmel_open(be, config, &shape, &spectra));
    float *out = run_on(be->main_stream(be), spectra, x, values);
    be->encoder->spectra_free(be, spectra);
    return out;
}

static void test_stored_filterbank(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("logmel.h5"));
    test_logmel_golden(be, file, true);
    H5Fclose(file);
}

static void test_computed_filterbank(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("logmel.h5"));
    test_logmel_golden(be, file, false);
    ec_logmel_config config = test_logmel_config(file);
    test_array exact = test_h5_f64(file, "mel_fb_f64"), empty = test_h5_i32(file, "empty_mel_bands");
    double *fb = malloc((size_t)exact.count * sizeof *fb), error = 0;
    ec__mel_filterbank(&config, fb);
    for (int64_t i = 0; i < exact.count; i++) error = fmax(error, fabs(fb[i] - exact.f64[i]));
    test_limit("mel filterbank in double", error, 1e-6); /* the reference is stored with about 30 bits */
    for (int32_t m = 0, next = 0; m < config.n_mels; m++) {
        double sum = 0;
        for (int32_t k = 0; k <= config.n_fft / 2; k++) sum += fb[k * config.n_mels + m];
        bool listed = next < empty.count && empty.i32[next] == m;
        assert_int_equal(sum == 0, listed);
        next += listed;
    }
    free(fb);
    test_array_release(&exact), test_array_release(&empty);
    H5Fclose(file);
}

static void test_power_spectrum(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("logmel.h5"));
    test_array x = test_h5_f32(file, "waveform"), ref = test_h5_f64(file, "power_spectrum_first_frames");
    test_array window = test_h5_f32(file, "window");
    ec_stft *stft = NULL;
    CHECK_OK(ec__stft_new((int32_t)window.count, (int32_t)test_h5_attr(file, "hop_length"), window.f32, &stft));
    int32_t bins = ec__stft_bins(stft), frames = (int32_t)ref.dim[2];
    assert_int_equal(bins, ref.dim[1]);
    assert_true(frames <= EC_STFT_BLOCK);
    void *work = aligned_alloc(EC_ARENA_ALIGN, ec__stft_workspace(stft));
    float *power = malloc((size_t)bins * EC_STFT_BLOCK * sizeof *power),
          *got = malloc((size_t)(bins * frames) * sizeof *got);
    for (int64_t i = 0; i < x.dim[0]; i++) {
        ec__stft_power(stft, x.f32 + i * x.dim[1], x.dim[1], 0, frames, work, power);
        for (int32_t k = 0; k < bins; k++)
            for (int32_t t = 0; t < frames; t++) got[k * frames + t] = power[k * EC_STFT_BLOCK + t];
        test_error e = test_compare(got, ref.f64 + i * bins * frames, bins * frames);
        test_limit("power spectrum (rel_max)", e.ref_max > 0 ? e.rel_max : e.abs, 5e-6);
    }
    free(work), free(power), free(got);
    ec__stft_free(stft);
    test_array_release(&x), test_array_release(&ref), test_array_release(&window);
    H5Fclose(file);
}

/* CLAP's front end: 48 kHz, Slaney bands of equal area, time first. */
static void test_htsat(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("htsat.h5"));
    test_array x = test_h5_f32(file, "waveform"), ref = test_h5_f64(file, "output/logmel_first_waveform");
    ec_logmel_config config = ec__logmel_htsat();
    assert_int_equal(1 + x.dim[1] / config.hop, ref.dim[0]);
    assert_int_equal(config.n_mels, ref.dim[1]);
    float *got = run(&config, x.f32, x.dim[1], false, ref.count);
    test_limit("CLAP log-mel, dB", test_compare(got, ref.f64, ref.count).abs, 1e-2);
    free(got);
    test_array_release(&x), test_array_release(&ref);
    H5Fclose(file);
}

typedef struct job {
    const ec_spectra *spectra;
    const float *x;
    int64_t values;
    float *out[16];
} job;

static ec_status run_task(void *arg, int32_t task, ec_stream *stream) {
    job *j = arg;
    j->out[task] = run_on(stream, j->spectra, j->x, j->values);
    return EC_OK;
}

/* The same bits from several threads at once, from a plan made again, and for a frame wherever it lies in a block. */
static void test_bits(void **state) {
    (void)state;
    enum { SAMPLES = 40000, TASKS = 16 };
    float *x = malloc(SAMPLES * sizeof *x);
    test_fill(x, SAMPLES, 5);
    const ec_logmel_config config = ec__logmel_shortchunk();
    const ec_spectra_desc shape = shape_of(SAMPLES, false);
    ec_spectra *spectra = NULL;
    CHECK_OK(ec__logmel_open(be, &config, &shape, &spectra));
    int64_t frames = 1 + SAMPLES / config.hop, values = frames * config.n_mels;
    float *one = run(&config, x, SAMPLES, false, values);
    job j = {spectra, x, values, {NULL}};
    CHECK_OK(be->for_each(be, TASKS, run_task, &j));
    for (int i = 0; i < TASKS; i++) {
        assert_memory_equal(j.out[i], one, (size_t)values * sizeof *one);
        free(j.out[i]);
    }
    /* 7 hops later: inner frame t of the rest is frame t + 7 of the whole. */
    int64_t skip = 7, rest = SAMPLES - skip * config.hop, fewer = 1 + rest / config.hop;
    float *later = run(&config, x + skip * config.hop, rest, false, fewer * config.n_mels);
    for (int32_t m = 0; m < config.n_mels; m++)
        assert_memory_equal(later + m * fewer + 1, one + m * frames + 1 + skip, (size_t)(fewer - 1) * sizeof *one);
    free(later), free(one), free(x);
    be->encoder->spectra_free(be, spectra);
}

static void check_refused(const ec_logmel_config *config, int32_t samples, ec_status code, const char *text) {
    ec_spectra *spectra = NULL;
    const ec_spectra_desc shape = shape_of(samples, false);
    CHECK_ERROR(ec__logmel_open(be, config, &shape, &spectra), code, text);
    assert_null(spectra);
}

static void test_limits(void **state) {
    (void)state;
    const ec_logmel_config good = ec__logmel_shortchunk();
    ec_logmel_config config = good;
    config.n_fft = 511;
    check_refused(&config, 1000, EC_ERR_USAGE, "511");
    config = good;
    config.hop = 513;
    check_refused(&config, 1000, EC_ERR_USAGE, "hop 513");
    config = good;
    config.f_min = 9000;
    check_refused(&config, 1000, EC_ERR_USAGE, "9000");
    config = good;
    config.n_mels = 1025;
    check_refused(&config, 1000, EC_ERR_USAGE, "1025 bands");
    config = good;
    float *bad = calloc((size_t)(257 * 128), sizeof *bad);
    bad[5 * 128 + 3] = NAN;
    config.filterbank = bad;
    check_refused(&config, 1000, EC_ERR_DATA, "bin 5 of band 3");
    free(bad);
    check_refused(&good, 256, EC_ERR_DATA, "256 samples");
    float x[257];
    test_fill(x, 257, 1);
    free(run(&good, x, 257, false, 2 * 128)); /* the shortest that can be reflected */
    be->encoder->spectra_free(be, NULL);
}

/* Fewer clips than the batch: silence behind them. A sample that is not a number shows in its frames alone. */
static void test_batch(void **state) {
    (void)state;
    enum { BATCH = 3, SAMPLES = 4000, FRAMES = 1 + SAMPLES / 256, MELS = 128, SIZE = FRAMES * MELS };
    const ec_logmel_config config = ec__logmel_shortchunk();
    const ec_spectra_desc shape = {.batch = BATCH, .samples = SAMPLES, .scale = 0.5f, .offset = 3};
    ec_spectra *spectra = NULL;
    float *x = malloc(2 * SAMPLES * sizeof *x), *out = malloc(BATCH * SIZE * sizeof *out);
    test_fill(x, 2 * SAMPLES, 8);
    x[SAMPLES + 8 * 256 + 10] = NAN;
    CHECK_OK(ec__logmel_open(be, &config, &shape, &spectra));
    void *work = aligned_alloc(EC_ARENA_ALIGN, be->encoder->spectra_bytes(be, spectra));
    CHECK_OK(be->encoder->spectra(be, be->main_stream(be), spectra, 2, x, work, out));
    float *one = run(&config, x, SAMPLES, false, SIZE);
    for (int i = 0; i < SIZE; i++) {
        const bool broken = i % FRAMES == 8 || i % FRAMES == 9;
        assert_true(out[i] == one[i] * 0.5f + 3.f);
        assert_int_equal(isnan(out[SIZE + i]) != 0, broken && one[i] != -100.f); /* a band without bins stays silent */
        assert_true(out[2 * SIZE + i] == -47.f);
    }
    be->encoder->spectra_free(be, spectra);
    free(x), free(out), free(work), free(one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_filterbank), cmocka_unit_test(test_computed_filterbank),
        cmocka_unit_test(test_power_spectrum),    cmocka_unit_test(test_htsat),
        cmocka_unit_test(test_bits),              cmocka_unit_test(test_limits),
        cmocka_unit_test(test_batch),
    };
    return cmocka_run_group_tests(tests, open_backend, close_backend);
}
