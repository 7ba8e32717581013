#define _GNU_SOURCE
#include "media/ogg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"

enum {
    PAGE_HEAD = 27,            /* bytes before the table of segment lengths */
    PAGE_MAX = 27 + 255 * 256, /* a page's head, table and 255 segments of 255 bytes */
    END_OF_STREAM = 4,
};

/* The last page that starts in the file's tail; NULL if none does. */
static const uint8_t *last_page(const uint8_t *tail, int64_t count) {
    for (int64_t at = count - PAGE_HEAD; at >= 0; at--)
        if (memcmp(tail + at, "OggS", 4) == 0 && tail[at + 4] == 0) return tail + at;
    return NULL;
}

static ec_status check_page(const char *path, const uint8_t *page, int64_t present) {
    int64_t segments = page[26], bytes = PAGE_HEAD + segments;
    for (int64_t i = 0; i < segments && PAGE_HEAD + i < present; i++) bytes += page[PAGE_HEAD + i];
    if (bytes > present)
        return EC_ERROR(EC_ERR_DATA, "%s is truncated: its last page lacks %lld bytes", path,
                        (long long)(bytes - present));
    if (!(page[5] & END_OF_STREAM))
        return EC_ERROR(EC_ERR_DATA, "%s is truncated: its last page is not marked as the end of the stream", path);
    return EC_OK;
}

ec_status ec__ogg_check_end(const char *path) {
    ec_status status = EC_OK;
    uint8_t *tail = NULL;
    int64_t size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) EC_FAIL(EC_ERR_DATA, "cannot open %s: %s", path, strerror(errno));
    EC_TRY(ec__file_size(path, &size));
    int64_t count = size < PAGE_MAX ? size : PAGE_MAX;
    tail = malloc((size_t)count + 1);
    if (!tail) EC_FAIL(EC_ERR_MEMORY, "no memory for the end of %s", path);
    EC_TRY(ec__pread_exact(fd, path, tail, (size_t)count, size - count));
    const uint8_t *page = last_page(tail, count);
    if (!page) EC_FAIL(EC_ERR_DATA, "%s is truncated: no page in its last %lld bytes", path, (long long)count);
    EC_TRY(check_page(path, page, tail + count - page));
done:
    free(tail);
    if (fd >= 0) close(fd);
    return status;
}
