/* emoclim embed: joint embeddings of a cache, a manifest or single files, to be searched. */
#include <stdlib.h>
#include <string.h>

#include "cache/embedding_file.h"
#include "cache/json_text.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "core/utf8.h"
#include "media/manifest.h"
#include "pipeline/embed.h"
#include "pipeline/embed_media.h"
#include "pipeline/samples.h"
#include "train/trained.h"

typedef struct embed_options {
    const char *checkpoint, *cache, *manifest, *out;
    int modality, space, split;
    int64_t threads;
} embed_options;

static const char *const modalities[] = {"auto", "image", "music", NULL};
static const char *const spaces[] = {"cross", "intra", NULL};
static const char *const splits[] = {"all", "train", "valid", "test", NULL};

static const cli_option options[] = {
    {.name = "checkpoint", .letter = 'c', .type = CLI_TEXT, .argument = "FILE",
     .help = "checkpoint with the trained heads", .offset = offsetof(embed_options, checkpoint)},
    {.name = "cache", .type = CLI_TEXT, .argument = "FILE", .help = "feature cache to embed",
     .offset = offsetof(embed_options, cache)},
    {.name = "manifest", .type = CLI_TEXT, .argument = "FILE", .help = "manifest (CSV) of media files to embed",
     .offset = offsetof(embed_options, manifest)},
    {.name = "modality", .type = CLI_CHOICE, .argument = "MODALITY", .choices = modalities,
     .help = "image or music; needed for a manifest and for files (default: that of the cache)",
     .offset = offsetof(embed_options, modality)},
    {.name = "split", .type = CLI_CHOICE, .argument = "SPLIT", .choices = splits,
     .help = "rows of a cache: all, train, valid or test (default: all)", .offset = offsetof(embed_options, split)},
    {.name = "space", .type = CLI_CHOICE, .argument = "SPACE", .choices = spaces,
     .help = "embedding of multi-task heads: cross or intra (default: cross)",
     .offset = offsetof(embed_options, space)},
    {.name = "out", .letter = 'o', .type = CLI_TEXT, .argument = "FILE", .help = "HDF5 file of embeddings to write",
     .offset = offsetof(embed_options, out)},
    {.name = "threads", .type = CLI_INT, .argument = "N", .low = 0, .high = 4096,
     .offset = offsetof(embed_options, threads),
     .help = "CPU threads of a rank (default: the processors shared by its ranks)"},
    {0},
};

/* What is embedded, and what came out. */
typedef struct job {
    const cli_context *cli;
    const embed_options *o;
    cli_session session;
    ec_trained trained;
    ec_modality modality;
    ec_cache *cache;
    ec_manifest *manifest;
    ec_featurizer *featurizer;
    ec_media_item *item;
    int64_t *row;
    int64_t count;
    int32_t *label;
    const char **id, **class_name;
    char **cut_id; /* (count) of a manifest: owned names that id points to */
    int32_t class_count;
    float *z;
    uint8_t *good;
} job;

static ec_status make_arrays(job *j, int64_t most) {
    j->item = calloc((size_t)most, sizeof *j->item);
    j->row = calloc((size_t)most, sizeof *j->row);
    j->label = calloc((size_t)most, sizeof *j->label);
    j->id = calloc((size_t)most, sizeof *j->id);
    j->good = calloc((size_t)most, sizeof *j->good);
    j->z = calloc((size_t)most * (size_t)j->trained.heads->config.output_dim, sizeof *j->z);
    return j->item && j->row && j->label && j->id && j->good && j->z ? EC_OK
               : EC_ERROR(EC_ERR_MEMORY, "no memory to embed %lld rows", (long long)most);
}

