/* ranks: 2
 * What may run beside what in a recorded step: the dependencies of its graph. The tables of back end and communicator
 * are wrapped to know which nodes an operation became; the emulation shows the edges.
 * Emulated only: NCCL adds nodes and edges of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../cuemu/include/cuda_runtime_api.h"
#include "compute/backend.h"
#include "compute/ops_dense.h"
#include "compute/ops_head.h"
#include "compute/ops_optim.h"
#include "core/log.h"
#include "core/module.h"
#include "nn/heads_pass.h"
#include "support.h"
#include "train/step.h"

enum { ROWS = 16, SHARDS = 4, IMAGE_DIM = 20, AUDIO_DIM = 12, HIDDEN = 16, MOST_OPERATIONS = 4096 };

/* Elements of a bucket: so few that the matrices make several. */
enum { BUCKET = 160 };

/* What the test wants to know of an operation. */
typedef enum kind {
    GATHER,   /* of embeddings; at: this rank's */
    SUMS,     /* a gather of BatchNorm's backward sums */
    PASSED,   /* the main stream has come past the last of those */
    PRODUCT,  /* of a weight gradient; at: where it goes */
    REDUCE,   /* sum of weight gradients over ranks; at: what is summed */
    EMBED,    /* in the last stage of the forward pass; at: the output */
    BACKWARD, /* BatchNorm's backward pass, the first operation behind an exchange of sums */
    OPTIMIZE,
} kind;

typedef struct operation {
    kind kind;
    const float *at;
    int64_t count;
    size_t first, end; /* its nodes */
} operation;

static ec_comm *host, *comm;
static ec_backend *be;
static ec_trainer_core *core;
static const ec_comm_ops *comm_ops;
static const ec_dense_ops *dense;
static const ec_head_ops *head;
static const ec_optim_ops *optim;
static ec_status (*record)(ec_backend *be, ec_record_fn fn, void *arg, ec_recording **out);

static struct {
    __typeof__(&cudaStreamGetCaptureInfo) info;
    __typeof__(&cudaGraphGetNodes) nodes;
    __typeof__(&cudaGraphGetEdges) edges;
} cuda;

static operation log_of[MOST_OPERATIONS];
static size_t logged, node_count;
static bool *before; /* (node_count, node_count): must j end before i begins? */

/* The graph under way; NULL: nothing is recorded. */
static cudaGraph_t graph_now(void) {
    enum cudaStreamCaptureStatus status;
    cudaGraph_t graph = NULL;
    assert_int_equal(cuda.info(be->native_queue(be), &status, NULL, &graph, NULL, NULL, NULL), cudaSuccess);
    return status == cudaStreamCaptureStatusActive ? graph : NULL;
}

static size_t nodes_now(void) {
    size_t count = 0;
    cudaGraph_t graph = graph_now();
    if (graph) assert_int_equal(cuda.nodes(graph, NULL, &count), cudaSuccess);
    return count;
}

/* Logs an operation whose call began at that number of nodes. */
static ec_status logged_as(ec_status status, kind what, size_t first, const float *at, int64_t count) {
    if (!graph_now()) return status;
    assert_true(logged < MOST_OPERATIONS);
    log_of[logged++] = (operation){what, at, count, first, nodes_now()};
    return status;
}

static ec_status all_gather(ec_comm *c, const void *mine, void *all, size_t bytes) {
    const size_t first = nodes_now();
    bool sums = false;
    for (int32_t l = 0; l < core->heads->levels; l++) sums = sums || mine == core->pass->sums[l].local;
    const ec_status status = comm_ops->all_gather(c, mine, all, bytes);
    return logged_as(status, sums ? SUMS : GATHER, first, mine, (int64_t)(bytes / sizeof(float)));
}

/* Logged as an operation for each piece. */
static ec_status reduce(ec_comm *c, float *from, const ec_comm_piece *piece, int32_t pieces, float *to) {
    const size_t first = nodes_now();
    const ec_status status = comm_ops->all_reduce_pieces(c, from, piece, pieces, to);
    for (int32_t i = 0; i < pieces; i++)
        (void)logged_as(status, REDUCE, first, (from ? from : to) + piece[i].at, piece[i].count);
    return status;
}

static ec_status pass_milestone(ec_comm *c) {
    const size_t first = nodes_now();
    return logged_as(comm_ops->pass_milestone(c), PASSED, first, NULL, 0);
}

static ec_status gemm(ec_backend *b, ec_stream *stream, const ec_gemm *desc, const float *x, const float *y,
                      const float *bias, float *to) {
    const size_t first = nodes_now();
    const ec_status status = dense->gemm(b, stream, desc, x, y, bias, to);
    return logged_as(status, desc->transpose_a ? PRODUCT : EMBED, first, to, (int64_t)desc->m * desc->n);
}

