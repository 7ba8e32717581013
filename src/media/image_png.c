/* PNG by libpng. As with JPEG, errors come by longjmp and everything that a decoding owns lives in one struct. */
#include <png.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "media/image_decode.h"

typedef struct png_work {
    const uint8_t *bytes;
    size_t count, position;
    const char *name;
    png_structp png;
    png_infop info;
    ec_image *image;
    ec_status status; /* not EC_OK: an error of ours that is raised already */
    char message[200];
} png_work;

static _Noreturn void on_error(png_structp png, png_const_charp text) {
    png_work *w = png_get_error_ptr(png);
    snprintf(w->message, sizeof w->message, "%s", text);
    png_longjmp(png, 1);
}

/* libpng warns of faults outside the pixels (a damaged text or colour profile, say); it repairs or drops them. */
static void on_warning(png_structp png, png_const_charp text) { (void)png, (void)text; }

static void on_read(png_structp png, png_bytep into, size_t n) {
    png_work *w = png_get_io_ptr(png);
    if (n > w->count - w->position) png_error(png, "the file ends early");
    memcpy(into, w->bytes + w->position, n);
    w->position += n;
}

/* The modes and the conversions of Pillow: 16-bit samples are cut to their upper byte, except gray, which stays 16-bit;
 * tRNS is not applied. */
static ec_image_mode choose_mode(png_structp png, int depth, int color) {
    if (depth == 16 && color != PNG_COLOR_TYPE_GRAY) png_set_strip_16(png);
    switch (color) {
    case PNG_COLOR_TYPE_PALETTE: png_set_packing(png); return EC_IMAGE_PALETTE;
    case PNG_COLOR_TYPE_GRAY_ALPHA: return EC_IMAGE_GRAY_ALPHA;
    case PNG_COLOR_TYPE_RGB: return EC_IMAGE_RGB;
    case PNG_COLOR_TYPE_RGB_ALPHA: return EC_IMAGE_RGBA;
    default: break;
    }
    if (depth == 16) {
        const uint16_t one = 1;
        if (*(const uint8_t *)&one == 1) png_set_swap(png); /* the file has the upper byte first */
        return EC_IMAGE_GRAY16;
    }
    if (depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    return depth == 1 ? EC_IMAGE_BIT : EC_IMAGE_GRAY;
}

static void copy_palette(png_work *w) {
    png_colorp colors = NULL;
    int n = 0;
    if (!png_get_PLTE(w->png, w->info, &colors, &n)) png_error(w->png, "no palette");
    if (n > 256) n = 256;
    for (int i = 0; i < n; i++) {
        w->image->palette[i][0] = colors[i].red;
        w->image->palette[i][1] = colors[i].green;
        w->image->palette[i][2] = colors[i].blue;
    }
    w->image->palette_count = n;
}

/* False after an error; w->message or w->status then says which. */
static bool decode(png_work *w) {
    if (setjmp(png_jmpbuf(w->png))) return false;
    png_set_read_fn(w->png, w, on_read);
    png_set_user_limits(w->png, EC_IMAGE_PIXELS_MAX, EC_IMAGE_PIXELS_MAX);
    png_read_info(w->png, w->info);
    png_uint_32 width, height;
    int depth, color;
    png_get_IHDR(w->png, w->info, &width, &height, &depth, &color, NULL, NULL, NULL);
    ec_image_mode mode = choose_mode(w->png, depth, color);
    w->status = ec__image_new(mode, width, height, w->name, &w->image);
    if (w->status != EC_OK) return false;
    if (mode == EC_IMAGE_PALETTE) copy_palette(w);
    int passes = png_set_interlace_handling(w->png);
    png_read_update_info(w->png, w->info);
    size_t stride = (size_t)width * (size_t)w->image->bytes_per_pixel;
    if (png_get_rowbytes(w->png, w->info) != stride) png_error(w->png, "rows of an unexpected length");
    for (int pass = 0; pass < passes; pass++)
        for (png_uint_32 y = 0; y < height; y++) png_read_row(w->png, w->image->pixels + (size_t)y * stride, NULL);
    png_read_end(w->png, NULL); /* a file without its last chunk is an error */
    return true;
}

ec_status ec__image_decode_png(const uint8_t *bytes, size_t count, const char *name, ec_image **out) {
    ec_status status = EC_OK;
    png_work w = {.bytes = bytes, .count = count, .name = name};
    w.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &w, on_error, on_warning);
    if (w.png) w.info = png_create_info_struct(w.png);
    if (!w.png || !w.info) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for a PNG decoder", name);
    if (!decode(&w)) {
        EC_TRY(w.status);
        EC_FAIL(EC_ERR_DATA, "%s: damaged PNG file: %s", name, w.message);
    }
    *out = w.image;
    w.image = NULL;
done:
    if (w.png) png_destroy_read_struct(&w.png, &w.info, NULL);
    ec__image_free(w.image);
    return status;
}
