#include "media/ffmpeg.h"

#include "core/module.h"

ec_status ec__media_ffmpeg(const char **out) {
    const ec_module *module;
    EC_RETURN_IF(ec__module_ffmpeg(&module));
    return module->ffmpeg->version(out);
}

ec_status ec__audio_decode(const char *path, const ec_audio_options *options, ec_audio *out) {
    const ec_module *module;
    EC_RETURN_IF(ec__module_ffmpeg(&module));
    return module->ffmpeg->audio_decode(path, options, out);
}

ec_status ec__image_decode_other(ec_image_format format, const uint8_t *bytes, size_t count, const char *name,
                                 ec_image **out) {
    const ec_module *module;
    EC_RETURN_IF(ec__module_ffmpeg(&module));
    return module->ffmpeg->image_decode(format, bytes, count, name, out);
}
