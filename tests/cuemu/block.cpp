/* Kernels: a block's threads as fibers that take turns at barriers and warp operations. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

#include "context.h"
#include "internal.h"

#include "cuemu_wgmma.h"

namespace cuemu {

const Place *place;

namespace {

constexpr unsigned MOST_THREADS = 1024, LANES = 32;
constexpr size_t STACK_BYTES = 128 << 10, SHARED_DEFAULT = 48 << 10, SHARED_MOST = 227 << 10;
/* Where dynamic shared memory begins in its window: not at a multiple of more than a kernel may count on. */
constexpr size_t SHARED_FIRST = 128, SHARED_WINDOW = 256 << 10;

enum class State { ready, at_barrier, at_arrival, at_warp, ended };

struct Thread {
    Context context;
    Place place;
    State state;
    Barrier barrier;
    int predicate, verdict;
    const uint64_t *arrival;
    unsigned parity;
    Warp warp;
    unsigned mask, argument, width;
    uint64_t value, result;
    uint64_t *gathered; /* where to put what all lanes brought, or NULL */
};

/* One kernel runs at a time, under the lock of the runtime. */
Thread threads[MOST_THREADS];
Thread *current;
Context scheduler;
const std::function<void()> *kernel_body;
const char *kernel_name;
unsigned thread_count;
void *shared_memory;
size_t shared_bytes;
unsigned order[MOST_THREADS];
std::map<const void *, size_t> shared_limit;

void thread_main() {
    context_entered(scheduler, current->context);
    observe(&scheduler);
    (*kernel_body)();
    publish(&kernel_body);
    current->state = State::ended;
    context_switch(current->context, scheduler, true);
    abort();
}

void wait_in(State state) {
    Thread *self = current;
    self->state = state;
    context_switch(self->context, scheduler, false);
}

void run_thread(Thread &thread) {
    current = &thread;
    place = &thread.place;
    context_switch(scheduler, thread.context, false);
    current = nullptr;
    place = nullptr;
}

/* Lane that lane k reads from. */
unsigned source_lane(const Thread &t, unsigned k) {
    const unsigned base = k & ~(t.width - 1), a = t.argument;
    switch (t.warp) {
    case Warp::exchange: return (k ^ a) >= base + t.width ? k : k ^ a;
    case Warp::down: return k + a >= base + t.width ? k : k + a;
    case Warp::up: return k < base + a ? k : k - a;
    default: return base + (a & (t.width - 1));
    }
}

void finish_warp_operation(Thread *lane, unsigned lanes, unsigned mask) {
    uint64_t result[LANES] = {}, votes = 0;
    for (unsigned k = 0; k < lanes; k++)
        if (mask >> k & 1 && lane[k].value) votes |= (uint64_t)1 << k;
    for (unsigned k = 0; k < lanes; k++) {
        if (!(mask >> k & 1)) continue;
        Thread &t = lane[k];
        if (t.gathered)
            for (unsigned s = 0; s < LANES; s++) t.gathered[s] = lane[s].value;
        if (t.warp == Warp::sync) continue;
        if (t.warp == Warp::ballot) {
            result[k] = votes;
            continue;
        }
        const unsigned from = source_lane(t, k);
        current = &t;
        if (from >= lanes || !(mask >> from & 1)) fail("a shuffle reads lane %u, which takes no part in it", from);
        result[k] = lane[from].value;
    }
    current = nullptr;
    for (unsigned k = 0; k < lanes; k++) {
        if (!(mask >> k & 1)) continue;
        lane[k].result = result[k];
        lane[k].state = State::ready;
    }
}

/* Ends the warp operations of a warp that all their lanes have come to. */
bool serve_warp(unsigned first) {
    Thread *lane = &threads[first];
    const unsigned lanes = thread_count - first < LANES ? thread_count - first : LANES;
    bool served = false;
    for (unsigned l = 0; l < lanes; l++) {
        if (lane[l].state != State::at_warp) continue;
        const unsigned mask = lane[l].mask;
        bool complete = true;
        current = &lane[l];
        for (unsigned k = 0; k < LANES; k++) {
            if (!(mask >> k & 1)) continue;
            if (k >= lanes) fail("a warp operation names lane %u, which this block does not have", k);
            if (lane[k].state == State::ended) fail("a warp operation waits for lane %u, which has ended", k);
            if (lane[k].state != State::at_warp) complete = false;
            else if (lane[k].mask != mask || lane[k].warp != lane[l].warp)
                fail("lanes %u and %u meet in different warp operations", l, k);
        }
        current = nullptr;
        if (!complete) continue;
        finish_warp_operation(lane, lanes, mask);
        served = true;
    }
    return served;
}

