/* What goes on beside the threads of a block: arrival barriers, bulk copies, and whether products were waited for. */
#include <cstdlib>
#include <cstring>
#include <set>

#include "internal.h"

#include "cuemu_wgmma.h"

namespace cuemu {

namespace {

constexpr unsigned MARK = 0x5ab7;

/* The 8 bytes of an arrival barrier. */
struct Arrival {
    uint64_t mark : 16, phase : 1, arrivals : 12, missing : 12;
    int64_t bytes : 23; /* announced and not come, or the other way round */
};
static_assert(sizeof(Arrival) == 8);

struct Bulk {
    void *to;
    const void *from;
    size_t bytes;
    uint64_t *barrier;
};

std::vector<Bulk> under_way;
/* Barriers that a thread has made and not fenced since. */
std::set<std::pair<unsigned, const uint64_t *>> unfenced;
int products;

Arrival load(const uint64_t *barrier) {
    Arrival a;
    memcpy(&a, barrier, sizeof a);
    if (a.mark != MARK) fail("an arrival barrier that was not made, or was written over");
    return a;
}

void store(uint64_t *barrier, Arrival a) {
    if (a.missing == 0 && a.bytes == 0) {
        a.phase ^= 1;
        a.missing = a.arrivals;
    }
    memcpy(barrier, &a, sizeof a);
}

void finish_copy(const Bulk &copy) {
    memcpy(copy.to, copy.from, copy.bytes);
    Arrival a = load(copy.barrier);
    a.bytes -= (int64_t)copy.bytes;
    store(copy.barrier, a);
}

} // namespace

bool plays_fault;

void begin_kernel() {
    const char *fault = getenv("EMOCLIM_CUEMU_FAULT");
    plays_fault = fault && strcmp(fault, "wgmma") == 0;
}

bool asynchronous_at_once() { return seed() == 1; }

void count_products(int more) { products += more; }

void arrival_init(uint64_t *barrier, unsigned arrivals) {
    Arrival a = {};
    if ((uintptr_t)barrier % 8 != 0) fail("an arrival barrier is not aligned to 8 bytes");
    if (arrivals == 0 || arrivals > 1024) fail("an arrival barrier for %u arrivals", arrivals);
    a.mark = MARK;
    a.arrivals = a.missing = arrivals;
    memcpy(barrier, &a, sizeof a);
    unfenced.insert({thread_number(), barrier});
}

void fence_async() {
    const unsigned self = thread_number();
    unfenced.erase(unfenced.lower_bound({self, nullptr}), unfenced.lower_bound({self + 1, nullptr}));
}

void arrival_expect(uint64_t *barrier, unsigned bytes) {
    Arrival a = load(barrier);
    if (a.bytes + (int64_t)bytes >= 1 << 20) fail("an arrival barrier is to count more than 2^20 - 1 bytes");
    a.bytes += bytes;
    store(barrier, a);
}

void arrive(uint64_t *barrier) {
    Arrival a = load(barrier);
    if (a.missing == 0) fail("an arrival at a barrier that all have come to already");
    a.missing--;
    publish_at(barrier);
    store(barrier, a);
}

bool arrival_is_past(const uint64_t *barrier, unsigned parity) { return load(barrier).phase != (parity & 1); }

void bulk_copy(void *to, const void *from, unsigned bytes, uint64_t *barrier) {
    if (bytes == 0 || bytes % 16 || (uintptr_t)to % 16 || (uintptr_t)from % 16) fail("a bulk copy of %u bytes is not aligned", bytes);
    if (!is_device(from, bytes)) fail("a bulk copy reads outside of device memory");
    shared_at(shared_address(to), bytes);
    load(barrier);
    for (const auto &made : unfenced)
        if (made.second == barrier) fail("a bulk copy's barrier was made without a fence for asynchronous uses");
    under_way.push_back({to, from, bytes, barrier});
    if (asynchronous_at_once() || (seed() > 1 && random_below(4) == 0)) finish_one_copy();
}

bool finish_one_copy() {
    if (under_way.empty()) return false;
    /* The latest first: who waits for one of them only is not to be helped by their order. */
    const size_t which = seed() < 2 ? under_way.size() - 1 : random_below((unsigned)under_way.size());
    const Bulk copy = under_way[which];
    under_way.erase(under_way.begin() + (std::ptrdiff_t)which);
    finish_copy(copy);
    return true;
}

void check_block_end() {
    if (!under_way.empty()) fail("a block ends with %zu bulk copies under way", under_way.size());
    if (products) fail("a block ends with products that nobody waited for");
    unfenced.clear();
}

} // namespace cuemu
