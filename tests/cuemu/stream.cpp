/* Streams, events and graphs.
 *
 * A stream is a queue of operations. Nothing runs before the host waits for something; then operations run one after
 * another, each the oldest of its stream, chosen by the seed among those that wait for no event: with seed 0 only what
 * the wanted one needs, else any. */
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>

#include <unistd.h>

#include "internal.h"

namespace cuemu {

/* What runs until it answers true, and what makes one of these for every run. */
using Attempt = std::function<bool()>;
using Work = std::function<Attempt()>;
using Clock = std::chrono::steady_clock;

} // namespace cuemu

using namespace cuemu;

struct CUgraphNode_st {
    const char *what;
    Work work;
    std::set<size_t> after;
};

struct CUgraph_st {
    std::deque<CUgraphNode_st> nodes; /* in the order of their making; they stay where they are */
};

namespace cuemu {

using Node = CUgraphNode_st;

/* What is being recorded, by one thread. */
struct Capture {
    std::unique_ptr<CUgraph_st> graph = std::make_unique<CUgraph_st>();
    std::set<CUstream_st *> streams; /* that have joined */
    bool ended = false;
};

struct EventState {
    uint64_t recorded = 0, completed = 0; /* how many records were enqueued, and have run */
    Clock::time_point time;
    std::shared_ptr<Capture> capture; /* set: the last record is part of a recording */
    std::set<size_t> after;           /* its place there */
};

struct Operation {
    const char *what;
    Work work;
    std::shared_ptr<EventState> wait; /* set: waits until version is completed */
    uint64_t version;
    const EventState *record; /* set: this is the record of that event */
    Attempt attempt = nullptr; /* set: it has begun */
};

} // namespace cuemu

struct CUstream_st {
    std::deque<Operation> queue;
    std::shared_ptr<Capture> capture; /* set: recorded instead of enqueued */
    std::set<size_t> after;           /* nodes that the next one comes after */
    bool origin = false;              /* the recording was begun here */
};

struct CUevent_st {
    std::shared_ptr<EventState> state = std::make_shared<EventState>();
    bool timing;
};

struct CUgraphExec_st {
    std::shared_ptr<std::vector<Node>> nodes;
};