static ec_status open_cache(job *j) {
    EC_RETURN_IF(ec__cache_open(j->o->cache, NULL, &j->cache));
    const ec_cache_info *info = ec__cache_info(j->cache);
    j->modality = strcmp(info->identity.modality, "image") == 0 ? EC_IMAGE : EC_MUSIC;
    EC_RETURN_IF(ec__trained_check_features(&j->trained, j->modality, j->o->cache, &info->identity));
    EC_RETURN_IF(make_arrays(j, info->rows));
    for (int64_t r = 0; r < info->rows; r++) {
        if (j->o->split > 0 && info->split[r] != j->o->split - 1) continue;
        j->row[j->count] = r;
        j->id[j->count] = ec__h5_string(&info->id, r);
        j->label[j->count] = info->label ? info->label[r] : -1;
        j->good[j->count++] = 1;
    }
    if (j->count == 0) return EC_ERROR(EC_ERR_DATA, "%s has no row of split \"%s\"", j->o->cache, splits[j->o->split]);
    j->class_count = info->class_count;
    j->class_name = calloc((size_t)info->class_count, sizeof *j->class_name);
    if (!j->class_name) return EC_ERROR(EC_ERR_MEMORY, "no memory for class names");
    for (int32_t c = 0; c < info->class_count; c++) j->class_name[c] = ec__h5_string(&info->class_names, c);
    return EC_OK;
}

static ec_status open_manifest(job *j) {
    EC_RETURN_IF(ec__manifest_read(j->o->manifest, &j->manifest));
    EC_RETURN_IF(make_arrays(j, j->manifest->count));
    j->cut_id = calloc((size_t)j->manifest->count, sizeof *j->cut_id);
    if (!j->cut_id)
        return EC_ERROR(EC_ERR_MEMORY, "no memory for the names of %lld items", (long long)j->manifest->count);
    j->count = j->manifest->count;
    for (int64_t i = 0; i < j->count; i++) {
        const ec_manifest_entry *e = &j->manifest->entry[i];
        EC_RETURN_IF(ec__media_item_id(e, &j->cut_id[i]));
        j->item[i] = ec__media_item_of(e, i);
        j->id[i] = j->cut_id[i];
        j->label[i] = e->label_index;
    }
    j->class_count = j->manifest->classes;
    j->class_name = calloc((size_t)j->class_count, sizeof *j->class_name);
    if (!j->class_name) return EC_ERROR(EC_ERR_MEMORY, "no memory for class names");
    for (int32_t c = 0; c < j->class_count; c++) j->class_name[c] = j->manifest->class_name[c];
    return EC_OK;
}

static ec_status open_files(job *j) {
    EC_RETURN_IF(make_arrays(j, j->cli->argument_count));
    j->count = j->cli->argument_count;
    for (int64_t i = 0; i < j->count; i++) {
        j->item[i] = (ec_media_item){.path = j->cli->argument[i], .index = i};
        j->id[i] = j->cli->argument[i];
        j->label[i] = -1;
    }
    return EC_OK;
}

/* Before anything is encoded. */
static ec_status check_names(const job *j) {
    for (int64_t i = 0; i < j->count; i++)
        if (!ec__utf8(j->id[i]))
            return EC_ERROR(EC_ERR_DATA, "the name of %s is not UTF-8, as names in an index are", j->id[i]);
    return EC_OK;
}

static ec_status open_job(job *j) {
    const embed_options *o = j->o;
    EC_RETURN_IF(ec__trained_load(j->session.be, o->checkpoint, &j->trained));
    if (o->cache) return open_cache(j);
    j->modality = o->modality == 1 ? EC_IMAGE : EC_MUSIC;
    EC_RETURN_IF(o->manifest ? open_manifest(j) : open_files(j));
    EC_RETURN_IF(check_names(j));
    EC_RETURN_IF(ec__featurizer_open(j->session.be, j->trained.config, j->modality, &j->featurizer));
    return ec__trained_check_features(&j->trained, j->modality, "the encoder as it is now",
                                      ec__featurizer_identity(j->featurizer));
}

