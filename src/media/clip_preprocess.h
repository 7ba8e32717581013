/* From a picture to the input of a CLIP image encoder, bit for bit as the published code does it with Pillow 9.4 and
 * torchvision: Resize(size, bicubic) -> CenterCrop(size) -> convert("RGB") -> ToTensor -> Normalize.
 *
 * Source of the rules: golden/README.md, section preprocess.h5; Radford et al., "Learning Transferable Visual Models
 * From Natural Language Supervision", 2021, for mean and standard deviation. One addition: 16-bit gray is resized at
 * its own depth and then clipped to 255, which is what Pillow's conversion to RGB does with it. */
#ifndef EC_MEDIA_CLIP_PREPROCESS_H
#define EC_MEDIA_CLIP_PREPROCESS_H

#include <stdint.h>

#include "core/error.h"
#include "media/image.h"

enum { EC_CLIP_SIZE = 224, EC_CLIP_SIZE_MAX = 4096 };

/* What every byte becomes: table[c][v] = (v / 255 - mean[c]) / std[c], each operation rounded to float32. */
void ec__clip_value_table(float table[3][256]);

/* crop (size, size, 3) uint8 RGB: the short side resized to size pixels, then the middle. size is in
 * [1, EC_CLIP_SIZE_MAX], else EC_ERR_USAGE; EC_ERR_MEMORY. */
ec_status ec__clip_crop(const ec_image *image, int32_t size, uint8_t *crop);

/* tensor (3, size, size) float32 from crop (size, size, 3). */
void ec__clip_normalize(const uint8_t *crop, int32_t size, float *tensor);

/* Both: image to tensor (3, size, size). */
ec_status ec__clip_preprocess(const ec_image *image, int32_t size, float *tensor);

#endif
