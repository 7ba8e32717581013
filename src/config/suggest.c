/* What an unknown key was probably meant to be. */
#include <stdio.h>
#include <string.h>

#include "config/schema.h"
#include "core/nearest.h"

enum { MOST_NAMES = 128 };

static const char *last_part(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* Names one level below prefix ("": sections), each once; cut is where they are copied to. */
static size_t names_below(const char *prefix, const char *names[MOST_NAMES],
                          char cut[MOST_NAMES][EC_NEAREST_LONGEST + 1]) {
    size_t count = 0, length = strlen(prefix);
    for (size_t i = 0; i < ec__schema_count && count < MOST_NAMES; i++) {
        const char *name = ec__schema[i].name;
        if (length && (strncmp(name, prefix, length) != 0 || name[length] != '.')) continue;
        const char *rest = name + length + (length > 0);
        snprintf(cut[count], sizeof cut[count], "%.*s", (int)strcspn(rest, "."), rest);
        if (count == 0 || strcmp(cut[count], cut[count - 1]) != 0) {
            names[count] = cut[count];
            count++;
        }
    }
    return count;
}

/* "; did you mean ...?": first the original's names, then this section's, then those of all sections. */
static void suggest(const char *prefix, const char *full, char *into, size_t size) {
    const char *names[MOST_NAMES] = {NULL};
    char cut[MOST_NAMES][EC_NEAREST_LONGEST + 1];
    const char *word = last_part(full);
    into[0] = '\0';
    for (size_t i = 0; i < ec__rename_count; i++)
        if (strcmp(ec__renames[i].original, full) == 0) {
            const char *now = ec__renames[i].now;
            snprintf(into, size, strchr(now, ' ') ? "; %s" : "; Emo-CLIM's name for what is %s here", now);
            return;
        }
    size_t count = names_below(prefix, names, cut);
    const char *near = ec__nearest(word, names, count);
    if (near) {
        snprintf(into, size, "; did you mean %s?", near);
        return;
    }
    for (size_t i = 0; i < ec__schema_count; i++) names[i] = last_part(ec__schema[i].name);
    near = ec__nearest(word, names, ec__schema_count);
    if (!near) snprintf(into, size, "; \"emoclim config print --schema\" lists all");
    /* The same name may stand in several sections. */
    size_t used = 0;
    for (size_t i = 0; near && i < ec__schema_count && used < size; i++)
        if (strcmp(names[i], near) == 0)
            used +=
                (size_t)snprintf(into + used, size - used, used ? " or %s" : "; did you mean %s", ec__schema[i].name);
    if (near && used < size) snprintf(into + used, size - used, "?");
}

ec_status ec__key_unknown(const char *prefix, const char *full) {
    char advice[200], quoted[EC_QUOTE];
    suggest(prefix, full, advice, sizeof advice);
    ec__quote(full, strlen(full), quoted);
    /* Without the quotes: a name reads better bare. */
    return EC_ERROR(EC_ERR_CONFIG, "unknown %s %.*s%s", *prefix ? "key" : "section", (int)strlen(quoted) - 2,
                    quoted + 1, advice);
}
