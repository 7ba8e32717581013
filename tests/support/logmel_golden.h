/* Spectrograms of any back end against torchaudio's: tests/golden/logmel.h5. */
#ifndef EC_TEST_LOGMEL_GOLDEN_H
#define EC_TEST_LOGMEL_GOLDEN_H

#include "media/logmel.h"
#include "support.h"

/* The front end that a golden file describes, constants to be computed. */
ec_logmel_config test_logmel_config(hid_t file);

/* Power and decibels of the file's clips, with the stored constants or computed ones, within its README's limits. */
void test_logmel_golden(ec_backend *be, hid_t file, bool stored);

#endif
