#include <libavutil/avutil.h>

#include "media/about.h"

const char *ec__media_ffmpeg(void) { return av_version_info(); }
