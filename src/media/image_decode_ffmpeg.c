/* Pictures other than JPEG and PNG, by FFmpeg's decoders. The decoder follows from the signature and gets the file as
 * one packet; FFmpeg's own probing is not used, because it also knows play lists, which open further files. */
#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "media/avlog_ffmpeg.h"
#include "media/image_decode.h"

static const enum AVCodecID codecs[] = {
    [EC_FORMAT_UNKNOWN] = AV_CODEC_ID_NONE,
    [EC_FORMAT_JPEG] = AV_CODEC_ID_NONE,
    [EC_FORMAT_PNG] = AV_CODEC_ID_NONE,
    [EC_FORMAT_BMP] = AV_CODEC_ID_BMP,
    [EC_FORMAT_DDS] = AV_CODEC_ID_DDS,
    [EC_FORMAT_GIF] = AV_CODEC_ID_GIF,
    [EC_FORMAT_JPEG2000] = AV_CODEC_ID_JPEG2000,
    [EC_FORMAT_PNM] = AV_CODEC_ID_PPM,
    [EC_FORMAT_PSD] = AV_CODEC_ID_PSD,
    [EC_FORMAT_QOI] = AV_CODEC_ID_QOI,
    [EC_FORMAT_SGI] = AV_CODEC_ID_SGI,
    [EC_FORMAT_TIFF] = AV_CODEC_ID_TIFF,
    [EC_FORMAT_WEBP] = AV_CODEC_ID_WEBP,
};

static ec_status raise(int code, const char *name, ec_image_format format, const char *what) {
    char text[64];
    snprintf(text, sizeof text, "%s %s file", what, ec__image_format_name(format));
    return ec__av_error(code, name, text);
}

/* The three PNM families have each a decoder of its own. */
static enum AVCodecID codec_of(ec_image_format format, const uint8_t *bytes) {
    if (format != EC_FORMAT_PNM) return codecs[format];
    switch (bytes[1]) {
    case '1': case '4': return AV_CODEC_ID_PBM;
    case '2': case '5': return AV_CODEC_ID_PGM;
    case '7': return AV_CODEC_ID_PAM;
    default: return AV_CODEC_ID_PPM;
    }
}

static ec_status open_codec(ec_image_format format, const uint8_t *bytes, const char *name, AVCodecContext **out) {
    ec_status status = EC_OK;
    AVCodecContext *context = NULL;
    const AVCodec *codec = avcodec_find_decoder(codec_of(format, bytes));
    if (!codec)
        EC_FAIL(EC_ERR_ENV, "%s: this FFmpeg has no decoder for %s pictures; convert the file to PNG or JPEG", name,
                ec__image_format_name(format));
    context = avcodec_alloc_context3(codec);
    if (!context) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for a decoder", name);
    context->thread_count = 1; /* files, not parts of files, are spread over threads */
    context->max_pixels = EC_IMAGE_PIXELS_MAX;
    context->err_recognition = AV_EF_CRCCHECK;
    if (format != EC_FORMAT_TIFF) context->err_recognition |= AV_EF_EXPLODE; /* there, an unknown tag would explode */
    int code = avcodec_open2(context, codec, NULL);
    if (code < 0) {
        status = raise(code, name, format, "no decoder for this");
        goto done;
    }
    *out = context;
    context = NULL;
done:
    avcodec_free_context(&context);
    return status;
}

static ec_status first_frame(ec_image_format format, const uint8_t *bytes, size_t count, const char *name,
                             AVFrame *frame) {
    ec_status status = EC_OK;
    AVCodecContext *context = NULL;
    AVPacket *packet = NULL;
    EC_TRY(open_codec(format, bytes, name, &context));
    packet = av_packet_alloc();
    if (!packet || count > INT32_MAX - AV_INPUT_BUFFER_PADDING_SIZE || av_new_packet(packet, (int)count) < 0)
        EC_FAIL(EC_ERR_MEMORY, "%s: no memory for a packet of %zu bytes", name, count);
    memcpy(packet->data, bytes, count);
    packet->flags |= AV_PKT_FLAG_KEY;
    int code = avcodec_send_packet(context, packet);
    if (code >= 0) code = avcodec_receive_frame(context, frame);
    if (code == AVERROR(EAGAIN)) { /* decoders that hold pictures back give them at the end of the stream */
        avcodec_send_packet(context, NULL);
        code = avcodec_receive_frame(context, frame);
    }
    if (code < 0) {
        status = raise(code, name, format, "damaged");
        goto done;
    }
    if (frame->decode_error_flags || (frame->flags & AV_FRAME_FLAG_CORRUPT))
        EC_FAIL(EC_ERR_DATA, "%s: damaged %s file", name, ec__image_format_name(format));
done:
    av_packet_free(&packet);
    avcodec_free_context(&context);
    return status;
}

