#define _GNU_SOURCE
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"
#include "core/file.h"

void ec__config_free(ec_config *config) {
    if (!config) return;
    for (size_t i = 0; i < ec__schema_count; i++)
        ec__value_release(&ec__schema[i], ec__key_field(&ec__schema[i], config));
    if (config->origin) free(config->origin->name);
    free(config->origin);
    free(config);
}

static ec_status set_defaults(ec_config *config, const char *folder) {
    for (size_t i = 0; i < ec__schema_count; i++) {
        const ec__key *key = &ec__schema[i];
        if (!key->standard || key->type == EC_KEY_LIST) continue; /* a list is empty */
        ec__scalar scalar = {key->standard, strlen(key->standard), true};
        EC_RETURN_IF(ec__value_set(key, scalar, folder, ec__key_field(key, config)));
    }
    return EC_OK;
}

static ec_status config_new(const char *name, ec_config **out) {
    ec_status status = EC_OK;
    ec_config *config = calloc(1, sizeof *config);
    if (!config) EC_FAIL(EC_ERR_MEMORY, "no memory for a configuration");
    config->origin = calloc(1, sizeof *config->origin + ec__schema_count * sizeof config->origin->place[0]);
    if (!config->origin) EC_FAIL(EC_ERR_MEMORY, "no memory for a configuration");
    EC_TRY(ec__format(&config->origin->name, "%s", name));
    *out = config;
    config = NULL;
done:
    ec__config_free(config);
    return status;
}

/* An existing folder without symbolic links. */
static ec_status absolute_folder(const char *folder, char **out) {
    char *path = realpath(folder, NULL);
    if (!path) return EC_ERROR(EC_ERR_ENV, "cannot find the folder %s: %s", folder, strerror(errno));
    *out = path;
    return EC_OK;
}

ec_status ec__config_parse(const char *name, const char *folder, const char *text, size_t bytes,
                           const char *const *overrides, size_t count, ec_config **out) {
    ec_status status = EC_OK;
    char *file_folder = NULL, *work_folder = NULL;
    ec_config *config = NULL;
    EC_TRY(absolute_folder(folder, &file_folder));
    EC_TRY(absolute_folder(".", &work_folder));
    EC_TRY(config_new(name, &config));
    EC_TRY(set_defaults(config, work_folder));
    EC_TRY(ec__config_read(config, name, file_folder, text, bytes));
    for (size_t i = 0; i < count; i++) EC_TRY(ec__config_override(config, work_folder, overrides[i]));
    EC_TRY(ec__config_finish(config));
    *out = config;
    config = NULL;
done:
    ec__config_free(config);
    free(work_folder);
    free(file_folder);
    return status;
}

ec_status ec__config_load(const char *path, const char *const *overrides, size_t count, ec_config **out) {
    ec_status status = EC_OK;
    char *text = NULL, *folder = NULL;
    size_t bytes = 0;
    status = ec__file_read(path, EC_CONFIG_LARGEST, &text, &bytes);
    /* A configuration that is missing or no file at all is a mistake in the command, not in the data. */
    if (status == EC_ERR_DATA) EC_FAIL(EC_ERR_CONFIG, "configuration: %s", ec_error_last()->text);
    EC_TRY(status);
    EC_TRY(ec__path_folder(path, &folder));
    EC_TRY(ec__config_parse(path, folder, text, bytes, overrides, count, out));
done:
    free(folder);
    free(text);
    return status;
}
