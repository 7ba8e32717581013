/* Writes an index of random directions for a checkpoint: make_index CHECKPOINT INDEX ROWS. For timing a search over
 * more tracks than there are recordings at hand. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/embedding_file.h"
#include "core/rng.h"
#include "support.h"
#include "train/trained.h"

enum { CLASSES = 6, SEED = 13, ID = 32 };

static const char *const class_names[CLASSES] = {"a", "b", "c", "d", "e", "f"};

/* A random direction: normal numbers, scaled to length 1. */
static void make_row(int64_t row, int32_t width, float *out) {
    ec_rng rng = ec__rng_at(SEED, EC_RNG_TEST, 0, (uint64_t)row);
    double length2 = 0;
    for (int32_t k = 0; k < width; k++) {
        out[k] = (float)ec__rng_normal(&rng);
        length2 += (double)out[k] * out[k];
    }
    for (int32_t k = 0; k < width; k++) out[k] = (float)(out[k] / sqrt(length2));
}

static ec_status write_index(const char *path, const ec_trained *trained, int64_t rows) {
    ec_status status = EC_OK;
    const int32_t width = trained->heads->config.output_dim;
    float *embedding = malloc(sizeof *embedding * (size_t)(rows * width));
    int32_t *label = malloc(sizeof *label * (size_t)rows);
    const char **id = malloc(sizeof *id * (size_t)rows);
    char(*text)[ID] = malloc(sizeof *text * (size_t)rows);
    if (!embedding || !label || !id || !text) EC_FAIL(EC_ERR_MEMORY, "no memory for %lld rows", (long long)rows);
    for (int64_t r = 0; r < rows; r++) {
        make_row(r, width, embedding + r * width);
        label[r] = (int32_t)(r % CLASSES);
        snprintf(text[r], sizeof text[r], "music/track%07lld.wav", (long long)r);
        id[r] = text[r];
    }
    const ec_embedding_content content = {.modality = "music", .checkpoint_digest = trained->digest, .rows = rows,
                                          .width = width, .class_count = CLASSES, .embedding = embedding,
                                          .label = label, .id = id, .class_names = class_names};
    EC_TRY(ec__embedding_write(path, &content));
done:
    free(text);
    free(id);
    free(label);
    free(embedding);
    return status;
}

int main(int argc, char **argv) {
    ec_backend *be = NULL;
    ec_trained trained = {0};
    int64_t rows = argc == 4 ? atoll(argv[3]) : 0;
    if (rows < 1 || rows > INT32_MAX) {
        fprintf(stderr, "usage: make_index CHECKPOINT INDEX ROWS\n");
        return 2;
    }
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__trained_load(be, argv[1], &trained));
    CHECK_OK(write_index(argv[2], &trained, rows));
    ec__trained_release(&trained);
    be->close(be);
    return 0;
}
