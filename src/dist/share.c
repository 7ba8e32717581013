#include "dist/share.h"

ec_share ec__share_of(int32_t rank, int32_t size, int64_t count) {
    int64_t rows = (count + size - 1) / size;
    int64_t first = rows * rank < count ? rows * rank : count;
    return (ec_share){first, first + rows < count ? first + rows : count};
}

ec_status ec__share_rows(ec_comm *comm, void *rows, int64_t count, size_t row_bytes) {
    comm = comm->host;
    for (int32_t r = 0; r < comm->size && comm->size > 1; r++) {
        ec_share share = ec__share_of(r, comm->size, count);
        size_t bytes = (size_t)(share.last - share.first) * row_bytes;
        if (bytes > 0) EC_RETURN_IF(ec__comm_broadcast(comm, (char *)rows + (size_t)share.first * row_bytes, bytes, r));
    }
    return EC_OK;
}
