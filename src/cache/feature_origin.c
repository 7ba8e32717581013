#include "cache/feature_origin.h"

#include <stdlib.h>

static ec_status origin_json(const ec_cache_identity *identity, json_t **out) {
    EC_RETURN_IF(ec__cache_identity_json(identity, out));
    json_object_del(*out, "dtype");
    json_object_del(*out, "views");
    json_object_del(*out, "manifest_sha256");
    return EC_OK;
}

static void forget_clips(json_t *origin) {
    static const char *const key[] = {"crop", "overlap", "crop_seed", "short_clips"};
    json_t *preprocessing = json_object_get(origin, "preprocessing");
    for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) json_object_del(preprocessing, key[i]);
}

ec_status ec__feature_origin(const ec_cache_identity *identity, char **out) {
    json_t *origin = NULL;
    EC_RETURN_IF(origin_json(identity, &origin));
    char *text = json_dumps(origin, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(origin);
    if (!text) return EC_ERROR(EC_ERR_MEMORY, "no memory for the origin of features");
    *out = text;
    return EC_OK;
}

ec_status ec__feature_origin_check(const char *name, const char *origin, const char *what,
                                   const ec_cache_identity *found, bool any_clips) {
    ec_status status = EC_OK;
    json_t *here = NULL, *there = NULL;
    json_error_t error;
    char text[EC_ERROR_TEXT / 2];
    EC_TRY(origin_json(found, &here));
    there = json_loads(origin, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(there))
        EC_FAIL(EC_ERR_DATA, "%s: the origin of its features is no JSON object: %s", name, error.text);
    if (any_clips) {
        forget_clips(here);
        forget_clips(there);
    }
    if (ec__json_differences(here, there, text, sizeof text) > 0)
        EC_FAIL(EC_ERR_DATA, "%s does not fit the features that %s was trained on: %s", what, name, text);
done:
    json_decref(there);
    json_decref(here);
    return status;
}
