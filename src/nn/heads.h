/* Projection heads of Emo-CLIM (ICASSP 2024): from backbone features to embeddings of unit length.
 *
 * A projector is Linear(0) -> BatchNorm(1) -> ReLU(2) -> Dropout(3) -> Linear(4); the numbers are those of the state
 * dict. Single task: image_projector and audio_projector, dim -> hidden -> output. Multi task: per modality a
 * base_projector, dim -> hidden -> base_output, and on it an intra_projector and a cross_projector,
 * base_output -> base_output -> output. Where normalize_inputs is set, input rows are divided by their length first.
 *
 * ec_heads is the model and its evaluation; training is nn/heads_train.h. */
#ifndef EC_NN_HEADS_H
#define EC_NN_HEADS_H

#include <stdbool.h>
#include <stdint.h>

#include "compute/backend.h"
#include "nn/params.h"

typedef enum ec_modality { EC_IMAGE, EC_MUSIC, EC_MODALITIES } ec_modality;

/* Which loss an embedding is for. Single-task heads have one embedding a modality, at EC_INTRA, for both. */
typedef enum ec_embedding { EC_INTRA, EC_CROSS, EC_EMBEDDINGS } ec_embedding;

enum { EC_PROJECTORS = 6 };

typedef struct ec_heads_config {
    bool multi_task;
    int32_t image_dim, audio_dim;    /* width of the backbone features, >= 1 */
    int32_t hidden_dim, output_dim;  /* >= 1 */
    int32_t base_output_dim;         /* multi task only; >= 1 */
    float dropout;                   /* in [0, 1) */
    bool normalize_inputs;
} ec_heads_config;

/* One projector: its sizes, where its input comes from, and the numbers of its tensors in the sets of ec_heads. */
typedef struct ec_projector {
    int32_t in, hidden, out;
    ec_modality modality;
    int32_t level;            /* 0: reads features; 1: reads the output of the projector number modality */
    bool last;                /* its output, normalised, is embedding number `embedding` */
    ec_embedding embedding;
    int32_t weight0, bias0, gamma, beta, weight4, bias4; /* in params */
    int32_t running_mean, running_var;                   /* in buffers */
    int32_t batches;                                     /* in counters */
} ec_projector;

/* The fields are for reading; values may be exchanged through params/buffers/counters (a checkpoint does). */
typedef struct ec_heads {
    ec_backend *be; /* borrowed */
    ec_heads_config config;
    int32_t projector_count, levels;
    ec_projector projector[EC_PROJECTORS]; /* level 0 first; numbers 0 and 1 are image and music */
    ec_param_set params;   /* float32 */
    ec_param_set buffers;  /* float32: running_mean, running_var */
    ec_param_set counters; /* int64: num_batches_tracked; tensor i is counter[i] (offset and total are not used) */
    float *param;          /* (params.total), back end memory, owned */
    float *buffer;         /* (buffers.total), back end memory, owned */
    int64_t *counter;      /* (counters.count), host memory, owned */
} ec_heads;

/* Makes heads with initial weights: Linear weights and biases uniform in +-1/sqrt(in) as torch.nn.Linear draws them
 * (the numbers are our own: a pure function of seed, number of the tensor and place in its state-dict layout),
 * BatchNorm 1 and 0, running mean 0 and variance 1. be is borrowed. EC_ERR_CONFIG for values out of range. Not
 * collective. */
ec_status ec__heads_new(ec_backend *be, const ec_heads_config *config, uint64_t seed, ec_heads **out);
void ec__heads_free(ec_heads *heads);

/* Embeddings a modality: 1 (single task) or 2. */
int32_t ec__heads_embeddings(const ec_heads_config *config);
/* The index in z[] of the embedding that loss `which` reads: always 0 for single-task heads. */
int32_t ec__heads_embedding(const ec_heads_config *config, ec_embedding which);
/* The name of an embedding: "image", "music" or "image_intra", ... A literal. */
const char *ec__heads_embedding_name(const ec_heads_config *config, ec_modality modality, ec_embedding which);
int32_t ec__heads_input_dim(const ec_heads_config *config, ec_modality modality);

/* Evaluation forward (running statistics, no dropout). x: (rows, input_dim); z[e]: (rows, output_dim) for every
 * embedding e; a NULL z[e] is left out. All back end memory. rows >= 0, any number; a row's bits depend on nothing but
 * the row, unless the back end is not deterministic. Allocates work memory for the call. Not collective. */
ec_status ec__heads_embed(ec_heads *heads, ec_modality modality, const float *x, int64_t rows,
                          float *const z[EC_EMBEDDINGS]);
/* How much work memory. */
size_t ec__heads_embed_bytes(ec_heads *heads, int64_t rows);

/* Copies one tensor (by its number in the set) to or from host memory in state-dict layout. */
ec_status ec__heads_export_param(ec_heads *heads, int32_t number, float *state);
ec_status ec__heads_import_param(ec_heads *heads, int32_t number, const float *state);
ec_status ec__heads_export_buffer(ec_heads *heads, int32_t number, float *state);
ec_status ec__heads_import_buffer(ec_heads *heads, int32_t number, const float *state);

#endif
