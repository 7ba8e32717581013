#define _GNU_SOURCE
#include "media/manifest.h"

#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/nearest.h"
#include "media/csv.h"

/* Strings that never move: blocks, newest first. */
typedef struct ec_text {
    struct ec_text *next;
    size_t used, size;
    char bytes[];
} ec_text;

typedef enum column { PATH, LABEL, SPLIT, START, END, COLUMNS } column;
static const char *const column_name[COLUMNS] = {"path", "label", "split", "start_s", "end_s"};
static const char *const split_name[] = {"none", "train", "valid", "test"};

typedef struct reader {
    ec_csv csv;
    const char *folder;
    locale_t locale;         /* numbers have a decimal point, whatever the user's language */
    int32_t place[COLUMNS];  /* field of each column; -1: not there */
    int32_t fields;          /* of the header */
    int64_t capacity;
    ec_manifest *manifest;
} reader;

/* Raises an error at a field. */
#define FAIL_FIELD(r, f, ...)                                     \
    do {                                                          \
        (void)EC_ERROR(EC_ERR_DATA, __VA_ARGS__);                 \
        return ec__error_prefix("%s:%lld:%lld: ", (r)->csv.name, (long long)(f)->line, (long long)(f)->column); \
    } while (0)

/* a, a slash where b follows a folder, and b, as one string owned by the manifest. */
static ec_status keep(reader *r, const char *a, const char *b, size_t length, const char **out) {
    size_t front = strlen(a), need = front + length + 2;
    ec_text *text = r->manifest->texts;
    if (!text || text->size - text->used < need) {
        size_t size = need > 1 << 16 ? need : 1 << 16;
        ec_text *fresh = malloc(sizeof *fresh + size);
        if (!fresh) return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for its text", r->csv.name);
        *fresh = (ec_text){.next = text, .size = size};
        r->manifest->texts = text = fresh;
    }
    char *to = text->bytes + text->used;
    memcpy(to, a, front);
    if (front && a[front - 1] != '/') to[front++] = '/';
    memcpy(to + front, b, length);
    to[front + length] = '\0';
    text->used += front + length + 1;
    *out = to;
    return EC_OK;
}

static ec_status check_duplicates(const reader *r) {
    for (int32_t i = 0; i < r->csv.count; i++)
        for (int32_t j = 0; j < i; j++)
            if (r->csv.field[i].length && strcmp(r->csv.field[i].text, r->csv.field[j].text) == 0)
                FAIL_FIELD(r, &r->csv.field[i], "column \"%s\" is there twice (fields %d and %d of the header)",
                           r->csv.field[i].text, j + 1, i + 1);
    return EC_OK;
}

static ec_status read_header(reader *r) {
    bool more;
    const ec_csv_field start = {.line = 1, .column = 1};
    EC_RETURN_IF(ec__csv_next(&r->csv, &more));
    if (!more) FAIL_FIELD(r, &start, "the file is empty; a header \"path,label[,split][,start_s,end_s]\" expected");
    EC_RETURN_IF(check_duplicates(r));
    r->fields = r->csv.count;
    for (int c = 0; c < COLUMNS; c++) r->place[c] = -1;
    for (int32_t i = 0; i < r->csv.count; i++) {
        const ec_csv_field *f = &r->csv.field[i];
        int c = 0;
        while (c < COLUMNS && strcmp(f->text, column_name[c]) != 0) c++;
        if (c < COLUMNS) r->place[c] = i;
        else {
            const char *near = ec__nearest(f->text, column_name, COLUMNS);
            ec__log(near ? EC_LOG_WARN : EC_LOG_INFO, "%s:%lld:%lld: column \"%s\" is ignored%s%s%s", r->csv.name,
                    (long long)f->line, (long long)f->column, f->text, near ? "; did you mean \"" : "",
                    near ? near : "", near ? "\"?" : "");
        }
    }
    for (int c = PATH; c <= LABEL; c++)
        if (r->place[c] < 0)
            FAIL_FIELD(r, &r->csv.field[0],
                       "the header has no column \"%s\"; path,label[,split][,start_s,end_s] expected", column_name[c]);
    return EC_OK;
}

