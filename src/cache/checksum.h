/* XXH3-64 of structured contents: every piece goes in with its length in front, so that no two contents give the same
 * stream. Guards against damage, not against intent. */
#ifndef EC_CACHE_CHECKSUM_H
#define EC_CACHE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { EC_CHECKSUM_HEX = 17 }; /* 16 digits and the NUL */

typedef struct ec_checksum ec_checksum;

ec_status ec__checksum_new(ec_checksum **out);
void ec__checksum_bytes(ec_checksum *sum, const void *data, size_t bytes); /* data may be NULL where bytes is 0 */
void ec__checksum_text(ec_checksum *sum, const char *text);
void ec__checksum_number(ec_checksum *sum, int64_t number);
uint64_t ec__checksum_end(ec_checksum *sum); /* frees it */

/* XXH3-64 of bytes alone. */
uint64_t ec__checksum_of(const void *data, size_t bytes);

void ec__checksum_hex(uint64_t value, char hex[EC_CHECKSUM_HEX]);

#endif
