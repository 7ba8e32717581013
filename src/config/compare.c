/* What a configuration computes: its hash, and what differs between two. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"
#include "core/file.h"

/* Does key change what a run computes? How long it trains matters only where the learning rate depends on it. */
static bool matters(const ec__key *key, const ec_config *config) {
    if (key->effect == EC_KEY_LENGTH) return config->training.schedule == EC_CONFIG_COSINE;
    return key->effect == EC_KEY_DYNAMICS;
}

/* A value as the hash sees it: where a file lies is nobody's business, whether there is one is. */
static ec_status essence(const ec__key *key, const ec_config *config, char **out) {
    const void *value = ec__key_value(key, config);
    if (key->type == EC_KEY_PATH && *(char *const *)value) return ec__format(out, "given");
    return ec__value_text(key, value, out);
}

ec_status ec__config_hash(const ec_config *config, char hex[EC_SHA256_HEX]) {
    ec_status status = EC_OK;
    ec_sha256 *hash = NULL;
    char *value = NULL, *line = NULL;
    EC_TRY(ec__sha256_new(&hash));
    for (size_t i = 0; i < ec__schema_count; i++) {
        if (!matters(&ec__schema[i], config)) continue;
        EC_TRY(essence(&ec__schema[i], config, &value));
        EC_TRY(ec__format(&line, "%s: %s\n", ec__schema[i].name, value));
        EC_TRY(ec__sha256_update(hash, line, strlen(line)));
        free(line);
        free(value);
        line = value = NULL;
    }
    EC_TRY(ec__sha256_hex(hash, hex));
done:
    free(line);
    free(value);
    ec__sha256_free(hash);
    return status;
}

/* Sets *refused when the two differ in what they compute. */
static ec_status is_refused(const ec__key *key, const ec_config *then, const ec_config *now, bool *refused) {
    ec_status status = EC_OK;
    char *a = NULL, *b = NULL;
    EC_TRY(essence(key, then, &a));
    EC_TRY(essence(key, now, &b));
    *refused = (matters(key, then) || matters(key, now)) && strcmp(a, b) != 0;
done:
    free(b);
    free(a);
    return status;
}

ec_status ec__config_compare(const ec_config *then, const ec_config *now,
                             void (*visit)(void *arg, const char *key, const char *then_value, const char *now_value,
                                           ec_config_change change),
                             void *arg) {
    ec_status status = EC_OK;
    char *a = NULL, *b = NULL;
    for (size_t i = 0; i < ec__schema_count; i++) {
        const ec__key *key = &ec__schema[i];
        EC_TRY(ec__value_text(key, ec__key_value(key, then), &a));
        EC_TRY(ec__value_text(key, ec__key_value(key, now), &b));
        if (strcmp(a, b) != 0) {
            bool refused = false;
            EC_TRY(is_refused(key, then, now, &refused));
            visit(arg, key->name, a, b, refused ? EC_CHANGE_REFUSED : EC_CHANGE_ALLOWED);
        }
        free(a);
        free(b);
        a = b = NULL;
    }
done:
    free(b);
    free(a);
    return status;
}

typedef struct refusal {
    char text[800];
    size_t used;
} refusal;

static void collect(void *arg, const char *key, const char *then_value, const char *now_value,
                    ec_config_change change) {
    refusal *r = arg;
    if (change != EC_CHANGE_REFUSED || r->used >= sizeof r->text) return;
    r->used += (size_t)snprintf(r->text + r->used, sizeof r->text - r->used, "%s%s was %.80s and is %.80s",
                                r->used ? "; " : "", key, then_value, now_value);
}

ec_status ec__config_check_resume(const ec_config *then, const ec_config *now) {
    refusal r = {.used = 0};
    EC_RETURN_IF(ec__config_compare(then, now, collect, &r));
    if (r.used == 0) return EC_OK;
    return EC_ERROR(EC_ERR_CONFIG, "%s: cannot go on from this checkpoint with other settings: %s", now->origin->name,
                    r.text);
}