namespace cuemu {
namespace {

std::vector<CUstream_st *> streams; /* in the order of their making */
const char *running_what;
uint64_t run_count;
thread_local int captures; /* begun by this thread and not ended */

bool known(cudaStream_t stream) {
    for (CUstream_st *s : streams)
        if (s == stream) return true;
    return false;
}

bool ready(const CUstream_st *s) {
    if (s->queue.empty()) return false;
    const Operation &o = s->queue.front();
    return !o.wait || o.wait->completed >= o.version;
}

bool try_work(const char *what, const Work &work, Attempt &attempt) {
    const char *outer = running_what;
    running_what = what;
    if (!attempt) attempt = work();
    const bool done = attempt();
    running_what = outer;
    if (done) run_count++;
    return done;
}

/* False: it has to be tried again. */
bool run_oldest(CUstream_st *s) {
    Operation &o = s->queue.front();
    if (o.work && !try_work(o.what, o.work, o.attempt)) return false;
    s->queue.pop_front();
    return true;
}

/* Streams whose oldest operation can run, in random order. */
std::vector<CUstream_st *> all_ready() {
    std::vector<CUstream_st *> able;
    for (CUstream_st *s : streams)
        if (ready(s)) able.push_back(s);
    for (size_t i = able.size(); i > 1; i--) std::swap(able[i - 1], able[random_below((unsigned)i)]);
    return able;
}

/* The stream that must go on before this one can: itself, or the one that it waits for. */
CUstream_st *needed_by(CUstream_st *s) {
    for (size_t hops = 0; !ready(s); hops++) {
        if (s->queue.empty() || hops > streams.size()) return nullptr;
        const std::shared_ptr<EventState> event = s->queue.front().wait;
        CUstream_st *next = nullptr;
        for (CUstream_st *other : streams)
            for (const Operation &o : other->queue)
                if (o.record == event.get()) next = other;
        if (!next) return nullptr;
        s = next;
    }
    return s;
}

/* Runs one operation; false: all that could run wait for other processes. */
bool step(CUstream_st *wanted) {
    CUstream_st *first = seed() == 0 && wanted ? needed_by(wanted) : nullptr;
    if (first && run_oldest(first)) return true;
    const std::vector<CUstream_st *> able = all_ready();
    if (able.empty()) fail("streams wait for each other for ever");
    for (CUstream_st *s : able)
        if (s != first && run_oldest(s)) return true;
    return false;
}

/* patient: waits for other processes; else gives up when there is nothing but that to do. */
template <class F> void run_until(CUstream_st *wanted, bool patient, F &&done) {
    if (done()) return;
    open_memory();
    while (!done()) {
        if (step(wanted)) continue;
        if (!patient) break;
        usleep(100);
    }
    check_memory();
    close_memory();
}

Operation record_of(const std::shared_ptr<EventState> &event, uint64_t version) {
    const Work work = [event, version] {
        return [event, version] {
            event->completed = version;
            event->time = Clock::now();
            return true;
        };
    };
    return {"a record of an event", work, nullptr, version, event.get()};
}

/* A graph while it runs. */
struct GraphRun {
    std::shared_ptr<std::vector<Node>> nodes;
    std::vector<std::vector<size_t>> followers;
    std::vector<size_t> missing; /* nodes that must run before this one */
    std::vector<Attempt> attempts;
    std::vector<size_t> able;
};

/* Runs a node; false: all that could run wait for other processes. With seed 0 the oldest that can, else any. */
bool step_graph(GraphRun &g) {
    for (size_t i = 0; i < g.able.size(); i++) {
        if (seed() != 0) std::swap(g.able[i], g.able[i + random_below((unsigned)(g.able.size() - i))]);
        const size_t n = g.able[i];
        const Node &node = (*g.nodes)[n];
        if (node.work && !try_work(node.what, node.work, g.attempts[n])) continue;
        g.able.erase(g.able.begin() + (long)i);
        for (size_t f : g.followers[n])
            if (--g.missing[f] == 0) g.able.push_back(f);
        return true;
    }
    return false;
}

Attempt begin_graph(const std::shared_ptr<std::vector<Node>> &nodes) {
    const size_t n = nodes->size();
    auto g = std::make_shared<GraphRun>();
    g->nodes = nodes;
    g->followers.resize(n);
    g->attempts.resize(n);
    for (size_t i = 0; i < n; i++) {
        const std::set<size_t> &after = (*nodes)[i].after;
        g->missing.push_back(after.size());
        for (size_t a : after) g->followers[a].push_back(i);
        if (after.empty()) g->able.push_back(i);
    }
    return [g] {
        while (!g->able.empty())
            if (!step_graph(*g)) return false;
        return true;
    };
}

} // namespace

const char *running() { return running_what; }
bool recording() { return captures > 0; }
uint64_t operations_run() { return run_count; }

void drain_all() {
    run_until(nullptr, true, [] {
        for (CUstream_st *s : streams)
            if (!s->queue.empty()) return false;
        return true;
    });
}

cudaError_t enqueue(cudaStream_t stream, const char *what, std::function<void()> work) {
    return enqueue_attempts(stream, what, [work = std::move(work)] {
        return [work] {
            work();
            return true;
        };
    });
}

cudaError_t enqueue_attempts(cudaStream_t stream, const char *what, std::function<std::function<bool()>()> work) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    /* The default stream orders itself after others in ways that nothing here should lean on. */
    if (!stream) fail("%s on the default stream: name one", what);
    if (!known(stream)) return set_error(cudaErrorInvalidResourceHandle);
    if (!stream->capture) {
        stream->queue.push_back({what, std::move(work), nullptr, 0, nullptr});
        return cudaSuccess;
    }
    std::deque<Node> &nodes = stream->capture->graph->nodes;
    nodes.push_back({what, std::move(work), stream->after});
    stream->after = {nodes.size() - 1};
    return cudaSuccess;
}

} // namespace cuemu

/* For tests, which find it in the module. */
#define CUEMU_SHOWN __attribute__((visibility("default")))
#define LOCKED std::lock_guard<std::recursive_mutex> hold_(lock())
#define CHECK_STREAM(s) \
    if (!known(s)) return set_error(cudaErrorInvalidResourceHandle)

