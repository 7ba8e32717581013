/* What the module emoclim_ffmpeg offers: what reads sound and pictures, and what writes the demo's sound. */
#include "core/module.h"
#include "demo_files.h"
#include "media/ffmpeg.h"

static const struct ec_ffmpeg ffmpeg = {
    .version = ec__media_ffmpeg, .audio_decode = ec__audio_decode, .image_decode = ec__image_decode_other};

static const struct demo_encoder encoder = {.can_encode = demo_can_encode, .encode = demo_encode};

extern const ec_module ec_module_table;
__attribute__((visibility("default"))) const ec_module ec_module_table = {
    .version = EC_MODULE_VERSION,
    .program = EMOCLIM_VERSION,
    .kind = "ffmpeg",
    .ffmpeg = &ffmpeg,
    .encoder = &encoder,
};
