/* UTF-8, as RFC 3629 has it: shortest forms only, no surrogates, nothing beyond U+10FFFF. */
#ifndef EC_CORE_UTF8_H
#define EC_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the well-formed character that begins at p, before end; 0 where none does. */
size_t ec__utf8_character(const char *p, const char *end);

bool ec__utf8(const char *text);

#endif