static ec_status bn_forward(ec_backend *b, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn,
                            const ec_dropout *dropout, int64_t at, const float *h, float *a) {
    const size_t first = nodes_now();
    const ec_status status = head->bn_forward(b, stream, rows, width, bn, dropout, at, h, a);
    return logged_as(status, EMBED, first, a, (int64_t)rows * width);
}

static ec_status l2_forward(ec_backend *b, ec_stream *stream, int32_t rows, int32_t width, const float *y, float *z,
                            float *inv_norm) {
    const size_t first = nodes_now();
    return logged_as(head->l2_forward(b, stream, rows, width, y, z, inv_norm), EMBED, first, z, (int64_t)rows * width);
}

static ec_status bn_backward(ec_backend *b, ec_stream *stream, int32_t rows, int32_t width, const ec_bn *bn, int64_t n,
                             const float *sum_d, const float *sum_dx, const float *scale, const float *h, float *d) {
    const size_t first = nodes_now();
    const ec_status status = head->bn_backward(b, stream, rows, width, bn, n, sum_d, sum_dx, scale, h, d);
    return logged_as(status, BACKWARD, first, d, (int64_t)rows * width);
}

static ec_status square_sum(ec_backend *b, ec_stream *stream, int64_t count, const float *x, double *sum) {
    const size_t first = nodes_now();
    return logged_as(optim->square_sum(b, stream, count, x, sum), OPTIMIZE, first, x, count);
}

static ec_status adam(ec_backend *b, ec_stream *stream, const ec_adam *a, int64_t count, const float *grad, float *m,
                      float *v, float *param) {
    const size_t first = nodes_now();
    return logged_as(optim->adam(b, stream, a, count, grad, m, v, param), OPTIMIZE, first, grad, count);
}

/* Nodes are made after those they depend on, and listed in the order of their making. */
static void read_graph(cudaGraph_t graph) {
    size_t edge_count = 0;
    assert_int_equal(cuda.nodes(graph, NULL, &node_count), cudaSuccess);
    assert_int_equal(cuda.edges(graph, NULL, NULL, NULL, &edge_count), cudaSuccess);
    cudaGraphNode_t *node = calloc(node_count, sizeof *node);
    cudaGraphNode_t *from = calloc(2 * edge_count, sizeof *from), *to = from + edge_count;
    free(before);
    before = calloc(node_count * node_count, sizeof *before);
    assert_true(node && from && before && edge_count > 0);
    assert_int_equal(cuda.nodes(graph, node, &node_count), cudaSuccess);
    assert_int_equal(cuda.edges(graph, from, to, NULL, &edge_count), cudaSuccess);
    for (size_t i = 0; i < node_count; i++)
        for (size_t e = 0; e < edge_count; e++) {
            if (to[e] != node[i]) continue;
            size_t j = 0;
            while (j < i && node[j] != from[e]) j++;
            assert_true(j < i);
            before[i * node_count + j] = true;
            for (size_t k = 0; k < j; k++) before[i * node_count + k] |= before[j * node_count + k];
        }
    free(node);
    free(from);
}

typedef struct recorded {
    ec_record_fn fn;
    void *arg;
} recorded;

static ec_status run_recorded(void *arg) {
    const recorded *r = arg;
    logged = 0;
    const ec_status status = r->fn(r->arg);
    if (graph_now()) read_graph(graph_now());
    return status;
}

/* arg must live as long as the recording, but is not looked at any more once a graph is made. */
static ec_status record_and_read(ec_backend *b, ec_record_fn fn, void *arg, ec_recording **out) {
    recorded r = {fn, arg};
    return record(b, run_recorded, &r, out);
}

/* Must some of a come before some of b? */
static bool leads_to(const operation *a, const operation *b) {
    for (size_t i = b->first; i < b->end; i++)
        for (size_t j = a->first; j < a->end; j++)
            if (before[i * node_count + j]) return true;
    return false;
}

static bool independent(const operation *a, const operation *b) { return !leads_to(a, b) && !leads_to(b, a); }

/* Must all of a come before all of b? */
static bool all_before(const operation *a, const operation *b) {
    for (size_t i = b->first; i < b->end; i++)
        for (size_t j = a->first; j < a->end; j++)
            if (!before[i * node_count + j]) return false;
    return true;
}

static bool within(const float *at, const float *array, int64_t count) {
    return at && array && at >= array && at < array + count;
}

