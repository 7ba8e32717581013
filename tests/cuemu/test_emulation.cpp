/* Does the emulation find mistakes? Each case plants one and runs in a process of its own, with several seeds; beside
 * it runs the same without the mistake. */
#include <cstdio>
#include <cstdlib>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "test_products.h"

namespace {

const unsigned seeds[] = {0, 1, 2, 3, 4, 5};
enum { COUNT = 1000, RIGHT = 0, WRONG = 9, RACE = 66 /* ThreadSanitizer's */ };

cudaStream_t first, second;

#define OK(call)                                                                 \
    do {                                                                         \
        const cudaError_t e_ = (call);                                           \
        if (e_ != cudaSuccess) {                                                 \
            fprintf(stderr, "%s: %s\n", #call, cudaGetErrorName(e_));            \
            _exit(3);                                                            \
        }                                                                        \
    } while (0)

template <class... P, class... A> void go(cudaStream_t s, void (*kernel)(P...), unsigned grid, unsigned block, A... a) {
    OK(cuemu::launch("a kernel under test", kernel, dim3(grid), dim3(block), 0, s, a...));
}

float *device(size_t count) {
    float *p;
    OK(cudaMalloc(&p, count * sizeof(float)));
    return p;
}

int same(const float *memory, size_t count, float wanted) {
    float *host = new float[count];
    OK(cudaMemcpyAsync(host, memory, count * sizeof(float), cudaMemcpyDeviceToHost, first));
    OK(cudaStreamSynchronize(first));
    for (size_t i = 0; i < count; i++)
        if (host[i] != wanted) return WRONG;
    return RIGHT;
}

void fill(float *p, int n, float v) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) p[i] = v;
}

void add_one(float *p, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) p[i] += 1.f;
}

