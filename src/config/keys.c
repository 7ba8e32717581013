/* The table of keys, for who lists it. */
#include "config/schema.h"

static const char *const truth[] = {"true", "false", NULL};

bool ec__config_key(size_t i, ec_config_key *out) {
    if (i >= ec__schema_count) return false;
    const ec__key *key = &ec__schema[i];
    *out = (ec_config_key){.name = key->name, .help = key->help, .is_path = key->type == EC_KEY_PATH};
    if (key->type == EC_KEY_BOOL) out->words = truth;
    if (key->type == EC_KEY_CHOICE) out->words = key->choices;
    return true;
}

const char *ec__config_section(size_t i, const char **help) {
    if (i >= ec__section_count) return NULL;
    *help = ec__sections[i].help;
    return ec__sections[i].name;
}