/* Is it one of the last stage over the music? */
static bool embeds_music(const operation *o) {
    if (o->kind != EMBED) return false;
    for (int32_t i = 0; i < core->heads->projector_count; i++) {
        const ec_projector *p = &core->heads->projector[i];
        const ec_layer *layer = &core->pass->layer[i];
        if (p->modality == EC_MUSIC && p->last &&
            (within(o->at, layer->a, (int64_t)core->pass->group_rows * p->hidden) ||
             within(o->at, layer->y, (int64_t)core->pass->rows * p->out)))
            return true;
    }
    return false;
}

static bool is_image(const float *z) {
    for (int32_t e = 0; e < ec__heads_embeddings(&core->heads->config); e++)
        if (z == ec__heads_z(core->pass, EC_IMAGE, e)) return true;
    return false;
}

/* (a) Embeddings of images travel while those of the music are made. */
static void check_embeddings(void) {
    const int32_t embeddings = ec__heads_embeddings(&core->heads->config);
    int32_t pairs = 0;
    for (size_t i = 0; i < logged; i++)
        for (size_t j = 0; j < logged && log_of[i].kind == GATHER && is_image(log_of[i].at); j++) {
            if (!embeds_music(&log_of[j])) continue;
            pairs++;
            if (!independent(&log_of[i], &log_of[j]))
                fail_msg("the gather of images (%zu) and the music's last stage (%zu) wait for each other", i, j);
        }
    assert_int_equal(pairs, 3 * embeddings * embeddings * core->pass->shards); /* BatchNorm, product, normalisation */
}

/* The bucket that a place in a flat array of gradients belongs to; -1: none. */
static int32_t bucket_of(const float *at) {
    const ec_heads_pass *pass = core->pass;
    for (int32_t b = 0; b < pass->buckets; b++)
        for (int32_t i = pass->bucket[b].first; i < pass->bucket[b].end; i++) {
            const ec_grad_item *item = &pass->item[i];
            const ec_projector *p = &core->heads->projector[item->projector];
            const int32_t width = item->second ? p->out : p->hidden;
            const ec_param *weight = &core->heads->params.items[item->second ? p->weight4 : p->weight0];
            if (within(at, pass->leaf[0] + weight->offset + item->first * width, (int64_t)item->rows * width)) return b;
        }
    return -1;
}

/* Does an exchange of sums lie between the sum of a bucket and what is made for a later one? It waits for what is in
 * front of it, and what comes behind it for it; and sums may have been held back for it. */
static bool exchange_between(size_t reduce, size_t made) {
    bool begun = false;
    for (size_t i = reduce < made ? reduce : made; i < reduce || i < made; i++) {
        begun = begun || log_of[i].kind == SUMS;
        if (begun && (made < reduce || log_of[i].kind == PASSED)) return true;
    }
    return false;
}

/* Where the products of the last of several groups begin, behind all its stages. */
static size_t last_group(void) {
    size_t begin = 0;
    for (size_t i = 0; i < logged && core->pass->groups > 1; i++)
        if (log_of[i].kind == BACKWARD) begin = i;
    return begin;
}

/* (b) The sum of a bucket runs beside the products of later ones, and the stages in front of those. */
static void check_buckets(int32_t least) {
    int32_t reductions = 0, pairs = 0, own = 0;
    for (size_t i = 0; i < logged; i++) {
        const operation *r = &log_of[i];
        if (r->kind != REDUCE) continue;
        reductions++;
        assert_true(bucket_of(r->at) >= 0);
        for (size_t j = 0; j < logged; j++) {
            const operation *p = &log_of[j];
            const bool product = p->kind == PRODUCT;
            if (product && within(p->at, r->at, r->count)) {
                own++;
                if (!all_before(p, r)) fail_msg("a bucket (%zu) does not wait for its products (%zu)", i, j);
            }
            if (product ? bucket_of(p->at) <= bucket_of(r->at) : p->kind != BACKWARD || j < i) continue;
            if (j < last_group() || exchange_between(i, j)) continue;
            pairs++;
            if (!independent(r, p))
                fail_msg("a bucket (%zu) and what is made for later ones (%zu) wait for each other", i, j);
        }
    }
    assert_int_equal(own, reductions * core->pass->groups);
    assert_true(reductions >= least && pairs >= least && core->pass->buckets >= least);
}

/* The exchange of BatchNorm sums lies beside the products that are due and behind one bucket at most; buckets of the
 * second Linear do not wait for it. */
