/* Effects over a whole track. */
#include <math.h>
#include <stdlib.h>

#include "demo_synth.h"

void demo_hiss(demo_track *track, float level, ec_rng *rng) {
    for (int64_t i = 0; i < track->count; i++) {
        track->left[i] += level * ((float)ec__rng_u32(rng) * 0x1p-31f - 1);
        track->right[i] += level * ((float)ec__rng_u32(rng) * 0x1p-31f - 1);
    }
}

void demo_drive(demo_track *track, float gain) {
    for (int64_t i = 0; i < track->count; i++) {
        track->left[i] = tanhf(gain * track->left[i]) / gain;
        track->right[i] = tanhf(gain * track->right[i]) / gain;
    }
}

static void lowpass(float *x, int64_t count, float part) {
    float first = 0, second = 0; /* two one-pole filters in a row */
    for (int64_t i = 0; i < count; i++) {
        first += part * (x[i] - first);
        second += part * (first - second);
        x[i] = second;
    }
}

void demo_lowpass(demo_track *track, float hz) {
    float part = 1 - expf(-6.2831853f * hz / (float)track->rate);
    lowpass(track->left, track->count, part);
    lowpass(track->right, track->count, part);
}

/* wet += x through a feedback delay of delay samples that loses 60 dB in decay samples. */
static void comb(const float *x, float *wet, float *line, int64_t count, int32_t delay, float decay) {
    float feedback = powf(10, -3 * (float)delay / decay), damped = 0;
    for (int32_t i = 0; i < delay; i++) line[i] = 0;
    for (int64_t i = 0; i < count; i++) {
        float out = line[i % delay];
        damped += .6f * (out - damped); /* walls swallow treble first */
        line[i % delay] = x[i] + feedback * damped;
        wet[i] += out;
    }
}

/* Four feedback delays a side, of lengths without a common factor (M. Schroeder, "Natural sounding artificial
 * reverberation", 1962), other ones left than right. */
ec_status demo_reverb(demo_track *track, float amount, float seconds) {
    static const float delays[2][4] = {{.0297f, .0371f, .0411f, .0437f}, {.0309f, .0353f, .0419f, .0449f}};
    ec_status status = EC_OK;
    float *wet = malloc((size_t)track->count * sizeof *wet), *line = malloc((size_t)(track->rate / 10) * sizeof *line);
    if (!wet || !line) EC_FAIL(EC_ERR_MEMORY, "no memory for reverberation");
    for (int side = 0; side < 2; side++) {
        float *x = side ? track->right : track->left;
        for (int64_t i = 0; i < track->count; i++) wet[i] = 0;
        for (int k = 0; k < 4; k++)
            comb(x, wet, line, track->count, (int32_t)(delays[side][k] * (float)track->rate),
                 seconds * (float)track->rate);
        for (int64_t i = 0; i < track->count; i++) x[i] += .4f * amount * wet[i];
    }
done:
    free(wet);
    free(line);
    return status;
}

void demo_fade(demo_track *track, double in_s, double out_s) {
    int64_t in = (int64_t)(in_s * track->rate), out = (int64_t)(out_s * track->rate);
    for (int64_t i = 0; i < track->count; i++) {
        int64_t rest = track->count - 1 - i;
        float gain = 1;
        if (i < in) gain *= (float)i / (float)in;
        if (rest < out) gain *= (float)rest / (float)out;
        track->left[i] *= gain;
        track->right[i] *= gain;
    }
}

/* Linear up to 0.7, then bent so that the result stays below 1. */
static float round_off(float x) {
    float size = fabsf(x);
    if (size <= .7f) return x;
    return copysignf(.7f + .28f * tanhf((size - .7f) / .28f), x);
}

void demo_level(demo_track *track, float rms_db) {
    double sum = 0;
    for (int64_t i = 0; i < track->count; i++)
        sum += track->left[i] * track->left[i] + track->right[i] * track->right[i];
    double rms = sqrt(sum / (double)(2 * track->count));
    float gain = (float)(pow(10, rms_db / 20) / fmax(rms, 1e-6));
    for (int64_t i = 0; i < track->count; i++) {
        track->left[i] = round_off(gain * track->left[i]);
        track->right[i] = round_off(gain * track->right[i]);
    }
}
