/* YAML into a configuration. The only file that knows libyaml.
 *
 * Events are taken one at a time and the first thing that does not fit ends the reading, so nothing deeper than the
 * schema is ever entered, and an alias (which could blow a small text up) is refused where it stands. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config/schema.h"

enum { NAME = 160, MOST_SECTIONS = 16 };

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    bool event_held;
    ec_config *config;
    const char *text; /* what is read */
    size_t bytes;
    const char *name;   /* of the file; NULL: the command line */
    const char *folder; /* what relative paths are relative to */
    struct {            /* sections met in this document, to tell when one comes twice */
        char name[NAME];
        size_t line;
    } section[MOST_SECTIONS];
    size_t sections;
} reader;

/* Puts the place in front of the error raised just before. */
static ec_status at(const reader *r, yaml_mark_t mark, ec_status status) {
    if (status == EC_OK) return EC_OK;
    if (!r->name) return ec__error_prefix("command line: ");
    return ec__error_prefix("%s:%zu:%zu: ", r->name, mark.line + 1, mark.column + 1);
}

static ec_status at_event(const reader *r, ec_status status) { return at(r, r->event.start_mark, status); }

/* Line and column of a byte, for errors before the scanner: bytes that are not UTF-8. */
static yaml_mark_t mark_of_byte(const reader *r, size_t offset) {
    yaml_mark_t mark = {.index = offset};
    for (size_t i = 0; i < offset && i < r->bytes; i++) {
        if (r->text[i] == '\n') mark = (yaml_mark_t){.line = mark.line + 1};
        else mark.column++;
    }
    return mark;
}

static ec_status parser_error(const reader *r) {
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "unknown problem";
    if (p->error == YAML_MEMORY_ERROR) return EC_ERROR(EC_ERR_MEMORY, "no memory to read YAML");
    if (p->error == YAML_READER_ERROR)
        return at(r, mark_of_byte(r, p->problem_offset),
                  EC_ERROR(EC_ERR_CONFIG, "%s (byte %zu, value 0x%02X); a configuration is UTF-8 text", problem,
                           p->problem_offset, (unsigned)p->problem_value & 0xFFFFFFu));
    yaml_mark_t mark = p->problem_mark;
    bool tab = mark.index < r->bytes && r->text[mark.index] == '\t';
    return at(r, mark,
              EC_ERROR(EC_ERR_CONFIG, "not YAML: %s%s%s%s", p->context ? p->context : "", p->context ? ", " : "",
                       problem, tab ? "; there is a tab here, and YAML indents with spaces" : ""));
}

static void drop_event(reader *r) {
    if (r->event_held) yaml_event_delete(&r->event);
    r->event_held = false;
}

static ec_status next_event(reader *r) {
    drop_event(r);
    if (!yaml_parser_parse(&r->parser, &r->event)) return parser_error(r);
    r->event_held = true;
    return EC_OK;
}

/* What stands here, in words. */
static void describe(const reader *r, char *into, size_t size) {
    char quoted[EC_QUOTE];
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        ec__quote((const char *)r->event.data.scalar.value, r->event.data.scalar.length, quoted);
        snprintf(into, size, "%s", r->event.data.scalar.length ? quoted : "nothing");
        return;
    case YAML_SEQUENCE_START_EVENT: snprintf(into, size, "a list"); return;
    case YAML_MAPPING_START_EVENT: snprintf(into, size, "a mapping"); return;
    default: snprintf(into, size, "nothing"); return;
    }
}

/* Anchors, aliases and tags have no use here, and each is a way to hide what a value is. */
static ec_status refuse_decoration(const reader *r) {
    const yaml_event_t *e = &r->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_ALIAS_EVENT)
        return at_event(r, EC_ERROR(EC_ERR_CONFIG,
                                    "found the alias *%.40s; aliases are not used here, write the value out",
                                    (const char *)e->data.alias.anchor));
    if (e->type == YAML_SCALAR_EVENT) anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
    if (e->type == YAML_MAPPING_START_EVENT) anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
    if (e->type == YAML_SEQUENCE_START_EVENT) anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
    if (anchor)
        return at_event(
            r, EC_ERROR(EC_ERR_CONFIG, "found the anchor &%.40s; anchors are not used here", (const char *)anchor));
    if (tag)
        return at_event(r, EC_ERROR(EC_ERR_CONFIG, "found the tag %.60s; tags are not used here", (const char *)tag));
    return EC_OK;
}

