/* NCCL between processes of one host. Everything is made of messages between two ranks, which go piece by piece through
 * a mailbox for each pair, in memory that all map. It has no name: rank 0 makes it, the others open it through /proc,
 * and it is gone with the last process. */
#include "nccl.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <vector>

#include "internal.h"

using namespace cuemu;

namespace {

enum { MOST_RANKS = 16, POLLS = 2 };

constexpr size_t PIECE = 64 << 10;

struct Mailbox {
    std::atomic<uint32_t> full;
    uint32_t kind;
    uint64_t total;
    char data[PIECE];
};

struct Shared {
    std::atomic<uint32_t> attached[MOST_RANKS];
    char seat[MOST_RANKS][256]; /* host and device */
    Mailbox box[MOST_RANKS][MOST_RANKS];
};

struct Id {
    pid_t pid;
    int fd;
};

enum Kind : uint32_t { GATHER = 1, REDUCE, BROADCAST, MESSAGE };

/* What was asked for. */
struct Call {
    Kind kind;
    const char *from;
    char *to;
    size_t bytes; /* that a rank brings */
    int peer;     /* or root */
};

/* One message, under way. */
struct Message {
    bool send;
    int peer;
    uint32_t kind;
    char *memory;
    size_t bytes, done;
};

enum class State { starting, ready, launching, finishing, failed, aborted };

} // namespace

struct ncclComm {
    int rank, size, polls = 0;
    Shared *shared;
    State state = State::starting;
    ncclResult_t error = ncclSuccess;
    char text[256] = "";
    std::vector<Call> group;          /* to be taken at the next poll but some */
    cudaStream_t stream = nullptr;
    std::set<cudaStream_t> streams;   /* all that were ever used */
    uint64_t runs = 0;
    std::shared_ptr<int> work = std::make_shared<int>(); /* held by all that was enqueued or recorded, too */
};

