#include "logmel_golden.h"

#include <math.h>
#include <stdlib.h>

ec_logmel_config test_logmel_config(hid_t file) {
    return (ec_logmel_config){.rate = (int32_t)test_h5_attr(file, "sample_rate"),
                              .n_fft = (int32_t)test_h5_attr(file, "n_fft"),
                              .hop = (int32_t)test_h5_attr(file, "hop_length"),
                              .n_mels = (int32_t)test_h5_attr(file, "n_mels"),
                              .f_min = test_h5_attr(file, "f_min"),
                              .f_max = test_h5_attr(file, "f_max")};
}

/* Of one clip, into host memory of the caller. */
static float *run(ec_backend *be, const ec_logmel_config *config, const float *x, int64_t samples, bool power) {
    ec_spectra *spectra = NULL;
    void *clip = NULL, *work = NULL, *y = NULL;
    ec_stream *stream = be->main_stream(be);
    const ec_spectra_desc shape = {.batch = 1, .samples = (int32_t)samples, .power = power, .scale = 1};
    const size_t in = sizeof(float) * (size_t)samples;
    const size_t out = sizeof(float) * (size_t)(config->n_mels * (1 + samples / config->hop));
    float *host = malloc(out);
    CHECK_OK(ec__logmel_open(be, config, &shape, &spectra));
    CHECK_OK(be->memory->alloc(be, in, &clip));
    CHECK_OK(be->memory->alloc(be, out, &y));
    CHECK_OK(be->memory->alloc(be, be->encoder->spectra_bytes(be, spectra), &work));
    CHECK_OK(be->memory->upload(be, stream, clip, x, in));
    CHECK_OK(be->encoder->spectra(be, stream, spectra, 1, clip, work, y));
    CHECK_OK(be->memory->download(be, stream, host, y, out));
    CHECK_OK(be->synchronize(be));
    be->encoder->spectra_free(be, spectra);
    be->memory->free(be, clip), be->memory->free(be, work), be->memory->free(be, y);
    return host;
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

void test_logmel_golden(ec_backend *be, hid_t file, bool stored) {
    ec_logmel_config config = test_logmel_config(file);
    test_array fb = test_h5_f32(file, "mel_fb"), window = test_h5_f32(file, "window");
    test_array x = test_h5_f32(file, "waveform"), power = test_h5_f64(file, "mel_power"),
               db = test_h5_f64(file, "mel_db");
    if (stored) config.filterbank = fb.f32, config.window = window.f32;
    int64_t samples = x.dim[1], frames = 1 + samples / config.hop, values = config.n_mels * frames;
    assert_int_equal(frames, power.dim[2]);
    assert_int_equal(config.n_mels, power.dim[1]);
    worst w = {0};
    for (int64_t i = 0; i < x.dim[0]; i++) {
        float *p = run(be, &config, x.f32 + i * samples, samples, true);
        float *d = run(be, &config, x.f32 + i * samples, samples, false);
        worst one = compare(p, d, power.f64 + i * values, db.f64 + i * values, config.n_mels, frames);
        w = (worst){fmax(w.rel_max, one.rel_max), fmax(w.relative, one.relative), fmax(w.db, one.db),
                    w.cells + one.cells};
        free(p), free(d);
    }
    assert_true(w.cells > 0);
    test_limit("mel power, all cells (rel_max)", w.rel_max, stored ? 5e-6 : 5e-5);
    test_limit("mel power, strong cells (relative)", w.relative, stored ? 2e-4 : 2e-3);
    test_limit("mel dB", w.db, stored ? 5e-3 : 1e-2);
    test_array_release(&fb), test_array_release(&window);
    test_array_release(&x), test_array_release(&power), test_array_release(&db);
}
