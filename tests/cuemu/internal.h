/* What the files of the emulation share. */
#ifndef CUEMU_INTERNAL_H
#define CUEMU_INTERNAL_H

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cuemu.h"

namespace cuemu {

/* Every call of the runtime, and all that streams do, holds it. */
std::recursive_mutex &lock();

/* Keeps the error for cudaGetLastError, and returns it. */
cudaError_t set_error(cudaError_t error);

unsigned seed();
unsigned random_below(unsigned n);

/* What a stream is doing now; NULL: nothing. */
const char *running();

/* device.cpp: how many devices the environment wants; negative: there is no driver. */
int device_count();

/* memory.cpp */
bool is_pinned(const void *memory, size_t bytes);
/* Between the two, kernels and copies may look at device memory; at other times whoever does is stopped. */
void open_memory();
void close_memory();
/* Were the unused bytes behind an allocation written to? Fails if so. */
void check_memory();
/* Runs work with device memory open. */
template <class F> void with_memory(F &&work) {
    open_memory();
    work();
    close_memory();
}

/* async.cpp: has the phase of that parity ended? */
bool arrival_is_past(const uint64_t *barrier, unsigned parity);
/* Ends a bulk copy of the running block, if there is one under way. */
bool finish_one_copy();
void check_block_end();
void begin_kernel();

/* block.cpp: for ThreadSanitizer, what the running thread did is known to those who wait at a barrier of that
 * address. */
void publish_at(void *barrier);

/* stream.cpp: runs all that was enqueued anywhere. */
void drain_all();
/* Is the calling thread recording? Then what would wait or allocate is an error. */
bool recording();

} // namespace cuemu

#endif
