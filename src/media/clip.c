#include "media/clip.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/rng.h"

ec_status ec__clip_check(const ec_clip_config *config) {
    if (config->length < 1)
        return EC_ERROR(EC_ERR_USAGE, "a clip of %lld samples; at least 1 is needed", (long long)config->length);
    if (!(config->overlap >= 0 && config->overlap < 1))
        return EC_ERROR(EC_ERR_USAGE, "chunks cannot overlap by %g of their length; 0 <= overlap < 1", config->overlap);
    return EC_OK;
}

/* Halves to even, as numpy.around rounds in the original. */
static int64_t chunk_step(const ec_clip_config *config) {
    int64_t step = (int64_t)nearbyint((1 - config->overlap) * (double)config->length);
    return step < 1 ? 1 : step;
}

ec_status ec__clip_count(const ec_clip_config *config, int64_t samples, int64_t *count) {
    EC_RETURN_IF(ec__clip_check(config));
    if (samples < config->length && config->when_short == EC_CLIP_SHORT_ERROR)
        return EC_ERROR(EC_ERR_DATA, "%lld samples are too few for a clip of %lld; allow padding or leave the file out",
                        (long long)samples, (long long)config->length);
    bool one = config->mode != EC_CLIP_ALL || samples < config->length;
    *count = one ? 1 : 1 + (samples - config->length) / chunk_step(config);
    return EC_OK;
}

int64_t ec__clip_start(const ec_clip_config *config, int64_t samples, int64_t clip, uint32_t step, uint64_t index) {
    int64_t rest = samples - config->length;
    if (rest <= 0) return 0;
    switch (config->mode) {
    case EC_CLIP_FIRST: return 0;
    case EC_CLIP_CENTER: return rest / 2;
    case EC_CLIP_RANDOM: {
        ec_rng rng = ec__rng_at(config->seed, EC_RNG_CROP, step, index);
        return (int64_t)ec__rng_below(&rng, (uint64_t)rest + 1);
    }
    case EC_CLIP_ALL: return clip * chunk_step(config);
    }
    return 0;
}

void ec__clip_copy(const ec_clip_config *config, const float *waveform, int64_t samples, int64_t start, float *out) {
    int64_t length = config->length;
    if (samples - start >= length) {
        memcpy(out, waveform + start, (size_t)length * sizeof *out);
        return;
    }
    int64_t filled = 0, repeats = 1;
    if (config->when_short == EC_CLIP_SHORT_REPEAT) repeats = length / samples + 1;
    if (config->when_short == EC_CLIP_SHORT_REPEAT_PAD) repeats = length / samples;
    for (; repeats > 0 && filled < length; repeats--) {
        int64_t part = length - filled < samples ? length - filled : samples;
        memcpy(out + filled, waveform, (size_t)part * sizeof *out);
        filled += part;
    }
    memset(out + filled, 0, (size_t)(length - filled) * sizeof *out);
}
