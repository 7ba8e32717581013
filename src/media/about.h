/* The libraries that read pictures and sound. */
#ifndef EC_MEDIA_ABOUT_H
#define EC_MEDIA_ABOUT_H

#include <stddef.h>

/* FFmpeg, which reads more than JPEG, PNG and WAV: its version, NULL where this build
 * has none. Static memory. */
const char *ec__media_ffmpeg(void);

#endif
