#include "nn/encoder_weights.h"

#include <stdlib.h>
#include <string.h>

#include "nn/clip_vit.h"
#include "nn/safetensors.h"
#include "nn/shortchunk.h"

ec_status ec__encoder_weights_recognize(const ec_tensor_source *source, bool has[EC_ENCODERS]) {
    int32_t clip = -1, shortchunk = -1;
    bool prefixed;
    EC_RETURN_IF(ec__weights_locate(source, ec__clip_vit_name, NULL, "visual.conv1.weight", &clip));
    EC_RETURN_IF(ec__shortchunk_prefixed(source, &prefixed));
    EC_RETURN_IF(ec__weights_locate(source, ec__shortchunk_name, &prefixed, "layer1.conv_1.weight", &shortchunk));
    has[EC_ENCODER_CLIP_VIT] = clip >= 0;
    has[EC_ENCODER_SHORTCHUNK] = shortchunk >= 0;
    return EC_OK;
}

static ec_status read_clip(const ec_tensor_source *source, ec_weights *out) {
    ec_clip_vit_shape shape;
    EC_RETURN_IF(ec__clip_vit_infer(source, 0, &shape));
    EC_RETURN_IF(ec__clip_vit_declare(&shape, out));
    return ec__weights_load(out, source, ec__clip_vit_name, NULL);
}

static ec_status read_shortchunk(const ec_tensor_source *source, ec_weights *out) {
    bool prefixed;
    int32_t width;
    EC_RETURN_IF(ec__shortchunk_prefixed(source, &prefixed));
    EC_RETURN_IF(ec__shortchunk_infer(source, prefixed, &width));
    EC_RETURN_IF(ec__shortchunk_declare(width, out));
    return ec__weights_load(out, source, ec__shortchunk_name, &prefixed);
}

ec_status ec__encoder_weights_read(ec_encoder_kind kind, const ec_tensor_source *source, ec_weights *out) {
    return kind == EC_ENCODER_CLIP_VIT ? read_clip(source, out) : read_shortchunk(source, out);
}

ec_status ec__encoder_weights_write(const ec_weights *weights, const char *path, const char *const (*metadata)[2],
                                    int32_t pairs) {
    int32_t count = 0;
    ec_safetensors_item *item = calloc((size_t)weights->count + 1, sizeof *item);
    if (!item) return EC_ERROR(EC_ERR_MEMORY, "no memory for a list of %d weights", weights->count);
    for (int32_t i = 0; i < weights->count; i++) {
        const ec_weight *w = &weights->item[i];
        if (!w->found) continue;
        item[count] = (ec_safetensors_item){.name = w->name, .dtype = EC_DTYPE_F32, .rank = w->rank, .data = w->data};
        memcpy(item[count++].dim, w->dim, sizeof w->dim);
    }
    ec_status status = ec__safetensors_write(path, item, count, metadata, pairs);
    free(item);
    return status;
}
