#include "media/audio_sink.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 2 GiB of float32. max_s alone would allow more at unusual rates. */
static const int64_t most_samples = INT64_C(1) << 29;

int32_t ec__sample_bytes(ec_sample_format format) {
    static const int32_t bytes[] = {1, 2, 3, 4, 8, 4, 8};
    return bytes[format];
}

ec_status ec__audio_sink_init(ec_audio_sink *sink, const char *path, const ec_audio_options *options) {
    memset(sink, 0, sizeof *sink);
    sink->path = path;
    if (options) sink->options = *options;
    ec_audio_options *o = &sink->options;
    if (!(o->start_s >= 0) || !(o->end_s >= 0) || !isfinite(o->start_s))
        return EC_ERROR(EC_ERR_USAGE, "%s: a cut from %g s to %g s cannot be made; seconds of at least 0 expected",
                        path, o->start_s, o->end_s);
    if (o->end_s > 0 && o->end_s <= o->start_s)
        return EC_ERROR(EC_ERR_USAGE, "%s: the cut ends at %g s, before it starts at %g s; a later end expected, or 0",
                        path, o->end_s, o->start_s);
    if (!(o->max_s >= 0)) return EC_ERROR(EC_ERR_USAGE, "%s: a length limit of %g s cannot be met", path, o->max_s);
    if (o->max_s == 0) o->max_s = EC_AUDIO_MAX_S;
    return EC_OK;
}

ec_status ec__audio_sink_rate(ec_audio_sink *sink, int32_t rate) {
    if (rate < 1 || rate > EC_AUDIO_MAX_RATE)
        return EC_ERROR(EC_ERR_DATA, "%s: a rate of %d samples a second; 1 to %d can be read", sink->path, rate,
                        EC_AUDIO_MAX_RATE);
    if (rate == sink->rate) return EC_OK;
    if (sink->rate)
        return EC_ERROR(EC_ERR_DATA, "%s: the sampling rate changes from %d to %d Hz after %lld samples", sink->path,
                        sink->rate, rate, (long long)sink->seen);
    sink->rate = rate;
    const double farthest = 9e18; /* exactly convertible to int64_t */
    sink->first = (int64_t)fmin(round(sink->options.start_s * rate), farthest);
    sink->last = sink->options.end_s > 0 && isfinite(sink->options.end_s)
                     ? (int64_t)fmin(round(sink->options.end_s * rate), farthest)
                     : INT64_MAX;
    double limit = sink->options.max_s * rate;
    sink->limit = limit < (double)most_samples ? (int64_t)limit : most_samples;
    return EC_OK;
}

static ec_status reserve(ec_audio_sink *sink, int64_t more) {
    if (more > sink->limit - sink->count)
        return EC_ERROR(EC_ERR_DATA, "%s is longer than %.6g s; cut it (start_s, end_s) or raise the limit", sink->path,
                        (double)sink->limit / sink->rate);
    int64_t need = sink->count + more;
    if (need <= sink->capacity) return EC_OK;
    int64_t capacity = sink->capacity * 2 > need ? sink->capacity * 2 : need;
    if (capacity < 65536) capacity = 65536;
    float *samples = realloc(sink->samples, (size_t)capacity * sizeof *samples);
    if (!samples) return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for %lld samples", sink->path, (long long)capacity);
    sink->samples = samples;
    sink->capacity = capacity;
    return EC_OK;
}

/* sum[i] += sample i of one channel. step: bytes from one sample of the channel to the next. memcpy because a packet
 * may start at any address; double sums are exact for up to 32-bit integers. */
#define ADD(type, name)                                                                        \
    static void add_##name(double *sum, const uint8_t *from, size_t step, int64_t frames) {    \
        for (int64_t i = 0; i < frames; i++, from += step) {                                   \
            type value;                                                                        \
            memcpy(&value, from, sizeof value);                                                \
            sum[i] += (double)value;                                                           \
        }                                                                                      \
    }
ADD(int16_t, s16)
ADD(int32_t, s32)
ADD(int64_t, s64)
ADD(float, f32)
ADD(double, f64)
#undef ADD

static void add_u8(double *sum, const uint8_t *from, size_t step, int64_t frames) {
    for (int64_t i = 0; i < frames; i++, from += step) sum[i] += (double)*from - 128.0;
}