void finish_barrier() {
    int count = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        count += threads[i].predicate != 0;
        if (threads[i].barrier != threads[0].barrier) fail("threads 0 and %u meet in different barriers", i);
    }
    for (unsigned i = 0; i < thread_count; i++) {
        Thread &t = threads[i];
        switch (t.barrier) {
        case Barrier::plain: t.verdict = 0; break;
        case Barrier::any: t.verdict = count > 0; break;
        case Barrier::all: t.verdict = count == (int)thread_count; break;
        case Barrier::count: t.verdict = count; break;
        }
        t.state = State::ready;
    }
}

void shuffle_order() {
    if (seed() < 2) return;
    for (unsigned i = thread_count - 1; i > 0; i--) std::swap(order[i], order[random_below(i + 1)]);
}

bool run_if_ready(Thread &thread) {
    if (thread.state == State::at_arrival && arrival_is_past(thread.arrival, thread.parity)) thread.state = State::ready;
    if (thread.state != State::ready) return false;
    run_thread(thread);
    return true;
}

/* As far as it gets without the other warps: to the next barrier of the block. */
bool run_warp(unsigned first) {
    const unsigned lanes = thread_count - first < LANES ? thread_count - first : LANES;
    for (bool moved = false;; moved = true) {
        bool again = false;
        for (unsigned l = lanes; l-- > 0;) again |= run_if_ready(threads[first + l]);
        again |= serve_warp(first);
        if (!again) return moved;
    }
}

void run_block() {
    for (;;) {
        bool moved = false;
        shuffle_order();
        if (seed() == 1) {
            for (unsigned warp = (thread_count + LANES - 1) / LANES; warp-- > 0;) moved |= run_warp(warp * LANES);
        } else {
            for (unsigned i = 0; i < thread_count; i++) moved |= run_if_ready(threads[order[i]]);
            for (unsigned first = 0; first < thread_count; first += LANES) moved |= serve_warp(first);
        }
        if (moved || finish_one_copy()) continue;
        unsigned waiting = 0, ended = 0, arriving = 0;
        for (unsigned i = 0; i < thread_count; i++) {
            waiting += threads[i].state == State::at_barrier;
            ended += threads[i].state == State::ended;
            arriving += threads[i].state == State::at_arrival;
        }
        if (ended == thread_count) return check_block_end();
        if (arriving)
            fail("%u threads wait for arrivals that never come, %u at a barrier, %u ended", arriving, waiting, ended);
        if (waiting + ended == thread_count && ended) fail("%u threads wait at a barrier that %u ended threads never reached", waiting, ended);
        if (waiting != thread_count) fail("threads wait for each other at different places: %u of %u at a barrier, %u ended", waiting, thread_count, ended);
        finish_barrier();
    }
}

void begin_block(dim3 grid, dim3 block, dim3 at, size_t shared) {
    memset(shared_memory, 0xff, shared);
    for (unsigned i = 0; i < thread_count; i++) {
        Thread &t = threads[i];
        t.state = State::ready;
        t.place.thread = dim3(i % block.x, i / block.x % block.y, i / (block.x * block.y));
        t.place.block = at;
        t.place.block_size = block;
        t.place.grid_size = grid;
        order[i] = i;
        context_begin(t.context, thread_main);
    }
}

} // namespace

void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "emulated cuda: ");
    vfprintf(stderr, format, args);
    va_end(args);
    const char *what = running();
    if (current)
        fprintf(stderr, "\n  in %s, block (%u,%u,%u), thread %u", what ? what : "?", current->place.block.x, current->place.block.y,
                current->place.block.z, (unsigned)(current - threads));
    else if (what) fprintf(stderr, "\n  in %s", what);
    fprintf(stderr, " (EMOCLIM_CUEMU_SEED=%u)\n", seed());
    fflush(stderr);
    abort();
}

int block_barrier(Barrier kind, int predicate) {
    if (!current) fail("a barrier outside a kernel");
    Thread *self = current;
    self->barrier = kind;
    self->predicate = predicate;
    publish(threads);
    wait_in(State::at_barrier);
    observe(threads);
    return self->verdict;
}

