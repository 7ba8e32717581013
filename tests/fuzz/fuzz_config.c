/* Random text as a configuration, and as an override: an error or a configuration that prints and reads back the
 * same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const ec_config *config) {
    char *once = NULL, *twice = NULL;
    ec_config *again = NULL;
    if (ec__config_print(config, &once) != EC_OK) abort();
    if (ec__config_parse("printed", "/", once, strlen(once), NULL, 0, &again) != EC_OK) abort();
    if (ec__config_print(again, &twice) != EC_OK || strcmp(once, twice) != 0) abort();
    ec__config_free(again);
    free(twice);
    free(once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char minimal[] = "dataset: {image_cache: a, audio_cache: b}\n";
    ec_config *config = NULL;
    if (ec__config_parse("fuzz", "/", (const char *)data, size, NULL, 0, &config) == EC_OK) check_round_trip(config);
    ec__config_free(config);
    config = NULL;
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    const char *const overrides[] = {text};
    if (ec__config_parse("fuzz", "/", minimal, sizeof minimal - 1, overrides, 1, &config) == EC_OK)
        check_round_trip(config);
    ec__config_free(config);
    free(text);
    return 0;
}
