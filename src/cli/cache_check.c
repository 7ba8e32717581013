/* emoclim cache verify | info */
#include "cache/feature_cache.h"
#include "cli/commands.h"
#include "cli/verify.h"

static ec_status verify(const cli_context *cli, const void *values) {
    (void)values;
    return cli_verify_files(cli, "cache", ec__cache_verify);
}

/* One line for each text of an object: "  key: value". */
static ec_status print_members(const char *title, const json_t *object) {
    const char *key;
    json_t *value;
    EC_RETURN_IF(cli_print("%s:\n", title));
    json_object_foreach((json_t *)object, key, value)
        EC_RETURN_IF(cli_print("  %s: %lld\n", key, (long long)json_integer_value(value)));
    return EC_OK;
}

static ec_status print_skipped(const ec_cache_info *x) {
    if (x->skipped_id.count == 0) return EC_OK;
    EC_RETURN_IF(cli_print("left out:\n"));
    for (int64_t k = 0; k < x->skipped_id.count; k++)
        EC_RETURN_IF(cli_print("  %s: %s\n", ec__h5_string(&x->skipped_id, k), ec__h5_string(&x->skipped_reason, k)));
    return EC_OK;
}

static ec_status print_info(const ec_cache_info *x, const json_t *json) {
    const ec_cache_identity *id = &x->identity;
    EC_RETURN_IF(cli_print("%s\nmodality: %s\nrows: %lld of %d x %lld %s (%.1f MB)\n", x->path, id->modality,
                           (long long)x->rows, id->views, (long long)id->width, ec__h5_type_name(id->dtype),
                           (double)x->rows * (double)x->row_bytes * 1e-6));
    EC_RETURN_IF(cli_print("encoder: %s%s\nencoder_sha256: %s\npreprocessing: %s\nmanifest_sha256: %s\n"
                           "created by: %s\n",
                           id->encoder, id->random_weights ? " with random weights" : "", id->encoder_sha256,
                           id->preprocessing, id->manifest_sha256, x->created_by));
    EC_RETURN_IF(print_members("splits", json_object_get(json, "splits")));
    const char *kind = x->label ? "classes" : "tags";
    EC_RETURN_IF(print_members(kind, json_object_get(json, kind)));
    return print_skipped(x);
}

static ec_status info(const cli_context *cli, const void *values) {
    (void)values;
    ec_status status = EC_OK;
    ec_cache *cache = NULL;
    json_t *json = NULL;
    EC_TRY(ec__cache_open(cli->argument[0], NULL, &cache));
    EC_TRY(ec__cache_json(ec__cache_info(cache), &json));
    if (cli->json) EC_TRY(cli_print_json(json_incref(json)));
    else EC_TRY(print_info(ec__cache_info(cache), json));
done:
    json_decref(json);
    ec__cache_close(cache);
    return status;
}

const cli_command cli_cache_verify = {
    .name = "verify",
    .summary = "Check feature caches: every checksum, every rule of the format, every number.",
    .arguments = "FILE...",
    .arguments_min = 1,
    .arguments_max = -1,
    .details = "Reads the whole of each file. A file that is damaged is named with the place of the damage (exit "
               "code 3).",
    .run = verify,
};

const cli_command cli_cache_info = {
    .name = "info",
    .summary = "Describe a feature cache: what it holds and how it was made.",
    .arguments = "FILE",
    .arguments_min = 1,
    .arguments_max = 1,
    .run = info,
};
