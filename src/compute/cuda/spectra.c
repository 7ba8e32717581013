/* Spectra by cuFFT: a plan for each stream, made with the layer, over work memory that the caller brings. */
#include "compute/cuda/spectra.h"

#include <cufft.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/encoder.h"
#include "core/arena.h"

enum { LONGEST = 1024, ALIGN = 256 }; /* n_fft whose power fits into shared memory; as cudaMalloc aligns */

struct ec_spectra {
    int32_t batch;
    int64_t rows; /* transforms: frames of the batch */
    ec_cuda_spectra numbers;
    void *memory; /* behind the arrays of numbers */
    cufftHandle plan[EC_CUDA_STREAMS];
    int32_t plans;     /* that were made */
    size_t plan_bytes; /* of work memory */
};

static const char *fft_name(cufftResult outcome) {
    switch (outcome) {
    case CUFFT_INVALID_PLAN: return "CUFFT_INVALID_PLAN";
    case CUFFT_ALLOC_FAILED: return "CUFFT_ALLOC_FAILED";
    case CUFFT_INVALID_VALUE: return "CUFFT_INVALID_VALUE";
    case CUFFT_INTERNAL_ERROR: return "CUFFT_INTERNAL_ERROR";
    case CUFFT_EXEC_FAILED: return "CUFFT_EXEC_FAILED";
    case CUFFT_SETUP_FAILED: return "CUFFT_SETUP_FAILED";
    case CUFFT_INVALID_SIZE: return "CUFFT_INVALID_SIZE";
    case CUFFT_NO_WORKSPACE: return "CUFFT_NO_WORKSPACE";
    default: return "an error of cuFFT";
    }
}

#define EC_CUFFT(call) fft_status((call), #call, __FILE__, __LINE__, __func__)

static ec_status fft_status(cufftResult outcome, const char *call, const char *file, int line, const char *function) {
    if (outcome == CUFFT_SUCCESS) return EC_OK;
    const ec_status code = outcome == CUFFT_ALLOC_FAILED ? EC_ERR_MEMORY : EC_ERR_ENV;
    return ec__error_raise(code, file, line, function, "%.*s: %s (%d)", (int)strcspn(call, "("), call,
                           fft_name(outcome), (int)outcome);
}

/* Work memory of a run. */
typedef struct places {
    float *frame, *spectrum;
    void *area; /* cuFFT's */
    size_t bytes;
} places;

static char *take(char **at, size_t bytes) {
    char *piece = *at;
    *at += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    return piece;
}

/* The caller's alignment may be a smaller one: room for a shift. */
static places carve(const ec_spectra *s, void *work) {
    const size_t rows = (size_t)s->rows, n = (size_t)s->numbers.n_fft;
    char *const start = (char *)(((uintptr_t)work + ALIGN - 1) / ALIGN * ALIGN), *at = start;
    places p = {0};
    p.frame = (float *)(void *)take(&at, sizeof(float) * rows * n);
    p.spectrum = (float *)(void *)take(&at, 2 * sizeof(float) * rows * (n / 2 + 1));
    p.area = take(&at, s->plan_bytes);
    p.bytes = (size_t)(at - start) + ALIGN;
    return p;
}

size_t ec__cuda_spectra_bytes(ec_backend *be, const ec_spectra *spectra) {
    (void)be;
    return carve(spectra, NULL).bytes;
}

static ec_status make_plans(ec_cuda_backend *be, ec_spectra *s) {
    int n = s->numbers.n_fft, bins = n / 2 + 1;
    EC_RETURN_IF(EC_CUDA(cudaSetDevice(be->device)));
    for (int32_t i = 0; i < EC_CUDA_STREAMS; i++) {
        size_t bytes = 0;
        EC_RETURN_IF(EC_CUFFT(cufftCreate(&s->plan[i])));
        s->plans++;
        EC_RETURN_IF(EC_CUFFT(cufftSetAutoAllocation(s->plan[i], 0)));
        EC_RETURN_IF(EC_CUFFT(cufftMakePlanMany(s->plan[i], 1, &n, &n, 1, n, &bins, 1, bins, CUFFT_R2C, (int)s->rows,
                                                &bytes)));
        EC_RETURN_IF(EC_CUFFT(cufftSetStream(s->plan[i], be->stream[i].queue)));
        if (bytes > s->plan_bytes) s->plan_bytes = bytes;
    }
    return EC_OK;
}

