/* The libraries that read pictures and sound. */
#ifndef EC_MEDIA_ABOUT_H
#define EC_MEDIA_ABOUT_H

#include "core/error.h"

/* FFmpeg, which reads more than JPEG, PNG and WAV: its version, static memory. EC_ERR_ENV where this build has none, or
 * it cannot be loaded. */
ec_status ec__media_ffmpeg(const char **out);

#endif