/* Sums of 256 ones, by a tree in shared memory. */
void tree(float *out, bool barrier_before, bool barrier_within) {
    __shared__ float part[256];
    const unsigned t = threadIdx.x;
    part[t] = 1.f;
    if (barrier_before) __syncthreads();
    for (unsigned half = 128; half > 0; half /= 2) {
        if (t < half) part[t] += part[t + half];
        if (barrier_within) __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = part[0];
    __syncthreads();
    part[t] = -1000.f; /* for the next block to find */
}

int tree_with(bool before, bool within) {
    float *out = device(3);
    go(first, tree, 3, 256, out, before, within);
    return same(out, 3, 256.f);
}
int right_tree() { return tree_with(true, true); }
int no_first_barrier() { return tree_with(false, true); }
int no_inner_barrier() { return tree_with(true, false); }

void warp_sum(float *out, unsigned mask, int lanes) {
    const int lane = threadIdx.x % 32;
    float v = 1.f;
    if (lane < lanes)
        for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(mask, v, d);
    out[threadIdx.x] = v;
}
int right_warp() {
    float *out = device(96);
    go(first, warp_sum, 1, 96, out, 0xffffffffu, 32);
    return same(out, 96, 32.f);
}
int lanes_left_out() { /* half of the lanes end without taking part */
    go(first, warp_sum, 1, 32, device(32), 0xffffffffu, 16);
    return (int)cudaStreamSynchronize(first);
}
int mask_without_me() {
    go(first, warp_sum, 1, 32, device(32), 0xffffu, 32);
    return (int)cudaStreamSynchronize(first);
}

void barrier_for_some(int threads) {
    if ((int)threadIdx.x < threads) __syncthreads();
}
int barrier_not_reached() {
    go(first, barrier_for_some, 1, 64, 40);
    return (int)cudaStreamSynchronize(first);
}
int barrier_reached() {
    go(first, barrier_for_some, 1, 64, 64);
    return (int)cudaStreamSynchronize(first);
}

int within_bounds() {
    float *p = device(COUNT);
    go(first, fill, 4, 256, p, COUNT, 1.f);
    return same(p, COUNT, 1.f);
}
int far_out_of_bounds() {
    go(first, fill, 40, 256, device(COUNT), 10000, 1.f);
    return (int)cudaStreamSynchronize(first);
}
int one_out_of_bounds() {
    go(first, fill, 4, 256, device(COUNT), COUNT + 1, 1.f);
    return (int)cudaStreamSynchronize(first);
}
int uninitialised() {
    float *p = device(COUNT);
    go(first, add_one, 4, 256, p, COUNT);
    return same(p, COUNT, 1.f);
}
int touched_by_host() {
    float *p = device(COUNT);
    go(first, fill, 4, 256, p, COUNT, 1.f);
    OK(cudaStreamSynchronize(first));
    return p[3] == 1.f ? RIGHT : WRONG;
}
int used_after_free() {
    float *p = device(COUNT);
    OK(cudaFree(p));
    go(first, fill, 4, 256, p, COUNT, 1.f);
    return (int)cudaStreamSynchronize(first);
}

/* One stream writes, another reads. */
int two_streams(bool wait) {
    float *p = device(COUNT);
    cudaEvent_t event;
    OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    OK(cudaMemsetAsync(p, 0, COUNT * sizeof(float), first));
    OK(cudaStreamSynchronize(first));
    for (int i = 0; i < 4; i++) {
        go(second, add_one, 4, 256, p, COUNT);
        OK(cudaEventRecord(event, second));
        if (wait) OK(cudaStreamWaitEvent(first, event, 0));
        go(first, add_one, 4, 256, p, COUNT);
        OK(cudaEventRecord(event, first));
        OK(cudaStreamWaitEvent(second, event, 0));
    }
    return same(p, COUNT, 8.f);
}
int waits() { return two_streams(true); }
int no_wait() { return two_streams(false); }

/* A host buffer that is written again while the copy from it is on its way. */
int reused(bool pinned, bool wait) {
    float *host, *p = device(COUNT);
    if (pinned) OK(cudaMallocHost(&host, COUNT * sizeof(float)));
    else host = new float[COUNT];
    for (int i = 0; i < COUNT; i++) host[i] = 1.f;
    OK(cudaMemcpyAsync(p, host, COUNT * sizeof(float), cudaMemcpyHostToDevice, first));
    if (wait) OK(cudaStreamSynchronize(first));
    for (int i = 0; i < COUNT; i++) host[i] = 2.f;
    return same(p, COUNT, 1.f);
}
int pageable_reused() { return reused(false, false); }
int pinned_reused() { return reused(true, false); }
int pinned_reused_late() { return reused(true, true); }

/* What was copied back is looked at too early. */
int read_early() {
    float *host, *p = device(COUNT);
    OK(cudaMallocHost(&host, COUNT * sizeof(float)));
    go(first, fill, 4, 256, p, COUNT, 5.f);
    OK(cudaMemcpyAsync(host, p, COUNT * sizeof(float), cudaMemcpyDeviceToHost, first));
    return host[COUNT - 1] == 5.f ? RIGHT : WRONG;
}

/* Of the recording below, while it is under way: who was made behind whom. */
bool edges_are_right(bool join) {
    cudaStreamCaptureStatus status;
    cudaGraph_t graph = nullptr;
    cudaGraphNode_t node[5], from[5], to[5];
    size_t nodes = 5, edges = 5;
    cudaStreamGetCaptureInfo(first, &status, nullptr, &graph);
    if (status != cudaStreamCaptureStatusActive) return false;
    if (cudaGraphGetNodes(graph, node, &nodes) != cudaSuccess || nodes != 4) return false;
    if (cudaGraphGetEdges(graph, from, to, nullptr, &edges) != cudaSuccess || edges != (join ? 4u : 3u)) return false;
    const int wanted[][2] = {{0, 1}, {1, 2}, {0, 3}, {2, 3}};
    for (size_t e = 0; e < edges; e++)
        if (from[e] != node[wanted[e][0]] || to[e] != node[wanted[e][1]]) return false;
    nodes = 0;
    return cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess && nodes == 4;
}

int record(bool join, bool allocate) {
    cudaGraph_t graph;
    cudaGraphExec_t run;
    cudaEvent_t event;
    float *p = device(COUNT), *q = device(COUNT);
    OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    OK(cudaStreamBeginCapture(first, cudaStreamCaptureModeThreadLocal));
    go(first, fill, 4, 256, p, COUNT, 1.f);
    OK(cudaEventRecord(event, first));
    OK(cudaStreamWaitEvent(second, event, 0));
    go(second, fill, 4, 256, q, COUNT, 2.f);
    go(second, add_one, 4, 256, p, COUNT);
    OK(cudaEventRecord(event, second));
    if (join) OK(cudaStreamWaitEvent(first, event, 0));
    go(first, add_one, 4, 256, q, join ? COUNT : 0);
    if (!edges_are_right(join)) return WRONG;
    if (allocate && cudaMalloc(&p, 4) != cudaErrorStreamCaptureUnsupported) return WRONG;
    if (cudaStreamSynchronize(first) != cudaErrorStreamCaptureUnsupported) return WRONG;
    if (cudaStreamEndCapture(first, &graph) != cudaSuccess) return WRONG;
    OK(cudaGraphInstantiate(&run, graph, 0));
    OK(cudaGraphDestroy(graph));
    for (int i = 0; i < 2; i++) {
        OK(cudaGraphLaunch(run, first));
        if (same(p, COUNT, 2.f) != RIGHT || same(q, COUNT, 3.f) != RIGHT) return WRONG;
    }
    OK(cudaGraphExecDestroy(run));
    return RIGHT;
}
int recorded() { return record(true, true); }
int recorded_unjoined() { return record(false, false); }

int refused_launches() {
    float *p = device(1);
    if (cuemu::launch("too many threads", fill, dim3(1), dim3(1025), 0, first, p, 1, 1.f) != cudaErrorInvalidConfiguration)
        return WRONG;
    if (cuemu::launch("no block", fill, dim3(0), dim3(1), 0, first, p, 1, 1.f) != cudaErrorInvalidConfiguration) return WRONG;
    if (cuemu::launch("much shared memory", fill, dim3(1), dim3(1), 49153, first, p, 1, 1.f) == cudaSuccess) return WRONG;
    OK(cudaFuncSetAttribute((const void *)fill, cudaFuncAttributeMaxDynamicSharedMemorySize, 49153));
    return cuemu::launch("allowed", fill, dim3(1), dim3(1), 49153, first, p, 1, 1.f) == cudaSuccess ? RIGHT : WRONG;
}

int default_stream() {
    go(nullptr, fill, 1, 1, device(1), 1, 1.f);
    return RIGHT;
}

/* Every bfloat16 and half is a float and back; what lies between rounds to nearest, ties to even. */
int small_types() {
    for (unsigned i = 0; i < 0x10000; i++) {
        const __nv_bfloat16 b = __ushort_as_bfloat16((unsigned short)i);
        if (!std::isnan((float)b) && __nv_bfloat16((float)b).bits != i) return WRONG;
        __half h;
        h.bits = (unsigned short)i;
        if (!std::isnan((float)h) && __half((float)h).bits != i) return WRONG;
    }
    const bool ok = (float)__nv_bfloat16(1.00390625f) == 1.f && (float)__nv_bfloat16(1.01171875f) == 1.015625f &&
                    (float)__half(1.00048828125f) == 1.f && (float)__half(1.00146484375f) == 1.001953125f &&
                    (float)__half(65520.f) == INFINITY && (float)__half(65519.f) == 65504.f &&
                    (float)__half(0x1.8p-24f) == 0x1p-23f && (float)__half(0x1p-25f) == 0.f;
    return ok ? RIGHT : WRONG;
}

/* A kernel of arrival barriers, bulk copies and products of warpgroups. */
template <Mistake M> int products() { return products_are_right(first, M) ? RIGHT : WRONG; }

struct Case {
    const char *name;
    int (*run)();
    bool mistake;        /* some seed must show it */
    const char *message; /* by dying with this text; NULL: by a wrong result */
};

const Case cases[] = {
    {"a tree of sums", right_tree, false, nullptr},
    {"a tree without its first barrier", no_first_barrier, true, nullptr},
    {"a tree without inner barriers", no_inner_barrier, true, nullptr},
    {"sums of warps", right_warp, false, nullptr},
    {"a shuffle that lanes do not come to", lanes_left_out, true, "has ended"},
    {"a shuffle whose mask leaves the caller out", mask_without_me, true, "leaves it out"},
    {"a barrier for all", barrier_reached, false, nullptr},
    {"a barrier for some", barrier_not_reached, true, "never reached"},
    {"within bounds", within_bounds, false, nullptr},
    {"far out of bounds", far_out_of_bounds, true, ""},
    {"one out of bounds", one_out_of_bounds, true, ""},
    {"memory that nobody wrote", uninitialised, true, nullptr},
    {"device memory read by the host", touched_by_host, true, "the host touched device memory"},
    {"memory after it was freed", used_after_free, true, "after it was freed"},
    {"two streams and events", waits, false, nullptr},
    {"two streams without a wait", no_wait, true, nullptr},
    {"pageable memory used again", pageable_reused, false, nullptr},
    {"pinned memory used again early", pinned_reused, true, nullptr},
    {"pinned memory used again late", pinned_reused_late, false, nullptr},
    {"a result read early", read_early, true, nullptr},
    {"a recording", recorded, false, nullptr},
    {"a recording that leaves a stream", recorded_unjoined, true, nullptr},
    {"launches that are refused", refused_launches, false, nullptr},
    {"the default stream", default_stream, true, "default stream"},
    {"small types", small_types, false, nullptr},
    {"products of a warpgroup", products<Mistake::none>, false, nullptr},
    {"arrival barriers that nobody made", products<Mistake::not_made>, true, "was not made"},
    {"arrival barriers without a fence", products<Mistake::no_fence_barrier>, true, "without a fence"},
    {"arrival barriers used before they are made", products<Mistake::no_block_barrier>, true, "was not made"},
    {"an arrival too many", products<Mistake::arrives_twice>, true, "arrival"},
    {"one warp that arrives for all", products<Mistake::one_warp_for_all>, true, "arrival"},
    {"a wait for the other parity", products<Mistake::wrong_parity>, true, "arrival"},
    {"a stage read before it is full", products<Mistake::no_wait_full>, true, "arrival"},
    {"a stage filled before it is empty", products<Mistake::no_wait_empty>, true, "arrival"},
    {"fewer bytes announced than come", products<Mistake::fewer_bytes>, true, ""},
    {"more bytes announced than come", products<Mistake::more_bytes>, true, "never come"},
    {"a bulk copy that is not aligned", products<Mistake::misaligned_copy>, true, "not aligned"},
    {"panels that are not aligned", products<Mistake::misaligned_panels>, true, nullptr},
    {"products without a fence", products<Mistake::no_fence_product>, true, "without wgmma.fence"},
    {"a stage given back while it is read", products<Mistake::empty_before_wait>, true, nullptr},
    {"a wait that leaves a group too many", products<Mistake::waits_for_less>, true, nullptr},
    {"sums read before products have ended", products<Mistake::reads_early>, true, nullptr},
    {"words reused while products read them", products<Mistake::words_reused>, true, nullptr},
    {"products that nobody waits for", products<Mistake::never_waits>, true, ""},
    {"a descriptor half a step on", products<Mistake::wrong_step>, true, nullptr},
    {"a descriptor of another stride", products<Mistake::wrong_stride>, true, nullptr},
    {"another stride of columns", products<Mistake::wrong_stride_down>, true, nullptr},
};

/* What became of a case in a process of its own; its messages are in text. */
int run_alone(const Case &c, unsigned seed, std::string &text) {
    int ends[2], status = 0;
    if (pipe(ends) != 0) return -1;
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        setenv("EMOCLIM_CUEMU_SEED", std::to_string(seed).c_str(), 1);
        OK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
        OK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
        _exit(c.run());
    }
    close(ends[1]);
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, (size_t)n);
    close(ends[0]);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool check(const Case &c) {
    int shown = 0, failed = 0;
    std::string text;
    for (unsigned seed : seeds) {
        text.clear();
        const int outcome = run_alone(c, seed, text);
        const bool died = outcome != RIGHT && outcome != WRONG && text.find(c.message ? c.message : "") != std::string::npos;
        shown += c.message ? died : outcome == WRONG || outcome == RACE;
        failed += outcome != RIGHT;
    }
    const bool good = c.mistake ? shown > 0 : failed == 0;
    printf("%-45s %s", c.name, good ? "as it must be" : "NOT AS IT MUST BE");
    if (c.mistake) printf(" (found by %d of %zu seeds)", shown, sizeof seeds / sizeof seeds[0]);
    printf("\n");
    if (!good) printf("%s\n", text.c_str());
    fflush(stdout);
    return good;
}

} // namespace

int main() {
    int bad = 0;
    for (const Case &c : cases) bad += !check(c);
    return bad > 0;
}