static ec_status refuse_twice(const reader *r, const char *name, size_t first_line) {
    return at_event(r, EC_ERROR(EC_ERR_CONFIG, "%s is given twice; the first time in line %zu", name, first_line));
}

static ec_status note_section(reader *r, const char *name) {
    for (size_t i = 0; i < r->sections; i++)
        if (strcmp(r->section[i].name, name) == 0) return refuse_twice(r, name, r->section[i].line);
    if (r->sections == MOST_SECTIONS) return EC_ERROR(EC_ERR_BUG, "more sections than the reader has room for");
    snprintf(r->section[r->sections].name, NAME, "%s", name);
    r->section[r->sections++].line = r->event.start_mark.line + 1;
    return EC_OK;
}

static ec__scalar scalar_of(const yaml_event_t *event) {
    return (ec__scalar){(const char *)event->data.scalar.value, event->data.scalar.length,
                        event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE};
}

/* The events of a list's items, up to its end. */
static ec_status read_list(reader *r, const ec__key *key, ec_text_list *list) {
    for (;;) {
        EC_RETURN_IF(next_event(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return EC_OK;
        EC_RETURN_IF(refuse_decoration(r));
        ec__scalar item = {.text = ""};
        if (r->event.type == YAML_SCALAR_EVENT) item = scalar_of(&r->event);
        if (r->event.type != YAML_SCALAR_EVENT || ec__scalar_is_null(item)) {
            char found[EC_QUOTE];
            describe(r, found, sizeof found);
            return at_event(r, EC_ERROR(EC_ERR_CONFIG, "%s: found %s in the list, expected a text", key->name, found));
        }
        EC_RETURN_IF(at_event(r, ec__value_append(key, item, list)));
    }
}

/* The current event begins the value of key. */
static ec_status read_value(reader *r, const ec__key *key) {
    void *field = ec__key_field(key, r->config);
    ec__place *place = &r->config->origin->place[ec__key_number(key)];
    ec__place here = {r->name ? EC_FROM_FILE : EC_FROM_COMMAND_LINE, r->event.start_mark.line + 1,
                      r->event.start_mark.column + 1};
    if (r->event.type == YAML_SCALAR_EVENT) {
        EC_RETURN_IF(at_event(r, ec__value_set(key, scalar_of(&r->event), r->folder, field)));
    } else if (r->event.type == YAML_SEQUENCE_START_EVENT && key->type == EC_KEY_LIST) {
        ec__value_release(key, field);
        EC_RETURN_IF(read_list(r, key, field));
    } else {
        char found[EC_QUOTE], expected[256];
        describe(r, found, sizeof found);
        ec__value_expected(key, expected, sizeof expected);
        return at_event(r, EC_ERROR(EC_ERR_CONFIG, "%s: found %s, expected %s", key->name, found, expected));
    }
    *place = here;
    return EC_OK;
}

static ec_status read_node(reader *r, const char *name);

/* Key and value of a mapping; the current event is the key. */
static ec_status read_pair(reader *r, const char *prefix) {
    char full[NAME];
    EC_RETURN_IF(refuse_decoration(r));
    if (r->event.type != YAML_SCALAR_EVENT) {
        char found[EC_QUOTE];
        describe(r, found, sizeof found);
        return at_event(r, EC_ERROR(EC_ERR_CONFIG, "found %s as a key, expected a name", found));
    }
    ec__scalar key = scalar_of(&r->event);
    if (strlen(key.text) != key.length) return at_event(r, EC_ERROR(EC_ERR_CONFIG, "found a NUL byte in a key"));
    snprintf(full, sizeof full, "%s%s%s", prefix, *prefix ? "." : "", key.text);
    const ec__key *known = strchr(key.text, '.') ? NULL : ec__key_find(full);
    if (known) {
        const ec__place *before = &r->config->origin->place[ec__key_number(known)];
        if (r->name && before->source == EC_FROM_FILE) return refuse_twice(r, full, before->line);
    } else {
        if (*key.text == '\0' || strchr(key.text, '.') || !ec__key_is_prefix(full))
            return at_event(r, ec__key_unknown(prefix, full));
        EC_RETURN_IF(note_section(r, full));
    }
    EC_RETURN_IF(next_event(r));
    return read_node(r, full);
}

/* The current event begins the value of name: a key, or a group of keys ("" is the whole document). */
static ec_status read_node(reader *r, const char *name) {
    const ec__key *key = ec__key_find(name);
    EC_RETURN_IF(refuse_decoration(r));
    if (key) return read_value(r, key);
    /* "section:" with nothing below, perhaps because all its lines are comments. */
    if (r->event.type == YAML_SCALAR_EVENT && ec__scalar_is_null(scalar_of(&r->event)) && *name) return EC_OK;
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        char found[EC_QUOTE];
        describe(r, found, sizeof found);
        return at_event(r, EC_ERROR(EC_ERR_CONFIG, "%s%sfound %s, expected %s", name, *name ? ": " : "", found,
                                    *name ? "keys with values" : "sections like \"dataset:\" with keys below"));
    }
    for (;;) {
        EC_RETURN_IF(next_event(r));
        if (r->event.type == YAML_MAPPING_END_EVENT) return EC_OK;
        EC_RETURN_IF(read_pair(r, name));
    }
}

static ec_status read_document(reader *r, const char *name) {
    EC_RETURN_IF(next_event(r)); /* the start of the stream */
    EC_RETURN_IF(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT) return at_event(r, EC_ERROR(EC_ERR_CONFIG, "nothing stands here"));
    EC_RETURN_IF(next_event(r));
    EC_RETURN_IF(read_node(r, name));
    EC_RETURN_IF(next_event(r)); /* the end of the document */
    EC_RETURN_IF(next_event(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return at_event(r, EC_ERROR(EC_ERR_CONFIG, "a second document begins here; a configuration is one document"));
    return EC_OK;
}

static ec_status read_all(reader *r, const char *name) {
    if (!yaml_parser_initialize(&r->parser)) return EC_ERROR(EC_ERR_MEMORY, "no memory to read YAML");
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->text, r->bytes);
    ec_status status = read_document(r, name);
    drop_event(r);
    yaml_parser_delete(&r->parser);
    return status;
}

ec_status ec__config_read(ec_config *config, const char *name, const char *folder, const char *text, size_t bytes) {
    reader r = {.config = config, .name = name, .folder = folder, .text = text, .bytes = bytes};
    if (bytes > EC_CONFIG_LARGEST)
        return EC_ERROR(EC_ERR_CONFIG, "%s: %zu bytes; a configuration has at most %d", name, bytes, EC_CONFIG_LARGEST);
    /* The byte order mark that some editors write; libyaml skips it only where it guesses the encoding itself. */
    if (bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) r.text += 3, r.bytes -= 3;
    EC_RETURN_IF(read_all(&r, ""));
    return EC_OK;
}

ec_status ec__config_override(ec_config *config, const char *folder, const char *override) {
    char name[NAME], quoted[EC_QUOTE];
    const char *equals = strchr(override, '=');
    reader r = {.config = config, .folder = folder};
    ec__quote(override, strlen(override), quoted);
    if (!equals || equals == override)
        return EC_ERROR(EC_ERR_CONFIG, "command line: found %s, expected section.key=value", quoted);
    snprintf(name, sizeof name, "%.*s", (int)(equals - override < NAME ? equals - override : NAME - 1), override);
    if (!ec__key_find(name) && !ec__key_is_prefix(name)) {
        char prefix[NAME];
        snprintf(prefix, sizeof prefix, "%s", name);
        while (*prefix && !ec__key_is_prefix(prefix)) {
            char *dot = strrchr(prefix, '.');
            if (dot) *dot = '\0';
            else *prefix = '\0';
        }
        ec__key_unknown(prefix, name);
        return ec__error_prefix("command line: ");
    }
    /* Nothing after the equals sign is null, as in a file. */
    r.text = equals[1] ? equals + 1 : "~";
    r.bytes = strlen(r.text);
    if (r.bytes > EC_CONFIG_LARGEST) return EC_ERROR(EC_ERR_CONFIG, "command line: the value of %s is too long", name);
    ec_status status = read_all(&r, name);
    return status == EC_OK ? EC_OK : ec__error_pass(status, __FILE__, __LINE__, __func__);
}
