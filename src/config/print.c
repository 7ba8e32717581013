/* Values and whole configurations back to YAML. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"
#include "core/file.h"

/* Letters that need no quotes at the start of, or inside, a YAML scalar. */
static bool is_plain_text(const char *text) {
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/";
    if (!strchr(letters, text[0])) return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i]) == 0) return false;
    for (const char *p = text; *p; p++)
        if (!strchr(letters, *p) && !strchr("0123456789.-+", *p)) return false;
    return true;
}

/* Double quotes, and escapes for what a YAML reader would not take as it stands: line separators, byte order marks. */
static void put_text(FILE *to, const char *text) {
    static const char *const escaped[] = {"\xE2\x80\xA8", "\xE2\x80\xA9", "\xEF\xBB\xBF", "\xEF\xBF\xBE",
                                          "\xEF\xBF\xBF"};
    static const char *const escapes[] = {"\\u2028", "\\u2029", "\\uFEFF", "\\uFFFE", "\\uFFFF"};
    if (is_plain_text(text)) {
        fputs(text, to);
        return;
    }
    fputc('"', to);
    while (*text) {
        size_t i = 0, count = sizeof escaped / sizeof escaped[0];
        while (i < count && strncmp(text, escaped[i], 3) != 0) i++;
        if (i < count) {
            fputs(escapes[i], to);
            text += 3;
            continue;
        }
        if (*text == '"' || *text == '\\') fputc('\\', to);
        fputc(*text++, to);
    }
    fputc('"', to);
}

/* The shortest decimal that reads back as the same number. */
static void put_real(FILE *to, double value) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    fputs(text, to);
}

static void put_value(FILE *to, const ec__key *key, const void *field) {
    const ec_text_list *list = field;
    switch (key->type) {
    case EC_KEY_BOOL: fputs(*(const bool *)field ? "true" : "false", to); return;
    case EC_KEY_INT: fprintf(to, "%lld", (long long)*(const int64_t *)field); return;
    case EC_KEY_REAL: put_real(to, *(const double *)field); return;
    case EC_KEY_CHOICE: fputs(key->choices[*(const int *)field], to); return;
    case EC_KEY_PATH:
        if (*(char *const *)field) put_text(to, *(char *const *)field);
        else fputs("null", to);
        return;
    case EC_KEY_LIST:
        fputc('[', to);
        for (int32_t i = 0; i < list->count; i++) {
            if (i) fputs(", ", to);
            put_text(to, list->item[i]);
        }
        fputc(']', to);
        return;
    }
}

/* Closes a stream of open_memstream; *text is the caller's when this returns EC_OK, else freed. */
static ec_status close_text(FILE *stream, char **text) {
    bool failed = ferror(stream) != 0;
    if (fclose(stream) == 0 && !failed) return EC_OK;
    free(*text);
    *text = NULL;
    return EC_ERROR(EC_ERR_MEMORY, "no memory for the text of a configuration");
}

static ec_status open_text(FILE **stream, char **text, size_t *size) {
    *stream = open_memstream(text, size);
    return *stream ? EC_OK : EC_ERROR(EC_ERR_MEMORY, "no memory for the text of a configuration");
}

ec_status ec__value_text(const ec__key *key, const void *field, char **out) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = NULL;
    EC_RETURN_IF(open_text(&stream, &text, &size));
    put_value(stream, key, field);
    EC_RETURN_IF(close_text(stream, &text));
    *out = text;
    return EC_OK;
}

/* The headings of the parts of name that last does not share, and the indent of the key itself. */
static const char *put_headings(FILE *to, const char *name, const char *last) {
    size_t shared = 0, depth = 0;
    for (size_t i = 0; name[i] && name[i] == last[i]; i++)
        if (name[i] == '.') shared = i + 1;
    const char *part = name;
    for (const char *dot; (dot = strchr(part, '.')); part = dot + 1, depth++) {
        if ((size_t)(dot - name) < shared) continue;
        if (depth == 0 && *last) fputc('\n', to);
        fprintf(to, "%*s%.*s:\n", (int)(2 * depth), "", (int)(dot - part), part);
    }
    fprintf(to, "%*s%s: ", (int)(2 * depth), "", part);
    return name;
}

