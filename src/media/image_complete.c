/* Whether a file holds all that it announces, for the formats whose decoder makes up what is missing. */
#include "media/image_decode.h"

static uint32_t le16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t le32(const uint8_t *p) { return le16(p) | le16(p + 2) << 16; }

/* Uncompressed rows, each padded to whole 32-bit words. */
static bool bmp_complete(const uint8_t *b, size_t count) {
    if (count < 34) return false;
    if (le32(b + 14) < 40 || le32(b + 30) != 0) return true; /* another header, or compressed: the decoder will see */
    int64_t width = (int32_t)le32(b + 18), height = (int32_t)le32(b + 22), bits = le16(b + 28);
    if (height < 0) height = -height; /* rows from the top */
    if (width < 1 || width > EC_IMAGE_PIXELS_MAX || height > EC_IMAGE_PIXELS_MAX || bits < 1 || bits > 32)
        return true;
    int64_t row = (width * bits + 31) / 32 * 4;
    return height <= ((int64_t)count - le32(b + 10)) / row;
}

/* Position after the data blocks at "at" and their end mark, or 0 where the file ends first. */
static size_t gif_skip_blocks(const uint8_t *b, size_t count, size_t at) {
    while (at < count && b[at] != 0) at += 1 + (size_t)b[at];
    return at < count ? at + 1 : 0;
}

static size_t gif_table(uint8_t flags) { return flags & 0x80 ? (size_t)6 << (flags & 7) : 0; }

/* Up to the end of the first picture. */
static bool gif_complete(const uint8_t *b, size_t count) {
    if (count < 13) return false;
    size_t at = 13 + gif_table(b[10]);
    while (at + 10 < count) {
        if (b[at] == 0x2c) return gif_skip_blocks(b, count, at + 10 + gif_table(b[at + 9]) + 1) != 0;
        if (b[at] != 0x21) return true; /* not what the format allows: the decoder will see */
        at = gif_skip_blocks(b, count, at + 2);
        if (at == 0) return false;
    }
    return false;
}

bool ec__image_complete(ec_image_format format, const uint8_t *bytes, size_t count) {
    switch (format) {
    case EC_FORMAT_BMP: return bmp_complete(bytes, count);
    case EC_FORMAT_GIF: return gif_complete(bytes, count);
    case EC_FORMAT_WEBP: return count >= 12 && le32(bytes + 4) <= count - 8;
    default: return true;
    }
}
