/* What an encoder's network offers to encoder.c. */
#ifndef EC_NN_ENCODER_NET_H
#define EC_NN_ENCODER_NET_H

#include "nn/encoder.h"

/* A number of samples on their way through a network. */
typedef struct ec_encode {
    ec_backend *be;
    ec_stream *stream;
    void *workspace; /* in the back end's memory */
    size_t workspace_bytes;
    int32_t first;   /* number of the first sample in the whole batch, for the probe */
    int32_t count;   /* at most the network's micro_batch */
    const float *inputs; /* host */
    float *embeddings;   /* host */
    ec_encoder_probe probe;
    void *probe_arg;
} ec_encode;

typedef struct ec_net {
    void *state;
    int32_t micro_batch; /* samples a task at most */
    bool filled;         /* a task costs the same however many samples it has */
    size_t workspace;    /* bytes for that many */
    /* Enqueues; nothing that it uploads or downloads may be touched before the back end has been synchronized. */
    ec_status (*forward)(const void *state, const ec_encode *call);
    void (*free)(void *state, ec_backend *be);
} ec_net;

/* Each sets net and completes info (everything but kind). */
ec_status ec__clip_vit_open(ec_backend *be, const ec_encoder_options *options, const ec_tensor_source *source,
                            ec_net *net, ec_encoder_info *info);
ec_status ec__shortchunk_open(ec_backend *be, const ec_encoder_options *options, const ec_tensor_source *source,
                              ec_net *net, ec_encoder_info *info);

#endif
