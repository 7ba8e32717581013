/* Parts of a cache that is being built: the rows that one rank finished, and its journal of them.
 *
 * PATH.building/part-0003.rows holds rows back to back; part-0003.journal holds a record of fixed size for every row or
 * skipped sample, in the order in which they were finished. A record and its row both carry a checksum, so whatever a
 * kill or a power loss leaves behind the last good record is recognised and cut off: nothing depends on the order in
 * which the two files reach the disk. */
#ifndef EC_CACHE_CACHE_PART_H
#define EC_CACHE_CACHE_PART_H

#include "cache/cache_writer.h"

enum { EC_PART_REASON = 216 };

typedef struct ec_part_record {
    uint32_t magic, kind; /* ec_part_kind */
    int64_t row;          /* of the manifest */
    int64_t slot;         /* of the rows file; -1 where skipped */
    uint64_t data_sum;    /* XXH3-64 of the row; 0 where skipped */
    char reason[EC_PART_REASON]; /* padded with NUL, at least one */
    uint64_t record_sum;  /* XXH3-64 of all fields above */
} ec_part_record;

typedef enum ec_part_kind { EC_PART_ROW = 1, EC_PART_SKIP = 2 } ec_part_kind;

_Static_assert(sizeof(ec_part_record) == 256, "records have no padding");

/* The good records of a journal. */
typedef struct ec_part_scan {
    int32_t number; /* of the part */
    ec_part_record *record;
    int64_t count;
    int64_t slots;  /* rows among them */
} ec_part_scan;

/* All parts of a work folder, in the order of their numbers. */
typedef struct ec_part_list {
    ec_part_scan *part;
    int32_t count;
} ec_part_list;

int64_t ec__cache_row_bytes(const ec_cache_identity *identity);

ec_status ec__cache_work_folder(const char *path, char **out);
ec_status ec__part_path(const char *folder, int32_t number, const char *extension, char **out);

/* Reads every journal up to its first bad record. check_rows: rows are read and compared with their sums too. */
ec_status ec__part_list_read(const char *folder, const ec_cache_spec *spec, bool check_rows, ec_part_list *out);
void ec__part_list_release(ec_part_list *list);

/* Cuts off what lies behind the good records. */
ec_status ec__part_repair(const char *folder, const ec_part_scan *scan, int64_t row_bytes);

/* Fills the checksum of a record. */
void ec__part_seal(ec_part_record *record);

#endif
