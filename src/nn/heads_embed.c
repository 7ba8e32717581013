/* Evaluation forward of the heads: running statistics, any number of rows, in blocks of fixed size. */
#include "compute/ops_dense.h"
#include "compute/ops_head.h"
#include "core/arena.h"
#include "nn/heads.h"
#include "nn/heads_internal.h"

enum { BLOCK = 128, LANES = 64 }; /* rows a task; tasks at the same time at most */

/* Work memory of one task. */
typedef struct lane {
    float *scale;  /* (BLOCK) */
    float *h;      /* (BLOCK, hidden) */
    float *base;   /* (BLOCK, base_output), multi task */
    float *z;      /* (BLOCK, output) */
} lane;

typedef struct embed_job {
    ec_heads *heads;
    ec_modality modality;
    const float *x;
    int64_t rows, first; /* all rows; first row of this round of tasks */
    float *const *z;
    float *inv_std[EC_PROJECTORS];
    lane *lanes;
    int32_t lane_count;
} embed_job;

static int32_t wider(int32_t a, int32_t b) { return a > b ? a : b; }

static void place(ec_arena *arena, const ec_heads_config *c, embed_job *job) {
    int32_t hidden = c->multi_task ? wider(c->hidden_dim, c->base_output_dim) : c->hidden_dim;
    for (int32_t i = 0; i < job->heads->projector_count; i++)
        job->inv_std[i] = ec__arena_take(arena, (size_t)job->heads->projector[i].hidden, sizeof(float));
    for (int32_t i = 0; i < job->lane_count; i++) {
        lane l = {
            .scale = ec__arena_take(arena, BLOCK, sizeof(float)),
            .h = ec__arena_take(arena, (size_t)BLOCK * (size_t)hidden, sizeof(float)),
            .base = c->multi_task ? ec__arena_take(arena, (size_t)BLOCK * (size_t)c->base_output_dim, sizeof(float)) : NULL,
            .z = ec__arena_take(arena, (size_t)BLOCK * (size_t)c->output_dim, sizeof(float)),
        };
        if (arena->base) job->lanes[i] = l;
    }
}

/* One projector over rows of x (rows,in) into y (rows,out); scale (rows) or NULL. */
static ec_status project(embed_job *job, ec_stream *stream, int32_t number, int32_t rows, const float *x,
                         const float *scale, float *h, float *y) {
    ec_heads *heads = job->heads;
    ec_backend *be = heads->be;
    const ec_projector *p = &heads->projector[number];
    const ec_bn bn = {ec__heads_buffer_at(heads, p->running_mean), job->inv_std[number],
                      ec__heads_param_at(heads, p->gamma), ec__heads_param_at(heads, p->beta)};
    const ec_gemm first = {.m = rows, .n = p->hidden, .k = p->in, .lda = p->in, .ldb = p->hidden, .ldc = p->hidden};
    const ec_gemm second = {.m = rows, .n = p->out, .k = p->hidden, .lda = p->hidden, .ldb = p->out, .ldc = p->out,
                            .bias = true};
    EC_RETURN_IF(be->dense->gemm(be, stream, &first, x, ec__heads_param_at(heads, p->weight0), NULL, h));
    EC_RETURN_IF(be->head->scale_rows(be, stream, rows, p->hidden, h, scale, ec__heads_param_at(heads, p->bias0)));
    EC_RETURN_IF(be->head->bn_forward(be, stream, rows, p->hidden, &bn, NULL, 0, h, h));
    EC_RETURN_IF(be->dense->gemm(be, stream, &second, h, ec__heads_param_at(heads, p->weight4),
                                 ec__heads_param_at(heads, p->bias4), y));
    return EC_OK;
}

static ec_status finish(embed_job *job, ec_stream *stream, int32_t e, int64_t row, int32_t rows, const float *y) {
    ec_backend *be = job->heads->be;
    int32_t width = job->heads->config.output_dim;
    return be->head->l2_forward(be, stream, rows, width, y, job->z[e] + row * width, NULL);
}

static ec_status embed_block(void *arg, int32_t task, ec_stream *stream) {
    embed_job *job = arg;
    ec_heads *heads = job->heads;
    ec_backend *be = heads->be;
    const lane *l = &job->lanes[task];
    int32_t in = ec__heads_input_dim(&heads->config, job->modality), number = (int32_t)job->modality;
    int64_t row = job->first + (int64_t)task * BLOCK, left = job->rows - row;
    int32_t rows = left < BLOCK ? (int32_t)left : BLOCK;
    const float *x = job->x + row * in, *scale = heads->config.normalize_inputs ? l->scale : NULL;
    if (scale) EC_RETURN_IF(be->head->row_scales(be, stream, rows, in, x, l->scale));
    if (!heads->config.multi_task) {
        if (!job->z[0]) return EC_OK;
        EC_RETURN_IF(project(job, stream, number, rows, x, scale, l->h, l->z));
        return finish(job, stream, 0, row, rows, l->z);
    }
    EC_RETURN_IF(project(job, stream, number, rows, x, scale, l->h, l->base));
    for (int32_t e = 0; e < EC_EMBEDDINGS; e++) {
        if (!job->z[e]) continue;
        EC_RETURN_IF(project(job, stream, EC_MODALITIES + EC_EMBEDDINGS * number + e, rows, l->base, NULL, l->h, l->z));
        EC_RETURN_IF(finish(job, stream, e, row, rows, l->z));
    }
    return EC_OK;
}

static ec_status all_inv_std(embed_job *job) {
    ec_heads *heads = job->heads;
    ec_backend *be = heads->be;
    for (int32_t i = 0; i < heads->projector_count; i++) {
        const ec_projector *p = &heads->projector[i];
        EC_RETURN_IF(be->head->bn_inv_std(be, be->main_stream(be), p->hidden, ec__heads_buffer_at(heads, p->running_var),
                                          job->inv_std[i]));
    }
    return EC_OK;
}

ec_status ec__heads_embed(ec_heads *heads, ec_modality modality, const float *x, int64_t rows,
                          float *const z[EC_EMBEDDINGS]) {
    ec_status status = EC_OK;
    ec_backend *be = heads->be;
    lane lanes[LANES];
    void *memory = NULL;
    embed_job job = {.heads = heads, .modality = modality, .x = x, .rows = rows, .z = z, .lanes = lanes,
                     .lane_count = LANES};
    if (rows < (int64_t)LANES * BLOCK) job.lane_count = (int32_t)((rows + BLOCK - 1) / BLOCK);
    ec_arena plan = ec__arena_counting();
    place(&plan, &heads->config, &job);
    EC_TRY(be->memory->alloc(be, ec__arena_used(&plan), &memory));
    ec_arena arena = ec__arena_over(memory, ec__arena_used(&plan));
    place(&arena, &heads->config, &job);
    EC_TRY(all_inv_std(&job));
    for (; job.first < rows; job.first += (int64_t)LANES * BLOCK) {
        int64_t blocks = (rows - job.first + BLOCK - 1) / BLOCK;
        EC_TRY(be->for_each(be, blocks < LANES ? (int32_t)blocks : LANES, embed_block, &job));
    }
    EC_TRY(be->synchronize(be));
done:
    be->memory->free(be, memory);
    return status;
}
