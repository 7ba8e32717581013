/* Device memory, pinned memory, copies.
 *
 * An allocation of device memory is pages of its own between closed ones, filled with bytes 0xff (NaN as a float), its
 * end as near to the closed page as alignment allows. It is open to kernels and copies only: while they run, what they
 * touch is opened when they first touch it, since most of it they leave alone. What is freed stays closed for ever. */
#include <cstdio>
#include <cstdlib>
#include <map>

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "internal.h"

namespace cuemu {
namespace {

enum { PAGE = 4096, ALIGN = 256, UNUSED = 0xfd };

struct Allocation {
    size_t bytes;
    char *pages; /* those between the closed ones */
    size_t page_bytes;
    bool is_open;
};

std::map<uintptr_t, Allocation> device_memory;
std::map<uintptr_t, size_t> pinned_memory;
std::map<uintptr_t, size_t> freed_memory;
int open_depth;
pthread_t opener; /* the thread that kernels run on, where open_depth is above 0 */
size_t in_use;

/* In 1 GiB steps from EMOCLIM_CUEMU_MEMORY; what a small card has without it. */
size_t memory_limit() {
    const char *text = getenv("EMOCLIM_CUEMU_MEMORY_MIB");
    return (text ? (size_t)atoll(text) : (size_t)8192) << 20;
}

template <class M> auto find_in(M &map, const void *memory) {
    auto next = map.upper_bound((uintptr_t)memory);
    return next == map.begin() ? map.end() : std::prev(next);
}

void protect(Allocation &a, bool open) {
    if (mprotect(a.pages, a.page_bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE) != 0)
        fail("the protection of device memory cannot be changed");
    a.is_open = open;
}

/* The allocation that has this byte among its pages, be it before its first or behind its last; NULL: none. */
Allocation *owner(const void *byte) {
    const auto has = [&](const Allocation &a) { return byte >= a.pages && byte < a.pages + a.page_bytes; };
    const auto next = device_memory.upper_bound((uintptr_t)byte);
    if (next != device_memory.end() && has(next->second)) return &next->second;
    return next != device_memory.begin() && has(std::prev(next)->second) ? &std::prev(next)->second : nullptr;
}

struct sigaction before;

/* Opens what a kernel may touch; else says whose memory it was, then lets things take their course. */
void on_fault(int number, siginfo_t *info, void *context) {
    const char *what = nullptr, *by = running();
    const bool in_kernel = open_depth > 0 && pthread_equal(pthread_self(), opener);
    Allocation *mine = in_kernel ? owner(info->si_addr) : nullptr;
    if (mine && !mine->is_open) return protect(*mine, true);
    const auto d = find_in(device_memory, info->si_addr);
    const auto f = find_in(freed_memory, info->si_addr);
    const uintptr_t at = (uintptr_t)info->si_addr;
    if (d != device_memory.end() && at < (uintptr_t)d->second.pages + d->second.page_bytes + PAGE)
        what = in_kernel ? "touched memory behind or before an allocation of device memory" : "the host touched device memory";
    else if (f != freed_memory.end() && at < f->first + f->second) what = "device memory was touched after it was freed";
    if (what) {
        fprintf(stderr, "emulated cuda: %s, address %p\n  in %s (EMOCLIM_CUEMU_SEED=%u)\n", what, info->si_addr,
                by ? by : "the host's own code", seed());
        fflush(stderr);
        _exit(134);
    }
    if (before.sa_flags & SA_SIGINFO) before.sa_sigaction(number, info, context);
    else {
        sigaction(number, &before, nullptr);
        raise(number);
    }
}

/* Again and again: test frameworks put handlers of their own in front of every test. */
void catch_faults() {
    struct sigaction action = {}, old;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (sigaction(SIGSEGV, &action, &old) == 0 && old.sa_sigaction != on_fault) before = old;
}

/* The bytes between the end of an allocation and the closed page behind it. */
void mark_unused(const Allocation &a, char *memory, bool unused) {
    char *end = memory + a.bytes;
    const size_t rest = (size_t)(a.pages + a.page_bytes - end), front = (size_t)(memory - a.pages);
#if defined(__SANITIZE_ADDRESS__)
    if (unused) {
        __asan_poison_memory_region(end, rest);
        __asan_poison_memory_region(a.pages, front);
    } else
        __asan_unpoison_memory_region(a.pages, a.page_bytes);
#else
    if (!unused) return;
    memset(end, UNUSED, rest);
    memset(a.pages, UNUSED, front);
#endif
}

void check_allocation(uintptr_t address, const Allocation &a) {
#if !defined(__SANITIZE_ADDRESS__)
    const unsigned char *memory = (const unsigned char *)address, *last = (const unsigned char *)a.pages + a.page_bytes;
    for (const unsigned char *p = (const unsigned char *)a.pages; p < last; p++) {
        if (p == memory) p = memory + a.bytes;
        if (p < last && *p != UNUSED)
            fail("something wrote %ld bytes %s an allocation of %zu bytes",
                 p < memory ? (long)(memory - p) : (long)(p - memory - (long)a.bytes), p < memory ? "before" : "behind", a.bytes);
    }
#else
    (void)address, (void)a;
#endif
}

} // namespace

void open_memory() {
    if (open_depth++ > 0) return;
    opener = pthread_self();
    catch_faults();
}

void close_memory() {
    if (--open_depth > 0) return;
    for (auto &[address, a] : device_memory)
        if (a.is_open) protect(a, false);
}

void check_memory() {
    for (auto &[address, a] : device_memory)
        if (a.is_open) check_allocation(address, a);
}

bool is_device(const void *memory, size_t bytes) {
    if (bytes == 0) return true;
    const auto a = find_in(device_memory, memory);
    return a != device_memory.end() && (uintptr_t)memory + bytes <= a->first + a->second.bytes;
}

bool is_pinned(const void *memory, size_t bytes) {
    const auto p = find_in(pinned_memory, memory);
    return p != pinned_memory.end() && (uintptr_t)memory + bytes <= p->first + p->second;
}

} // namespace cuemu