/* The mode of ours that holds a pixel format of FFmpeg, and the layout to convert to first. */
static ec_image_mode choose_mode(enum AVPixelFormat from, enum AVPixelFormat *layout) {
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(from);
    *layout = from;
    switch (from) {
    case AV_PIX_FMT_MONOWHITE: case AV_PIX_FMT_MONOBLACK: return EC_IMAGE_BIT;
    case AV_PIX_FMT_PAL8: return EC_IMAGE_PALETTE;
    case AV_PIX_FMT_YA8: return EC_IMAGE_GRAY_ALPHA;
    case AV_PIX_FMT_GRAY8: return EC_IMAGE_GRAY;
    default: break;
    }
    if (d->nb_components == 1 && d->comp[0].depth == 16) {
        const uint16_t one = 1;
        *layout = *(const uint8_t *)&one == 1 ? AV_PIX_FMT_GRAY16LE : AV_PIX_FMT_GRAY16BE;
        return EC_IMAGE_GRAY16;
    }
    if (d->nb_components == 1) return *layout = AV_PIX_FMT_GRAY8, EC_IMAGE_GRAY;
    if (d->nb_components == 2) return *layout = AV_PIX_FMT_YA8, EC_IMAGE_GRAY_ALPHA;
    if (d->flags & AV_PIX_FMT_FLAG_ALPHA) return *layout = AV_PIX_FMT_RGBA, EC_IMAGE_RGBA;
    return *layout = AV_PIX_FMT_RGB24, EC_IMAGE_RGB;
}

/* Converts into a frame of FFmpeg's own: libswscale may write past the ends of rows that are not padded. */
static ec_status convert(const AVFrame *from, enum AVPixelFormat layout, const char *name, AVFrame *to) {
    to->format = layout;
    to->width = from->width;
    to->height = from->height;
    if (av_frame_get_buffer(to, 0) < 0) return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for a picture", name);
    struct SwsContext *sws =
        sws_getContext(from->width, from->height, from->format, to->width, to->height, layout,
                       SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, NULL, NULL, NULL);
    if (!sws)
        return EC_ERROR(EC_ERR_DATA, "%s: pixels of the kind %s cannot be converted", name,
                        av_get_pix_fmt_name(from->format));
    int space = from->colorspace == AVCOL_SPC_BT709 ? SWS_CS_ITU709 : SWS_CS_ITU601;
    const int *table = sws_getCoefficients(space);
    sws_setColorspaceDetails(sws, table, from->color_range == AVCOL_RANGE_JPEG, table, 1, 0, 1 << 16, 1 << 16);
    int rows =
        sws_scale(sws, (const uint8_t *const *)from->data, from->linesize, 0, from->height, to->data, to->linesize);
    sws_freeContext(sws);
    if (rows != from->height) return EC_ERROR(EC_ERR_DATA, "%s: the pixels cannot be converted", name);
    return EC_OK;
}

static void copy_rows(const AVFrame *frame, ec_image *image) {
    size_t stride = (size_t)image->width * (size_t)image->bytes_per_pixel;
    for (int32_t y = 0; y < image->height; y++) {
        const uint8_t *row = frame->data[0] + (ptrdiff_t)y * frame->linesize[0];
        uint8_t *to = image->pixels + (size_t)y * stride;
        if (image->mode != EC_IMAGE_BIT) {
            memcpy(to, row, stride);
            continue;
        }
        uint8_t flip = frame->format == AV_PIX_FMT_MONOWHITE ? 255 : 0; /* a 1 is black there */
        for (int32_t x = 0; x < image->width; x++) to[x] = (uint8_t)((row[x / 8] >> (7 - x % 8) & 1 ? 255 : 0) ^ flip);
    }
    if (image->mode != EC_IMAGE_PALETTE) return;
    for (int i = 0; i < 256; i++) { /* a native 32-bit word 0xAARRGGBB a row */
        uint32_t color;
        memcpy(&color, frame->data[1] + 4 * i, 4);
        image->palette[i][0] = (uint8_t)(color >> 16);
        image->palette[i][1] = (uint8_t)(color >> 8);
        image->palette[i][2] = (uint8_t)color;
    }
    image->palette_count = 256;
}

