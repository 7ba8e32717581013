/* Spectrograms and mel filterbanks against reference outputs of torchaudio and of CLAP's front end. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/pool.h"
#include "media/logmel.h"
#include "media/stft.h"
#include "support.h"

static ec_logmel_config config_of(hid_t file) {
    return (ec_logmel_config){.rate = (int32_t)test_h5_attr(file, "sample_rate"),
                              .n_fft = (int32_t)test_h5_attr(file, "n_fft"),
                              .hop = (int32_t)test_h5_attr(file, "hop_length"),
                              .n_mels = (int32_t)test_h5_attr(file, "n_mels"),
                              .f_min = test_h5_attr(file, "f_min"),
                              .f_max = test_h5_attr(file, "f_max")};
}

static float *run(const ec_logmel *logmel, const float *x, int64_t samples, bool decibels, int64_t values) {
    float *out = malloc((size_t)values * sizeof *out);
    void *work = aligned_alloc(EC_ARENA_ALIGN, ec__logmel_workspace(logmel));
    memset(out, 0xff, (size_t)values * sizeof *out);
    if (decibels) CHECK_OK(ec__logmel(logmel, x, samples, work, out));
    else CHECK_OK(ec__mel_power(logmel, x, samples, work, out));
    free(work);
    return out;
}

/* Cells that rounding of the FFT does not drown: above floor times their frame's maximum. */
typedef struct worst {
    double rel_max, relative, db;
    int64_t cells;
} worst;

static worst compare(const float *power, const float *db, const double *ref_power, const double *ref_db, int32_t mels,
                     int64_t frames) {
    worst w = {0};
    double largest = 0, difference = 0;
    for (int64_t t = 0; t < frames; t++) {
        double top = 0;
        for (int32_t m = 0; m < mels; m++) top = fmax(top, ref_power[m * frames + t]);
        largest = fmax(largest, top);
        for (int32_t m = 0; m < mels; m++) {
            int64_t i = m * frames + t;
            double error = fabs(power[i] - ref_power[i]);
            assert_true(isfinite(power[i]) && isfinite(db[i]));
            difference = fmax(difference, error);
            if (ref_power[i] == 0) { /* silence, or a band without a bin */
                assert_true(power[i] == 0 && db[i] == -100.f);
                continue;
            }
            if (ref_power[i] > 1e-5 * top) w.relative = fmax(w.relative, error / ref_power[i]), w.cells++;
            if (ref_power[i] > 1e-7 * top) w.db = fmax(w.db, fabs(db[i] - ref_db[i]));
        }
    }
    w.rel_max = difference / largest;
    return w;
}

static void check_filterbank(hid_t file, bool stored) {
    ec_logmel_config config = config_of(file);
    test_array fb = test_h5_f32(file, "mel_fb"), window = test_h5_f32(file, "window");
    test_array x = test_h5_f32(file, "waveform"), power = test_h5_f64(file, "mel_power"),
               db = test_h5_f64(file, "mel_db");
    if (stored) config.filterbank = fb.f32, config.window = window.f32;
    ec_logmel *logmel = NULL;
    CHECK_OK(ec__logmel_new(&config, &logmel));
    int64_t samples = x.dim[1], frames = ec__logmel_frames(logmel, samples), values = config.n_mels * frames;
    assert_int_equal(frames, power.dim[2]);
    assert_int_equal(config.n_mels, power.dim[1]);
    worst w = {0};
    for (int64_t i = 0; i < x.dim[0]; i++) {
        float *p = run(logmel, x.f32 + i * samples, samples, false, values);
        float *d = run(logmel, x.f32 + i * samples, samples, true, values);
        worst one = compare(p, d, power.f64 + i * values, db.f64 + i * values, config.n_mels, frames);
        w = (worst){fmax(w.rel_max, one.rel_max), fmax(w.relative, one.relative), fmax(w.db, one.db),
                    w.cells + one.cells};
        free(p), free(d);
    }
    assert_true(w.cells > 0);
    test_limit("mel power, all cells (rel_max)", w.rel_max, stored ? 5e-6 : 5e-5);
    test_limit("mel power, strong cells (relative)", w.relative, stored ? 2e-4 : 2e-3);
    test_limit("mel dB", w.db, stored ? 5e-3 : 1e-2);
    ec__logmel_free(logmel);
    test_array_release(&fb), test_array_release(&window);
    test_array_release(&x), test_array_release(&power), test_array_release(&db);
}

static void test_stored_filterbank(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("logmel.h5"));
    check_filterbank(file, true);
    H5Fclose(file);
}

