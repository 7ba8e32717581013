#define _GNU_SOURCE
#include "train/checkpoint_writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"

struct ec_checkpoint_writer {
    char *folder;
    ec_checkpoint_keep keep;
    bool go_on; /* after a failed save */

    /* The snapshot: the caller's while no save is pending, else the thread's. */
    ec_checkpoint_array *array;
    int32_t count;
    char **names;
    void *memory;
    ec_checkpoint_meta meta;
    char *config;
    bool best;

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool pending, quit; /* under the lock */
    ec_error error;     /* of the last save; code EC_OK: none, or reported */
};

static ec_status save(const ec_checkpoint_writer *writer) {
    ec_status status = EC_OK;
    long long step = (long long)writer->meta.step;
    if (ec__checkpoint_save_step(writer->folder, &writer->meta, writer->array, writer->count, writer->best) != EC_OK) {
        ec__error_prefix("saving the checkpoint after step %lld failed, those before it are as they were: ", step);
        EC_TRY(ec_error_last()->code);
    }
    EC_TRY(ec__checkpoint_prune(writer->folder, &writer->keep, writer->meta.step));
done:
    return status;
}

static void *thread_main(void *arg) {
    ec_checkpoint_writer *writer = arg;
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (!writer->pending && !writer->quit) pthread_cond_wait(&writer->changed, &writer->lock);
        if (!writer->pending) break;
        pthread_mutex_unlock(&writer->lock);
        ec_status status = save(writer);
        pthread_mutex_lock(&writer->lock);
        writer->error.code = EC_OK;
        if (status != EC_OK) writer->error = *ec_error_last();
        if (status != EC_OK && writer->go_on) ec__log(EC_LOG_ERROR, "%s; the run goes on", writer->error.text);
        writer->pending = false;
        pthread_cond_broadcast(&writer->changed);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

/* Room for all arrays in one piece. */
static ec_status take_memory(ec_checkpoint_writer *writer, const ec_checkpoint_array *arrays, int32_t count) {
    enum { ALIGN = 64 };
    size_t total = ALIGN;
    writer->array = calloc((size_t)count + 1, sizeof *writer->array);
    writer->names = calloc((size_t)count + 1, sizeof *writer->names);
    if (!writer->array || !writer->names) return EC_ERROR(EC_ERR_MEMORY, "no memory for a list of %d arrays", count);
    for (int32_t k = 0; k < count; k++) {
        EC_RETURN_IF(ec__format(&writer->names[k], "%s", arrays[k].name));
        writer->count = k + 1;
        writer->array[k] = arrays[k];
        writer->array[k].name = writer->names[k];
        total += (ec__checkpoint_array_bytes(&arrays[k]) + ALIGN - 1) / ALIGN * ALIGN;
    }
    writer->memory = aligned_alloc(ALIGN, total);
    if (!writer->memory) return EC_ERROR(EC_ERR_MEMORY, "no memory for a snapshot of %zu bytes", total);
    char *next = writer->memory;
    for (int32_t k = 0; k < count; k++) {
        writer->array[k].data = next;
        next += (ec__checkpoint_array_bytes(&arrays[k]) + ALIGN - 1) / ALIGN * ALIGN;
    }
    return EC_OK;
}

/* Signals are for the main thread: it is the one that asks for the last checkpoint. */
static ec_status start_thread(ec_checkpoint_writer *writer) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&writer->thread, NULL, thread_main, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return EC_ERROR(EC_ERR_ENV, "cannot start the thread that saves checkpoints: %s", strerror(failed));
    writer->started = true;
    return EC_OK;
}

static ec_status check_folder(const char *folder) {
    ec_status status = EC_OK;
    char *path = NULL;
    ec_atomic_file *probe = NULL;
    EC_TRY(ec__make_folders(folder));
    EC_TRY(ec__checkpoint_best_path(folder, &path));
    EC_TRY(ec__atomic_open(path, &probe));
done:
    ec__atomic_discard(probe);
    free(path);
    return status;
}

ec_status ec__checkpoint_writer_new(const char *folder, const ec_checkpoint_keep *keep, bool go_on,
                                    const ec_checkpoint_array *arrays, int32_t count, ec_checkpoint_writer **out) {
    ec_status status = EC_OK;
    ec_checkpoint_writer *writer = NULL;
    if (keep->last < 1)
        EC_FAIL(EC_ERR_CONFIG, "at least one checkpoint must be kept, not %lld", (long long)keep->last);
    EC_TRY(check_folder(folder));
    writer = calloc(1, sizeof *writer);
    if (!writer) EC_FAIL(EC_ERR_MEMORY, "no memory for a checkpoint writer");
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->changed, NULL);
    writer->keep = *keep;
    writer->go_on = go_on;
    EC_TRY(ec__format(&writer->folder, "%s", folder));
    EC_TRY(take_memory(writer, arrays, count));
    EC_TRY(start_thread(writer));
    *out = writer;
    writer = NULL;
done:
    ec__checkpoint_writer_free(writer);
    return status;
}

bool ec__checkpoint_writer_failed(ec_checkpoint_writer *writer) {
    pthread_mutex_lock(&writer->lock);
    bool failed = !writer->pending && !writer->go_on && writer->error.code != EC_OK;
    pthread_mutex_unlock(&writer->lock);
    return failed;
}

ec_status ec__checkpoint_writer_wait(ec_checkpoint_writer *writer) {
    pthread_mutex_lock(&writer->lock);
    while (writer->pending) pthread_cond_wait(&writer->changed, &writer->lock);
    ec_error error = writer->error;
    writer->error.code = EC_OK;
    pthread_mutex_unlock(&writer->lock);
    return error.code == EC_OK ? EC_OK : ec__error_adopt(&error);
}

ec_status ec__checkpoint_writer_save(ec_checkpoint_writer *writer, const ec_checkpoint_meta *meta, bool best,
                                     ec_checkpoint_fill fill, void *arg) {
    ec_status status = EC_OK;
    char *config = NULL;
    status = ec__checkpoint_writer_wait(writer);
    if (status != EC_OK && writer->go_on) ec_error_clear(); /* the log has it */
    else EC_TRY(status);
    EC_TRY(ec__format(&config, "%s", meta->config));
    for (int32_t k = 0; k < writer->count; k++) EC_TRY(fill(arg, k, &writer->array[k]));
    free(writer->config);
    writer->config = config;
    config = NULL;
    writer->meta = *meta;
    writer->meta.config = writer->config;
    writer->best = best;
    pthread_mutex_lock(&writer->lock);
    writer->pending = true;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
done:
    free(config);
    return status;
}

static void stop_thread(ec_checkpoint_writer *writer) {
    pthread_mutex_lock(&writer->lock);
    writer->quit = true; /* a pending save is still made */
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    if (writer->error.code != EC_OK) ec__log(EC_LOG_ERROR, "saving the last checkpoint failed: %s", writer->error.text);
}

void ec__checkpoint_writer_free(ec_checkpoint_writer *writer) {
    if (!writer) return;
    if (writer->started) stop_thread(writer);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->lock);
    for (int32_t k = 0; k < writer->count; k++) free(writer->names[k]);
    free(writer->names);
    free(writer->array);
    free(writer->memory);
    free(writer->config);
    free(writer->folder);
    free(writer);
}