extern "C" cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
    LOCKED;
    if (device_count() <= 0) return set_error(cudaErrorNoDevice);
    if (flags != cudaStreamNonBlocking) fail("a stream that waits for the default stream is not emulated: cudaStreamNonBlocking");
    *out = new CUstream_st;
    streams.push_back(*out);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int) {
    return cudaStreamCreateWithFlags(out, flags);
}

extern "C" cudaError_t cudaStreamCreate(cudaStream_t *out) { return cudaStreamCreateWithFlags(out, 0); }

extern "C" cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    LOCKED;
    CHECK_STREAM(stream);
    if (stream->capture || recording()) return set_error(cudaErrorStreamCaptureUnsupported);
    run_until(stream, true, [=] { return stream->queue.empty(); });
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceSynchronize(void) {
    LOCKED;
    if (recording()) return set_error(cudaErrorStreamCaptureUnsupported);
    drain_all();
    return cudaSuccess;
}

/* A poll lets one operation run, so that polling comes to an end. */
extern "C" cudaError_t cudaStreamQuery(cudaStream_t stream) {
    LOCKED;
    CHECK_STREAM(stream);
    if (stream->capture) return set_error(cudaErrorStreamCaptureUnsupported);
    if (stream->queue.empty()) return cudaSuccess;
    const size_t before = run_count;
    run_until(stream, false, [=] { return run_count > before || stream->queue.empty(); });
    return stream->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

extern "C" cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    LOCKED;
    CHECK_STREAM(stream);
    run_until(stream, true, [=] { return stream->queue.empty(); });
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == stream) streams.erase(streams.begin() + (long)i);
    delete stream;
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    LOCKED;
    CHECK_STREAM(stream);
    if (!event) return set_error(cudaErrorInvalidResourceHandle);
    EventState &e = *event->state;
    if (e.capture && e.capture->ended) return set_error(cudaErrorCapturedEvent);
    if (e.capture) { /* the waiting stream joins the recording */
        if (stream->capture && stream->capture != e.capture) return set_error(cudaErrorStreamCaptureIsolation);
        if (!stream->capture) stream->after.clear();
        stream->capture = e.capture;
        e.capture->streams.insert(stream);
        stream->after.insert(e.after.begin(), e.after.end());
        return cudaSuccess;
    }
    if (stream->capture) return e.recorded ? set_error(cudaErrorStreamCaptureIsolation) : cudaSuccess;
    if (e.recorded) stream->queue.push_back({"a wait", nullptr, event->state, e.recorded, nullptr});
    return cudaSuccess;
}

extern "C" cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void *user_data) {
    return enqueue(stream, "a host function", [=] { fn(user_data); });
}

extern "C" cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
    LOCKED;
    if (device_count() <= 0) return set_error(cudaErrorNoDevice);
    *out = new CUevent_st;
    (*out)->timing = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventCreate(cudaEvent_t *out) { return cudaEventCreateWithFlags(out, 0); }

