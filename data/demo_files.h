/* Pictures and tracks into files of the usual formats. */
#ifndef EC_DATA_DEMO_FILES_H
#define EC_DATA_DEMO_FILES_H

#include <stdbool.h>

#include "demo_canvas.h"
#include "demo_synth.h"

typedef enum demo_image_kind {
    DEMO_JPEG,
    DEMO_JPEG_GRAY,
    DEMO_PNG_RGB,
    DEMO_PNG_GRAY,
    DEMO_PNG_PALETTE, /* 216 colours and 40 grays */
    DEMO_PNG_ALPHA,   /* edges fade to transparent */
} demo_image_kind;

typedef enum demo_sound_kind { DEMO_WAV, DEMO_FLAC, DEMO_OGG, DEMO_MP3 } demo_sound_kind;

const char *demo_image_extension(demo_image_kind kind); /* "jpg", "png" */
const char *demo_sound_extension(demo_sound_kind kind);

/* quality: of a JPEG, 1 to 100; fine_color: chroma at full resolution. */
ec_status demo_save_image(const demo_canvas *canvas, demo_image_kind kind, int quality, bool fine_color,
                          const char *path);

/* Can this build write that kind? WAV always; the others where FFmpeg has an encoder. */
bool demo_can_encode(demo_sound_kind kind);

/* 16 bits a sample in WAV and FLAC. channels: 1 (mean of both sides) or 2; bit_rate for OGG and MP3. */
ec_status demo_save_sound(const demo_track *track, demo_sound_kind kind, int channels, int bit_rate, const char *path);

/* demo_encode_*.c: everything but WAV; samples[count][channels]. */
ec_status demo_encode(const float *samples, int64_t count, int channels, int rate, demo_sound_kind kind, int bit_rate,
                      const char *path);

/* Can demo_encode be called? EC_ERR_ENV where the module that it is in cannot be loaded. */
ec_status demo_encode_ready(void);

/* can_encode and encode as a module offers them (src/core/module.h). */
struct demo_encoder {
    bool (*can_encode)(demo_sound_kind kind);
    ec_status (*encode)(const float *samples, int64_t count, int channels, int rate, demo_sound_kind kind, int bit_rate,
                        const char *path);
};

/* Creates or replaces a file. Not atomic and not flushed to disk: the manifests, written last, are. */
ec_status demo_write_file(const char *path, const void *bytes, size_t count);

#endif
