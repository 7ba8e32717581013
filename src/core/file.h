/* Files: whole reads, exact reads, and writes that are either complete or absent. */
#ifndef EC_CORE_FILE_H
#define EC_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* A file that appears under its name only when it is complete. It is written under a temporary name in the same
 * folder. */
typedef struct ec_atomic_file ec_atomic_file;

/* The caller writes to ec__atomic_path by any means (stdio, HDF5), then commits or discards; both free the handle.
 * EC_ERR_IO when the folder cannot be written. */
ec_status ec__atomic_open(const char *path, ec_atomic_file **out);
const char *ec__atomic_path(const ec_atomic_file *file);
ec_status ec__atomic_commit(ec_atomic_file *file); /* as ec__file_publish; on error the temporary file is removed */
void ec__atomic_discard(ec_atomic_file *file);     /* accepts NULL */

/* Removes what killed writers left of path, PATH.tmp.NUMBER: only for a path that no other process writes now. */
void ec__atomic_sweep(const char *path);

/* Gives a complete file its name: fsync, rename, fsync of the folder. Both names are on one file system. On EC_ERR_IO
 * the file keeps its temporary name and what was under path stays, but for one case: where the folder cannot be flushed
 * after the rename, the new file has its name and stays (going back could fail as well, and would lose a good file); it
 * may be used, but a loss of power may bring back what was there before. The message says so. */
ec_status ec__file_publish(const char *temporary, const char *path);

/* Writes bytes under path atomically. */
ec_status ec__file_write(const char *path, const void *bytes, size_t count);

/* Reads a whole file of at most limit bytes; *out is owned by the caller (free) and has a NUL after its last byte. A
 * file that is missing, larger or not a regular file is EC_ERR_DATA. */
ec_status ec__file_read(const char *path, size_t limit, char **out, size_t *count);

/* EC_ERR_DATA where there is no such file, or no regular one. */
ec_status ec__file_size(const char *path, int64_t *bytes);
bool ec__file_exists(const char *path);

/* Reads exactly count bytes at offset; end of file before that is EC_ERR_DATA. name only for the message. */
ec_status ec__pread_exact(int fd, const char *name, void *into, size_t count, int64_t offset);

/* Creates path and its missing parents as folders. EC_ERR_IO where that cannot be, and for an empty path. */
ec_status ec__make_folders(const char *path);

/* folder/name, or name alone where it is absolute or folder is empty or NULL. Owned by the caller. */
ec_status ec__path_join(const char *folder, const char *name, char **out);

/* The folder part of path ("." where there is none). Owned by the caller. */
ec_status ec__path_folder(const char *path, char **out);

/* printf into a new string, owned by the caller. */
ec_status ec__format(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
