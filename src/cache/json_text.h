/* Texts in JSON that may hold any bytes: a file may be called anything. */
#ifndef EC_CACHE_JSON_TEXT_H
#define EC_CACHE_JSON_TEXT_H

#include <jansson.h>

/* The text, with U+FFFD in place of every byte that is not UTF-8. NULL for NULL and without memory. */
json_t *ec__json_text(const char *text);

#endif