static void check_sums(void) {
    const int64_t most = be->grain.bucket;
    int32_t exchanges = 0, beside = 0;
    for (size_t i = 0; i < logged; i++) {
        int64_t in_front = 0;
        if (log_of[i].kind != SUMS) continue;
        exchanges++;
        for (size_t j = 0; j < i; j++)
            if (log_of[j].kind == REDUCE) {
                in_front += log_of[j].count;
                assert_true(leads_to(&log_of[j], &log_of[i])); /* one after the other */
            }
        if (in_front > most) fail_msg("%lld elements are summed in front of an exchange", (long long)in_front);
        for (size_t j = i; log_of[j].kind != PASSED; j++)
            if (log_of[j].kind == PRODUCT) {
                beside++;
                if (!independent(&log_of[i], &log_of[j])) fail_msg("products (%zu) wait for an exchange (%zu)", j, i);
            }
    }
    assert_int_equal(exchanges, core->heads->levels);
    assert_true(beside >= exchanges);
}

/* (c) The optimizer waits for all buckets, which are all of the weights. */
static void check_optimizer(void) {
    int64_t summed = 0, weights = 0;
    int32_t updates = 0;
    for (size_t i = 0; i < logged; i++) {
        if (log_of[i].kind == REDUCE) summed += log_of[i].count;
        if (log_of[i].kind != OPTIMIZE) continue;
        updates++;
        for (size_t j = 0; j < logged; j++)
            if (log_of[j].kind == REDUCE && !all_before(&log_of[j], &log_of[i]))
                fail_msg("the optimizer (%zu) does not wait for a bucket (%zu)", i, j);
    }
    for (int32_t i = 0; i < core->heads->projector_count; i++) {
        const ec_projector *p = &core->heads->projector[i];
        weights += (int64_t)p->hidden * (p->in + p->out);
    }
    assert_int_equal(summed, weights);
    assert_true(updates >= 2);
}

static ec_heads *open_core(ec_comm *c, bool multi_task, bool reproducible, int32_t accumulate) {
    ec_heads *heads = NULL;
    const ec_heads_config shape = {.multi_task = multi_task, .image_dim = IMAGE_DIM, .audio_dim = AUDIO_DIM,
                                   .hidden_dim = HIDDEN, .base_output_dim = 12, .output_dim = 8, .dropout = 0.1f,
                                   .normalize_inputs = true};
    const ec_train_config config = {.plan = {.global_rows = ROWS, .reproducible = reproducible, .shards = SHARDS,
                                             .accumulate = accumulate, .seed = 3},
                                    .optimizer = ec__optimizer_defaults(), .temperature = 0.1f,
                                    .weight = {1, 1, 1, 1}};
    be->grain.bucket = BUCKET;
    CHECK_OK(ec__heads_new(be, &shape, 1, &heads));
    CHECK_OK(ec__trainer_core_new(heads, c, &config, &core));
    return heads;
}

/* One step, recorded and run, over the same global batch whatever the number of ranks. */
static void make_step(const ec_comm *c) {
    const int32_t rows = ROWS / c->size;
    float *x[EC_MODALITIES], told[ROWS * IMAGE_DIM];
    int32_t label[EC_MODALITIES][ROWS];
    ec_step_result result;
    for (int m = 0; m < EC_MODALITIES; m++) {
        const int32_t width = m == EC_IMAGE ? IMAGE_DIM : AUDIO_DIM;
        const size_t bytes = (size_t)(rows * width) * sizeof(float);
        test_fill(told, ROWS * width, (uint64_t)(10 + m));
        CHECK_OK(be->memory->alloc(be, bytes, (void **)&x[m]));
        CHECK_OK(be->memory->upload(be, be->main_stream(be), x[m], told + c->rank * rows * width, bytes));
        CHECK_OK(be->synchronize(be));
        for (int32_t b = 0; b < rows; b++) label[m][b] = (c->rank * rows + b + m) % 3;
    }
    CHECK_OK(ec__train_step(core, 0, (const float *const *)x, (const int32_t *const[]){label[0], label[1]}, &result));
    for (int m = 0; m < EC_MODALITIES; m++) be->memory->free(be, x[m]);
}

static void close_core(ec_heads *heads) {
    ec__trainer_core_free(core);
    ec__heads_free(heads);
    core = NULL;
}

static void check_plan(bool multi_task, bool reproducible) {
    ec_heads *heads = open_core(comm, multi_task, reproducible, 1);
    make_step(comm);
    check_embeddings();
    check_buckets(multi_task ? 10 : 5);
    check_sums();
    check_optimizer();
    close_core(heads);
}

static void test_single_task(void **state) {
    (void)state;
    check_plan(false, true);
    check_plan(false, false);
}

