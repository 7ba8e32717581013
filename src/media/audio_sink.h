/* Where decoders put samples: mixes channels down, applies the cut, checks lengths and values. */
#ifndef EC_MEDIA_AUDIO_SINK_H
#define EC_MEDIA_AUDIO_SINK_H

#include "media/audio.h"

typedef enum ec_sample_format {
    EC_SAMPLE_U8,
    EC_SAMPLE_S16,
    EC_SAMPLE_S24, /* three bytes, little endian */
    EC_SAMPLE_S32,
    EC_SAMPLE_S64,
    EC_SAMPLE_F32,
    EC_SAMPLE_F64,
} ec_sample_format;

typedef struct ec_audio_sink {
    const char *path; /* for messages; borrowed */
    ec_audio_options options;
    int32_t rate;
    int64_t first, last; /* the cut: samples [first, last) of the file are kept */
    int64_t limit;       /* most samples to keep */
    int64_t seen;        /* samples of the file so far, kept or not */
    float *samples;      /* owned until ec__audio_sink_finish */
    int64_t count, capacity;
} ec_audio_sink;

/* options may be NULL. EC_ERR_USAGE for a cut or limit that cannot mean anything. */
ec_status ec__audio_sink_init(ec_audio_sink *sink, const char *path, const ec_audio_options *options);

/* Fixes the rate before the first samples; a second, different rate is EC_ERR_DATA. */
ec_status ec__audio_sink_rate(ec_audio_sink *sink, int32_t rate);

/* Adds frames samples of each channel. Interleaved: data[0] holds them channel by channel; planar: data[c] is channel
 * c. Integers are in the machine's byte order (S24: little endian); data need not be aligned. */
ec_status ec__audio_sink_push(ec_audio_sink *sink, const uint8_t *const *data, ec_sample_format format, bool planar,
                              int32_t channels, int64_t frames);

/* true once the cut's end has been reached: the decoder may stop. */
bool ec__audio_sink_full(const ec_audio_sink *sink);

/* Gives the waveform away. EC_ERR_DATA where nothing was kept. */
ec_status ec__audio_sink_finish(ec_audio_sink *sink, ec_audio *out);

void ec__audio_sink_release(ec_audio_sink *sink);

int32_t ec__sample_bytes(ec_sample_format format);

#endif
