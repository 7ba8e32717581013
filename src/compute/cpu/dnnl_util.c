/* What the files that make oneDNN primitives have in common. */
#include "compute/cpu/dnnl.h"

ec_status ec__cpu_dnnl_append_activation(dnnl_post_ops_t post, ec_activation activation) {
    ec_status status = EC_OK;
    switch (activation) {
    case EC_ACT_NONE: break;
    case EC_ACT_RELU: EC_DNNL(dnnl_post_ops_append_eltwise(post, 1.f, dnnl_eltwise_relu, 0.f, 0.f)); break;
    case EC_ACT_GELU: EC_DNNL(dnnl_post_ops_append_eltwise(post, 1.f, dnnl_eltwise_gelu_erf, 0.f, 0.f)); break;
    case EC_ACT_QUICK_GELU: EC_DNNL(dnnl_post_ops_append_eltwise(post, 1.f, dnnl_eltwise_swish, 1.702f, 0.f)); break;
    }
done:
    return status;
}

/* The descriptor that belongs to an argument of an execution. */
static const dnnl_memory_desc_t *argument(const_dnnl_primitive_desc_t pd, int arg) {
    switch (arg) {
    case DNNL_ARG_SRC: return dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
    case DNNL_ARG_WEIGHTS: return dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    case DNNL_ARG_BIAS: return dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1);
    case DNNL_ARG_DST: return dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    default: return dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    }
}

ec_status ec__cpu_dnnl_make(ec_cpu_dnnl *dnnl, ec_dnnl_op *op, const_dnnl_primitive_desc_t pd, const int args[],
                            int32_t count) {
    ec_status status = EC_OK;
    op->scratch_bytes = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0));
    EC_DNNL(dnnl_primitive_create(&op->primitive, pd));
    for (int32_t i = 0; i < count; i++) EC_TRY(ec__cpu_dnnl_arg(dnnl, op, args[i], argument(pd, args[i])));
done:
    return status;
}

ec_status ec__cpu_dnnl_reorder(ec_cpu_dnnl *dnnl, const dnnl_memory_desc_t *from_md, const void *from,
                               const dnnl_memory_desc_t *to_md, void *to) {
    ec_status status = EC_OK;
    dnnl_primitive_desc_t pd = NULL;
    ec_dnnl_op op = {0};
    dnnl_engine_t engine = ec__cpu_dnnl_engine(dnnl);
    dnnl_primitive_attr_t attr = NULL;
    EC_DNNL(dnnl_primitive_attr_create(&attr));
    EC_DNNL(dnnl_reorder_primitive_desc_create(&pd, from_md, engine, to_md, engine, attr));
    EC_DNNL(dnnl_primitive_create(&op.primitive, pd));
    EC_TRY(ec__cpu_dnnl_arg(dnnl, &op, DNNL_ARG_FROM, from_md));
    EC_TRY(ec__cpu_dnnl_arg(dnnl, &op, DNNL_ARG_TO, to_md));
    EC_TRY(ec__cpu_dnnl_run(dnnl, &op, (void *[]){(void *)from, to}));
done:
    ec__cpu_dnnl_release(&op);
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (pd) dnnl_primitive_desc_destroy(pd);
    return status;
}
