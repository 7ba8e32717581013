#define _GNU_SOURCE
#include "compute/count/count.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/arena.h"

static ec_count_backend *self(ec_backend *be) { return (ec_count_backend *)(void *)be; }

ec_status ec__count(ec_backend *be, double flops, double floats) {
    ec_tally *t = self(be)->tally;
    t->flops += flops;
    t->moved += floats * sizeof(float);
    t->operations++;
    return EC_OK;
}

/* In front of what was allocated, on a page of its own: how much it is. */
enum { PAGE = 4096 };

/* Address space without memory behind it, but for the first page. */
static ec_status count_alloc(ec_backend *be, size_t bytes, void **out) {
    char *base = mmap(NULL, bytes + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED || mprotect(base, PAGE, PROT_READ | PROT_WRITE) != 0)
        return EC_ERROR(EC_ERR_MEMORY, "no addresses for %zu bytes", bytes);
    memcpy(base, &bytes, sizeof bytes);
    self(be)->tally->device_bytes += bytes;
    *out = base + PAGE;
    return EC_OK;
}

static void count_free(ec_backend *be, void *memory) {
    size_t bytes;
    if (!memory) return;
    char *base = (char *)memory - PAGE;
    memcpy(&bytes, base, sizeof bytes);
    self(be)->tally->device_bytes -= bytes;
    munmap(base, bytes + PAGE);
}

/* A header that keeps the alignment. */
static ec_status count_alloc_host(ec_backend *be, size_t bytes, void **out) {
    char *base = calloc(1, bytes + EC_ARENA_ALIGN);
    if (!base) return EC_ERROR(EC_ERR_MEMORY, "no memory for %zu bytes", bytes);
    memcpy(base, &bytes, sizeof bytes);
    self(be)->tally->host_bytes += bytes;
    *out = base + EC_ARENA_ALIGN;
    return EC_OK;
}

static void count_free_host(ec_backend *be, void *memory) {
    size_t bytes;
    if (!memory) return;
    char *base = (char *)memory - EC_ARENA_ALIGN;
    memcpy(&bytes, base, sizeof bytes);
    self(be)->tally->host_bytes -= bytes;
    free(base);
}

static ec_status count_zero(ec_backend *be, ec_stream *stream, void *to, size_t bytes) {
    (void)stream, (void)to;
    return ec__count(be, 0, (double)bytes / sizeof(float));
}

static ec_status count_copy(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t bytes) {
    (void)stream, (void)to, (void)from;
    return ec__count(be, 0, 2 * (double)bytes / sizeof(float));
}

static ec_status count_upload_ahead(ec_backend *be, void *to, const void *from_host, size_t bytes) {
    return count_copy(be, NULL, to, from_host, bytes);
}

/* Besides the way, the numbers are read and written once more. */
static ec_status count_upload_half_ahead(ec_backend *be, float *to, const uint16_t *from_host, size_t count,
                                         void *scratch) {
    (void)to;
    EC_RETURN_IF(count_copy(be, NULL, scratch, from_host, count * sizeof *from_host));
    return ec__count(be, 0, 1.5 * (double)count);
}

static ec_status count_copy_rows(ec_backend *be, ec_stream *stream, void *to, const void *from, size_t rows,
                                 size_t bytes, size_t step) {
    (void)step;
    return count_copy(be, stream, to, from, rows * bytes);
}

static const ec_memory_ops memory_ops = {
    .alloc = count_alloc,
    .free = count_free,
    .zero = count_zero,
    .copy = count_copy,
    .copy_rows = count_copy_rows,
    .upload = count_copy,
    .download = count_copy,
    .upload_ahead = count_upload_ahead,
    .upload_half_ahead = count_upload_half_ahead,
    .alloc_host = count_alloc_host,
    .free_host = count_free_host,
};

static ec_stream *count_main_stream(ec_backend *be) { return self(be)->like->main_stream(self(be)->like); }

static ec_status count_for_each(ec_backend *be, int32_t tasks, ec_stream_task_fn fn, void *arg) {
    for (int32_t t = 0; t < tasks; t++) EC_RETURN_IF(fn(arg, t, count_main_stream(be)));
    return EC_OK;
}

static int32_t count_stream_index(const ec_stream *stream) {
    (void)stream;
    return 0;
}

static ec_status count_synchronize(ec_backend *be) {
    (void)be;
    return EC_OK;
}

struct ec_recording {
    ec_record_fn fn;
    void *arg;
};

static ec_status count_record(ec_backend *be, ec_record_fn fn, void *arg, ec_recording **out) {
    (void)be;
    ec_recording *r = malloc(sizeof *r);
    if (!r) return EC_ERROR(EC_ERR_MEMORY, "no memory for a recording");
    *r = (ec_recording){fn, arg};
    *out = r;
    return EC_OK;
}

static ec_status count_replay(ec_backend *be, const ec_recording *recording) {
    (void)be;
    return recording->fn(recording->arg);
}

static void count_recording_free(ec_backend *be, ec_recording *recording) {
    (void)be;
    free(recording);
}

static void *count_native_queue(ec_backend *be) { return self(be)->like->native_queue(self(be)->like); }

static int32_t count_width(const ec_backend *be) {
    const ec_backend *like = ((const ec_count_backend *)(const void *)be)->like;
    return like->width(like);
}

static void count_close(ec_backend *be) { free(be); }

ec_status ec__backend_open_count(ec_backend *like, ec_tally *tally, ec_backend **out) {
    ec_count_backend *be = calloc(1, sizeof *be);
    if (!be) return EC_ERROR(EC_ERR_MEMORY, "no memory for a back end");
    be->like = like;
    be->tally = tally;
    be->supcon = ec__count_supcon_ops;
    if (like->supcon->stream) be->supcon.stream = &ec__count_supcon_stream_ops;
    be->base = (ec_backend){
        .name = "count",
        .host = like->host,
        .math = like->math,
        .grain = like->grain,
        .memory = &memory_ops,
        .dense = &ec__count_dense_ops,
        .head = &ec__count_head_ops,
        .optim = &ec__count_optim_ops,
        .supcon = &be->supcon,
        .encoder = like->encoder,
        .pool = like->pool,
        .main_stream = count_main_stream,
        .for_each = count_for_each,
        .stream_index = count_stream_index,
        .synchronize = count_synchronize,
        .record = count_record,
        .replay = count_replay,
        .recording_free = count_recording_free,
        .native_queue = count_native_queue,
        .width = count_width,
        .close = count_close,
    };
    *out = &be->base;
    return EC_OK;
}
