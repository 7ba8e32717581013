#include "core/utf8.h"

#include <string.h>

/* Unicode, table 3-7. */
size_t ec__utf8_character(const char *text, const char *end) {
    const unsigned char *p = (const unsigned char *)text;
    if (text == end) return 0;
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
    if ((size_t)(end - text) < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0; /* longer than need be */
    if (p[0] == 0xed && p[1] > 0x9f) return 0; /* a surrogate */
    if (p[0] == 0xf0 && p[1] < 0x90) return 0;
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0; /* above U+10FFFF */
    return n;
}

bool ec__utf8(const char *text) {
    const char *end = text + strlen(text);
    while (text < end) {
        const size_t n = ec__utf8_character(text, end);
        if (n == 0) return false;
        text += n;
    }
    return true;
}