namespace {

thread_local int group_depth;
thread_local ncclComm_t group_comm;

ncclResult_t fail_with(ncclComm_t c, ncclResult_t error, const char *text) {
    if (c) {
        c->state = State::failed;
        c->error = error;
        snprintf(c->text, sizeof c->text, "%s", text);
    }
    return error;
}

/* Moves what can be moved; true when all has arrived. Between two ranks messages keep their order. */
bool move(ncclComm_t c, std::vector<Message> &messages) {
    bool moved = true, left = true;
    while (moved && left) {
        bool busy[2][MOST_RANKS] = {};
        moved = left = false;
        for (Message &m : messages) {
            if (m.done == m.bytes) continue;
            left = true;
            if (busy[m.send][m.peer]) continue;
            busy[m.send][m.peer] = true;
            Mailbox &box = m.send ? c->shared->box[c->rank][m.peer] : c->shared->box[m.peer][c->rank];
            const size_t n = m.bytes - m.done < PIECE ? m.bytes - m.done : PIECE;
            if ((box.full.load(std::memory_order_acquire) != 0) == m.send) continue;
            if (m.send) {
                box.kind = m.kind;
                box.total = m.bytes;
                memcpy(box.data, m.memory + m.done, n);
            } else {
                if (box.kind != m.kind || box.total != m.bytes) continue; /* for ever */
                memcpy(m.memory + m.done, box.data, n);
            }
            box.full.store(m.send, std::memory_order_release);
            m.done += n;
            moved = true;
        }
    }
    return !left;
}

/* A group while it runs. */
struct Run {
    std::vector<Message> messages;
    std::vector<std::vector<char>> parts; /* of sums: every rank's array */
    std::vector<Call> calls;
};

void to_all(ncclComm_t c, Run &run, uint32_t kind, const char *from, size_t bytes) {
    for (int i = 1; i < c->size; i++)
        run.messages.push_back({true, (c->rank + i) % c->size, kind, const_cast<char *>(from), bytes, 0});
}

void begin_call(ncclComm_t c, Run &run, const Call &call) {
    const size_t own = (size_t)c->rank * call.bytes;
    switch (call.kind) {
    case GATHER:
        if (call.to + own != call.from) memmove(call.to + own, call.from, call.bytes);
        to_all(c, run, GATHER, call.to + own, call.bytes);
        for (int r = 0; r < c->size; r++)
            if (r != c->rank) run.messages.push_back({false, r, GATHER, call.to + (size_t)r * call.bytes, call.bytes, 0});
        break;
    case REDUCE: {
        const size_t first = run.parts.size();
        for (int r = 0; r < c->size; r++) run.parts.emplace_back(call.from, call.from + call.bytes);
        to_all(c, run, REDUCE, run.parts[first + (size_t)c->rank].data(), call.bytes);
        for (int r = 0; r < c->size; r++)
            if (r != c->rank) run.messages.push_back({false, r, REDUCE, run.parts[first + (size_t)r].data(), call.bytes, 0});
        break;
    }
    case BROADCAST:
        if (call.peer == c->rank) {
            if (call.to != call.from) memmove(call.to, call.from, call.bytes);
            to_all(c, run, BROADCAST + 16 * (uint32_t)call.peer, call.to, call.bytes);
        } else
            run.messages.push_back({false, call.peer, BROADCAST + 16 * (uint32_t)call.peer, call.to, call.bytes, 0});
        break;
    case MESSAGE:
        run.messages.push_back({call.to == nullptr, call.peer, MESSAGE, call.to ? call.to : const_cast<char *>(call.from),
                                call.bytes, 0});
        break;
    }
}

/* Neither in the order of the ranks nor in that of the tree: sums in the library's own order are not to be relied
 * on. */
void end_run(ncclComm_t c, Run &run) {
    size_t first = 0;
    for (const Call &call : run.calls) {
        if (call.kind != REDUCE) continue;
        float *to = (float *)call.to;
        for (size_t i = 0; i < call.bytes / sizeof(float); i++) {
            float sum = 0;
            for (int r = c->size; r-- > 0;) sum += ((const float *)run.parts[first + (size_t)r].data())[i];
            to[i] = sum;
        }
        first += (size_t)c->size;
    }
}

bool wants_failure(ncclComm_t c) {
    const char *text = getenv("EMOCLIM_CUEMU_NCCL_FAIL");
    int rank = -1;
    unsigned long long number = 0;
    return text && sscanf(text, "%d:%llu", &rank, &number) == 2 && rank == c->rank && number == c->runs;
}

std::function<bool()> begin_run(ncclComm_t c, const std::vector<Call> &calls) {
    auto run = std::make_shared<Run>();
    c->runs++;
    if (wants_failure(c)) fail_with(c, ncclSystemError, "a connection was lost (asked for by EMOCLIM_CUEMU_NCCL_FAIL)");
    run->calls = calls;
    run->parts.reserve(calls.size() * (size_t)c->size);
    for (const Call &call : calls) begin_call(c, *run, call);
    return [c, run] {
        if (c->state == State::aborted) return true;
        if (c->state == State::failed || !move(c, run->messages)) return false;
        end_run(c, *run);
        return true;
    };
}

ncclResult_t take(ncclComm_t c) {
    const std::vector<Call> calls = std::move(c->group);
    c->group.clear();
    c->streams.insert(c->stream);
    const std::shared_ptr<int> work = c->work;
    if (enqueue_attempts(c->stream, "an NCCL collective", [c, calls, work] { return begin_run(c, calls); }) != cudaSuccess)
        return fail_with(c, ncclUnhandledCudaError, "the work could not be enqueued");
    c->state = State::ready;
    return ncclSuccess;
}

/* Outside groups, and at their end: the work is taken later. */
ncclResult_t launch(ncclComm_t c) {
    if (!c || c->group.empty()) return ncclSuccess;
    c->state = State::launching;
    c->polls = POLLS;
    return ncclInProgress;
}

ncclResult_t add(ncclComm_t c, cudaStream_t stream, const Call &call, size_t from_bytes, size_t to_bytes) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    if (c->state != State::ready) return fail_with(c, ncclInvalidUsage, "a call before the last one has settled");
    if (call.from && !is_device(call.from, from_bytes)) fail("NCCL is to read memory that is not the device's");
    if (call.to && !is_device(call.to, to_bytes)) fail("NCCL is to write memory that is not the device's");
    if (!c->group.empty() && c->stream != stream) fail("a group on several streams is not emulated");
    c->stream = stream;
    c->group.push_back(call);
    if (group_depth == 0) return launch(c);
    group_comm = c;
    return ncclSuccess;
}

size_t bytes_of(size_t count, ncclDataType_t type) { return count * (type == ncclFloat32 ? 4 : 1); }

/* All here, and each on a device of its own? */
ncclResult_t poll_start(ncclComm_t c) {
    for (int r = 0; r < c->size; r++)
        if (!c->shared->attached[r].load()) return ncclInProgress;
    for (int a = 0; a < c->size; a++)
        for (int b = 0; b < a; b++)
            if (strcmp(c->shared->seat[a], c->shared->seat[b]) == 0)
                return fail_with(c, ncclInvalidUsage, "Duplicate GPU detected");
    c->state = State::ready;
    return ncclSuccess;
}

/* Goes on with what was enqueued; success when nothing is left. */
ncclResult_t poll_finish(ncclComm_t c) {
    for (cudaStream_t stream : c->streams)
        if (cudaStreamQuery(stream) == cudaErrorNotReady) return ncclInProgress;
    if (c->work.use_count() > 1)
        fail("an NCCL communicator ends before the graphs that use it, for whose end NCCL would wait for ever");
    c->state = State::ready;
    return ncclSuccess;
}

