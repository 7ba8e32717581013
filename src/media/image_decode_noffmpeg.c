/* Built where FFmpeg is absent. */
#include "media/image_decode.h"

ec_status ec__image_decode_other(ec_image_format format, const uint8_t *bytes, size_t count, const char *name,
                                 ec_image **out) {
    (void)bytes, (void)count, (void)out;
    return EC_ERROR(EC_ERR_ENV, "%s: %s pictures need FFmpeg, which this build lacks; convert the file to PNG or JPEG",
                    name, ec__image_format_name(format));
}
