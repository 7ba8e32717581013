#include "media/csv.h"

#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

ec_status ec__csv_init(ec_csv *csv, const void *bytes, size_t count, const char *name) {
    static const uint8_t mark[3] = {0xef, 0xbb, 0xbf};
    *csv = (ec_csv){.name = name, .at = bytes, .line = 1, .column = 1};
    csv->end = csv->at + count;
    if (count >= 3 && memcmp(csv->at, mark, 3) == 0) csv->at += 3;
    csv->text = malloc(EC_CSV_RECORD_MAX + EC_CSV_FIELDS_MAX);
    csv->field = calloc(EC_CSV_FIELDS_MAX, sizeof *csv->field);
    if (csv->text && csv->field) return EC_OK;
    ec__csv_release(csv);
    return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for a record", name);
}

void ec__csv_release(ec_csv *csv) {
    free(csv->text);
    free(csv->field);
    csv->text = NULL;
    csv->field = NULL;
}

#define FAIL_AT(csv, l, c, ...) return fail_at((csv), (l), (c), EC_ERROR(EC_ERR_DATA, __VA_ARGS__))

static ec_status fail_at(const ec_csv *csv, int64_t line, int64_t column, ec_status code) {
    (void)code; /* the record that EC_ERROR has just made is the one that gets its place */
    return ec__error_prefix("%s:%lld:%lld: ", csv->name, (long long)line, (long long)column);
}

/* Takes one character, and appends it to the record's text where keep. */
static ec_status take(ec_csv *csv, bool keep) {
    size_t n = *csv->at ? ec__utf8_character((const char *)csv->at, (const char *)csv->end) : 0;
    if (n == 0 && *csv->at == 0) FAIL_AT(csv, csv->line, csv->column, "a NUL byte; text in UTF-8 expected");
    if (n == 0)
        FAIL_AT(csv, csv->line, csv->column, "byte 0x%02x begins no UTF-8 character; save the file as UTF-8", *csv->at);
    if (keep) {
        memcpy(csv->text + csv->used, csv->at, n);
        csv->used += n;
    }
    if (*csv->at == '\n') csv->line++, csv->column = 1;
    else csv->column++;
    csv->at += n;
    return EC_OK;
}

static bool next_is(const ec_csv *csv, char c) { return csv->at < csv->end && *csv->at == (uint8_t)c; }

static bool at_line_end(const ec_csv *csv) {
    return csv->at == csv->end || next_is(csv, '\n') ||
           (next_is(csv, '\r') && csv->end - csv->at > 1 && csv->at[1] == '\n');
}

/* start: where the record begins. */
static ec_status check_length(const ec_csv *csv, const uint8_t *start) {
    if (csv->at - start < EC_CSV_RECORD_MAX - 8) return EC_OK;
    FAIL_AT(csv, csv->line, csv->column, "a record of more than %d bytes", EC_CSV_RECORD_MAX - 8);
}

static ec_status quoted(ec_csv *csv, const uint8_t *start) {
    int64_t line = csv->line, column = csv->column;
    EC_RETURN_IF(take(csv, false));
    for (;;) {
        bool too_long = csv->at - start >= EC_CSV_RECORD_MAX - 8;
        if (csv->at == csv->end || too_long)
            FAIL_AT(csv, line, column, "this quote is never closed%s", too_long ? " within a reasonable length" : "");
        if (!next_is(csv, '"')) {
            EC_RETURN_IF(take(csv, true));
            continue;
        }
        EC_RETURN_IF(take(csv, false));
        if (!next_is(csv, '"')) break;
        EC_RETURN_IF(take(csv, true)); /* a doubled quote stands for one */
    }
    if (!at_line_end(csv) && !next_is(csv, ','))
        FAIL_AT(csv, csv->line, csv->column, "a closing quote must be followed by a comma or the end of the line");
    return EC_OK;
}

static ec_status unquoted(ec_csv *csv, const uint8_t *start) {
    while (!at_line_end(csv) && !next_is(csv, ',')) {
        EC_RETURN_IF(check_length(csv, start));
        if (next_is(csv, '"'))
            FAIL_AT(csv, csv->line, csv->column,
                    "a quote inside a field; put quotes around the whole field and double those inside");
        if (next_is(csv, '\r'))
            FAIL_AT(csv, csv->line, csv->column, "a carriage return that is not part of a line end");
        EC_RETURN_IF(take(csv, true));
    }
    return EC_OK;
}

static ec_status line_end(ec_csv *csv) {
    if (next_is(csv, '\r')) EC_RETURN_IF(take(csv, false));
    if (next_is(csv, '\n')) EC_RETURN_IF(take(csv, false));
    return EC_OK;
}

ec_status ec__csv_next(ec_csv *csv, bool *more) {
    csv->count = 0;
    csv->used = 0;
    while (csv->at < csv->end && at_line_end(csv)) EC_RETURN_IF(line_end(csv));
    *more = csv->at < csv->end;
    if (!*more) return EC_OK;
    const uint8_t *start = csv->at;
    for (;;) {
        if (csv->count == EC_CSV_FIELDS_MAX)
            FAIL_AT(csv, csv->line, csv->column, "more than %d fields in a record", EC_CSV_FIELDS_MAX);
        EC_RETURN_IF(check_length(csv, start));
        ec_csv_field *field = &csv->field[csv->count++];
        *field = (ec_csv_field){.text = csv->text + csv->used, .line = csv->line, .column = csv->column};
        size_t before = csv->used;
        if (next_is(csv, '"')) EC_RETURN_IF(quoted(csv, start));
        else EC_RETURN_IF(unquoted(csv, start));
        field->length = csv->used - before;
        csv->text[csv->used++] = '\0';
        if (!next_is(csv, ',')) break;
        EC_RETURN_IF(take(csv, false));
    }
    return line_end(csv);
}