/* Seconds: decimal digits with an optional point and exponent; strtod alone would also take "nan", "0x1" and blanks. */
static ec_status read_seconds(const reader *r, column c, double empty, double *out) {
    *out = empty;
    if (r->place[c] < 0) return EC_OK;
    const ec_csv_field *f = &r->csv.field[r->place[c]];
    if (f->length == 0) return EC_OK;
    char *end = NULL;
    double value = strtod_l(f->text, &end, r->locale);
    if (strspn(f->text, "0123456789.eE+-") != f->length || end != f->text + f->length || !isfinite(value))
        FAIL_FIELD(r, f, "%s: \"%.100s\" is not a number of seconds", column_name[c], f->text);
    if (value < 0) FAIL_FIELD(r, f, "%s: %.100s is negative", column_name[c], f->text);
    *out = value;
    return EC_OK;
}

static ec_status read_split(const reader *r, ec_manifest_split *out) {
    *out = EC_MANIFEST_SPLIT_NONE;
    if (r->place[SPLIT] < 0) return EC_OK;
    const ec_csv_field *f = &r->csv.field[r->place[SPLIT]];
    for (ec_manifest_split s = EC_MANIFEST_SPLIT_TRAIN; s <= EC_MANIFEST_SPLIT_TEST; s++)
        if (strcmp(f->text, split_name[s]) == 0) return *out = s, EC_OK;
    FAIL_FIELD(r, f, "split: \"%.100s\" is unknown; train, valid or test expected", f->text);
}

static ec_status read_label(reader *r, const char **out) {
    const ec_csv_field *f = &r->csv.field[r->place[LABEL]];
    if (f->length == 0) FAIL_FIELD(r, f, "label: empty");
    const char *blank = " \t\r\n";
    if (strchr(blank, f->text[0]) || strchr(blank, f->text[f->length - 1]))
        FAIL_FIELD(r, f, "label: \"%.100s\" has a blank at its beginning or end", f->text);
    return keep(r, "", f->text, f->length, out);
}

static ec_status read_path(reader *r, const char **out) {
    const ec_csv_field *f = &r->csv.field[r->place[PATH]];
    if (f->length == 0) FAIL_FIELD(r, f, "path: empty");
    return keep(r, f->text[0] == '/' ? "" : r->folder, f->text, f->length, out);
}

static ec_status read_entry(reader *r, ec_manifest_entry *out) {
    ec_manifest_entry e = {.line = r->csv.field[0].line};
    if (r->csv.count != r->fields)
        FAIL_FIELD(r, &r->csv.field[r->csv.count > r->fields ? r->fields : r->csv.count - 1],
                   "too %s fields: %d, and the header has %d", r->csv.count > r->fields ? "many" : "few", r->csv.count,
                   r->fields);
    EC_RETURN_IF(read_path(r, &e.path));
    EC_RETURN_IF(read_label(r, &e.label));
    EC_RETURN_IF(read_split(r, &e.split));
    EC_RETURN_IF(read_seconds(r, START, 0, &e.start_s));
    EC_RETURN_IF(read_seconds(r, END, INFINITY, &e.end_s));
    if (e.end_s <= e.start_s)
        FAIL_FIELD(r, &r->csv.field[r->place[END]], "end_s: %g is not after start_s, %g", e.end_s, e.start_s);
    *out = e;
    return EC_OK;
}