ec_status ec__config_print(const ec_config *config, char **out) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = NULL;
    const char *last = "";
    EC_RETURN_IF(open_text(&stream, &text, &size));
    for (size_t i = 0; i < ec__schema_count; i++) {
        last = put_headings(stream, ec__schema[i].name, last);
        put_value(stream, &ec__schema[i], ec__key_value(&ec__schema[i], config));
        fputc('\n', stream);
    }
    EC_RETURN_IF(close_text(stream, &text));
    *out = text;
    return EC_OK;
}

/* `code` for every word that the table puts between back quotes; | would end a cell. */
static void put_cell(FILE *to, const char *text) {
    for (; *text; text++) {
        if (*text == '|') fputc('\\', to);
        fputc(*text, to);
    }
}

static const char *effect_mark(const ec__key *key) {
    if (key->effect == EC_KEY_FREE) return " *";
    if (key->effect == EC_KEY_LENGTH) return " +";
    return key->type == EC_KEY_PATH ? " p" : "";
}

static void document_key(FILE *to, const ec__key *key, size_t prefix) {
    char expected[512];
    ec__value_expected(key, expected, sizeof expected);
    fprintf(to, "| `%s`%s | %s%s%s | ", key->name + prefix, effect_mark(key), key->standard ? "`" : "",
            key->standard ? key->standard : "required", key->standard ? "`" : "");
    put_cell(to, expected);
    fputs(" | ", to);
    put_cell(to, key->help);
    fputs(" |\n", to);
}

static const char introduction[] =
    "# Configuration\n\n"
    "This page is printed by `emoclim config print --schema`; a test keeps it up to date.\n\n"
    "A configuration is one YAML document of at most 1 MiB. `emoclim COMMAND FILE section.key=value ...` changes\n"
    "single values, in YAML, the last one winning; `emoclim config print FILE ...` shows what a run will use, and a\n"
    "run saves it. A relative path is relative to the folder of the file that names it, on the command line to the\n"
    "working directory. An unknown key, a wrong type or an illegal value is an error (exit code 2) with file, line "
    "and\n"
    "column. Anchors, aliases and tags are not used.\n\n"
    "A run that goes on from a checkpoint refuses another value of a key that changes what is computed. Marked keys "
    "may\n"
    "change: `*` always, `+` unless the schedule is `cosine`. Of a path marked `p` only whether it is given counts.\n";

ec_status ec__config_document(char **out) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = NULL;
    EC_RETURN_IF(open_text(&stream, &text, &size));
    fputs(introduction, stream);
    for (size_t s = 0; s < ec__section_count; s++) {
        size_t prefix = strlen(ec__sections[s].name);
        fprintf(stream, "\n## %s\n%s\n\n| key | default | legal values | meaning |\n|---|---|---|---|\n",
                ec__sections[s].name, ec__sections[s].help);
        for (size_t i = 0; i < ec__schema_count; i++)
            if (strncmp(ec__schema[i].name, ec__sections[s].name, prefix) == 0 && ec__schema[i].name[prefix] == '.')
                document_key(stream, &ec__schema[i], prefix + 1);
    }
    fputs("\n## Names of the original\nWho comes from Emo-CLIM's own configuration finds its keys here:\n\n"
          "| Emo-CLIM | here |\n|---|---|\n",
          stream);
    for (size_t i = 0; i < ec__rename_count; i++) {
        const char *quote = strchr(ec__renames[i].now, ' ') ? "" : "`";
        fprintf(stream, "| `%s` | %s%s%s |\n", ec__renames[i].original, quote, ec__renames[i].now, quote);
    }
    EC_RETURN_IF(close_text(stream, &text));
    *out = text;
    return EC_OK;
}
