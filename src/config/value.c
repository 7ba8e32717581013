/* One value: from YAML text to a typed field. */
#define _GNU_SOURCE
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"
#include "core/file.h"
#include "core/nearest.h"

enum { LONGEST_TEXT = 4096, MOST_ITEMS = 4096, EXPECTED = 256 };

static bool one_of(ec__scalar s, const char *const *words) {
    if (!s.plain) return false;
    for (; *words; words++)
        if (strcmp(s.text, *words) == 0) return true;
    return false;
}

bool ec__scalar_is_null(ec__scalar scalar) {
    static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};
    return one_of(scalar, words);
}

void ec__quote(const char *text, size_t length, char into[EC_QUOTE]) {
    size_t limit = EC_QUOTE - 6, at = 0, shown = length < limit ? length : limit;
    /* Never ends inside a UTF-8 character. */
    while (shown < length && shown > 0 && ((unsigned char)text[shown] & 0xC0) == 0x80) shown--;
    into[at++] = '"';
    for (size_t i = 0; i < shown; i++) into[at++] = (unsigned char)text[i] < 0x20 || text[i] == 0x7F ? '?' : text[i];
    at += (size_t)snprintf(into + at, EC_QUOTE - at, "%s\"", shown < length ? "..." : "");
}

static void format_range(const ec__key *key, char *into, size_t size) {
    bool whole = key->type == EC_KEY_INT;
    /* A limit that only keeps counters from overflowing tells the reader nothing. */
    bool no_top = key->high >= 1e6 && !key->high_open;
    if (key->low_open || key->high_open)
        snprintf(into, size, "%s %.15g and %s %.15g", key->low_open ? "above" : "at least", key->low,
                 key->high_open ? "below" : "at most", key->high);
    else if (no_top && whole) snprintf(into, size, "of at least %.0f", key->low);
    else if (no_top) snprintf(into, size, "of at least %.15g", key->low);
    else snprintf(into, size, "from %.15g to %.15g", key->low, key->high);
}

void ec__value_expected(const ec__key *key, char *into, size_t size) {
    char range[128];
    format_range(key, range, sizeof range);
    bool nullable = key->standard && strcmp(key->standard, "null") == 0;
    switch (key->type) {
    case EC_KEY_BOOL: snprintf(into, size, "true or false"); return;
    case EC_KEY_INT: snprintf(into, size, "a whole number %s", range); return;
    case EC_KEY_REAL: snprintf(into, size, "a number %s", range); return;
    case EC_KEY_PATH: snprintf(into, size, nullable ? "a path or null" : "a path"); return;
    case EC_KEY_LIST: snprintf(into, size, "a list of texts: [first, second]"); return;
    case EC_KEY_CHOICE: break;
    }
    size_t used = (size_t)snprintf(into, size, key->choices[1] ? "one of " : "");
    for (size_t i = 0; key->choices[i] && used < size; i++)
        used += (size_t)snprintf(into + used, size - used, "%s%s", i ? ", " : "", key->choices[i]);
}

static ec_status unexpected(const ec__key *key, ec__scalar s, const char *extra) {
    char found[EC_QUOTE], expected[EXPECTED];
    ec__quote(s.text, s.length, found);
    ec__value_expected(key, expected, sizeof expected);
    return EC_ERROR(EC_ERR_CONFIG, "%s: found %s%s, expected %s%s", key->name, s.plain ? "" : "the quoted text ", found,
                    expected, extra);
}

static ec_status set_bool(const ec__key *key, ec__scalar s, bool *field) {
    static const char *const yes[] = {"true", "True", "TRUE", NULL}, *const no[] = {"false", "False", "FALSE", NULL};
    if (!one_of(s, yes) && !one_of(s, no)) return unexpected(key, s, "");
    *field = one_of(s, yes);
    return EC_OK;
}

/* [-+]?(0|[1-9][0-9]*): neither octal, hexadecimal nor underscores, which YAML versions read differently. */
static bool is_whole(ec__scalar s) {
    const char *p = s.text + (*s.text == '-' || *s.text == '+');
    if (*p == '\0' || (*p == '0' && p[1] != '\0')) return false;
    return s.plain && strspn(p, "0123456789") == strlen(p);
}

static ec_status set_int(const ec__key *key, ec__scalar s, int64_t *field) {
    if (!is_whole(s)) return unexpected(key, s, "");
    errno = 0;
    long long value = strtoll(s.text, NULL, 10);
    char most[48] = "";
    /* Limits that are no news to most readers are told to the one who met them. */
    if (value > 0 && key->high >= 1e6) snprintf(most, sizeof most, " and at most %.0f", key->high);
    if (errno == ERANGE || (double)value < key->low || (double)value > key->high) return unexpected(key, s, most);
    *field = value;
    return EC_OK;
}

static ec_status set_real(const ec__key *key, ec__scalar s, double *field) {
    /* strtod alone would take hexadecimal, "inf" and "nan". */
    if (!s.plain || strspn(s.text, "+-.0123456789eE") != s.length || !strpbrk(s.text, "0123456789"))
        return unexpected(key, s, "");
    char *end = NULL;
    double value = strtod(s.text, &end);
    if (*end != '\0') return unexpected(key, s, "");
    char most[48] = "";
    /* As for whole numbers; infinite is what is too large for any. */
    if (value > key->high && key->high >= 1e6 && !key->low_open && !key->high_open)
        snprintf(most, sizeof most, " and at most %.15g", key->high);
    if (!isfinite(value) || value < key->low || value > key->high || (key->low_open && value == key->low) ||
        (key->high_open && value == key->high))
        return unexpected(key, s, most);
    /* Arithmetic is float32: what it takes for a limit that is excluded, or for 0, would be another setting. */
    const bool for_zero = value != 0 && fabs(value) < (double)FLT_MIN;
    if (for_zero || (key->high_open && (double)(float)value >= key->high))
        return unexpected(key, s, for_zero ? "; float32 has nothing so near to 0" : "; float32 rounds it to that limit");
    *field = value == 0 ? 0 : value; /* no negative zero: it would print and hash differently */
    return EC_OK;
}

