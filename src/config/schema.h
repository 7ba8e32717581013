/* The table of all keys, and values in it (inside src/config only). */
#ifndef EC_CONFIG_SCHEMA_H
#define EC_CONFIG_SCHEMA_H

#include "config/config.h"

typedef enum ec__key_type {
    EC_KEY_BOOL,   /* bool */
    EC_KEY_INT,    /* int64_t in [low, high] */
    EC_KEY_REAL,   /* double in [low, high], or without an end that is open */
    EC_KEY_CHOICE, /* an enum (stored as int): index into choices */
    EC_KEY_PATH,   /* char * or NULL */
    EC_KEY_LIST,   /* ec_text_list */
} ec__key_type;

/* What a key means for a run that goes on from a checkpoint, and for the hash. */
typedef enum ec__key_effect {
    EC_KEY_DYNAMICS, /* changes the weights that come out: hashed, must stay. Of a path only whether it is given */
    EC_KEY_LENGTH,   /* how long: changes the weights of a given step only where the schedule depends on it */
    EC_KEY_FREE,     /* changes nothing that is computed */
} ec__key_effect;

typedef struct ec__key {
    const char *name; /* "training.loss_weights.image2image" */
    ec__key_type type;
    size_t offset;        /* in ec_config */
    const char *standard; /* the default as YAML text; NULL: required */
    double low, high;
    bool low_open, high_open;
    const char *const *choices; /* ends with NULL */
    ec__key_effect effect;
    const char *help;
} ec__key;

extern const ec__key ec__schema[];
extern const size_t ec__schema_count;

/* Names of the original's configuration that are called otherwise here. */
typedef struct ec__key_rename {
    const char *original, *now; /* full names; now may be advice in words, then it holds a space */
} ec__key_rename;
extern const ec__key_rename ec__renames[];
extern const size_t ec__rename_count;

/* The sections with what they are about, in the order of the schema. */
typedef struct ec__section {
    const char *name, *help;
} ec__section;
extern const ec__section ec__sections[];
extern const size_t ec__section_count;

/* Where a value came from. */
typedef enum ec__source { EC_FROM_DEFAULT, EC_FROM_FILE, EC_FROM_COMMAND_LINE } ec__source;

typedef struct ec__place {
    ec__source source;
    size_t line, column; /* from 1; of a file only */
} ec__place;

struct ec_config_origin {
    char *name;          /* of the file, for messages */
    ec__place place[];   /* one a key of the schema */
};

const ec__key *ec__key_find(const char *name); /* NULL: there is none */
bool ec__key_is_prefix(const char *name);      /* does a key's name start with name and a dot? "" does */
/* Raises the error for the full name of a key that is not in the schema; prefix is the part of it that is. */
ec_status ec__key_unknown(const char *prefix, const char *full);
size_t ec__key_number(const ec__key *key);
static inline void *ec__key_field(const ec__key *key, ec_config *config) { return (char *)config + key->offset; }
static inline const void *ec__key_value(const ec__key *key, const ec_config *config) {
    return (const char *)config + key->offset;
}

/* A scalar as it stands in YAML. */
typedef struct ec__scalar {
    const char *text; /* length bytes and a NUL */
    size_t length;
    bool plain; /* without quotes: may mean null, a number or a truth value */
} ec__scalar;

/* Changes a field; it stays untouched on error. Messages start with the key's name. folder: what a relative path is
 * relative to, absolute. */
ec_status ec__value_set(const ec__key *key, ec__scalar scalar, const char *folder, void *field);
ec_status ec__value_append(const ec__key *key, ec__scalar item, void *field); /* EC_KEY_LIST */
void ec__value_release(const ec__key *key, void *field);
bool ec__scalar_is_null(ec__scalar scalar);

/* What a key may hold, in words: "a whole number from 1 to 64". */
void ec__value_expected(const ec__key *key, char *into, size_t size);

/* The value as YAML on one line, owned by the caller. */
ec_status ec__value_text(const ec__key *key, const void *field, char **out);

/* Text from a file as it may stand in a message: quoted, cut, without control characters. */
enum { EC_QUOTE = 96 };
void ec__quote(const char *text, size_t length, char into[EC_QUOTE]);

/* Puts the place of key's value in front of the message of an error raised just before. */
ec_status ec__place_prefix(const ec_config *config, const ec__key *key);

/* Reads a whole YAML document into config (parse.c). */
ec_status ec__config_read(ec_config *config, const char *name, const char *folder, const char *text, size_t bytes);
ec_status ec__config_override(ec_config *config, const char *folder, const char *override);

/* What one key alone cannot tell (check.c). Fills in values that depend on others. */
ec_status ec__config_finish(ec_config *config);

#endif
