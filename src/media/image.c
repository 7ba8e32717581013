#include "media/image.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "media/image_decode.h"

static const struct {
    const char *name;
    int32_t bytes;
} modes[] = {
    [EC_IMAGE_BIT] = {"1-bit", 1},
    [EC_IMAGE_GRAY] = {"gray", 1},
    [EC_IMAGE_GRAY16] = {"16-bit gray", 2},
    [EC_IMAGE_GRAY_ALPHA] = {"gray with alpha", 2},
    [EC_IMAGE_PALETTE] = {"palette", 1},
    [EC_IMAGE_RGB] = {"RGB", 3},
    [EC_IMAGE_RGBA] = {"RGBA", 4},
    [EC_IMAGE_CMYK] = {"CMYK", 4},
};

/* A file is of the first format of which it has the bytes at the offset. JPEG XL is left out: the library behind FFmpeg
 * prints its errors to standard error. */
static const struct {
    ec_image_format format;
    const char *name;
    size_t offset, length;
    const char *bytes;
} signatures[] = {
    {EC_FORMAT_JPEG, "JPEG", 0, 3, "\xff\xd8\xff"},
    {EC_FORMAT_PNG, "PNG", 0, 8, "\x89PNG\r\n\x1a\n"},
    {EC_FORMAT_GIF, "GIF", 0, 6, "GIF87a"},
    {EC_FORMAT_GIF, "GIF", 0, 6, "GIF89a"},
    {EC_FORMAT_WEBP, "WebP", 8, 4, "WEBP"},
    {EC_FORMAT_TIFF, "TIFF", 0, 4, "II*\0"},
    {EC_FORMAT_TIFF, "TIFF", 0, 4, "MM\0*"},
    {EC_FORMAT_JPEG2000, "JPEG 2000", 0, 12, "\0\0\0\x0cjP  \r\n\x87\n"},
    {EC_FORMAT_JPEG2000, "JPEG 2000", 0, 4, "\xff\x4f\xff\x51"},
    {EC_FORMAT_PSD, "PSD", 0, 4, "8BPS"},
    {EC_FORMAT_QOI, "QOI", 0, 4, "qoif"},
    {EC_FORMAT_DDS, "DDS", 0, 4, "DDS "},
    {EC_FORMAT_SGI, "SGI", 0, 2, "\x01\xda"},
    {EC_FORMAT_BMP, "BMP", 0, 2, "BM"},
    {EC_FORMAT_PNM, "PNM", 0, 2, "P1"},
    {EC_FORMAT_PNM, "PNM", 0, 2, "P2"},
    {EC_FORMAT_PNM, "PNM", 0, 2, "P3"},
    {EC_FORMAT_PNM, "PNM", 0, 2, "P4"},
    {EC_FORMAT_PNM, "PNM", 0, 2, "P5"},
    {EC_FORMAT_PNM, "PNM", 0, 2, "P6"},
    {EC_FORMAT_PNM, "PNM", 0, 2, "P7"},
};
enum { SIGNATURES = sizeof signatures / sizeof signatures[0] };

const char *ec__image_mode_name(ec_image_mode mode) { return modes[mode].name; }

const char *ec__image_format_name(ec_image_format format) {
    for (int i = 0; i < SIGNATURES; i++)
        if (signatures[i].format == format) return signatures[i].name;
    return "unknown";
}

ec_status ec__image_new(ec_image_mode mode, int64_t width, int64_t height, const char *name, ec_image **out) {
    ec_status status = EC_OK;
    ec_image *image = NULL;
    if (width < 1 || height < 1)
        EC_FAIL(EC_ERR_DATA, "%s: an empty picture (%lld x %lld pixels)", name, (long long)width, (long long)height);
    if (width > EC_IMAGE_PIXELS_MAX || height > EC_IMAGE_PIXELS_MAX / width)
        EC_FAIL(EC_ERR_DATA, "%s: a picture of %lld x %lld pixels; at most %d pixels are accepted", name,
                (long long)width, (long long)height, EC_IMAGE_PIXELS_MAX);
    image = calloc(1, sizeof *image);
    if (!image) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for a picture", name);
    image->mode = mode;
    image->width = (int32_t)width;
    image->height = (int32_t)height;
    image->bytes_per_pixel = modes[mode].bytes;
    size_t bytes = (size_t)(width * height) * (size_t)image->bytes_per_pixel;
    image->pixels = malloc(bytes + EC_IMAGE_SLACK);
    if (!image->pixels)
        EC_FAIL(EC_ERR_MEMORY, "%s: no memory for %lld x %lld pixels", name, (long long)width, (long long)height);
    memset(image->pixels + bytes, 0, EC_IMAGE_SLACK);
    for (int i = 0; i < 256; i++) memset(image->palette[i], i, 3);
    *out = image;
    image = NULL;
done:
    ec__image_free(image);
    return status;
}

void ec__image_free(ec_image *image) {
    if (!image) return;
    free(image->pixels);
    free(image);
}

static ec_image_format recognise(const uint8_t *bytes, size_t count) {
    for (int i = 0; i < SIGNATURES; i++)
        if (signatures[i].offset + signatures[i].length <= count &&
            memcmp(bytes + signatures[i].offset, signatures[i].bytes, signatures[i].length) == 0)
            return signatures[i].format;
    return EC_FORMAT_UNKNOWN;
}

ec_status ec__image_decode(const void *bytes, size_t count, const char *name, ec_image **out) {
    const uint8_t *b = bytes;
    ec_image_format format = recognise(b, count);
    switch (format) {
    case EC_FORMAT_JPEG: EC_RETURN_IF(ec__image_decode_jpeg(b, count, name, out)); break;
    case EC_FORMAT_PNG: EC_RETURN_IF(ec__image_decode_png(b, count, name, out)); break;
    case EC_FORMAT_UNKNOWN:
        if (count < 12) return EC_ERROR(EC_ERR_DATA, "%s: %zu bytes are too few for a picture", name, count);
        return EC_ERROR(EC_ERR_DATA,
                        "%s: not a picture of a known format (it begins with the bytes %02x %02x %02x %02x)", name,
                        b[0], b[1], b[2], b[3]);
    default:
        if (!ec__image_complete(format, b, count))
            return EC_ERROR(EC_ERR_DATA, "%s: damaged %s file: it ends early", name, ec__image_format_name(format));
        EC_RETURN_IF(ec__image_decode_other(format, b, count, name, out));
        break;
    }
    return EC_OK;
}

ec_status ec__image_read(const char *path, ec_image **out) {
    ec_status status = EC_OK;
    char *bytes = NULL;
    size_t count = 0;
    EC_TRY(ec__file_read(path, (size_t)1 << 31, &bytes, &count));
    EC_TRY(ec__image_decode(bytes, count, path, out));
done:
    free(bytes);
    return status;
}
