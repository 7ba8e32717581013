/* The decoders behind ec__image_decode; contracts as there. */
#ifndef EC_MEDIA_IMAGE_DECODE_H
#define EC_MEDIA_IMAGE_DECODE_H

#include <stdbool.h>

#include "media/image.h"

typedef enum ec_image_format {
    EC_FORMAT_UNKNOWN,
    EC_FORMAT_JPEG,
    EC_FORMAT_PNG,
    EC_FORMAT_BMP,
    EC_FORMAT_DDS,
    EC_FORMAT_GIF,
    EC_FORMAT_JPEG2000,
    EC_FORMAT_PNM,
    EC_FORMAT_PSD,
    EC_FORMAT_QOI,
    EC_FORMAT_SGI,
    EC_FORMAT_TIFF,
    EC_FORMAT_WEBP,
} ec_image_format;

const char *ec__image_format_name(ec_image_format format);

/* False where the file ends before what its header announces; true also where only the decoder can tell. */
bool ec__image_complete(ec_image_format format, const uint8_t *bytes, size_t count);

ec_status ec__image_decode_jpeg(const uint8_t *bytes, size_t count, const char *name, ec_image **out);
ec_status ec__image_decode_png(const uint8_t *bytes, size_t count, const char *name, ec_image **out);

/* Every other format. Three files define it: with FFmpeg, with FFmpeg as a module, and without. */
ec_status ec__image_decode_other(ec_image_format format, const uint8_t *bytes, size_t count, const char *name,
                                 ec_image **out);

#endif
