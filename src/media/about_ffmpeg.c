#include <libavutil/avutil.h>

#include "media/about.h"

ec_status ec__media_ffmpeg(const char **out) {
    *out = av_version_info();
    return EC_OK;
}