/* Window, bands and their weights in the memory of the device. */
static ec_status place(ec_backend *be, const ec_spectra_desc *d, const ec_mel_bands *bands, ec_spectra *s) {
    const size_t window = sizeof(float) * (size_t)d->n_fft, band = sizeof *bands->band * (size_t)d->mels;
    const size_t weight = sizeof(float) * (size_t)bands->weights;
    ec_stream *stream = be->main_stream(be);
    EC_RETURN_IF(be->memory->alloc(be, window + band + weight, &s->memory));
    char *to = s->memory;
    s->numbers.window = (float *)(void *)to;
    s->numbers.band = (ec_mel_band *)(void *)(to + window);
    s->numbers.weight = (float *)(void *)(to + window + band);
    EC_RETURN_IF(be->memory->upload(be, stream, to, d->window, window));
    EC_RETURN_IF(be->memory->upload(be, stream, to + window, bands->band, band));
    return be->memory->upload(be, stream, to + window + band, bands->weight, weight);
}

ec_status ec__cuda_spectra_new(ec_backend *be, const ec_spectra_desc *d, ec_spectra **out) {
    ec_status status = EC_OK;
    ec_mel_bands bands = {0};
    ec_spectra *s = NULL;
    EC_TRY(ec__spectra_check(d));
    if (d->n_fft > LONGEST)
        EC_FAIL(EC_ERR_USAGE, "spectrograms with n_fft %d: at most %d on a GPU", d->n_fft, LONGEST);
    const int64_t frames = ec__spectra_frames(d), rows = d->batch * frames;
    if (d->batch > UINT16_MAX || rows > INT32_MAX)
        EC_FAIL(EC_ERR_USAGE, "spectrograms of %d clips of %d samples at a time: too many for a GPU", d->batch,
                d->samples);
    s = calloc(1, sizeof *s);
    if (!s) EC_FAIL(EC_ERR_MEMORY, "no memory for a mel spectrogram");
    s->batch = d->batch;
    s->rows = rows;
    s->numbers = (ec_cuda_spectra){.samples = d->samples, .n_fft = d->n_fft, .hop = d->hop, .mels = d->mels,
                                   .frames = (int32_t)frames, .frames_first = d->frames_first, .power = d->power,
                                   .scale = d->scale, .offset = d->offset};
    EC_TRY(ec__mel_bands_init(d, &bands));
    EC_TRY(make_plans(ec__cuda(be), s));
    EC_TRY(ec__cuda_mel_prepare(&s->numbers));
    EC_TRY(place(be, d, &bands, s));
    EC_TRY(be->synchronize(be)); /* the host's arrays are not kept */
    *out = s;
    s = NULL;
done:
    if (s) (void)be->synchronize(be);
    ec__mel_bands_release(&bands);
    ec__cuda_spectra_free(be, s);
    return status;
}

void ec__cuda_spectra_free(ec_backend *be, ec_spectra *spectra) {
    if (!spectra) return;
    for (int32_t i = 0; i < spectra->plans; i++) (void)cufftDestroy(spectra->plan[i]);
    be->memory->free(be, spectra->memory);
    free(spectra);
}

ec_status ec__cuda_spectra(ec_backend *be, ec_stream *stream, const ec_spectra *s, int32_t count,
                           const float *waveforms, void *work, float *y) {
    (void)be;
    const places p = carve(s, work);
    const cufftHandle plan = s->plan[stream->index];
    EC_RETURN_IF(ec__cuda_frames(stream, &s->numbers, s->batch, count, waveforms, p.frame));
    EC_RETURN_IF(EC_CUFFT(cufftSetWorkArea(plan, p.area)));
    EC_RETURN_IF(EC_CUFFT(cufftExecR2C(plan, p.frame, (cufftComplex *)(void *)p.spectrum)));
    return ec__cuda_mel(stream, &s->numbers, s->batch, p.spectrum, y);
}
