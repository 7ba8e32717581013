#include "media/audio.h"
#include "media/wav.h"

ec_status ec__audio_decode(const char *path, const ec_audio_options *options, ec_audio *out) {
    EC_RETURN_IF(ec__wav_decode(path, options, out));
    return EC_OK;
}
