#include "loss/labels.h"

#include <stdlib.h>

#include "core/arena.h"
#include "loss/supcon_classes.h"

struct ec_labels {
    ec_backend *be;
    ec_comm *comm;
    int64_t global_rows;
    int32_t most; /* classes */
    size_t device_bytes, host_bytes;
    void *device, *host;
    ec_supcon_classes classes;
    struct {
        int32_t *count, *order, *start, *music;
    } to; /* the same arrays */
    int32_t *label;                   /* (2G) of the last begin, host memory */
    ec_class_sorter sorter[EC_TURNS]; /* host memory */
};

static void place_device(ec_labels *l, ec_arena *arena) {
    l->to.count = ec__arena_take(arena, 1, sizeof(int32_t));
    l->to.order = ec__arena_take(arena, 2 * (size_t)l->global_rows, sizeof(int32_t));
    l->to.start = ec__arena_take(arena, (size_t)l->most + 1, sizeof(int32_t));
    l->to.music = ec__arena_take(arena, (size_t)l->most, sizeof(int32_t));
}

static void place_host(ec_labels *l, ec_arena *arena) {
    l->label = ec__arena_take(arena, 2 * (size_t)l->global_rows, sizeof(int32_t));
    for (int i = 0; i < EC_TURNS; i++) l->sorter[i] = ec__class_sorter(l->global_rows, l->most, arena);
}

static ec_status make_memory(ec_labels *l) {
    ec_backend *be = l->be;
    ec_arena device = ec__arena_counting(), host = ec__arena_counting();
    place_device(l, &device);
    place_host(l, &host);
    l->device_bytes = ec__arena_used(&device);
    l->host_bytes = ec__arena_used(&host);
    EC_RETURN_IF(be->memory->alloc(be, l->device_bytes, &l->device));
    EC_RETURN_IF(be->memory->alloc_host(be, l->host_bytes, &l->host));
    device = ec__arena_over(l->device, l->device_bytes);
    host = ec__arena_over(l->host, l->host_bytes);
    place_device(l, &device);
    place_host(l, &host);
    return EC_OK;
}

ec_status ec__labels_new(ec_backend *be, ec_comm *comm, int64_t global_rows, int32_t classes, ec_labels **out) {
    ec_status status = EC_OK;
    ec_labels *l = calloc(1, sizeof *l);
    if (!l) EC_FAIL(EC_ERR_MEMORY, "no memory for the labels of a batch");
    l->be = be;
    l->comm = comm;
    l->global_rows = global_rows;
    l->most = (int32_t)(2 * global_rows);
    if (classes > 0 && classes < l->most) l->most = classes;
    EC_TRY(make_memory(l));
    l->classes = (ec_supcon_classes){.most = l->most, .count = l->to.count, .order = l->to.order, .start = l->to.start,
                                     .music = l->to.music};
    *out = l;
    l = NULL;
done:
    ec__labels_free(l);
    return status;
}

void ec__labels_free(ec_labels *l) {
    if (!l) return;
    l->be->memory->free(l->be, l->device);
    l->be->memory->free_host(l->be, l->host);
    free(l);
}

size_t ec__labels_bytes(const ec_labels *l) { return l->device_bytes + l->host_bytes; }

const ec_supcon_classes *ec__labels_classes(const ec_labels *l) { return &l->classes; }

ec_status ec__labels_begin(ec_labels *l, const int32_t *const label[2], int32_t turn) {
    ec_backend *be = l->be;
    ec_class_sorter *s = &l->sorter[turn];
    const size_t own = (size_t)(l->global_rows / l->comm->size) * sizeof(int32_t);
    for (int m = 0; m < 2; m++)
        EC_RETURN_IF(ec__comm_all_gather(l->comm->host, label[m], l->label + m * l->global_rows, own));
    EC_RETURN_IF(ec__class_sort(s, l->label));
    const struct {
        int32_t *to;
        const int32_t *from;
        int64_t count;
    } copy[] = {
        {l->to.count, s->count, 1},
        {l->to.order, s->order, 2 * l->global_rows},
        {l->to.start, s->start, (int64_t)*s->count + 1},
        {l->to.music, s->music, *s->count},
    };
    for (size_t i = 0; i < sizeof copy / sizeof copy[0]; i++)
        EC_RETURN_IF(be->memory->upload(be, be->main_stream(be), copy[i].to, copy[i].from,
                                        (size_t)copy[i].count * sizeof(int32_t)));
    return EC_OK;
}
