/* Writes small random encoders for tests of the program: make_weights FOLDER [SEED]. openai.safetensors has a CLIP
 * image encoder under OpenAI's names and a tensor of the text encoder; model.safetensors has the same one and a
 * ShortChunkCNN under the names of a whole Emo-CLIM model, and a tensor of its heads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/clip_vit.h"
#include "nn/safetensors.h"
#include "nn/shortchunk.h"
#include "support.h"

enum { MOST = 200 };

typedef struct list {
    ec_safetensors_item item[MOST];
    char name[MOST][EC_NAME + 32];
    int32_t count;
} list;

/* name as the wrapper of the original calls it. */
static void wrapped_name(const char *name, char *out, size_t size) {
    if (strncmp(name, "spec.", 5) == 0) snprintf(out, size, "audio_backbone.spec_layers.0.%s", name + 5);
    else if (strncmp(name, "spec_bn.", 8) == 0) snprintf(out, size, "audio_backbone.spec_batchnorm.%s", name + 8);
    else snprintf(out, size, "audio_backbone.cnn_layers.%c%s", name[5] - 1, name + 6);
}

static void add(list *l, const ec_weight *w, const char *prefix) {
    assert_true(l->count < MOST);
    char *name = l->name[l->count];
    if (prefix) snprintf(name, sizeof l->name[0], "%s%s", prefix, w->name);
    else wrapped_name(w->name, name, sizeof l->name[0]);
    ec_safetensors_item *item = &l->item[l->count++];
    *item = (ec_safetensors_item){.name = name, .dtype = EC_DTYPE_F32, .rank = w->rank, .data = w->data};
    memcpy(item->dim, w->dim, sizeof w->dim);
}

static void add_other(list *l, const char *name) {
    static const float numbers[2] = {1, 2};
    l->item[l->count++] = (ec_safetensors_item){.name = name, .dtype = EC_DTYPE_F32, .rank = 1, .dim = {2},
                                                .data = numbers};
}

static void write(const list *l, const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK_OK(ec__safetensors_write(path, l->item, l->count, NULL, 0));
}

int main(int argc, char **argv) {
    static list openai, model;
    ec_weights clip = {0}, music = {0};
    ec_backend *be = NULL;
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: make_weights FOLDER [SEED]\n");
        return 2;
    }
    const ec_clip_vit_shape shape = {.width = 64, .layers = 2, .heads = 1, .hidden = 128, .patch = 16, .grid = 2,
                                     .output = 24};
    CHECK_OK(ec__backend_open("cpu", 1, &be));
    CHECK_OK(ec__clip_vit_declare(&shape, &clip));
    CHECK_OK(ec__shortchunk_declare(4, &music));
    CHECK_OK(ec__weights_randomize(&clip, be, argc == 3 ? strtoull(argv[2], NULL, 10) : 1));
    CHECK_OK(ec__weights_randomize(&music, be, 2));
    for (int32_t i = 0; i < clip.count; i++) {
        add(&openai, &clip.item[i], "");
        add(&model, &clip.item[i], "image_backbone.model.");
    }
    for (int32_t i = 0; i < music.count; i++)
        if (!music.item[i].optional) add(&model, &music.item[i], NULL);
    add_other(&openai, "transformer.resblocks.0.ln_1.bias");
    add_other(&model, "image_projector.0.bias");
    write(&openai, argv[1], "openai.safetensors");
    write(&model, argv[1], "model.safetensors");
    ec__weights_release(&clip);
    ec__weights_release(&music);
    be->close(be);
    return 0;
}
