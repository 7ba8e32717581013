/* Writes two caches of clustered features for tests of the program: make_caches FOLDER ROWS IMAGE_WIDTH MUSIC_WIDTH
 * [float16|rounded]. ROWS images and as many tracks of 6 classes; of ten rows seven are for training, two for
 * validation, one for tests. Stored as float32, if nothing is said; "rounded" has the numbers of "float16" as float32.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_format.h"
#include "cache_files.h"
#include "core/half.h"
#include "core/rng.h"
#include "support.h"

enum { CLASSES = 6, SEED = 11 };

static uint8_t split_of(int64_t row) {
    return row % 10 < 7 ? EC_SPLIT_TRAIN : row % 10 < 9 ? EC_SPLIT_VALID : EC_SPLIT_TEST;
}

/* A centre for each class, and noise of twice its size around it. */
static void make(const char *folder, const char *name, const char *modality, uint32_t number, int64_t rows,
                 int64_t width, const char *type) {
    char path[4096];
    float *x = malloc(sizeof *x * (size_t)(rows * width)), *centre = malloc(sizeof *centre * (size_t)(CLASSES * width));
    int32_t *label = malloc(sizeof *label * (size_t)rows);
    uint8_t *split = malloc((size_t)rows);
    assert_true(x && centre && label && split);
    ec_rng rng = ec__rng_at(SEED, EC_RNG_TEST, number, 0);
    for (int64_t i = 0; i < CLASSES * width; i++) centre[i] = (float)ec__rng_normal(&rng);
    for (int64_t r = 0; r < rows; r++) {
        label[r] = (int32_t)ec__rng_below(&rng, CLASSES);
        split[r] = split_of(r);
        for (int64_t j = 0; j < width; j++)
            x[r * width + j] = centre[label[r] * width + j] + 2 * (float)ec__rng_normal(&rng);
    }
    for (int64_t i = 0; i < rows * width && *type; i++) {
        uint16_t half;
        ec__float_to_half(&x[i], &half, 1);
        ec__half_to_float(&half, &x[i], 1);
    }
    const test_cache cache = {.modality = modality, .rows = rows, .width = width, .classes = CLASSES, .features = x,
                              .half = strcmp(type, "float16") == 0, .label = label, .split = split};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    test_write_cache(path, &cache);
    free(x), free(centre), free(label), free(split);
}

int main(int argc, char **argv) {
    const char *type = argc == 6 ? argv[5] : "";
    int64_t rows = argc == 5 || argc == 6 ? atoll(argv[2]) : 0;
    if (*type && strcmp(type, "float16") != 0 && strcmp(type, "rounded") != 0) rows = 0;
    if (rows < 1 || atoll(argv[3]) < 1 || atoll(argv[4]) < 1) {
        fprintf(stderr, "usage: make_caches FOLDER ROWS IMAGE_WIDTH MUSIC_WIDTH [float16|rounded]\n");
        return 2;
    }
    make(argv[1], "images.h5", "image", 0, rows, atoll(argv[3]), type);
    make(argv[1], "music.h5", "music", 1, rows, atoll(argv[4]), type);
    return 0;
}
