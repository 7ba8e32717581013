/* Pictures from files, in the mode in which the file holds them: what a preprocessing does depends on it.
 *
 * The kind of file is told by its first bytes, never by its name. JPEG is decoded by libjpeg-turbo with the accurate
 * integer inverse DCT and fancy upsampling, PNG by libpng, both to the values and modes of Pillow 9.4 (`Image.open`);
 * BMP, GIF (first picture), JPEG 2000, PNM, PSD, QOI, SGI, TIFF, WebP and some more by FFmpeg, where it is built in.
 * Not applied, as in Pillow: EXIF orientation, colour profiles, gamma, the transparent colour of a tRNS chunk. */
#ifndef EC_MEDIA_IMAGE_H
#define EC_MEDIA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum {
    EC_IMAGE_PIXELS_MAX = 1 << 28, /* larger pictures are refused before anything is allocated */
    EC_IMAGE_SLACK = 64,           /* bytes that may be read, and mean nothing, after the last pixel */
};

typedef enum ec_image_mode {
    EC_IMAGE_BIT,        /* 1 byte a pixel: 0 or 255 */
    EC_IMAGE_GRAY,       /* 1 byte */
    EC_IMAGE_GRAY16,     /* 2 bytes: one uint16_t of this machine */
    EC_IMAGE_GRAY_ALPHA, /* 2 bytes: gray, alpha (not premultiplied) */
    EC_IMAGE_PALETTE,    /* 1 byte: row of palette */
    EC_IMAGE_RGB,        /* 3 bytes */
    EC_IMAGE_RGBA,       /* 4 bytes, not premultiplied */
    EC_IMAGE_CMYK,       /* 4 bytes, 0 is no ink (the inversion of Adobe's files is undone) */
} ec_image_mode;

typedef struct ec_image {
    ec_image_mode mode;
    int32_t width, height;   /* at least 1 */
    int32_t bytes_per_pixel; /* follows from mode */
    uint8_t *pixels;         /* (height, width, bytes_per_pixel), rows without gaps, EC_IMAGE_SLACK bytes more */
    int32_t palette_count;   /* rows of palette that the file gives; 0 unless EC_IMAGE_PALETTE */
    uint8_t palette[256][3]; /* RGB; a row that the file lacks is the gray of its number, as in Pillow */
} ec_image;

/* A picture with undefined pixels. name is for messages. EC_ERR_DATA for an empty picture or one above
 * EC_IMAGE_PIXELS_MAX, EC_ERR_MEMORY. */
ec_status ec__image_new(ec_image_mode mode, int64_t width, int64_t height, const char *name, ec_image **out);
void ec__image_free(ec_image *image);

/* Decodes a whole file in memory. name is for messages. *out is owned by the caller (ec__image_free). Safe to call from
 * any thread. EC_ERR_DATA, naming the file, for bytes that are no picture, that are damaged or end early (although
 * decoders would make up the missing part), and for sizes that make no sense; EC_ERR_ENV for a format that needs FFmpeg
 * where it, or its decoder, is missing. */
ec_status ec__image_decode(const void *bytes, size_t count, const char *name, ec_image **out);

/* The same for a file. */
ec_status ec__image_read(const char *path, ec_image **out);

/* English name of a mode: "gray", "RGB" ... */
const char *ec__image_mode_name(ec_image_mode mode);

#endif
