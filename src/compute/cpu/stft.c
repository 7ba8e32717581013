#include "compute/cpu/stft.h"

#include <fftw3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"

/* FFTW's planner is the one part of it that is not thread-safe. */
static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER;

struct ec_stft {
    int32_t n_fft, hop;
    float *window;
    fftwf_plan plan; /* one real transform, executed on arrays of the same alignment as those it was planned with */
};

typedef struct workspace {
    float *frame;            /* [n_fft] */
    fftwf_complex *spectrum; /* [bins] */
} workspace;

static workspace carve(const ec_stft *stft, ec_arena *arena) {
    workspace w;
    w.frame = ec__arena_take(arena, (size_t)stft->n_fft, sizeof(float));
    w.spectrum = ec__arena_take(arena, (size_t)ec__stft_bins(stft), sizeof(fftwf_complex));
    return w;
}

size_t ec__stft_workspace(const ec_stft *stft) {
    ec_arena arena = ec__arena_counting();
    carve(stft, &arena);
    return ec__arena_used(&arena);
}

/* FFTW_ESTIMATE chooses by rules, not by timing: the same plan, and so the same bits, in every process on a machine. */
static ec_status make_plan(ec_stft *stft) {
    size_t bytes = ec__stft_workspace(stft);
    void *memory = aligned_alloc(EC_ARENA_ALIGN, bytes);
    if (!memory) return EC_ERROR(EC_ERR_MEMORY, "no memory to plan a transform of %d samples", stft->n_fft);
    ec_arena arena = ec__arena_over(memory, bytes);
    workspace w = carve(stft, &arena);
    pthread_mutex_lock(&planner);
    stft->plan = fftwf_plan_dft_r2c_1d(stft->n_fft, w.frame, w.spectrum, FFTW_ESTIMATE | FFTW_DESTROY_INPUT);
    pthread_mutex_unlock(&planner);
    free(memory);
    if (!stft->plan) return EC_ERROR(EC_ERR_ENV, "FFTW cannot plan a transform of %d samples", stft->n_fft);
    return EC_OK;
}

ec_status ec__stft_new(int32_t n_fft, int32_t hop, const float *window, ec_stft **out) {
    ec_status status = EC_OK;
    ec_stft *stft = NULL;
    stft = calloc(1, sizeof *stft);
    if (!stft) EC_FAIL(EC_ERR_MEMORY, "no memory for a spectrogram");
    stft->n_fft = n_fft;
    stft->hop = hop;
    stft->window = malloc((size_t)n_fft * sizeof *stft->window);
    if (!stft->window) EC_FAIL(EC_ERR_MEMORY, "no memory for a window of %d samples", n_fft);
    memcpy(stft->window, window, (size_t)n_fft * sizeof *window);
    EC_TRY(make_plan(stft));
    *out = stft;
    stft = NULL;
done:
    ec__stft_free(stft);
    return status;
}

void ec__stft_free(ec_stft *stft) {
    if (!stft) return;
    if (stft->plan) {
        pthread_mutex_lock(&planner);
        fftwf_destroy_plan(stft->plan);
        pthread_mutex_unlock(&planner);
    }
    free(stft->window);
    free(stft);
}

int32_t ec__stft_bins(const ec_stft *stft) { return stft->n_fft / 2 + 1; }

/* Sample at of the waveform continued by reflection; at lies at most n_fft / 2 outside. */
static float reflected(const float *waveform, int64_t samples, int64_t at) {
    if (at < 0) at = -at;
    if (at >= samples) at = 2 * (samples - 1) - at;
    return waveform[at];
}

static void fill_frame(const ec_stft *stft, const float *waveform, int64_t samples, int64_t start, float *frame) {
    if (start >= 0 && start + stft->n_fft <= samples) {
        for (int32_t k = 0; k < stft->n_fft; k++) frame[k] = waveform[start + k] * stft->window[k];
    } else {
        for (int32_t k = 0; k < stft->n_fft; k++) frame[k] = reflected(waveform, samples, start + k) * stft->window[k];
    }
}

void ec__stft_power(const ec_stft *stft, const float *waveform, int64_t samples, int64_t first, int32_t count,
                    void *workspace_memory, float *power) {
    ec_arena arena = ec__arena_over(workspace_memory, ec__stft_workspace(stft));
    workspace w = carve(stft, &arena);
    int32_t bins = ec__stft_bins(stft);
    if (count < EC_STFT_BLOCK) memset(power, 0, (size_t)bins * EC_STFT_BLOCK * sizeof *power);
    for (int32_t i = 0; i < count; i++) {
        fill_frame(stft, waveform, samples, (first + i) * stft->hop - stft->n_fft / 2, w.frame);
        fftwf_execute_dft_r2c(stft->plan, w.frame, w.spectrum);
        for (int32_t k = 0; k < bins; k++) {
            float re = w.spectrum[k][0], im = w.spectrum[k][1];
            power[k * EC_STFT_BLOCK + i] = re * re + im * im;
        }
    }
}
