#define _GNU_SOURCE
#include "dist/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/clock.h"
#include "dist/mpi_error.h"

/* Where the first rank's file is found. The mark is written into it: in another process namespace the same number is
 * another process. */
typedef struct address {
    int64_t process, descriptor, mark;
} address;

/* The first rank's part. Returns a descriptor, or -1 with errno. */
static int create(size_t bytes, address *at) {
    int fd = memfd_create("emoclim", MFD_CLOEXEC);
    *at = (address){getpid(), fd, ec__now_ns()};
    if (fd < 0) return -1;
    if (ftruncate(fd, (off_t)bytes) == 0 && pwrite(fd, &at->mark, sizeof at->mark, 0) == sizeof at->mark) return fd;
    int kept = errno;
    close(fd);
    errno = kept;
    at->descriptor = -1;
    return -1;
}

/* The others' part. */
static int find(size_t bytes, const address *at) {
    char path[64];
    int64_t mark = 0;
    if (at->descriptor < 0) {
        errno = ENOENT;
        return -1;
    }
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)at->process, (long long)at->descriptor);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return -1;
    if (pread(fd, &mark, sizeof mark, 0) == sizeof mark && mark == at->mark && lseek(fd, 0, SEEK_END) == (off_t)bytes)
        return fd;
    close(fd);
    errno = ESRCH;
    return -1;
}

ec_status ec__shared_map(MPI_Comm node, size_t bytes, void **out) {
    ec_status status = EC_OK;
    address at = {0};
    int rank = 0, fd = -1, mine = 0, all = 0;
    void *memory = MAP_FAILED;
    EC_MPI(MPI_Comm_rank(node, &rank));
    if (rank == 0) fd = create(bytes, &at);
    EC_MPI(MPI_Bcast(&at, (int)sizeof at, MPI_BYTE, 0, node));
    if (rank != 0) fd = find(bytes, &at);
    if (fd >= 0) memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    mine = memory != MAP_FAILED ? 0 : errno;
    /* The first rank's descriptor stays open until all have come through here. */
    EC_MPI(MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MAX, node));
    if (all != 0)
        EC_FAIL(EC_ERR_ENV, "the ranks of this node cannot share %zu bytes of memory: %s", bytes, strerror(all));
    if (rank == 0) memset(memory, 0, sizeof at.mark);
    EC_MPI(MPI_Barrier(node));
    *out = memory;
    memory = MAP_FAILED;
done:
    if (memory != MAP_FAILED) munmap(memory, bytes);
    if (fd >= 0) close(fd);
    return status;
}

void ec__shared_unmap(void *memory, size_t bytes) {
    if (memory) munmap(memory, bytes);
}
