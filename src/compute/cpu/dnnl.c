#include "compute/cpu/dnnl.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { KEY_BYTES = 256, SCRATCH_ALIGN = 64 };

typedef struct entry {
    ec_dnnl_make_fn make; /* NULL: free slot */
    size_t key_bytes;
    unsigned char key[KEY_BYTES];
    ec_dnnl_op op;
} entry;

struct ec_cpu_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    entry **slots; /* open addressing; entries never move */
    size_t slot_count, used;
    void *scratch; /* shared by all primitives of this worker: they run one at a time */
    size_t scratch_bytes;
};

ec_status ec__cpu_dnnl_status(dnnl_status_t code, const char *what) {
    switch (code) {
    case dnnl_success: return EC_OK;
    case dnnl_out_of_memory: return EC_ERROR(EC_ERR_MEMORY, "oneDNN: out of memory in %s", what);
    case dnnl_unimplemented: return EC_ERROR(EC_ERR_ENV, "oneDNN has no implementation for %s", what);
    default: return EC_ERROR(EC_ERR_BUG, "oneDNN: status %d from %s", (int)code, what);
    }
}

ec_status ec__cpu_dnnl_new(ec_cpu_dnnl **out) {
    ec_status status = EC_OK;
    omp_set_num_threads(1); /* for the calling worker: see dnnl.h */
    ec_cpu_dnnl *dnnl = calloc(1, sizeof *dnnl);
    if (!dnnl) EC_FAIL(EC_ERR_MEMORY, "no memory for oneDNN's state");
    dnnl->slot_count = 64;
    dnnl->slots = calloc(dnnl->slot_count, sizeof *dnnl->slots);
    if (!dnnl->slots) EC_FAIL(EC_ERR_MEMORY, "no memory for oneDNN's state");
    EC_DNNL(dnnl_engine_create(&dnnl->engine, dnnl_cpu, 0));
    EC_DNNL(dnnl_stream_create(&dnnl->stream, dnnl->engine, dnnl_stream_default_flags));
    *out = dnnl;
    dnnl = NULL;
done:
    ec__cpu_dnnl_free(dnnl);
    return status;
}

void ec__cpu_dnnl_release(ec_dnnl_op *op) {
    for (int32_t i = 0; i < op->arg_count; i++) dnnl_memory_destroy(op->args[i].memory);
    if (op->primitive) dnnl_primitive_destroy(op->primitive);
}

void ec__cpu_dnnl_free(ec_cpu_dnnl *dnnl) {
    if (!dnnl) return;
    for (size_t i = 0; dnnl->slots && i < dnnl->slot_count; i++)
        if (dnnl->slots[i]) {
            ec__cpu_dnnl_release(&dnnl->slots[i]->op);
            free(dnnl->slots[i]);
        }
    free(dnnl->slots);
    free(dnnl->scratch);
    if (dnnl->stream) dnnl_stream_destroy(dnnl->stream);
    if (dnnl->engine) dnnl_engine_destroy(dnnl->engine);
    free(dnnl);
}

dnnl_engine_t ec__cpu_dnnl_engine(const ec_cpu_dnnl *dnnl) { return dnnl->engine; }

static entry **find(entry **slots, size_t count, ec_dnnl_make_fn make, const void *key, size_t key_bytes) {
    size_t at = XXH3_64bits(key, key_bytes) & (count - 1);
    while (slots[at] && !(slots[at]->make == make && slots[at]->key_bytes == key_bytes &&
                          memcmp(slots[at]->key, key, key_bytes) == 0))
        at = (at + 1) & (count - 1);
    return &slots[at];
}

static ec_status grow(ec_cpu_dnnl *dnnl) {
    size_t count = dnnl->slot_count * 2;
    entry **slots = calloc(count, sizeof *slots);
    if (!slots) return EC_ERROR(EC_ERR_MEMORY, "no memory for oneDNN's state");
    for (size_t i = 0; i < dnnl->slot_count; i++) {
        entry *e = dnnl->slots[i];
        if (e) *find(slots, count, e->make, e->key, e->key_bytes) = e;
    }
    free(dnnl->slots);
    dnnl->slots = slots;
    dnnl->slot_count = count;
    return EC_OK;
}

static ec_status reserve_scratch(ec_cpu_dnnl *dnnl, size_t bytes) {
    if (bytes <= dnnl->scratch_bytes) return EC_OK;
    bytes = (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    void *scratch = aligned_alloc(SCRATCH_ALIGN, bytes);
    if (!scratch) return EC_ERROR(EC_ERR_MEMORY, "no memory for %zu bytes of oneDNN scratch", bytes);
    free(dnnl->scratch);
    dnnl->scratch = scratch;
    dnnl->scratch_bytes = bytes;
    return EC_OK;
}

ec_status ec__cpu_dnnl_get(ec_cpu_dnnl *dnnl, ec_dnnl_make_fn make, const void *key, size_t key_bytes,
                           ec_dnnl_op **out) {
    ec_status status = EC_OK;
    entry *fresh = NULL;
    if (key_bytes > KEY_BYTES) EC_FAIL(EC_ERR_BUG, "a oneDNN key of %zu bytes", key_bytes);
    entry **slot = find(dnnl->slots, dnnl->slot_count, make, key, key_bytes);
    if (!*slot) {
        fresh = calloc(1, sizeof *fresh);
        if (!fresh) EC_FAIL(EC_ERR_MEMORY, "no memory for a oneDNN primitive");
        fresh->make = make;
        fresh->key_bytes = key_bytes;
        memcpy(fresh->key, key, key_bytes);
        EC_TRY(make(dnnl, key, &fresh->op));
        EC_TRY(reserve_scratch(dnnl, fresh->op.scratch_bytes));
        if (dnnl->used * 2 >= dnnl->slot_count) {
            EC_TRY(grow(dnnl));
            slot = find(dnnl->slots, dnnl->slot_count, make, key, key_bytes);
        }
        *slot = fresh;
        fresh = NULL;
        dnnl->used++;
    }
    *out = &(*slot)->op;
done:
    if (fresh) ec__cpu_dnnl_release(&fresh->op);
    free(fresh);
    return status;
}

ec_status ec__cpu_dnnl_arg(ec_cpu_dnnl *dnnl, ec_dnnl_op *op, int arg, const dnnl_memory_desc_t *md) {
    ec_status status = EC_OK;
    dnnl_memory_t memory = NULL;
    if (op->arg_count == EC_DNNL_ARGS) EC_FAIL(EC_ERR_BUG, "a oneDNN operation with too many arguments");
    EC_DNNL(dnnl_memory_create(&memory, md, dnnl->engine, DNNL_MEMORY_NONE));
    op->args[op->arg_count++] = (dnnl_exec_arg_t){.arg = arg, .memory = memory};
done:
    return status;
}

ec_status ec__cpu_dnnl_run(ec_cpu_dnnl *dnnl, ec_dnnl_op *op, void *const data[]) {
    ec_status status = EC_OK;
    for (int32_t i = 0; i < op->arg_count; i++) {
        void *behind = op->args[i].arg == DNNL_ARG_SCRATCHPAD ? dnnl->scratch : data[i];
        EC_DNNL(dnnl_memory_set_data_handle(op->args[i].memory, behind));
    }
    EC_DNNL(dnnl_primitive_execute(op->primitive, dnnl->stream, op->arg_count, op->args));
done:
    return status;
}
