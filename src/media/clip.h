/* Pieces of fixed length from a waveform of any length: what an audio encoder takes.
 *
 * ShortChunkCNN takes 59049 samples at 16 kHz (3.7 s), HarmonicCNN 80000, SampleCNN 98415, CLAP 480000 at 48 kHz. The
 * original Emo-CLIM leaves clips that are shorter out of the data set (EC_CLIP_SHORT_ERROR refuses them, so that it is
 * noticed), trains on one random crop drawn anew each time, its start uniform over [0, samples - length], and evaluates
 * on all chunks from the beginning in steps of round((1 - overlap) length), dropping what is left at the end, with the
 * mean of the chunks' embeddings. CLAP's own front end pads by EC_CLIP_SHORT_REPEAT_PAD. */
#ifndef EC_MEDIA_CLIP_H
#define EC_MEDIA_CLIP_H

#include <stdint.h>

#include "core/error.h"

typedef enum ec_clip_mode {
    EC_CLIP_FIRST,
    EC_CLIP_CENTER, /* rounded down where the rest is odd */
    EC_CLIP_RANDOM, /* keyed by (seed, EC_RNG_CROP, step, index) */
    EC_CLIP_ALL,    /* chunks from the beginning; an incomplete last one is dropped */
} ec_clip_mode;

/* What becomes of a waveform that is shorter than a clip. */
typedef enum ec_clip_short {
    EC_CLIP_SHORT_ERROR,      /* EC_ERR_DATA */
    EC_CLIP_SHORT_ZERO,       /* zeros behind it */
    EC_CLIP_SHORT_REPEAT,     /* from its beginning again, until the clip is full */
    EC_CLIP_SHORT_REPEAT_PAD, /* floor(length / samples) times, then zeros */
} ec_clip_short;

typedef struct ec_clip_config {
    ec_clip_mode mode;
    ec_clip_short when_short;
    int64_t length;  /* samples of a clip, at least 1 */
    double overlap;  /* EC_CLIP_ALL: part of a chunk that the next one shares, in [0, 1) */
    uint64_t seed;   /* EC_CLIP_RANDOM */
} ec_clip_config;

/* EC_ERR_USAGE for a length or overlap outside its range. */
ec_status ec__clip_check(const ec_clip_config *config);

/* Clips that a waveform of samples >= 1 samples gives: at least 1. EC_ERR_DATA for a short one that is refused. */
ec_status ec__clip_count(const ec_clip_config *config, int64_t samples, int64_t *count);

/* First sample of clip number clip < count; 0 for a short waveform. step and index (the item's global index) only
 * matter to EC_CLIP_RANDOM. */
int64_t ec__clip_start(const ec_clip_config *config, int64_t samples, int64_t clip, uint32_t step, uint64_t index);

/* out[config->length] = the clip that starts at sample start, filled up where the waveform is short. */
void ec__clip_copy(const ec_clip_config *config, const float *waveform, int64_t samples, int64_t start, float *out);

#endif
