#include "media/resample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Partial sums of a dot product: two AVX registers' worth, so that additions overlap. Part of the result's definition:
 * another number changes the last bits. */
enum { LANES = 16 };

struct ec_resampler {
    int64_t from, to;  /* o and n */
    int64_t taps;      /* of each phase; a multiple of LANES, filled up with zeros */
    int64_t *first;    /* [to] offset of a phase's first tap from q o */
    float *tap;        /* [to][taps] */
};

static int64_t gcd(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static double kernel(double t) {
    const double pi = 3.14159265358979323846;
    if (fabs(t) >= 6) return 0;
    if (t == 0) return 1;
    double c = cos(pi * t / 12);
    return sin(pi * t) / (pi * t) * c * c;
}

static void make_taps(ec_resampler *r) {
    double o = (double)r->from, n = (double)r->to, b = 0.99 * fmin(o, n);
    for (int64_t p = 0; p < r->to; p++) {
        /* |j/o - p/n| b < 6 */
        r->first[p] = (int64_t)ceil(o * ((double)p / n - 6 / b));
        for (int64_t k = 0; k < r->taps; k++) {
            int64_t j = r->first[p] + k;
            double t = (double)(j * r->to - p * r->from) / (o * n) * b; /* the numerator is exact */
            r->tap[p * r->taps + k] = (float)(kernel(t) * b / o);
        }
    }
}

ec_status ec__resampler_new(int32_t from_rate, int32_t to_rate, ec_resampler **out) {
    ec_status status = EC_OK;
    ec_resampler *r = NULL;
    if (from_rate < 1 || to_rate < 1 || from_rate > EC_RESAMPLE_MAX_RATE || to_rate > EC_RESAMPLE_MAX_RATE)
        EC_FAIL(EC_ERR_USAGE, "cannot resample from %d Hz to %d Hz: rates are 1 to %d", from_rate, to_rate,
                EC_RESAMPLE_MAX_RATE);
    r = calloc(1, sizeof *r);
    if (!r) EC_FAIL(EC_ERR_MEMORY, "no memory for a resampler");
    int64_t divisor = gcd(from_rate, to_rate);
    r->from = from_rate / divisor;
    r->to = to_rate / divisor;
    double width = 12 * (double)r->from / (0.99 * (double)(r->from < r->to ? r->from : r->to));
    r->taps = ((int64_t)width + 2 + LANES - 1) / LANES * LANES;
    r->first = malloc((size_t)r->to * sizeof *r->first);
    r->tap = malloc((size_t)(r->to * r->taps) * sizeof *r->tap);
    if (!r->first || !r->tap)
        EC_FAIL(EC_ERR_MEMORY, "no memory for %lld resampling taps", (long long)(r->to * r->taps));
    make_taps(r);
    *out = r;
    r = NULL;
done:
    ec__resampler_free(r);
    return status;
}

void ec__resampler_free(ec_resampler *resampler) {
    if (!resampler) return;
    free(resampler->first);
    free(resampler->tap);
    free(resampler);
}

int64_t ec__resample_count(const ec_resampler *resampler, int64_t count) {
    return (count * resampler->to + resampler->from - 1) / resampler->from;
}

static float reduce(float lane[LANES]) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static float dot(const float *restrict x, const float *restrict tap, int64_t taps) {
    float lane[LANES] = {0};
    for (int64_t k = 0; k < taps; k += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += x[k + l] * tap[k + l];
    return reduce(lane);
}

/* The same sum where some taps lie outside the waveform: x[k] is only read for k in [from, to). */
static float dot_at_edge(const float *x, const float *tap, int64_t from, int64_t to) {
    float lane[LANES] = {0};
    for (int64_t k = from; k < to; k++) lane[k % LANES] += x[k] * tap[k];
    return reduce(lane);
}

void ec__resample(const ec_resampler *resampler, const float *x, int64_t count, float *y) {
    const ec_resampler *r = resampler;
    if (r->from == r->to) {
        memcpy(y, x, (size_t)count * sizeof *y);
        return;
    }
    int64_t outputs = ec__resample_count(r, count), phase = 0, block = 0; /* block: q o */
    for (int64_t i = 0; i < outputs; i++) {
        int64_t start = block + r->first[phase];
        const float *tap = r->tap + phase * r->taps;
        if (start >= 0 && start + r->taps <= count) {
            y[i] = dot(x + start, tap, r->taps);
        } else {
            int64_t from = start < 0 ? -start : 0, to = count - start < r->taps ? count - start : r->taps;
            y[i] = dot_at_edge(x + start, tap, from, to);
        }
        if (++phase == r->to) {
            phase = 0;
            block += r->from;
        }
    }
}