static void add_s24(double *sum, const uint8_t *from, size_t step, int64_t frames) {
    for (int64_t i = 0; i < frames; i++, from += step) {
        uint32_t bits = (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16;
        sum[i] += (double)((int32_t)(bits ^ 0x800000u) - 0x800000);
    }
}

static void add(double *sum, const uint8_t *from, ec_sample_format format, size_t step, int64_t frames) {
    switch (format) {
    case EC_SAMPLE_U8: add_u8(sum, from, step, frames); break;
    case EC_SAMPLE_S16: add_s16(sum, from, step, frames); break;
    case EC_SAMPLE_S24: add_s24(sum, from, step, frames); break;
    case EC_SAMPLE_S32: add_s32(sum, from, step, frames); break;
    case EC_SAMPLE_S64: add_s64(sum, from, step, frames); break;
    case EC_SAMPLE_F32: add_f32(sum, from, step, frames); break;
    case EC_SAMPLE_F64: add_f64(sum, from, step, frames); break;
    }
}

/* 1 / full scale. */
static double unit(ec_sample_format format) {
    static const double units[] = {0x1p-7, 0x1p-15, 0x1p-23, 0x1p-31, 0x1p-63, 1, 1};
    return units[format];
}

ec_status ec__audio_sink_push(ec_audio_sink *sink, const uint8_t *const *data, ec_sample_format format, bool planar,
                              int32_t channels, int64_t frames) {
    enum { BLOCK = 1024 };
    double sum[BLOCK];
    if (channels < 1 || channels > EC_AUDIO_MAX_CHANNELS)
        return EC_ERROR(EC_ERR_DATA, "%s has %d channels; 1 to %d can be read", sink->path, channels,
                        EC_AUDIO_MAX_CHANNELS);
    /* The part of these frames that lies inside the cut. */
    int64_t from = sink->first - sink->seen, to = sink->last - sink->seen;
    if (from < 0) from = 0;
    if (to > frames) to = frames;
    if (from < to) EC_RETURN_IF(reserve(sink, to - from));
    size_t bytes = (size_t)ec__sample_bytes(format), step = planar ? bytes : bytes * (size_t)channels;
    double scale = unit(format) / channels;
    for (int64_t at = from; at < to; at += BLOCK) {
        int64_t block = to - at < BLOCK ? to - at : BLOCK;
        memset(sum, 0, sizeof sum);
        for (int32_t c = 0; c < channels; c++)
            add(sum, (planar ? data[c] : data[0] + bytes * (size_t)c) + step * (size_t)at, format, step, block);
        float *out = sink->samples + sink->count;
        for (int64_t i = 0; i < block; i++) out[i] = (float)(sum[i] * scale);
        for (int64_t i = 0; i < block; i++)
            if (!isfinite(out[i]))
                return EC_ERROR(EC_ERR_DATA, "%s: sample %lld is not a finite number", sink->path,
                                (long long)(sink->seen + at + i));
        sink->count += block;
    }
    sink->seen += frames;
    return EC_OK;
}

bool ec__audio_sink_full(const ec_audio_sink *sink) { return sink->rate && sink->seen >= sink->last; }

ec_status ec__audio_sink_finish(ec_audio_sink *sink, ec_audio *out) {
    if (sink->seen == 0) return EC_ERROR(EC_ERR_DATA, "%s holds no audio samples", sink->path);
    if (sink->count == 0)
        return EC_ERROR(EC_ERR_DATA, "%s: the cut starts at %g s and the file ends at %g s", sink->path,
                        sink->options.start_s, (double)sink->seen / sink->rate);
    /* Waveforms are kept for a while: the doubling's slack is not. A realloc that fails leaves the larger one. */
    float *exact = realloc(sink->samples, (size_t)sink->count * sizeof *exact);
    *out = (ec_audio){.samples = exact ? exact : sink->samples, .count = sink->count, .rate = sink->rate};
    sink->samples = NULL;
    sink->count = sink->capacity = 0;
    return EC_OK;
}

void ec__audio_sink_release(ec_audio_sink *sink) {
    free(sink->samples);
    sink->samples = NULL;
}

void ec__audio_release(ec_audio *audio) {
    free(audio->samples);
    *audio = (ec_audio){0};
}
