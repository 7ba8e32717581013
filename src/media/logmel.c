#include "media/logmel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "media/stft.h"

/* A band's filter is zero outside a few bins: only [begin, end) is stored and multiplied. */
typedef struct band {
    int32_t begin, end;
    int32_t weight; /* index of begin's weight in weights */
} band;

struct ec_logmel {
    ec_logmel_config config;
    ec_stft *stft;
    band *bands;
    float *weights;
};

typedef struct workspace {
    void *stft;
    float *power; /* [bins][EC_STFT_BLOCK] */
    float *mel;   /* [n_mels][EC_STFT_BLOCK] */
} workspace;

ec_logmel_config ec__logmel_shortchunk(void) {
    return (ec_logmel_config){.rate = 16000, .n_fft = 512, .hop = 256, .n_mels = 128, .f_max = 8000};
}

ec_logmel_config ec__logmel_htsat(void) {
    return (ec_logmel_config){.rate = 48000, .n_fft = 1024, .hop = 480, .n_mels = 64, .f_min = 50, .f_max = 14000,
                              .scale = EC_MEL_SLANEY, .slaney_norm = true, .frames_first = true};
}

static workspace carve(const ec_logmel *logmel, ec_arena *arena) {
    workspace w;
    w.stft = ec__arena_take(arena, ec__stft_workspace(logmel->stft), 1);
    w.power = ec__arena_take(arena, (size_t)ec__stft_bins(logmel->stft) * EC_STFT_BLOCK, sizeof(float));
    w.mel = ec__arena_take(arena, (size_t)logmel->config.n_mels * EC_STFT_BLOCK, sizeof(float));
    return w;
}

size_t ec__logmel_workspace(const ec_logmel *logmel) {
    ec_arena arena = ec__arena_counting();
    carve(logmel, &arena);
    return ec__arena_used(&arena);
}

static ec_status check_config(const ec_logmel_config *c) {
    if (c->rate < 1 || c->n_mels < 1 || c->n_mels > 1024)
        return EC_ERROR(EC_ERR_USAGE, "a mel spectrogram with %d bands at %d Hz: 1 to 1024 bands are possible",
                        c->n_mels, c->rate);
    if (!(c->f_min >= 0) || !(c->f_max > c->f_min) || !isfinite(c->f_max))
        return EC_ERROR(EC_ERR_USAGE, "mel bands from %g Hz to %g Hz: the first must be the lower one", c->f_min,
                        c->f_max);
    return EC_OK;
}

/* Turns the (bins, n_mels) matrix into bands. */
static ec_status make_bands(ec_logmel *logmel, const float *fb) {
    int32_t bins = ec__stft_bins(logmel->stft), mels = logmel->config.n_mels, used = 0;
    logmel->bands = calloc((size_t)mels, sizeof *logmel->bands);
    logmel->weights = malloc((size_t)bins * (size_t)mels * sizeof *logmel->weights);
    if (!logmel->bands || !logmel->weights) return EC_ERROR(EC_ERR_MEMORY, "no memory for %d mel bands", mels);
    for (int32_t m = 0; m < mels; m++) {
        band *b = &logmel->bands[m];
        for (int32_t k = 0; k < bins; k++) {
            float weight = fb[k * mels + m];
            if (!(weight >= 0) || !isfinite(weight))
                return EC_ERROR(EC_ERR_DATA, "the stored mel filterbank has weight %g at bin %d of band %d",
                                (double)weight, k, m);
            if (weight == 0) continue;
            if (b->end == 0) b->begin = k;
            b->end = k + 1;
        }
        b->weight = used;
        for (int32_t k = b->begin; k < b->end; k++) logmel->weights[used++] = fb[k * mels + m];
    }
    return EC_OK;
}