static void test_multi_task(void **state) {
    (void)state;
    check_plan(true, true);
    check_plan(true, false);
}

/* In groups the buckets of the last one overlap its products, as far as sums are the library's own. */
static void test_groups(void **state) {
    (void)state;
    ec_heads *heads = open_core(comm, true, false, 2);
    make_step(comm);
    check_buckets(10);
    check_optimizer();
    close_core(heads);
}

/* The gradient that a step leaves; to be freed. */
static float *gradient(ec_comm *c, bool multi_task, bool reproducible, int32_t accumulate, int64_t *count) {
    ec_heads *heads = open_core(c, multi_task, reproducible, accumulate);
    *count = heads->params.total;
    float *grad = malloc((size_t)*count * sizeof *grad);
    assert_non_null(grad);
    make_step(c);
    CHECK_OK(be->memory->download(be, be->main_stream(be), grad, core->grad, (size_t)*count * sizeof *grad));
    CHECK_OK(be->synchronize(be));
    close_core(heads);
    return grad;
}

/* In as many buckets, it has the bits of one rank's, in groups too; and is as good as that where libraries sum. */
static void test_gradients(void **state) {
    (void)state;
    ec_comm *self = NULL, *alone = NULL;
    CHECK_OK(ec__comm_open("self", &self));
    CHECK_OK(ec__comm_open_over(self, be->native_queue(be), &alone));
    for (int multi_task = 0; multi_task < 2; multi_task++) {
        int64_t count = 0;
        float *expected = gradient(alone, multi_task, true, 1, &count);
        for (int32_t accumulate = 1; accumulate <= 2; accumulate++) {
            float *same = gradient(comm, multi_task, true, accumulate, &count);
            float *near = gradient(comm, multi_task, false, accumulate, &count);
            assert_memory_equal(same, expected, (size_t)count * sizeof *same);
            for (int64_t i = 0; i < count; i++)
                if (!(fabsf(near[i] - expected[i]) <= 1e-5f))
                    fail_msg("element %lld is %g, not %g", (long long)i, (double)near[i], (double)expected[i]);
            free(same), free(near);
        }
        free(expected);
    }
    ec__comm_close(alone);
    ec__comm_close(self);
    ec__error_set_rank(comm->rank);
    ec__log_set_rank(comm->rank);
}

static void open_cuda(void) {
    const ec_module *module = NULL;
    CHECK_OK(ec__module_cuda(&module));
    assert_non_null(strstr(module->kind, "emulated"));
    void *library = dlopen(ec__module_cuda_path(), RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(library);
    cuda.info = (__typeof__(cuda.info))dlsym(library, "cudaStreamGetCaptureInfo");
    cuda.nodes = (__typeof__(cuda.nodes))dlsym(library, "cudaGraphGetNodes");
    cuda.edges = (__typeof__(cuda.edges))dlsym(library, "cudaGraphGetEdges");
    assert_true(cuda.info && cuda.nodes && cuda.edges);
}

/* The tables that this test looks through, in place of the back end's and the communicator's. */
static void wrap(void) {
    static ec_comm_ops my_comm;
    static ec_dense_ops my_dense;
    static ec_head_ops my_head;
    static ec_optim_ops my_optim;
    my_comm = *(comm_ops = comm->ops);
    my_comm.all_gather = all_gather, my_comm.all_reduce_pieces = reduce, my_comm.pass_milestone = pass_milestone;
    my_dense = *(dense = be->dense);
    my_dense.gemm = gemm;
    my_head = *(head = be->head);
    my_head.bn_forward = bn_forward, my_head.l2_forward = l2_forward, my_head.bn_backward = bn_backward;
    my_optim = *(optim = be->optim);
    my_optim.square_sum = square_sum, my_optim.adam = adam;
    record = be->record;
    comm->ops = &my_comm, be->dense = &my_dense, be->head = &my_head, be->optim = &my_optim;
    be->record = record_and_read;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_single_task), cmocka_unit_test(test_multi_task),
                                       cmocka_unit_test(test_groups), cmocka_unit_test(test_gradients)};
    open_cuda();
    CHECK_OK(ec__comm_open("mpi", &host));
    setenv("EMOCLIM_CUEMU_DEVICES", "2", 1);
    const ec_backend_options options = {.threads = 1, .device = ec__backend_device_for(host->node_rank),
                                        .deterministic = true};
    CHECK_OK(ec__backend_open_with("cuda", &options, &be));
    CHECK_OK(ec__comm_open_over(host, be->native_queue(be), &comm));
    wrap();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(before);
    ec__comm_close(comm);
    be->close(be);
    ec__comm_close(host);
    return failed;
}