static ec_status set_choice(const ec__key *key, ec__scalar s, int *field) {
    size_t count = 0;
    for (; key->choices[count]; count++)
        if (strcmp(key->choices[count], s.text) == 0) {
            *field = (int)count;
            return EC_OK;
        }
    char extra[EC_QUOTE] = "";
    const char *near = ec__nearest(s.text, key->choices, count);
    if (near && count > 1) snprintf(extra, sizeof extra, "; did you mean %s?", near);
    return unexpected(key, s, extra);
}

/* Texts that could not be told from something else in a log, or end early as a C string. */
static ec_status check_text(const ec__key *key, ec__scalar s) {
    if (s.length == 0) return EC_ERROR(EC_ERR_CONFIG, "%s: found an empty text", key->name);
    if (s.length > LONGEST_TEXT)
        return EC_ERROR(EC_ERR_CONFIG, "%s: found a text of %zu bytes, expected at most %d", key->name, s.length,
                        LONGEST_TEXT);
    for (size_t i = 0; i < s.length; i++) {
        unsigned char c = (unsigned char)s.text[i];
        bool c1 = c == 0xC2 && (unsigned char)s.text[i + 1] < 0xA0;
        if (c < 0x20 || c == 0x7F || c1)
            return EC_ERROR(EC_ERR_CONFIG, "%s: found a control character at byte %zu of the text", key->name, i + 1);
    }
    return EC_OK;
}

/* name relative to the absolute folder, without leading "./" and "../": folder has no symbolic links in it, so that
 * going up is cutting. */
static ec_status resolve_path(const char *folder, const char *name, char **out) {
    size_t length = strlen(folder);
    if (name[0] == '/') return ec__format(out, "%s", name);
    for (;;) {
        if (strncmp(name, "./", 2) == 0) name += 2;
        else if (strncmp(name, "../", 3) == 0) {
            while (length > 0 && folder[length - 1] != '/') length--;
            while (length > 0 && folder[length - 1] == '/') length--;
            name += 3;
        } else break;
        while (*name == '/') name++;
    }
    while (length > 0 && folder[length - 1] == '/') length--;
    return ec__format(out, "%.*s/%s", (int)length, folder, name);
}

static ec_status set_path(const ec__key *key, ec__scalar s, const char *folder, char **field) {
    char *path = NULL;
    if (ec__scalar_is_null(s)) {
        if (!key->standard || strcmp(key->standard, "null") != 0) return unexpected(key, s, "");
    } else {
        EC_RETURN_IF(check_text(key, s));
        EC_RETURN_IF(resolve_path(folder, s.text, &path));
    }
    free(*field);
    *field = path;
    return EC_OK;
}

ec_status ec__value_set(const ec__key *key, ec__scalar scalar, const char *folder, void *field) {
    if (strlen(scalar.text) != scalar.length) return EC_ERROR(EC_ERR_CONFIG, "%s: found a NUL byte", key->name);
    switch (key->type) {
    case EC_KEY_BOOL: return set_bool(key, scalar, field);
    case EC_KEY_INT: return set_int(key, scalar, field);
    case EC_KEY_REAL: return set_real(key, scalar, field);
    case EC_KEY_CHOICE: return set_choice(key, scalar, field);
    case EC_KEY_PATH: return set_path(key, scalar, folder, field);
    case EC_KEY_LIST:
        if (!ec__scalar_is_null(scalar)) return unexpected(key, scalar, "");
        ec__value_release(key, field);
        return EC_OK;
    }
    return EC_ERROR(EC_ERR_BUG, "%s has no type", key->name);
}

ec_status ec__value_append(const ec__key *key, ec__scalar item, void *field) {
    ec_text_list *list = field;
    char *text = NULL;
    if (strlen(item.text) != item.length) return EC_ERROR(EC_ERR_CONFIG, "%s: found a NUL byte", key->name);
    EC_RETURN_IF(check_text(key, item));
    for (int32_t i = 0; i < list->count; i++)
        if (strcmp(list->item[i], item.text) == 0)
            return EC_ERROR(EC_ERR_CONFIG, "%s: found \"%.60s\" twice", key->name, item.text);
    if (list->count == MOST_ITEMS) return EC_ERROR(EC_ERR_CONFIG, "%s: more than %d items", key->name, MOST_ITEMS);
    char **grown = realloc(list->item, sizeof *grown * ((size_t)list->count + 1));
    if (!grown) return EC_ERROR(EC_ERR_MEMORY, "no memory for %s", key->name);
    list->item = grown;
    EC_RETURN_IF(ec__format(&text, "%s", item.text));
    list->item[list->count++] = text;
    return EC_OK;
}

void ec__value_release(const ec__key *key, void *field) {
    if (key->type == EC_KEY_PATH) {
        free(*(char **)field);
        *(char **)field = NULL;
    } else if (key->type == EC_KEY_LIST) {
        ec_text_list *list = field;
        for (int32_t i = 0; i < list->count; i++) free(list->item[i]);
        free(list->item);
        *list = (ec_text_list){NULL, 0};
    }
}
