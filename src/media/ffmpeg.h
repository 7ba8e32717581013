/* What knows FFmpeg: *_ffmpeg.c here and in data/, which take some 150 libraries to load. Programs that use the library
 * are linked with them. The program emoclim is not, since most of its commands do without: there the *_loaded.c twins
 * load the module emoclim_ffmpeg at the first sound, or picture other than JPEG and PNG, and call what is in this
 * table. */
#ifndef EC_MEDIA_FFMPEG_H
#define EC_MEDIA_FFMPEG_H

#include "media/about.h"
#include "media/audio.h"
#include "media/image_decode.h"

/* Each of them as declared in those headers. */
struct ec_ffmpeg {
    ec_status (*version)(const char **out);
    ec_status (*audio_decode)(const char *path, const ec_audio_options *options, ec_audio *out);
    ec_status (*image_decode)(ec_image_format format, const uint8_t *bytes, size_t count, const char *name,
                              ec_image **out);
};

#endif
