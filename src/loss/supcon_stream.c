#include "loss/supcon_stream.h"

/* What passes by: modalities first .. end - 1, and what is done with each block. */
typedef struct passage {
    const ec_supcon_stream *s;
    int32_t first, end;
    const ec_supcon_classes *classes; /* NULL: this is the gradient's pass */
    const float *weight, *shift;
    float *const *grad;
} passage;

static int32_t blocks_of(const ec_supcon_problem *p) { return (int32_t)((p->global_rows + p->block - 1) / p->block); }

static ec_supcon_block block_at(const passage *pass, int32_t n) {
    const ec_supcon_problem *p = pass->s->problem;
    const int32_t blocks = blocks_of(p), begin = n % blocks * p->block;
    const int64_t left = p->global_rows - begin;
    return (ec_supcon_block){pass->first + n / blocks, begin, (int32_t)(left < p->block ? left : p->block)};
}

/* Sets the block out for everybody, behind what has been enqueued so far and beside what comes. */
static ec_status bring(const passage *pass, int32_t n) {
    const ec_supcon_stream *s = pass->s;
    const ec_supcon_problem *p = s->problem;
    const ec_supcon_block block = block_at(pass, n);
    const size_t row = (size_t)p->dim * sizeof(float);
    EC_RETURN_IF(ec__comm_fork(s->comm));
    return ec__comm_all_gather_part(s->comm, p->z[block.modality], (size_t)p->rows * row, (size_t)block.begin * row,
                                    (size_t)block.rows * row, s->landing);
}

static ec_status use(const passage *pass, const ec_supcon_block *block) {
    const ec_supcon_stream *s = pass->s;
    const ec_supcon_stream_ops *ops = s->be->supcon->stream;
    return pass->classes ? ops->sums(s->be, s->problem, block)
                         : ops->gradient(s->be, s->problem, block, pass->weight, pass->shift, pass->grad);
}

/* Once a block is taken, the next one may land where it lay. */
static ec_status run(const passage *pass) {
    const ec_supcon_stream *s = pass->s;
    const int32_t count = (pass->end - pass->first) * blocks_of(s->problem);
    EC_RETURN_IF(bring(pass, 0));
    for (int32_t n = 0; n < count; n++) {
        const ec_supcon_block block = block_at(pass, n);
        EC_RETURN_IF(ec__comm_join(s->comm));
        EC_RETURN_IF(s->be->supcon->stream->take(s->be, s->problem, pass->classes, &block, s->landing));
        if (n + 1 < count) EC_RETURN_IF(bring(pass, n + 1));
        EC_RETURN_IF(use(pass, &block));
    }
    return EC_OK;
}

/* Class sums are made of either modality, whatever the losses are between. */
ec_status ec__supcon_stream_sums(const ec_supcon_stream *s, const ec_supcon_classes *classes) {
    return run(&(passage){.s = s, .first = 0, .end = 2, .classes = classes});
}

ec_status ec__supcon_stream_gradient(const ec_supcon_stream *s, const float *weight, const float *shift,
                                     float *const grad[2]) {
    const ec_supcon_problem *p = s->problem;
    return run(&(passage){.s = s,
                       .first = p->cross || p->intra[0] ? 0 : 1,
                       .end = p->cross || p->intra[1] ? 2 : 1,
                       .weight = weight,
                       .shift = shift,
                       .grad = grad});
}