static ec_status compute_filterbank(const ec_logmel_config *config, float **out) {
    size_t count = (size_t)(config->n_fft / 2 + 1) * (size_t)config->n_mels;
    double *exact = malloc(count * sizeof *exact);
    float *fb = malloc(count * sizeof *fb);
    if (!exact || !fb) {
        free(exact);
        free(fb);
        return EC_ERROR(EC_ERR_MEMORY, "no memory for %d mel bands", config->n_mels);
    }
    ec__mel_filterbank(config, exact);
    for (size_t i = 0; i < count; i++) fb[i] = (float)exact[i];
    free(exact);
    *out = fb;
    return EC_OK;
}

ec_status ec__logmel_new(const ec_logmel_config *config, ec_logmel **out) {
    ec_status status = EC_OK;
    float *computed = NULL;
    ec_logmel *logmel = NULL;
    EC_TRY(check_config(config));
    logmel = calloc(1, sizeof *logmel);
    if (!logmel) EC_FAIL(EC_ERR_MEMORY, "no memory for a mel spectrogram");
    EC_TRY(ec__stft_new(config->n_fft, config->hop, config->window, &logmel->stft));
    logmel->config = *config;
    if (!config->filterbank) EC_TRY(compute_filterbank(config, &computed));
    EC_TRY(make_bands(logmel, config->filterbank ? config->filterbank : computed));
    logmel->config.filterbank = logmel->config.window = NULL; /* were only borrowed */
    *out = logmel;
    logmel = NULL;
done:
    free(computed);
    ec__logmel_free(logmel);
    return status;
}

void ec__logmel_free(ec_logmel *logmel) {
    if (!logmel) return;
    ec__stft_free(logmel->stft);
    free(logmel->bands);
    free(logmel->weights);
    free(logmel);
}

int64_t ec__logmel_frames(const ec_logmel *logmel, int64_t samples) { return ec__stft_frames(logmel->stft, samples); }

/* mel[m][i] = sum over the band's bins of weight * power[bin][i]; frames are the vector dimension. */
static void apply_bands(const ec_logmel *logmel, const float *restrict power, float *restrict mel) {
    for (int32_t m = 0; m < logmel->config.n_mels; m++) {
        const band *b = &logmel->bands[m];
        const float *weight = logmel->weights + b->weight;
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
        x[i] = x[i] <= silence ? -100.f : db;
    }
}

static ec_status run(const ec_logmel *logmel, const float *waveform, int64_t samples, void *memory, bool log_scale,
                     float *out) {
    EC_RETURN_IF(ec__stft_check(logmel->stft, samples));
    ec_arena arena = ec__arena_over(memory, ec__logmel_workspace(logmel));
    workspace w = carve(logmel, &arena);
    int64_t frames = ec__logmel_frames(logmel, samples);
    int32_t mels = logmel->config.n_mels;
    for (int64_t first = 0; first < frames; first += EC_STFT_BLOCK) {
        int32_t count = frames - first < EC_STFT_BLOCK ? (int32_t)(frames - first) : EC_STFT_BLOCK;
        ec__stft_power(logmel->stft, waveform, samples, first, count, w.stft, w.power);
        apply_bands(logmel, w.power, w.mel);
        if (log_scale) decibels(w.mel, (int64_t)mels * EC_STFT_BLOCK);
        if (logmel->config.frames_first)
            for (int32_t i = 0; i < count; i++)
                for (int32_t m = 0; m < mels; m++) out[(first + i) * mels + m] = w.mel[m * EC_STFT_BLOCK + i];
        else
            for (int32_t m = 0; m < mels; m++)
                memcpy(out + m * frames + first, w.mel + m * EC_STFT_BLOCK, (size_t)count * sizeof *out);
    }
    return EC_OK;
}

ec_status ec__logmel(const ec_logmel *logmel, const float *waveform, int64_t samples, void *workspace_memory,
                     float *out) {
    EC_RETURN_IF(run(logmel, waveform, samples, workspace_memory, true, out));
    return EC_OK;
}

ec_status ec__mel_power(const ec_logmel *logmel, const float *waveform, int64_t samples, void *workspace_memory,
                        float *out) {
    EC_RETURN_IF(run(logmel, waveform, samples, workspace_memory, false, out));
    return EC_OK;
}
