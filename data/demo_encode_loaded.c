/* The program's: asks the module (src/media/ffmpeg.h). */
#include "core/module.h"
#include "demo_files.h"

/* Without the module the answer is yes: demo_encode then says what is wrong, and no other data come out in silence. */
bool demo_can_encode(demo_sound_kind kind) {
    const ec_module *module;
    if (kind == DEMO_WAV) return true;
    if (ec__module_ffmpeg(&module) == EC_OK) return module->encoder->can_encode(kind);
    ec_error_clear();
    return true;
}

ec_status demo_encode_ready(void) {
    const ec_module *module;
    return ec__module_ffmpeg(&module);
}

ec_status demo_encode(const float *samples, int64_t count, int channels, int rate, demo_sound_kind kind, int bit_rate,
                      const char *path) {
    const ec_module *module;
    EC_RETURN_IF(ec__module_ffmpeg(&module));
    return module->encoder->encode(samples, count, channels, rate, kind, bit_rate, path);
}
