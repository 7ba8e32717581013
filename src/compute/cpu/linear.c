/* Linear layers whose weights never change: oneDNN's matmul over weights that were brought into its own blocked layout
 * once (6-20 % faster than from rows, on an AVX-512 machine). */
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/dnnl.h"
#include "compute/cpu/encoder.h"

struct ec_linear {
    ec_precision precision;
    int32_t n, k;
    float *bias; /* NULL: none */
    void *weight;
};

/* Everything that the primitive depends on; compared byte by byte, so all fields are 32 bits wide. */
typedef struct linear_key {
    int32_t m, n, k, ldx, ldy, precision, y_precision, bias, accumulate, activation;
} linear_key;

/* oneDNN chooses the layout of the weights for some number of rows; they are packed once, for this one. */
enum { PACKING_ROWS = 512 };

static dnnl_data_type_t data_type(int32_t precision) { return precision == EC_PRECISION_BF16 ? dnnl_bf16 : dnnl_f32; }

/* weight NULL: let oneDNN choose. */
static ec_status make_descriptor(ec_cpu_dnnl *dnnl, const linear_key *key, const dnnl_memory_desc_t *weight,
                                 dnnl_primitive_desc_t *out) {
    ec_status status = EC_OK;
    dnnl_memory_desc_t x, any, y, bias;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t post = NULL;
    const dnnl_dims_t x_dims = {key->m, key->k}, w_dims = {key->k, key->n};
    const dnnl_dims_t y_dims = {key->m, key->n}, b_dims = {1, key->n};
    EC_DNNL(dnnl_memory_desc_init_by_strides(&x, 2, x_dims, data_type(key->precision), (dnnl_dims_t){key->ldx, 1}));
    EC_DNNL(dnnl_memory_desc_init_by_tag(&any, 2, w_dims, data_type(key->precision), dnnl_format_tag_any));
    EC_DNNL(dnnl_memory_desc_init_by_strides(&y, 2, y_dims, data_type(key->y_precision), (dnnl_dims_t){key->ldy, 1}));
    EC_DNNL(dnnl_memory_desc_init_by_tag(&bias, 2, b_dims, dnnl_f32, dnnl_ab));
    EC_DNNL(dnnl_matmul_desc_init(&desc, &x, weight ? weight : &any, key->bias ? &bias : NULL, &y));
    EC_DNNL(dnnl_post_ops_create(&post));
    if (key->accumulate) EC_DNNL(dnnl_post_ops_append_sum(post, 1.f));
    EC_TRY(ec__cpu_dnnl_append_activation(post, (ec_activation)key->activation));
    EC_DNNL(dnnl_primitive_attr_create(&attr));
    EC_DNNL(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    EC_DNNL(dnnl_primitive_attr_set_post_ops(attr, post));
    EC_DNNL(dnnl_primitive_desc_create(out, &desc, attr, ec__cpu_dnnl_engine(dnnl), NULL));
done:
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (post) dnnl_post_ops_destroy(post);
    return status;
}

/* The layout of packed weights: a pure function of n, k and precision. */
static ec_status packed_layout(ec_cpu_dnnl *dnnl, int32_t n, int32_t k, int32_t precision, dnnl_memory_desc_t *out) {
    const linear_key key = {.m = PACKING_ROWS, .n = n, .k = k, .ldx = k, .ldy = n, .precision = precision};
    dnnl_primitive_desc_t pd = NULL;
    EC_RETURN_IF(make_descriptor(dnnl, &key, NULL, &pd));
    *out = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_destroy(pd);
    return EC_OK;
}

static ec_status make_linear(ec_cpu_dnnl *dnnl, const void *opaque, ec_dnnl_op *op) {
    ec_status status = EC_OK;
    const linear_key *key = opaque;
    dnnl_memory_desc_t weight;
    dnnl_primitive_desc_t pd = NULL;
    const int args[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, DNNL_ARG_BIAS};
    EC_TRY(packed_layout(dnnl, key->n, key->k, key->precision, &weight));
    EC_TRY(make_descriptor(dnnl, key, &weight, &pd));
    EC_TRY(ec__cpu_dnnl_make(dnnl, op, pd, args, key->bias ? 5 : 4));
done:
    if (pd) dnnl_primitive_desc_destroy(pd);
    return status;
}

static ec_status multiply(ec_stream *stream, const ec_linear *layer, const ec_linear_call *call, const void *x,
                          void *y) {
    ec_dnnl_op *op;
    linear_key key;
    memset(&key, 0, sizeof key);
    key.m = call->m;
    key.n = layer->n;
    key.k = layer->k;
    key.ldx = call->ldx;
    key.ldy = call->ldy;
    key.precision = (int32_t)layer->precision;
    key.y_precision = (int32_t)call->y_precision;
    key.bias = layer->bias != NULL;
    key.accumulate = call->accumulate;
    key.activation = (int32_t)call->activation;
    EC_RETURN_IF(ec__cpu_dnnl_get(stream->dnnl, make_linear, &key, sizeof key, &op));
    EC_RETURN_IF(ec__cpu_dnnl_run(stream->dnnl, op, (void *[]){(void *)x, layer->weight, y, NULL, layer->bias}));
    return EC_OK;
}

/* The bits of oneDNN's product do not depend on the number of rows where its blocked kernels run (AVX-512). Elsewhere
 * they do, so products are made of a fixed number of rows, the last ones filled up with zeros. */
enum { FIXED_ROWS = 64 };

static bool rows_are_independent(void) {
    return ((unsigned)dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

/* Fewer rows than FIXED_ROWS, by way of copies that have that many. */
static ec_status multiply_few(ec_stream *stream, const ec_linear *layer, const ec_linear_call *call, const char *x,
                              char *y) {
    ec_status status = EC_OK;
    const size_t x_row = (size_t)layer->k * ec__precision_size(layer->precision);
    const size_t y_row = (size_t)layer->n * ec__precision_size(call->y_precision);
    const size_t x_step = (size_t)call->ldx * ec__precision_size(layer->precision);
    const size_t y_step = (size_t)call->ldy * ec__precision_size(call->y_precision);
    char *full_x = calloc(FIXED_ROWS, x_row), *full_y = calloc(FIXED_ROWS, y_row);
    ec_linear_call full = *call;
    full.m = FIXED_ROWS;
    full.ldx = layer->k;
    full.ldy = layer->n;
    if (!full_x || !full_y) EC_FAIL(EC_ERR_MEMORY, "no memory for a product");
    for (size_t i = 0; i < (size_t)call->m; i++) {
        memcpy(full_x + i * x_row, x + i * x_step, x_row);
        if (call->accumulate) memcpy(full_y + i * y_row, y + i * y_step, y_row);
    }
    EC_TRY(multiply(stream, layer, &full, full_x, full_y));
    for (size_t i = 0; i < (size_t)call->m; i++) memcpy(y + i * y_step, full_y + i * y_row, y_row);
done:
    free(full_x);
    free(full_y);
    return status;
}

ec_status ec__cpu_linear(ec_backend *be, ec_stream *stream, const ec_linear *layer, const ec_linear_call *call,
                         const void *x, void *y) {
    (void)be;
    if (rows_are_independent()) return multiply(stream, layer, call, x, y);
    const size_t x_step = (size_t)call->ldx * ec__precision_size(layer->precision);
    const size_t y_step = (size_t)call->ldy * ec__precision_size(call->y_precision);
    for (int32_t row = 0; row < call->m; row += FIXED_ROWS) {
        ec_linear_call part = *call;
        const char *from = (const char *)x + (size_t)row * x_step;
        char *to = (char *)y + (size_t)row * y_step;
        part.m = call->m - row < FIXED_ROWS ? call->m - row : FIXED_ROWS;
        if (part.m < FIXED_ROWS) EC_RETURN_IF(multiply_few(stream, layer, &part, from, to));
        else EC_RETURN_IF(multiply(stream, layer, &part, from, to));
    }
    return EC_OK;
}

void ec__cpu_linear_free(ec_backend *be, ec_linear *layer) {
    if (!layer) return;
    be->memory->free(be, layer->weight);
    be->memory->free(be, layer->bias);
    free(layer);
}

ec_status ec__cpu_linear_new(ec_backend *be, ec_precision precision, int32_t n, int32_t k, const float *weight,
                             const float *bias, ec_linear **out) {
    ec_status status = EC_OK;
    ec_cpu_dnnl *dnnl = be->main_stream(be)->dnnl;
    dnnl_memory_desc_t rows, packed;
    void *memory = NULL;
    ec_linear *layer = calloc(1, sizeof *layer);
    if (!layer) EC_FAIL(EC_ERR_MEMORY, "no memory for a linear layer");
    if (precision == EC_PRECISION_BF16 && !ec__cpu_has_bf16())
        EC_FAIL(EC_ERR_ENV, "this processor has no bf16 instructions (avx512_bf16); bf16 would be slower than float32");
    *layer = (ec_linear){.precision = precision, .n = n, .k = k};
    EC_TRY(packed_layout(dnnl, n, k, (int32_t)precision, &packed));
    EC_TRY(be->memory->alloc(be, dnnl_memory_desc_get_size(&packed), &layer->weight));
    EC_DNNL(dnnl_memory_desc_init_by_strides(&rows, 2, (dnnl_dims_t){k, n}, dnnl_f32, (dnnl_dims_t){1, k}));
    EC_TRY(ec__cpu_dnnl_reorder(dnnl, &rows, weight, &packed, layer->weight));
    if (bias) {
        EC_TRY(be->memory->alloc(be, sizeof(float) * (size_t)n, &memory));
        layer->bias = memory;
        memcpy(layer->bias, bias, sizeof(float) * (size_t)n);
    }
    *out = layer;
    layer = NULL;
done:
    ec__cpu_linear_free(be, layer);
    return status;
}