void sit_down(Shared *shared, int rank) {
    char host[128] = "", bus[32] = "";
    int device = 0;
    const char *name = getenv("NCCL_HOSTID");
    gethostname(host, sizeof host - 1);
    cudaGetDevice(&device);
    cudaDeviceGetPCIBusId(bus, sizeof bus, device);
    snprintf(shared->seat[rank], sizeof shared->seat[rank], "%s %s", name ? name : host, bus);
    shared->attached[rank].store(1);
}

} // namespace

extern "C" ncclResult_t ncclGetVersion(int *version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

extern "C" ncclResult_t ncclGetUniqueId(ncclUniqueId *out) {
    Id id = {getpid(), memfd_create("cuemu-nccl", MFD_CLOEXEC)};
    if (id.fd < 0 || ftruncate(id.fd, sizeof(Shared)) != 0) return ncclSystemError;
    memset(out, 0, sizeof *out);
    memcpy(out->internal, &id, sizeof id);
    return ncclSuccess;
}

extern "C" ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int size, ncclUniqueId id_bytes, int rank,
                                               ncclConfig_t *config) {
    Id id;
    char path[64];
    if (!config || config->blocking != 0) fail("an NCCL communicator that blocks is not emulated");
    if (size < 1 || size > MOST_RANKS || rank < 0 || rank >= size) return ncclInvalidArgument;
    memcpy(&id, id_bytes.internal, sizeof id);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)id.pid, id.fd);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    void *memory = fd < 0 ? MAP_FAILED : mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (memory == MAP_FAILED) return ncclSystemError;
    ncclComm_t c = new ncclComm;
    c->rank = rank;
    c->size = size;
    c->shared = (Shared *)memory;
    sit_down(c->shared, rank);
    *out = c;
    return ncclInProgress;
}

extern "C" ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *error) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    *error = ncclSuccess;
    switch (c->state) {
    case State::starting: *error = poll_start(c); break;
    case State::launching: *error = --c->polls > 0 ? ncclInProgress : take(c); break;
    case State::finishing: *error = poll_finish(c); break;
    case State::failed: *error = c->error; break;
    case State::ready:
    case State::aborted: break;
    }
    return ncclSuccess;
}

extern "C" ncclResult_t ncclCommFinalize(ncclComm_t c) {
    if (c->state != State::ready) return ncclInvalidUsage;
    c->state = State::finishing;
    return ncclInProgress;
}

extern "C" ncclResult_t ncclCommDestroy(ncclComm_t c) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    munmap(c->shared, sizeof(Shared));
    delete c;
    return ncclSuccess;
}

/* What is still enqueued ends without having been done. */
extern "C" ncclResult_t ncclCommAbort(ncclComm_t c) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    c->state = State::aborted;
    for (cudaStream_t stream : c->streams) cudaStreamSynchronize(stream);
    return ncclCommDestroy(c);
}

extern "C" const char *ncclGetErrorString(ncclResult_t result) {
    static const char *const text[ncclNumResults] = {"no error", "unhandled cuda error", "unhandled system error",
                                                     "internal error", "invalid argument", "invalid usage",
                                                     "remote process exited or there was a network error",
                                                     "NCCL operation in progress"};
    return (unsigned)result < ncclNumResults ? text[result] : "unknown result code";
}

extern "C" const char *ncclGetLastError(ncclComm_t c) { return c ? c->text : ""; }

extern "C" ncclResult_t ncclGroupStart(void) {
    group_depth++;
    return ncclSuccess;
}

extern "C" ncclResult_t ncclGroupEnd(void) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    if (group_depth == 0) return ncclInvalidUsage;
    if (--group_depth > 0) return ncclSuccess;
    const ncclComm_t c = group_comm;
    group_comm = nullptr;
    return launch(c);
}

extern "C" ncclResult_t ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t c,
                                      cudaStream_t stream) {
    const size_t bytes = bytes_of(count, type);
    return add(c, stream, {GATHER, (const char *)from, (char *)to, bytes, 0}, bytes, bytes * (size_t)c->size);
}

extern "C" ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                                      ncclComm_t c, cudaStream_t stream) {
    const size_t bytes = bytes_of(count, type);
    if (type != ncclFloat32 || op != ncclSum) fail("ncclAllReduce is emulated for sums of float32 only");
    return add(c, stream, {REDUCE, (const char *)from, (char *)to, bytes, 0}, bytes, bytes);
}

extern "C" ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t c,
                                      cudaStream_t stream) {
    const size_t bytes = bytes_of(count, type);
    return add(c, stream, {BROADCAST, (const char *)from, (char *)to, bytes, root}, c->rank == root ? bytes : 0, bytes);
}

extern "C" ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t c,
                                 cudaStream_t stream) {
    const size_t bytes = bytes_of(count, type);
    return add(c, stream, {MESSAGE, (const char *)from, nullptr, bytes, peer}, bytes, 0);
}

extern "C" ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t c, cudaStream_t stream) {
    const size_t bytes = bytes_of(count, type);
    return add(c, stream, {MESSAGE, nullptr, (char *)to, bytes, peer}, 0, bytes);
}