/* Formats with room for alpha that may be padding. A BMP file has alpha only with bit masks (a compression field that
 * is not 0); a WebP file says in its first chunk whether it has (RFC 9649: VP8X, flag L; VP8L, alpha_is_used). */
static bool alpha_is_padding(ec_image_format format, const uint8_t *bytes, size_t count) {
    static const uint8_t zero[4];
    if (count < 34) return false;
    if (format == EC_FORMAT_BMP) return memcmp(bytes + 30, zero, 4) == 0;
    if (format != EC_FORMAT_WEBP) return false;
    if (memcmp(bytes + 12, "VP8X", 4) == 0) return !(bytes[20] & 0x10);
    return memcmp(bytes + 12, "VP8L", 4) == 0 && !(bytes[24] & 0x10);
}

/* As in Pillow, a BMP or GIF file whose palette is the ramp of the grays is a gray picture, not one of a palette. For
 * GIF the palette is read here: FFmpeg gives the picture in full colour, R = G = B. */
static bool is_gray(ec_image_format format, const uint8_t *bytes, size_t count, const ec_image *image) {
    const uint8_t *palette = image->palette[0];
    size_t n = (size_t)image->palette_count;
    if (format == EC_FORMAT_GIF) {
        n = count > 13 && (bytes[10] & 0x80) ? (size_t)2 << (bytes[10] & 7) : 0;
        if (n == 0 || count < 13 + 3 * n) return false;
        palette = bytes + 13;
    } else if (format != EC_FORMAT_BMP || n == 0) return false;
    for (size_t i = 0; i < 3 * n; i++)
        if (palette[i] != i / 3) return false;
    return true;
}

/* FFmpeg gives a GIF picture in full colour, but it is one of a palette: Pillow resizes it as such. Colours get numbers
 * in the order in which they appear; transparency is dropped. False where there are more than 256. */
static bool restore_palette(ec_image *image) {
    int32_t count = 0, last = 0;
    size_t pixels = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < pixels; i++) {
        const uint8_t *p = image->pixels + 4 * i;
        if (count == 0 || memcmp(image->palette[last], p, 3) != 0) {
            for (last = 0; last < count && memcmp(image->palette[last], p, 3) != 0;) last++;
            if (last == 256) return false;
            if (last == count) memcpy(image->palette[count++], p, 3);
        }
        image->pixels[i] = (uint8_t)last; /* at or before the bytes just read */
    }
    image->mode = EC_IMAGE_PALETTE;
    image->bytes_per_pixel = 1;
    image->palette_count = count;
    return true;
}

/* From a palette of grays to the grays themselves. */
static void to_gray(ec_image *image) {
    size_t pixels = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < pixels; i++) image->pixels[i] = image->palette[image->pixels[i]][0];
    image->mode = EC_IMAGE_GRAY;
    image->palette_count = 0;
}

ec_status ec__image_decode_other(ec_image_format format, const uint8_t *bytes, size_t count, const char *name,
                                 ec_image **out) {
    ec_status status = EC_OK;
    ec_image *image = NULL;
    enum AVPixelFormat layout;
    ec__av_begin();
    AVFrame *frame = av_frame_alloc(), *converted = av_frame_alloc(), *result = frame;
    if (!frame || !converted) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for a frame", name);
    EC_TRY(first_frame(format, bytes, count, name, frame));
    ec_image_mode mode = choose_mode(frame->format, &layout);
    if (mode == EC_IMAGE_RGBA && alpha_is_padding(format, bytes, count)) mode = EC_IMAGE_RGB, layout = AV_PIX_FMT_RGB24;
    EC_TRY(ec__image_new(mode, frame->width, frame->height, name, &image));
    if (layout != frame->format) {
        EC_TRY(convert(frame, layout, name, converted));
        result = converted;
    }
    copy_rows(result, image);
    bool gray = is_gray(format, bytes, count, image);
    if (format == EC_FORMAT_GIF && mode == EC_IMAGE_RGBA && !restore_palette(image))
        EC_FAIL(EC_ERR_DATA, "%s: a GIF picture of more than 256 colours", name);
    if (gray) to_gray(image);
    *out = image;
    image = NULL;
done:
    ec__image_free(image);
    av_frame_free(&converted);
    av_frame_free(&frame);
    return status;
}
