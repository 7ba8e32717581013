/* Any bytes as a picture: an error or a picture that can be preprocessed, never a crash. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "media/clip_preprocess.h"
#include "media/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    ec_image *image = NULL;
    uint8_t crop[32 * 32 * 3];
    ec_status status = ec__image_decode(bytes, count, "fuzz.img", &image);
    if (status == EC_OK) {
        if (ec__clip_crop(image, 32, crop) != EC_OK) abort();
    } else if (image || strncmp(ec_error_last()->text, "fuzz.img", 8) != 0) abort();
    ec__image_free(image);
    return 0;
}
