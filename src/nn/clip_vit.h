/* CLIP's image encoder: the vision transformer of Radford et al., "Learning Transferable Visual Models From Natural
 * Language Supervision" (ICML 2021), in evaluation mode.
 *
 *     x = ln_pre([class; conv1(image)] + positional_embedding)
 *     per block:  x += out_proj(attention(ln_1(x)));  x += c_proj(quick_gelu(c_fc(ln_2(x))))
 *     embedding = ln_post(x[class]) proj
 *
 * Weights are named as OpenAI's state dict names them. */
#ifndef EC_NN_CLIP_VIT_H
#define EC_NN_CLIP_VIT_H

#include "nn/weights.h"

typedef struct ec_clip_vit_shape {
    int32_t width, layers, heads, hidden; /* hidden: of the MLP */
    int32_t patch, grid;                  /* grid*grid patches of patch*patch pixels */
    int32_t output;
} ec_clip_vit_shape;

/* Canonical name of a tensor: OpenAI's (visual.*), Hugging Face's (vision_model.*, visual_projection.weight), an
 * Emo-CLIM checkpoint's (image_backbone.model.visual.*). The text encoder and other networks of the file map to
 * nothing. */
bool ec__clip_vit_name(void *arg, const char *name, ec_mapped *out);

/* Sizes from the shapes of the tensors. heads 0: width / 64. EC_ERR_DATA names the tensor that is missing or odd. */
ec_status ec__clip_vit_infer(const ec_tensor_source *source, int32_t heads, ec_clip_vit_shape *out);

/* Sizes that make sense together? EC_ERR_DATA with a reason. */
ec_status ec__clip_vit_check(const ec_clip_vit_shape *shape);

/* Declares all weights, with OpenAI's initial scales. */
ec_status ec__clip_vit_declare(const ec_clip_vit_shape *shape, ec_weights *weights);

#endif
