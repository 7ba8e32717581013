/* ops_encoder.h's spectra on the CPU: FFT by FFTW (stft.h), a block of frames at a time. */
#include "compute/spectra.h"

#include <stdlib.h>
#include <string.h>

#include "compute/cpu/encoder.h"
#include "compute/cpu/stft.h"
#include "core/arena.h"

struct ec_spectra {
    ec_spectra_desc desc; /* its arrays were the caller's */
    ec_stft *stft;
    ec_mel_bands bands;
};

typedef struct workspace {
    void *stft;
    float *power; /* [bins][EC_STFT_BLOCK] */
    float *mel;   /* [mels][EC_STFT_BLOCK] */
} workspace;

static workspace carve(const ec_spectra *s, ec_arena *arena) {
    workspace w;
    w.stft = ec__arena_take(arena, ec__stft_workspace(s->stft), 1);
    w.power = ec__arena_take(arena, (size_t)ec__stft_bins(s->stft) * EC_STFT_BLOCK, sizeof(float));
    w.mel = ec__arena_take(arena, (size_t)s->desc.mels * EC_STFT_BLOCK, sizeof(float));
    return w;
}

size_t ec__cpu_spectra_bytes(ec_backend *be, const ec_spectra *spectra) {
    (void)be;
    ec_arena arena = ec__arena_counting();
    carve(spectra, &arena);
    return ec__arena_used(&arena);
}

ec_status ec__cpu_spectra_new(ec_backend *be, const ec_spectra_desc *desc, ec_spectra **out) {
    ec_status status = EC_OK;
    ec_spectra *s = NULL;
    EC_TRY(ec__spectra_check(desc));
    s = calloc(1, sizeof *s);
    if (!s) EC_FAIL(EC_ERR_MEMORY, "no memory for a mel spectrogram");
    s->desc = *desc;
    EC_TRY(ec__mel_bands_init(desc, &s->bands));
    EC_TRY(ec__stft_new(desc->n_fft, desc->hop, desc->window, &s->stft));
    *out = s;
    s = NULL;
done:
    ec__cpu_spectra_free(be, s);
    return status;
}

void ec__cpu_spectra_free(ec_backend *be, ec_spectra *spectra) {
    (void)be;
    if (!spectra) return;
    ec__stft_free(spectra->stft);
    ec__mel_bands_release(&spectra->bands);
    free(spectra);
}

/* mel[m][i] = sum over the band's bins of weight * power[bin][i]; frames are the vector dimension. */
static void apply_bands(const ec_spectra *s, const float *restrict power, float *restrict mel) {
    for (int32_t m = 0; m < s->desc.mels; m++) {
        const ec_mel_band *b = &s->bands.band[m];
        const float *weight = s->bands.weight + b->weight;
        float sum[EC_STFT_BLOCK] = {0};
        for (int32_t k = b->begin; k < b->end; k++, weight++)
            for (int32_t i = 0; i < EC_STFT_BLOCK; i++) sum[i] += *weight * power[k * EC_STFT_BLOCK + i];
        memcpy(mel + m * EC_STFT_BLOCK, sum, sizeof sum);
    }
}

/* 10 log10(max(x, 1e-10)) in place. With x = 2^e m, sqrt(1/2) <= m < sqrt(2): ln m = 2 artanh(s), s = (m-1)/(m+1),
 * |s| < 0.172, whose series is cut off after s^9: relative error 2e-9, below float rounding. Written without branches
 * and calls so that compilers vectorise it; libm's log10f would take half of the time of the whole spectrogram. */
static void decibels(float *x, int64_t count) {
    const float silence = 1e-10f;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits, mantissa;
        memcpy(&bits, &x[i], sizeof bits);
        bits -= 0x3f3504f3u; /* sqrt(1/2): makes the exponent step where m must */
        int32_t exponent = (int32_t)bits >> 23;
        mantissa = (bits & 0x007fffffu) + 0x3f3504f3u;
        float m, e = (float)exponent;
        memcpy(&m, &mantissa, sizeof m);
        float s = (m - 1) / (m + 1), s2 = s * s;
        float artanh = s * (1 + s2 * (1.f / 3 + s2 * (1.f / 5 + s2 * (1.f / 7 + s2 * (1.f / 9)))));
        float db = e * 3.01029995663981195f + artanh * 8.68588963806503655f; /* 10 log10(2), 20 / ln(10) */
        db += x[i] - x[i];                                                   /* what is not finite stays visible */
        x[i] = x[i] <= silence ? -100.f : db;
    }
}

static void one_clip(const ec_spectra *s, const workspace *w, const float *waveform, float *out) {
    const ec_spectra_desc *d = &s->desc;
    const int64_t frames = ec__spectra_frames(d);
    const int32_t mels = d->mels;
    for (int64_t first = 0; first < frames; first += EC_STFT_BLOCK) {
        const int32_t count = frames - first < EC_STFT_BLOCK ? (int32_t)(frames - first) : EC_STFT_BLOCK;
        ec__stft_power(s->stft, waveform, d->samples, first, count, w->stft, w->power);
        apply_bands(s, w->power, w->mel);
        if (!d->power) decibels(w->mel, (int64_t)mels * EC_STFT_BLOCK);
        if (d->frames_first)
            for (int32_t i = 0; i < count; i++)
                for (int32_t m = 0; m < mels; m++) out[(first + i) * mels + m] = w->mel[m * EC_STFT_BLOCK + i];
        else
            for (int32_t m = 0; m < mels; m++)
                memcpy(out + m * frames + first, w->mel + m * EC_STFT_BLOCK, (size_t)count * sizeof *out);
    }
    for (int64_t i = 0; i < mels * frames; i++) out[i] = out[i] * d->scale + d->offset;
}

ec_status ec__cpu_spectra(ec_backend *be, ec_stream *stream, const ec_spectra *spectra, int32_t count,
                          const float *waveforms, void *work, float *y) {
    (void)stream;
    const ec_spectra_desc *d = &spectra->desc;
    const int64_t size = d->mels * ec__spectra_frames(d);
    ec_arena arena = ec__arena_over(work, ec__cpu_spectra_bytes(be, spectra));
    const workspace w = carve(spectra, &arena);
    for (int64_t i = 0; i < count; i++) one_clip(spectra, &w, waveforms + i * d->samples, y + i * size);
    for (int64_t i = count * size; i < d->batch * size; i++) y[i] = (d->power ? 0.f : -100.f) * d->scale + d->offset;
    return EC_OK;
}