using namespace cuemu;
#define LOCKED std::lock_guard<std::recursive_mutex> hold_(lock())

extern "C" cudaError_t cudaMalloc(void **out, size_t bytes) {
    LOCKED;
    if (device_count() <= 0) return set_error(cudaErrorNoDevice);
    if (recording()) return set_error(cudaErrorStreamCaptureUnsupported);
    if (!out) return set_error(cudaErrorInvalidValue);
    if (bytes == 0) {
        *out = nullptr;
        return cudaSuccess;
    }
    if (bytes > memory_limit() || in_use + bytes > memory_limit()) return set_error(cudaErrorMemoryAllocation);
    catch_faults();
    const size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN, page_bytes = (rounded + PAGE - 1) / PAGE * PAGE;
    char *map = (char *)mmap(nullptr, page_bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return set_error(cudaErrorMemoryAllocation);
    Allocation a = {bytes, map + PAGE, page_bytes, false};
    char *memory = a.pages + page_bytes - rounded;
    madvise(a.pages, page_bytes, MADV_HUGEPAGE);
    if (mprotect(a.pages, page_bytes, PROT_READ | PROT_WRITE) != 0) return set_error(cudaErrorMemoryAllocation);
    memset(memory, 0xff, bytes);
    mark_unused(a, memory, true);
    protect(a, false);
    device_memory[(uintptr_t)memory] = a;
    in_use += bytes;
    *out = memory;
    return cudaSuccess;
}

extern "C" cudaError_t cudaFree(void *memory) {
    LOCKED;
    if (!memory) return cudaSuccess;
    if (recording()) return set_error(cudaErrorStreamCaptureUnsupported);
    const auto a = device_memory.find((uintptr_t)memory);
    if (a == device_memory.end()) return set_error(cudaErrorInvalidValue);
    drain_all(); /* as the real one waits for the device */
    with_memory([&] { check_allocation(a->first, a->second); });
    const Allocation gone = a->second;
    mark_unused(gone, (char *)memory, false);
    device_memory.erase(a);
    in_use -= gone.bytes;
    /* The address is never given out again; the memory behind it is given back. */
    mmap(gone.pages, gone.page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    freed_memory[(uintptr_t)gone.pages] = gone.page_bytes;
    return cudaSuccess;
}

extern "C" cudaError_t cudaMemGetInfo(size_t *left, size_t *total) {
    LOCKED;
    if (device_count() <= 0) return set_error(cudaErrorNoDevice);
    *total = memory_limit();
    *left = *total - in_use;
    return cudaSuccess;
}

extern "C" cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned) {
    LOCKED;
    if (device_count() <= 0) return set_error(cudaErrorNoDevice);
    if (recording()) return set_error(cudaErrorStreamCaptureUnsupported);
    void *memory = nullptr;
    if (posix_memalign(&memory, PAGE, bytes ? bytes : 1) != 0) return set_error(cudaErrorMemoryAllocation);
    memset(memory, 0xff, bytes);
    pinned_memory[(uintptr_t)memory] = bytes;
    *out = memory;
    return cudaSuccess;
}

extern "C" cudaError_t cudaMallocHost(void **out, size_t bytes) { return cudaHostAlloc(out, bytes, 0); }

extern "C" cudaError_t cudaFreeHost(void *memory) {
    LOCKED;
    if (!memory) return cudaSuccess;
    if (pinned_memory.erase((uintptr_t)memory) == 0) return set_error(cudaErrorInvalidValue);
    drain_all();
    free(memory);
    return cudaSuccess;
}

/* Do the two sides lie where kind says? */
static bool sides_fit(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    const bool to_device = is_device(to, bytes), from_device = is_device(from, bytes);
    switch (kind) {
    case cudaMemcpyHostToDevice: return to_device && !from_device;
    case cudaMemcpyDeviceToHost: return !to_device && from_device;
    case cudaMemcpyDeviceToDevice: return to_device && from_device;
    default: return false;
    }
}

extern "C" cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    LOCKED;
    if (bytes == 0) return cudaSuccess;
    if (!sides_fit(to, from, bytes, kind)) return set_error(cudaErrorInvalidValue);
    const char *what = kind == cudaMemcpyHostToDevice   ? "a copy to the device"
                       : kind == cudaMemcpyDeviceToHost ? "a copy to the host"
                                                        : "a copy within the device";
    const bool pinned = kind == cudaMemcpyDeviceToDevice || is_pinned(kind == cudaMemcpyHostToDevice ? from : to, bytes);
    if (!pinned && recording()) return set_error(cudaErrorStreamCaptureUnsupported); /* backend.h forbids it */
    if (!pinned && kind == cudaMemcpyHostToDevice) {
        /* Pageable memory is read before the call returns. */
        auto stage = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
        return enqueue(stream, what, [=] { memcpy(to, stage->data(), bytes); });
    }
    const cudaError_t error = enqueue(stream, what, [=] { memmove(to, from, bytes); });
    if (error != cudaSuccess || pinned) return error;
    return cudaStreamSynchronize(stream); /* pageable memory is written before the call returns */
}