extern "C" cudaError_t cudaEventDestroy(cudaEvent_t event) {
    LOCKED;
    if (!event) return set_error(cudaErrorInvalidResourceHandle);
    delete event; /* what waits for it keeps its state */
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    LOCKED;
    CHECK_STREAM(stream);
    if (!event) return set_error(cudaErrorInvalidResourceHandle);
    EventState &e = *event->state;
    e.capture = stream->capture;
    e.after = stream->after;
    if (stream->capture) return cudaSuccess;
    stream->queue.push_back(record_of(event->state, ++e.recorded));
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    LOCKED;
    if (!event) return set_error(cudaErrorInvalidResourceHandle);
    const std::shared_ptr<EventState> e = event->state;
    if (e->capture || recording()) return set_error(cudaErrorStreamCaptureUnsupported);
    run_until(nullptr, true, [=] { return e->completed >= e->recorded; });
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventQuery(cudaEvent_t event) {
    LOCKED;
    if (!event) return set_error(cudaErrorInvalidResourceHandle);
    const std::shared_ptr<EventState> e = event->state;
    if (e->capture) return set_error(cudaErrorStreamCaptureUnsupported);
    const size_t before = run_count;
    run_until(nullptr, false, [=] { return e->completed >= e->recorded || run_count > before; });
    return e->completed >= e->recorded ? cudaSuccess : cudaErrorNotReady;
}

extern "C" cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
    LOCKED;
    if (!from || !to || !from->timing || !to->timing) return set_error(cudaErrorInvalidResourceHandle);
    const EventState &a = *from->state, &b = *to->state;
    if (a.completed < a.recorded || b.completed < b.recorded) return set_error(cudaErrorNotReady);
    *ms = std::chrono::duration<float, std::milli>(b.time - a.time).count();
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    LOCKED;
    CHECK_STREAM(stream);
    if (stream->capture) return set_error(cudaErrorStreamCaptureUnsupported);
    stream->capture = std::make_shared<Capture>();
    stream->capture->streams.insert(stream);
    stream->after.clear();
    stream->origin = true;
    captures++;
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out) {
    LOCKED;
    CHECK_STREAM(stream);
    if (!stream->capture || !stream->origin) return set_error(cudaErrorStreamCaptureUnmatched);
    const std::shared_ptr<Capture> capture = stream->capture;
    /* Everything recorded must come before where the first stream stands now. */
    std::set<size_t> reached = stream->after;
    const std::deque<Node> &nodes = capture->graph->nodes;
    for (size_t i = nodes.size(); i-- > 0;)
        if (reached.count(i)) reached.insert(nodes[i].after.begin(), nodes[i].after.end());
    for (CUstream_st *s : capture->streams) {
        s->capture = nullptr;
        s->after.clear();
    }
    stream->origin = false;
    capture->ended = true;
    captures--;
    *out = nullptr;
    if (reached.size() != nodes.size()) return set_error(cudaErrorStreamCaptureUnjoined);
    *out = capture->graph.release();
    return cudaSuccess;
}

/* The graph may be looked at while it is being recorded. */
extern "C" CUEMU_SHOWN cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus *status,
                                                            unsigned long long *id, cudaGraph_t *graph,
                                                            const cudaGraphNode_t **dependencies,
                                                            const cudaGraphEdgeData **data, size_t *count) {
    LOCKED;
    CHECK_STREAM(stream);
    if (id || dependencies || data || count) fail("of a recording its state and graph can be asked for, nothing else");
    *status = stream->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    if (graph && stream->capture) *graph = stream->capture->graph.get();
    return cudaSuccess;
}

/* nodes NULL: how many there are; else as many as *count says. */
extern "C" CUEMU_SHOWN cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
    LOCKED;
    if (!graph || !count) return set_error(cudaErrorInvalidValue);
    const size_t most = nodes ? *count : 0;
    for (size_t i = 0; i < most && i < graph->nodes.size(); i++) nodes[i] = &graph->nodes[i];
    if (!nodes || most > graph->nodes.size()) *count = graph->nodes.size();
    return cudaSuccess;
}

extern "C" CUEMU_SHOWN cudaError_t cudaGraphGetEdges(cudaGraph_t graph, cudaGraphNode_t *from, cudaGraphNode_t *to,
                                                     cudaGraphEdgeData *data, size_t *count) {
    LOCKED;
    if (!graph || !count || !from != !to) return set_error(cudaErrorInvalidValue);
    if (data) fail("edges have no data in the emulation");
    const size_t most = from ? *count : 0;
    size_t edges = 0;
    for (Node &node : graph->nodes)
        for (size_t a : node.after) {
            if (edges < most) from[edges] = &graph->nodes[a], to[edges] = &node;
            edges++;
        }
    if (!from || most > edges) *count = edges;
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *out) {
    LOCKED;
    CHECK_STREAM(stream);
    *out = stream->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long) {
    LOCKED;
    if (!graph) return set_error(cudaErrorInvalidValue);
    *out = new CUgraphExec_st{std::make_shared<std::vector<Node>>(graph->nodes.begin(), graph->nodes.end())};
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    LOCKED;
    if (!graph) return set_error(cudaErrorInvalidValue);
    const std::shared_ptr<std::vector<Node>> nodes = graph->nodes;
    return enqueue_attempts(stream, "a graph", [nodes] { return begin_graph(nodes); });
}

extern "C" cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    delete graph;
    return cudaSuccess;
}
