/* Telling how two caches, or a cache and a configuration, differ. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache_format.h"

static int set_text(json_t *root, const char *key, const char *text) {
    return text ? json_object_set_new(root, key, json_string(text)) : 0;
}

ec_status ec__cache_identity_json(const ec_cache_identity *x, json_t **out) {
    ec_status status = EC_OK;
    json_t *preprocessing = NULL;
    json_t *root = json_object();
    int failed = set_text(root, "modality", x->modality) | set_text(root, "encoder", x->encoder) |
                 set_text(root, "encoder_sha256", x->encoder_sha256) |
                 json_object_set_new(root, "random_weights", json_boolean(x->random_weights));
    if (x->preprocessing) {
        json_error_t error;
        preprocessing = json_loads(x->preprocessing, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(preprocessing)) EC_FAIL(EC_ERR_DATA, "preprocessing is not a JSON object: %s", error.text);
        failed |= json_object_set(root, "preprocessing", preprocessing);
    }
    failed |= set_text(root, "manifest_sha256", x->manifest_sha256) | set_text(root, "dtype",
                                                                               ec__h5_type_name(x->dtype)) |
              json_object_set_new(root, "views", json_integer(x->views)) |
              json_object_set_new(root, "width", json_integer(x->width));
    if (failed) EC_FAIL(EC_ERR_MEMORY, "no memory for the description of a cache");
    *out = json_incref(root);
done:
    json_decref(preprocessing);
    json_decref(root);
    return status;
}

typedef struct listing {
    char *text;
    size_t size, used;
    int count;
} listing;

static void add_difference(listing *list, const char *where, const json_t *found, const json_t *expected) {
    char *left = found ? json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    char *right = expected ? json_dumps(expected, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    list->count++;
    if (list->used < list->size)
        list->used += (size_t)snprintf(list->text + list->used, list->size - list->used, "%s%s is %s, expected %s",
                                       list->used ? "; " : "", where, left ? left : "absent", right ? right : "none");
    free(left);
    free(right);
}

static bool same(const json_t *a, const json_t *b) {
    /* 1 and 1.0 are the same number. */
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static void compare(listing *list, const char *prefix, const json_t *found, const json_t *expected) {
    char where[256];
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)expected, key, value) {
        const json_t *there = json_object_get(found, key);
        snprintf(where, sizeof where, "%s%s%s", prefix, *prefix ? "." : "", key);
        if (json_is_object(value) && json_is_object(there)) compare(list, where, there, value);
        else if (!there || !same(there, value)) add_difference(list, where, there, value);
    }
    if (!*prefix) return; /* at the top, what expected leaves out is not compared */
    json_object_foreach((json_t *)found, key, value) {
        snprintf(where, sizeof where, "%s.%s", prefix, key);
        if (!json_object_get(expected, key)) add_difference(list, where, value, NULL);
    }
}

int ec__json_differences(const json_t *found, const json_t *expected, char *text, size_t size) {
    listing list = {.text = text, .size = size};
    text[0] = '\0';
    compare(&list, "", found, expected);
    return list.count;
}

ec_status ec__cache_compare_identity(const char *path, const ec_cache_identity *found,
                                     const ec_cache_identity *expected) {
    ec_status status = EC_OK;
    json_t *there = NULL, *here = NULL;
    char text[EC_ERROR_TEXT / 2];
    EC_TRY(ec__cache_identity_json(found, &there));
    EC_TRY(ec__cache_identity_json(expected, &here));
    if (ec__json_differences(there, here, text, sizeof text) > 0)
        EC_FAIL(EC_ERR_DATA,
                "%s was made with other settings: %s (build the cache again, or change the configuration)", path, text);
done:
    json_decref(here);
    json_decref(there);
    return status;
}
