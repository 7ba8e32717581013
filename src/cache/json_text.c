#include "cache/json_text.h"

#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

static const char replacement[] = "\xef\xbf\xbd";

json_t *ec__json_text(const char *text) {
    if (!text || ec__utf8(text)) return text ? json_string(text) : NULL;
    const size_t length = strlen(text);
    char *clean = malloc(length * (sizeof replacement - 1) + 1), *to = clean;
    if (!clean) return NULL;
    for (const char *p = text, *end = text + length; p < end;) {
        const size_t n = ec__utf8_character(p, end);
        memcpy(to, n ? p : replacement, n ? n : sizeof replacement - 1);
        to += n ? n : sizeof replacement - 1;
        p += n ? n : 1;
    }
    json_t *json = json_stringn(clean, (size_t)(to - clean));
    free(clean);
    return json;
}