static void test_computed_filterbank(void **state) {
    (void)state;
    hid_t file = test_h5_open(test_golden_path("logmel.h5"));
    check_filterbank(file, false);
    ec_logmel_config config = config_of(file);
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
        CHECK_OK(ec__stft_check(stft, x.dim[1]));
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
    ec_logmel *logmel = NULL;
    CHECK_OK(ec__logmel_new(&config, &logmel));
    assert_int_equal(ec__logmel_frames(logmel, x.dim[1]), ref.dim[0]);
    assert_int_equal(config.n_mels, ref.dim[1]);
    float *got = run(logmel, x.f32, x.dim[1], true, ref.count);
    test_limit("CLAP log-mel, dB", test_compare(got, ref.f64, ref.count).abs, 1e-2);
    free(got);
    ec__logmel_free(logmel);
    test_array_release(&x), test_array_release(&ref);
    H5Fclose(file);
}

typedef struct job {
    const ec_logmel *logmel;
    const float *x;
    int64_t samples, values;
    float *out[16];
} job;

static ec_status run_task(void *arg, int32_t task, int32_t worker) {
    (void)worker;
    job *j = arg;
    j->out[task] = run(j->logmel, j->x, j->samples, true, j->values);
    return EC_OK;
}

/* The same bits from several threads at once, from a plan made again, and for a frame wherever it lies in a block. */
static void test_bits(void **state) {
    (void)state;
    enum { SAMPLES = 40000, TASKS = 16 };
    float *x = malloc(SAMPLES * sizeof *x);
    test_fill(x, SAMPLES, 5);
    ec_logmel_config config = ec__logmel_shortchunk();
    ec_logmel *logmel = NULL, *again = NULL;
    CHECK_OK(ec__logmel_new(&config, &logmel));
    CHECK_OK(ec__logmel_new(&config, &again));
    int64_t frames = ec__logmel_frames(logmel, SAMPLES), values = frames * config.n_mels;
    float *one = run(again, x, SAMPLES, true, values);
    ec_pool *pool = NULL;
    CHECK_OK(ec__pool_new(4, &pool));
    job j = {logmel, x, SAMPLES, values, {NULL}};
    CHECK_OK(ec__pool_run(pool, TASKS, run_task, &j));
    for (int i = 0; i < TASKS; i++) {
        assert_memory_equal(j.out[i], one, (size_t)values * sizeof *one);
        free(j.out[i]);
    }
    /* 7 hops later: inner frame t of the rest is frame t + 7 of the whole. */
    int64_t skip = 7, rest = SAMPLES - skip * config.hop, fewer = ec__logmel_frames(logmel, rest);
    float *later = run(logmel, x + skip * config.hop, rest, true, fewer * config.n_mels);
    for (int32_t m = 0; m < config.n_mels; m++)
        assert_memory_equal(later + m * fewer + 1, one + m * frames + 1 + skip, (size_t)(fewer - 1) * sizeof *one);
    free(later), free(one), free(x);
    ec__pool_free(pool);
    ec__logmel_free(logmel);
    ec__logmel_free(again);
}

static void test_limits(void **state) {
    (void)state;
    ec_logmel *logmel = NULL;
    ec_logmel_config config = ec__logmel_shortchunk();
    config.n_fft = 511;
    CHECK_ERROR(ec__logmel_new(&config, &logmel), EC_ERR_USAGE, "511");
    config = ec__logmel_shortchunk();
    config.f_min = 9000;
    CHECK_ERROR(ec__logmel_new(&config, &logmel), EC_ERR_USAGE, "9000");
    config = ec__logmel_shortchunk();
    float *bad = calloc((size_t)(257 * 128), sizeof *bad);
    bad[5 * 128 + 3] = NAN;
    config.filterbank = bad;
    CHECK_ERROR(ec__logmel_new(&config, &logmel), EC_ERR_DATA, "bin 5 of band 3");
    free(bad);
    config.filterbank = NULL;
    CHECK_OK(ec__logmel_new(&config, &logmel));
    float x[257], out[2 * 128];
    void *work = aligned_alloc(EC_ARENA_ALIGN, ec__logmel_workspace(logmel));
    test_fill(x, 257, 1);
    CHECK_ERROR(ec__logmel(logmel, x, 256, work, out), EC_ERR_DATA, "256 samples");
    CHECK_OK(ec__logmel(logmel, x, 257, work, out)); /* the shortest that can be reflected */
    free(work);
    ec__logmel_free(logmel);
    ec__logmel_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_filterbank), cmocka_unit_test(test_computed_filterbank),
        cmocka_unit_test(test_power_spectrum),    cmocka_unit_test(test_htsat),
        cmocka_unit_test(test_bits),              cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
