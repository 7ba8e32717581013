/* JPEG by libjpeg-turbo. Its errors come by longjmp; whatever a decoding owns lives in one struct, so that both ways
 * out meet at one clean-up and no local variable is needed after the jump. */
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

/* after stdio.h, which they need */
#include <jerror.h>
#include <jpeglib.h>

#include "core/log.h"
#include "media/image_decode.h"

enum {
    SCANS_MAX = 500,     /* progressive files have about ten; each one costs a pass over the picture */
    STRAY_BYTES_MAX = 16 /* between segments; some cameras and editors leave a few, damaged data leaves many */
};

typedef struct jpeg_work {
    struct jpeg_error_mgr error; /* first: libjpeg hands back its address */
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct cinfo;
    jmp_buf jump;
    const char *name;
    ec_image *image;
    ec_status status; /* not EC_OK: an error of ours that is raised already */
    char message[JMSG_LENGTH_MAX];
} jpeg_work;

static _Noreturn void on_error(j_common_ptr cinfo) {
    jpeg_work *w = (jpeg_work *)cinfo->err;
    w->error.format_message(cinfo, w->message);
    longjmp(w->jump, 1);
}

/* libjpeg goes on after damage, with gray or smeared blocks; here damage is an error. Oddities that leave every pixel
 * well defined are not. */
static void on_message(j_common_ptr cinfo, int level) {
    jpeg_work *w = (jpeg_work *)cinfo->err;
    if (level >= 0) return; /* a trace message */
    switch (w->error.msg_code) {
    case JWRN_EXTRANEOUS_DATA:
        if (w->error.msg_parm.i[0] > STRAY_BYTES_MAX) on_error(cinfo);
        EC_DEBUG("%s: %d stray bytes inside the JPEG data", w->name, w->error.msg_parm.i[0]);
        break;
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_TOO_MUCH_DATA: break;
    default: on_error(cinfo);
    }
}

static void on_progress(j_common_ptr cinfo) {
    jpeg_work *w = (jpeg_work *)cinfo->err;
    if (w->cinfo.input_scan_number <= SCANS_MAX) return;
    snprintf(w->message, sizeof w->message, "more than %d scans", SCANS_MAX);
    longjmp(w->jump, 1);
}

/* What the colour space of the result is, from the number of components alone, as Pillow does it. */
static bool choose_mode(const struct jpeg_decompress_struct *cinfo, ec_image_mode *mode, J_COLOR_SPACE *space) {
    switch (cinfo->num_components) {
    case 1: *mode = EC_IMAGE_GRAY, *space = JCS_GRAYSCALE; return true;
    case 3: *mode = EC_IMAGE_RGB, *space = JCS_RGB; return true;
    case 4: *mode = EC_IMAGE_CMYK, *space = JCS_CMYK; return true;
    default: return false;
    }
}

static void invert(uint8_t *pixels, size_t count) {
    for (size_t i = 0; i < count; i++) pixels[i] = (uint8_t)~pixels[i];
}

/* False after an error; w->message or w->status then says which. */
static bool decode(jpeg_work *w, const uint8_t *bytes, size_t count) {
    if (setjmp(w->jump)) return false;
    jpeg_create_decompress(&w->cinfo);
    w->cinfo.progress = &w->progress;
    jpeg_mem_src(&w->cinfo, bytes, (unsigned long)count);
    jpeg_read_header(&w->cinfo, TRUE);
    ec_image_mode mode;
    if (!choose_mode(&w->cinfo, &mode, &w->cinfo.out_color_space)) {
        snprintf(w->message, sizeof w->message, "%d colour components; 1, 3 or 4 expected", w->cinfo.num_components);
        return false;
    }
    w->status = ec__image_new(mode, w->cinfo.image_width, w->cinfo.image_height, w->name, &w->image);
    if (w->status != EC_OK) return false;
    w->cinfo.dct_method = JDCT_ISLOW;
    w->cinfo.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&w->cinfo);
    size_t stride = (size_t)w->image->width * (size_t)w->image->bytes_per_pixel;
    while (w->cinfo.output_scanline < w->cinfo.output_height) {
        JSAMPROW rows[8];
        JDIMENSION next = w->cinfo.output_scanline, left = w->cinfo.output_height - next, n = left < 8 ? left : 8;
        for (JDIMENSION i = 0; i < n; i++) rows[i] = w->image->pixels + (size_t)(next + i) * stride;
        jpeg_read_scanlines(&w->cinfo, rows, n);
    }
    jpeg_finish_decompress(&w->cinfo); /* reads on to the end-of-image marker: a file that lacks it is an error */
    if (mode == EC_IMAGE_CMYK) invert(w->image->pixels, stride * (size_t)w->image->height);
    return true;
}

ec_status ec__image_decode_jpeg(const uint8_t *bytes, size_t count, const char *name, ec_image **out) {
    ec_status status = EC_OK;
    jpeg_work w = {.name = name, .progress.progress_monitor = on_progress};
    w.cinfo.err = jpeg_std_error(&w.error);
    w.error.error_exit = on_error;
    w.error.emit_message = on_message;
    if (!decode(&w, bytes, count)) {
        EC_TRY(w.status);
        EC_FAIL(EC_ERR_DATA, "%s: damaged JPEG file: %s", name, w.message);
    }
    *out = w.image;
    w.image = NULL;
done:
    jpeg_destroy_decompress(&w.cinfo);
    ec__image_free(w.image);
    return status;
}