static ec_status compute(job *j) {
    ec_embedding which = j->o->space == 1 ? EC_INTRA : EC_CROSS;
    if (!j->cache)
        return ec__embed_media(j->trained.heads, which, j->session.comm->host, j->modality, j->featurizer, j->item,
                               j->count, cli_progress(j->cli), j->z, j->good);
    float *z[EC_EMBEDDINGS] = {0};
    z[ec__heads_embedding(&j->trained.heads->config, which)] = j->z;
    return ec__embed_rows(j->trained.heads, j->session.comm->host, j->modality, j->cache, j->row, j->count, z);
}

/* Rank 0 only. */
static ec_status write_file(job *j) {
    int32_t width = j->trained.heads->config.output_dim;
    int64_t kept = 0;
    for (int64_t i = 0; i < j->count; i++) {
        if (!j->good[i]) continue;
        memmove(j->z + kept * width, j->z + i * width, sizeof *j->z * (size_t)width);
        j->label[kept] = j->label[i];
        j->id[kept++] = j->id[i];
    }
    if (kept == 0) return EC_ERROR(EC_ERR_DATA, "none of the %lld files could be read", (long long)j->count);
    const ec_embedding_content content = {
        .modality = j->modality == EC_IMAGE ? "image" : "music",
        .checkpoint_digest = j->trained.digest,
        .rows = kept,
        .width = width,
        .class_count = j->class_count,
        .embedding = j->z,
        .label = j->label,
        .id = j->id,
        .class_names = j->class_name,
    };
    EC_RETURN_IF(ec__embedding_write(j->o->out, &content));
    if (j->cli->json)
        return cli_print_json(json_pack("{s:o, s:I, s:I, s:i}", "path", ec__json_text(j->o->out), "rows",
                                        (json_int_t)kept, "skipped", (json_int_t)(j->count - kept), "width", width));
    return cli_print("%s: %lld embeddings of width %d%s\n", j->o->out, (long long)kept, width,
                     kept < j->count ? " (some files were left out)" : "");
}

static ec_status check_options(const job *j) {
    const embed_options *o = j->o;
    int inputs = (o->cache != NULL) + (o->manifest != NULL) + (j->cli->argument_count > 0);
    if (!o->checkpoint) return EC_ERROR(EC_ERR_USAGE, "--checkpoint is missing");
    if (!o->out) return EC_ERROR(EC_ERR_USAGE, "--out is missing");
    if (inputs != 1) return EC_ERROR(EC_ERR_USAGE, "give one of --cache, --manifest, or files to embed");
    if (!o->cache && o->modality == 0) return EC_ERROR(EC_ERR_USAGE, "--modality image or --modality music is missing");
    return EC_OK;
}

static ec_status run(const cli_context *cli, const void *values) {
    ec_status status = EC_OK;
    job j = {.cli = cli, .o = values};
    EC_TRY(check_options(&j));
    EC_TRY(cli_session_open(&(cli_session_options){.threads = j.o->threads}, &j.session));
    EC_TRY(ec__comm_agree(j.session.comm, open_job(&j)));
    status = compute(&j);
    cli_progress_end();
    EC_TRY(status);
    EC_TRY(ec__comm_agree(j.session.comm, j.session.comm->rank == 0 ? write_file(&j) : EC_OK));
done:
    free(j.class_name);
    free(j.z);
    free(j.good);
    for (int64_t i = 0; j.cut_id && i < j.manifest->count; i++) free(j.cut_id[i]);
    free(j.cut_id);
    free(j.id);
    free(j.label);
    free(j.row);
    free(j.item);
    ec__featurizer_free(j.featurizer);
    ec__manifest_free(j.manifest);
    ec__cache_close(j.cache);
    ec__trained_release(&j.trained);
    cli_session_close(&j.session, status);
    return status;
}

const cli_command cli_embed = {
    .name = "embed",
    .summary = "Write the joint embeddings of a cache, a manifest or media files.",
    .arguments = "[FILE ...]",
    .arguments_max = -1,
    .details = "The file that comes out is an index for \"emoclim search\". Files that cannot be read are named and "
               "left out. Runs on one rank or, started by mpirun, on many.",
    .options = options,
    .values_size = sizeof(embed_options),
    .run = run,
};
