/* Sound files to mono waveforms.
 *
 * With FFmpeg every format that it reads (audio_ffmpeg.c); without it RIFF WAV only (audio_noffmpeg.c, wav.h). Both
 * give the same samples for a WAV file: integers of n bits are divided by 2^(n-1), as torchaudio.load does. */
#ifndef EC_MEDIA_AUDIO_H
#define EC_MEDIA_AUDIO_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* A waveform: the mean of the file's channels, nominally in [-1, 1] (never clipped), at the file's own rate. */
typedef struct ec_audio {
    float *samples; /* owned: ec__audio_release */
    int64_t count;  /* samples, at least 1 */
    int32_t rate;   /* samples per second */
} ec_audio;

typedef struct ec_audio_options {
    double start_s; /* first second wanted; 0 for the beginning */
    double end_s;   /* second to stop at; 0 or INFINITY for the end of the file, and so is one behind it */
    double max_s;   /* longest waveform allowed; 0 for EC_AUDIO_MAX_S */
    /* Damage inside a file (packets that cannot be decoded, fewer samples than the header promises) is an error unless
     * this is set: a training set should not hold gaps that nobody knows of. With it, what can be decoded is returned
     * and a warning is logged; a file without any sample is an error all the same. */
    bool tolerate_damage;
} ec_audio_options;

enum {
    EC_AUDIO_MAX_S = 7200,            /* longer files are errors: 2 h of mono float32 at 48 kHz are 1.4 GB */
    EC_AUDIO_MAX_CHANNELS = 64,
    EC_AUDIO_MAX_RATE = 1000000,
};

/* Decodes the first audio stream of path (cover art and other streams are ignored). Encoder delay and padding that the
 * file declares (MP3 with a LAME tag, Vorbis, Opus, AAC) are trimmed. A cut is exact to the sample, with the same bits
 * as cutting the whole waveform: sample round(start_s * rate) up to round(end_s * rate). options may be NULL for the
 * whole file. Safe to call from several threads; the bits depend on the file alone.
 *
 * EC_ERR_DATA, naming the file and FFmpeg's reason: missing, empty, truncated, damaged, no audio stream, not finite,
 * longer than max_s, start_s behind the end. EC_ERR_USAGE: a cut that ends before it starts. EC_ERR_ENV: this build (or
 * this FFmpeg) cannot read the format, or FFmpeg cannot be loaded (media/ffmpeg.h). */
ec_status ec__audio_decode(const char *path, const ec_audio_options *options, ec_audio *out);

/* Accepts a zeroed one. */
void ec__audio_release(ec_audio *audio);

#endif
