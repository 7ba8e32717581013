/* Matrix products by oneDNN's matmul primitive, the one CPU product whose bits depend neither on the number of threads
 * nor on the number or position of rows. */
#include "compute/cpu/dnnl.h"
#include "compute/ops_dense.h"

#include <string.h>

static ec_status matrix(dnnl_memory_desc_t *md, int32_t rows, int32_t columns, int32_t ld, bool transposed) {
    const dnnl_dims_t dims = {rows, columns};
    const dnnl_dims_t strides = {transposed ? 1 : ld, transposed ? ld : 1};
    return ec__cpu_dnnl_status(dnnl_memory_desc_init_by_strides(md, 2, dims, dnnl_f32, strides), "a matrix descriptor");
}

static ec_status make_gemm(ec_cpu_dnnl *dnnl, const void *key, ec_dnnl_op *op) {
    const ec_gemm *g = key;
    ec_status status = EC_OK;
    dnnl_memory_desc_t a, b, c, bias;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    EC_TRY(matrix(&a, g->m, g->k, g->lda, g->transpose_a));
    EC_TRY(matrix(&b, g->k, g->n, g->ldb, g->transpose_b));
    EC_TRY(matrix(&c, g->m, g->n, g->ldc, false));
    EC_TRY(matrix(&bias, 1, g->n, g->n, false));
    EC_DNNL(dnnl_matmul_desc_init(&desc, &a, &b, g->bias ? &bias : NULL, &c));
    EC_DNNL(dnnl_post_ops_create(&post));
    if (g->accumulate) EC_DNNL(dnnl_post_ops_append_sum(post, 1.f));
    EC_TRY(ec__cpu_dnnl_append_activation(post, g->activation));
    EC_DNNL(dnnl_primitive_attr_create(&attr));
    EC_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    EC_DNNL(dnnl_primitive_attr_set_post_ops(attr, post));
    EC_DNNL(dnnl_primitive_desc_create(&pd, &desc, attr, ec__cpu_dnnl_engine(dnnl), NULL));
    const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    op->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    EC_DNNL(dnnl_primitive_create(&op->primitive, pd));
    EC_TRY(ec__cpu_dnnl_arg(dnnl, op, DNNL_ARG_SRC, &a));
    EC_TRY(ec__cpu_dnnl_arg(dnnl, op, DNNL_ARG_WEIGHTS, &b));
    EC_TRY(ec__cpu_dnnl_arg(dnnl, op, DNNL_ARG_DST, &c));
    EC_TRY(ec__cpu_dnnl_arg(dnnl, op, DNNL_ARG_SCRATCHPAD, scratch));
    if (g->bias) EC_TRY(ec__cpu_dnnl_arg(dnnl, op, DNNL_ARG_BIAS, &bias));
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (post) dnnl_post_ops_destroy(post);
    return status;
}

static ec_status find_gemm(ec_stream *stream, const ec_gemm *desc, ec_dnnl_op **op) {
    ec_gemm key;
    memset(&key, 0, sizeof key); /* the key is compared byte by byte */
    key.m = desc->m;
    key.n = desc->n;
    key.k = desc->k;
    key.lda = desc->lda;
    key.ldb = desc->ldb;
    key.ldc = desc->ldc;
    key.transpose_a = desc->transpose_a;
    key.transpose_b = desc->transpose_b;
    key.bias = desc->bias;
    key.accumulate = desc->accumulate;
    key.activation = desc->activation;
    return ec__cpu_dnnl_get(stream->dnnl, make_gemm, &key, sizeof key, op);
}

static ec_status gemm(ec_backend *be, ec_stream *stream, const ec_gemm *desc, const float *a, const float *b,
                      const float *bias, float *c) {
    (void)be;
    ec_dnnl_op *op;
    EC_RETURN_IF(find_gemm(stream, desc, &op));
    EC_RETURN_IF(ec__cpu_dnnl_run(stream->dnnl, op, (void *[]){(void *)a, (void *)b, c, NULL, (void *)bias}));
    return EC_OK;
}

typedef struct preparation {
    ec_cpu_backend *be;
    const ec_gemm *desc;
} preparation;

static ec_status prepare_on(void *arg, int32_t task, int32_t worker) {
    const preparation *p = arg;
    ec_dnnl_op *op;
    (void)task;
    return find_gemm(&p->be->streams[worker], p->desc, &op);
}

static ec_status prepare(ec_backend *be, const ec_gemm *desc) {
    preparation p = {.be = ec__cpu(be), .desc = desc};
    return ec__pool_run_on_each(p.be->pool, prepare_on, &p);
}

const ec_dense_ops ec__cpu_dense_ops = {.gemm = gemm, .prepare = prepare};