void publish_at(void *barrier) { publish(barrier); }

void arrival_wait(uint64_t *barrier, unsigned parity) {
    if (!current) fail("a wait for arrivals outside a kernel");
    if (!arrival_is_past(barrier, parity)) {
        current->arrival = barrier;
        current->parity = parity;
        wait_in(State::at_arrival);
    }
    observe(barrier);
}

uint32_t shared_address(const void *at) {
    const uint64_t address = (uint64_t)((const char *)at - (const char *)shared_memory) + SHARED_FIRST;
    if (address >= SHARED_WINDOW) fail("an address that is not in dynamic shared memory is taken for one");
    return (uint32_t)address;
}

const char *shared_at(uint32_t address, size_t bytes) {
    if (address < SHARED_FIRST || address - SHARED_FIRST + bytes > shared_bytes)
        fail("address %u of shared memory is outside of the %zu bytes from %zu on", address, shared_bytes, SHARED_FIRST);
    return (const char *)shared_memory + (address - SHARED_FIRST);
}

static uint64_t warp_wait(unsigned mask, Warp kind, uint64_t value, unsigned argument, unsigned width, uint64_t *all) {
    if (!current) fail("a warp operation outside a kernel");
    Thread *self = current;
    const unsigned lane = (unsigned)(self - threads) % LANES;
    if (!(mask >> lane & 1)) fail("lane %u calls a warp operation whose mask %08x leaves it out", lane, mask);
    if (width == 0 || width > LANES || (width & (width - 1))) fail("a shuffle of width %u", width);
    self->mask = mask;
    self->warp = kind;
    self->value = value;
    self->argument = argument;
    self->width = width;
    self->gathered = all;
    Thread *warp = self - lane;
    publish(&warp->gathered);
    wait_in(State::at_warp);
    observe(&warp->gathered);
    return self->result;
}

uint64_t warp_operation(unsigned mask, Warp kind, uint64_t value, unsigned argument, unsigned width) {
    return warp_wait(mask, kind, value, argument, width, nullptr);
}

void warp_gather(uint64_t value, uint64_t all[32]) { warp_wait(0xffffffffu, Warp::sync, value, 0, 32, all); }

void *dynamic_shared() { return shared_memory; }

cudaError_t check_launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
                         cudaStream_t stream) {
    (void)name, (void)stream;
    const uint64_t count = (uint64_t)block.x * block.y * block.z;
    std::lock_guard<std::recursive_mutex> hold(lock());
    const auto allowed = shared_limit.find(kernel);
    const size_t limit = allowed == shared_limit.end() ? SHARED_DEFAULT : allowed->second;
    const bool grid_fits = grid.x && grid.y && grid.z && grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535;
    if (count == 0 || count > MOST_THREADS || block.z > 64 || !grid_fits) return set_error(cudaErrorInvalidConfiguration);
    if (shared > limit) return set_error(cudaErrorInvalidValue);
    return cudaSuccess;
}

void run_kernel(const char *name, dim3 grid, dim3 block, size_t shared, const std::function<void()> &body) {
    kernel_body = &body;
    kernel_name = name;
    thread_count = block.x * block.y * block.z;
    for (unsigned i = 0; i < thread_count; i++)
        if (!threads[i].context.stack) context_new(threads[i].context, STACK_BYTES);
    /* Exactly as large as asked for, so that AddressSanitizer sees who goes beyond. */
    void *window;
    if (posix_memalign(&window, 1024, SHARED_FIRST + (shared ? shared : 1)) != 0) fail("no memory for %zu shared bytes", shared);
    shared_memory = (char *)window + SHARED_FIRST;
    shared_bytes = shared;
    begin_kernel();
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                begin_block(grid, block, dim3(x, y, z), shared);
                publish(&scheduler);
                run_block();
                observe(&kernel_body);
            }
    free(window);
    shared_memory = nullptr;
}

} // namespace cuemu

extern "C" cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
    using namespace cuemu;
    std::lock_guard<std::recursive_mutex> hold(lock());
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || (size_t)value > SHARED_MOST) return set_error(cudaErrorInvalidValue);
    shared_limit[kernel] = (size_t)value;
    return cudaSuccess;
}
