/* Comma-separated values after RFC 4180, in UTF-8: records of fields, each with its place in the text.
 *
 * Lines end in LF or CR LF; a byte-order mark in front is skipped, and so are empty lines. A field may be quoted; then
 * it may hold commas, line ends and doubled quotes. Every error is EC_ERR_DATA and begins with "name:line:column: ",
 * both counted from 1, the column in characters. */
#ifndef EC_MEDIA_CSV_H
#define EC_MEDIA_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum {
    EC_CSV_RECORD_MAX = 1 << 16, /* bytes of a record; a longer one is a file of another kind, or a quote left open */
    EC_CSV_FIELDS_MAX = 1024,
};

typedef struct ec_csv_field {
    const char *text; /* unquoted, NUL at its end, none inside */
    size_t length;
    int64_t line, column; /* where it begins */
} ec_csv_field;

typedef struct ec_csv {
    const char *name; /* for messages; borrowed */
    const uint8_t *at, *end;
    int64_t line, column; /* of at */
    char *text;           /* the record's fields, one after the other */
    size_t used;
    ec_csv_field *field;  /* (count): the record read last */
    int32_t count;
} ec_csv;

/* bytes and name are borrowed until release. */
ec_status ec__csv_init(ec_csv *csv, const void *bytes, size_t count, const char *name);
void ec__csv_release(ec_csv *csv);

/* Reads the next record into field and count; its texts are valid until the next call. *more is false at the end. */
ec_status ec__csv_next(ec_csv *csv, bool *more);

#endif
