/* The emulation as kernels and the stand-ins for libraries see it.
 *
 * A block runs as one fiber a thread, blocks one after another. Device memory is host memory that only kernels and
 * copies may look at. What is enqueued on a stream runs when the host waits for it, and not before, in an order that
 * the seed EMOCLIM_CUEMU_SEED chooses among those that streams and events allow; the seed also chooses the order of the
 * threads of a block: 0 in order, 1 backwards and each warp as far as it gets alone, others shuffled. A mistake in a
 * kernel ends the process with a message. */
#ifndef CUEMU_H
#define CUEMU_H

#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "cuda_runtime_api.h"

namespace cuemu {

/* What a thread of a kernel is told about itself. */
struct Place {
    dim3 thread, block, block_size, grid_size;
};
extern const Place *place; /* of the running thread */

enum class Barrier { plain, any, all, count };
int block_barrier(Barrier kind, int predicate);

enum class Warp { exchange, down, up, index, sync, ballot };
/* One warp operation of the lanes in mask; they must all come to it with the same mask. */
uint64_t warp_operation(unsigned mask, Warp kind, uint64_t value, unsigned argument, unsigned width);
/* The 8 bytes that every lane of the calling warp brought; all 32 lanes must take part. For emulated instructions that
 * work on a warp as a whole. */
void warp_gather(uint64_t value, uint64_t all[32]);

void *dynamic_shared();

/* Ends the process; says which kernel, block and thread was running. */
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Enqueues work that needs device memory, for stand-ins of libraries. what: for messages; kept as a pointer. */
cudaError_t enqueue(cudaStream_t stream, const char *what, std::function<void()> work);

/* The same for work that may have to wait for other processes: whenever it runs, in a graph each time anew, begin makes
 * a function that is called until it answers true; between two calls other streams go on. */
cudaError_t enqueue_attempts(cudaStream_t stream, const char *what, std::function<std::function<bool()>()> begin);

/* Is all of it inside one allocation of device memory? (NULL with 0 bytes is.) */
bool is_device(const void *memory, size_t bytes);

/* How many kernels, copies and library calls have run. */
uint64_t operations_run();

cudaError_t check_launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
                         cudaStream_t stream);
void run_kernel(const char *name, dim3 grid, dim3 block, size_t shared, const std::function<void()> &body);

/* Arguments are converted and copied now, as a launch does. */
template <class... P, class... A>
cudaError_t launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                   A &&...arguments) {
    static_assert(sizeof...(P) == sizeof...(A), "a kernel is launched with another number of arguments");
    static_assert((std::is_trivially_copyable_v<P> && ...), "a kernel's arguments must be plain data");
    const cudaError_t error = check_launch(name, reinterpret_cast<const void *>(kernel), grid, block, shared, stream);
    if (error != cudaSuccess) return error;
    std::tuple<P...> copy(static_cast<P>(std::forward<A>(arguments))...);
    return enqueue(stream, name, [=] { run_kernel(name, grid, block, shared, [=] { std::apply(kernel, copy); }); });
}

template <class T> T shuffle(unsigned mask, Warp kind, T value, unsigned argument, int width) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "shuffles move at most 8 bytes");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = warp_operation(mask, kind, bits, argument, (unsigned)width);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace cuemu

#endif