static ec_status read_entries(reader *r) {
    ec_manifest *m = r->manifest;
    for (;;) {
        bool more;
        EC_RETURN_IF(ec__csv_next(&r->csv, &more));
        if (!more) break;
        if (m->count == r->capacity) {
            int64_t capacity = r->capacity ? 2 * r->capacity : 256;
            ec_manifest_entry *grown = realloc(m->entry, (size_t)capacity * sizeof *grown);
            if (!grown) return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for %lld entries", m->name, (long long)capacity);
            m->entry = grown;
            r->capacity = capacity;
        }
        EC_RETURN_IF(read_entry(r, &m->entry[m->count]));
        m->count++;
    }
    if (m->count > 0) return EC_OK;
    return EC_ERROR(EC_ERR_DATA, "%s:%lld: there is a header, but no entry follows", m->name, (long long)r->csv.line);
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static ec_status number_classes(ec_manifest *m) {
    const char **names = malloc((size_t)m->count * sizeof *names);
    if (!names) return EC_ERROR(EC_ERR_MEMORY, "%s: no memory for class names", m->name);
    for (int64_t i = 0; i < m->count; i++) names[i] = m->entry[i].label;
    qsort(names, (size_t)m->count, sizeof *names, by_bytes);
    int64_t kept = 0;
    for (int64_t i = 0; i < m->count; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) names[kept++] = names[i];
    m->class_name = names;
    if (kept > INT32_MAX) return EC_ERROR(EC_ERR_DATA, "%s: %lld classes are too many", m->name, (long long)kept);
    m->classes = (int32_t)kept;
    for (int64_t i = 0; i < m->count; i++) {
        const char **found = bsearch(&m->entry[i].label, names, (size_t)kept, sizeof *names, by_bytes);
        m->entry[i].label_index = (int32_t)(found - names);
        m->entry[i].label = *found;
    }
    return EC_OK;
}

ec_status ec__manifest_parse(const void *bytes, size_t count, const char *name, const char *folder, ec_manifest **out) {
    ec_status status = EC_OK;
    reader r = {.folder = folder && strcmp(folder, ".") != 0 ? folder : ""};
    r.manifest = calloc(1, sizeof *r.manifest);
    if (!r.manifest) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for a manifest", name);
    r.locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!r.locale) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for a locale", name);
    EC_TRY(ec__csv_init(&r.csv, bytes, count, name));
    EC_TRY(keep(&r, "", name, strlen(name), &r.manifest->name));
    EC_TRY(ec__sha256_bytes(bytes, count, r.manifest->sha256));
    EC_TRY(read_header(&r));
    EC_TRY(read_entries(&r));
    EC_TRY(number_classes(r.manifest));
    *out = r.manifest;
    r.manifest = NULL;
done:
    ec__csv_release(&r.csv);
    if (r.locale) freelocale(r.locale);
    ec__manifest_free(r.manifest);
    return status;
}

ec_status ec__manifest_read(const char *path, ec_manifest **out) {
    ec_status status = EC_OK;
    char *bytes = NULL, *folder = NULL;
    size_t count = 0;
    EC_TRY(ec__file_read(path, (size_t)1 << 32, &bytes, &count));
    EC_TRY(ec__path_folder(path, &folder));
    EC_TRY(ec__manifest_parse(bytes, count, path, folder, out));
done:
    free(folder);
    free(bytes);
    return status;
}

void ec__manifest_free(ec_manifest *manifest) {
    if (!manifest) return;
    for (ec_text *text = manifest->texts; text;) {
        ec_text *next = text->next;
        free(text);
        text = next;
    }
    free(manifest->class_name);
    free(manifest->entry);
    free(manifest);
}

static ec_status unknown_label(const ec_manifest *m, const ec_manifest_entry *e, const char *const *class_name,
                               int32_t classes) {
    const char *near = ec__nearest(e->label, class_name, (size_t)classes);
    if (near)
        return EC_ERROR(EC_ERR_DATA,
                        "%s:%lld: label \"%.100s\" is not one of the %d classes; the nearest is \"%.100s\"", m->name,
                        (long long)e->line, e->label, classes, near);
    return EC_ERROR(
        EC_ERR_DATA,
        "%s:%lld: label \"%.100s\" is not one of the %d classes, nor like one of them (the first is \"%.100s\")",
        m->name, (long long)e->line, e->label, classes, classes > 0 ? class_name[0] : "");
}

ec_status ec__manifest_map_labels(const ec_manifest *m, const char *const *class_name, int32_t classes,
                                  int32_t *index) {
    ec_status status = EC_OK;
    int32_t *to = malloc((size_t)m->classes * sizeof *to);
    if (!to) EC_FAIL(EC_ERR_MEMORY, "%s: no memory for %d classes", m->name, m->classes);
    for (int32_t i = 0; i < m->classes; i++) {
        to[i] = -1;
        for (int32_t j = 0; j < classes && to[i] < 0; j++)
            if (strcmp(m->class_name[i], class_name[j]) == 0) to[i] = j;
    }
    for (int64_t i = 0; i < m->count; i++) /* first a look at all: index stays untouched on error */
        if (to[m->entry[i].label_index] < 0) EC_TRY(unknown_label(m, &m->entry[i], class_name, classes));
    for (int64_t i = 0; i < m->count; i++) index[i] = to[m->entry[i].label_index];
done:
    free(to);
    return status;
}
