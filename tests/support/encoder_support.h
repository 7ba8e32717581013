/* What tests of encoders share, on the CPU and on the emulated GPU. */
#ifndef EC_TEST_ENCODER_SUPPORT_H
#define EC_TEST_ENCODER_SUPPORT_H

#include "support.h"

/* The reference's "conv1" is (W, rows, columns) per image, ours (patches, W): brings it into our order. */
void test_turn_maps(test_array *reference);

/* Fails, with this text, where two of the embeddings rows[count][width] have a cosine of 0.99 or more. */
void test_differ(const char *what, const float *rows, int32_t count, int32_t width);

#endif
