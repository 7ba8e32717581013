#include "media/about.h"

ec_status ec__media_ffmpeg(const char **out) {
    (void)out;
    return EC_ERROR(EC_ERR_ENV, "this build has no FFmpeg: it reads JPEG, PNG and WAV only");
}