extern "C" cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                                         size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
    if (width > to_pitch || width > from_pitch) return set_error(cudaErrorInvalidValue);
    for (size_t row = 0; row < height; row++) {
        const cudaError_t error =
            cudaMemcpyAsync((char *)to + row * to_pitch, (const char *)from + row * from_pitch, width, kind, stream);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

extern "C" cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    LOCKED;
    if (bytes == 0) return cudaSuccess;
    if (!is_device(to, bytes)) return set_error(cudaErrorInvalidValue);
    return enqueue(stream, "a fill", [=] { memset(to, value, bytes); });
}

/* The two without a stream neither wait for streams made with cudaStreamNonBlocking nor are waited for. */
extern "C" cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    LOCKED;
    if (recording()) return set_error(cudaErrorStreamCaptureUnsupported);
    if (bytes == 0) return cudaSuccess;
    if (!sides_fit(to, from, bytes, kind)) return set_error(cudaErrorInvalidValue);
    with_memory([&] { memmove(to, from, bytes); });
    return cudaSuccess;
}

extern "C" cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    LOCKED;
    if (recording()) return set_error(cudaErrorStreamCaptureUnsupported);
    if (!is_device(to, bytes)) return set_error(cudaErrorInvalidValue);
    with_memory([&] { memset(to, value, bytes); });
    return cudaSuccess;
}
