/* Evaluation forward of the heads: running statistics, any number of rows, in blocks as the back end likes them. */
#include "compute/ops_dense.h"
#include "compute/ops_head.h"
#include "core/arena.h"
#include "nn/heads.h"
#include "nn/heads_internal.h"

/* Tasks at the same time, at most; rows that all of them have together, unless that leaves streams without a task. */
enum { LANES = 64, ROWS = 8192 };

/* Work memory of one task. */
typedef struct lane {
    float *scale; /* (block) */
    float *h;     /* (block, hidden) */
    float *base;  /* (block, base_output), multi task */
    float *z;     /* (block, output) */
} lane;

typedef struct embed_job {
    ec_heads *heads;
    ec_modality modality;
    const float *x;
    int64_t rows, first; /* all rows; first row of this round of tasks */
    float *const *z;
    float *inv_std[EC_PROJECTORS];
    lane *lanes;
    int32_t lane_count, block; /* block: rows a task */
} embed_job;

static int32_t wider(int32_t a, int32_t b) { return a > b ? a : b; }

static void place(ec_arena *arena, const ec_heads_config *c, embed_job *job) {
    const size_t hidden = (size_t)(c->multi_task ? wider(c->hidden_dim, c->base_output_dim) : c->hidden_dim);
    const size_t base = c->multi_task ? (size_t)c->base_output_dim : 0, output = (size_t)c->output_dim;
    const size_t block = (size_t)job->block;
    for (int32_t i = 0; i < job->heads->projector_count; i++)
        job->inv_std[i] = ec__arena_take(arena, (size_t)job->heads->projector[i].hidden, sizeof(float));
    for (int32_t i = 0; i < job->lane_count; i++) {
        lane l = {
            .scale = ec__arena_take(arena, block, sizeof(float)),
            .h = ec__arena_take(arena, block * hidden, sizeof(float)),
            .base = ec__arena_take(arena, block * base, sizeof(float)),
            .z = ec__arena_take(arena, block * output, sizeof(float)),
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
    const ec_gemm first = {.m = rows, .n = p->hidden, .k = p->in, .lda = p->in, .ldb = p->hidden, .ldc = p->hidden,
                           .rows_alike = true};
    const ec_gemm second = {.m = rows, .n = p->out, .k = p->hidden, .lda = p->hidden, .ldb = p->out, .ldc = p->out,
                            .bias = true, .rows_alike = true};
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
    int64_t row = job->first + (int64_t)task * job->block, left = job->rows - row;
    int32_t rows = left < job->block ? (int32_t)left : job->block;
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
        EC_RETURN_IF(be->head->bn_inv_std(be, be->main_stream(be), p->hidden,
                                          ec__heads_buffer_at(heads, p->running_var), job->inv_std[i]));
    }
    return EC_OK;
}

/* How the rows are cut into tasks. */
static void cut(embed_job *job) {
    const ec_backend *be = job->heads->be;
    job->block = be->grain.row_block;
    int64_t lanes = ROWS / job->block, blocks = (job->rows + job->block - 1) / job->block;
    if (lanes < be->width(be)) lanes = be->width(be);
    if (lanes > LANES) lanes = LANES;
    job->lane_count = (int32_t)(blocks < lanes ? blocks : lanes);
}

size_t ec__heads_embed_bytes(ec_heads *heads, int64_t rows) {
    embed_job job = {.heads = heads, .rows = rows};
    ec_arena plan = ec__arena_counting();
    cut(&job);
    place(&plan, &heads->config, &job);
    return ec__arena_used(&plan);
}

ec_status ec__heads_embed(ec_heads *heads, ec_modality modality, const float *x, int64_t rows,
                          float *const z[EC_EMBEDDINGS]) {
    ec_status status = EC_OK;
    ec_backend *be = heads->be;
    lane lanes[LANES];
    void *memory = NULL;
    embed_job job = {.heads = heads, .modality = modality, .x = x, .rows = rows, .z = z, .lanes = lanes};
    const size_t bytes = ec__heads_embed_bytes(heads, rows);
    cut(&job);
    EC_TRY(be->memory->alloc(be, bytes, &memory));
    ec_arena arena = ec__arena_over(memory, bytes);
    place(&arena, &heads->config, &job);
    EC_TRY(all_inv_std(&job));
    for (const int64_t round = (int64_t)job.lane_count * job.block; job.first < rows; job.first += round) {
        const int64_t blocks = (rows - job.first + job.block - 1) / job.block;
        EC_TRY(be->for_each(be, blocks < job.lane_count ? (int32_t)blocks : job.lane_count, embed_block, &job));
    }
    EC_TRY(be->synchronize(be));
done:
    be->memory->free(be, memory);
    return status;
}
