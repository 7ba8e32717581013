#include "context.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/* ThreadSanitizer's view of fibers; these two files themselves are compiled without it, so the macro is ours. */
#if defined(CUEMU_TSAN)
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *at);
void __tsan_release(void *at);
}
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuemu {

/* A context that is left for good leaves the marks of its last frames on the stack: they lie at its top. */
static void forget_frames(Context &context) {
    context.fake_stack = nullptr;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(context.stack + context.stack_bytes - 4096, 4096);
#endif
}

#if defined(__x86_64__)
/* A function call that returns on another stack: what the callee must preserve is pushed, the stack pointers are
 * exchanged, and the other's registers are popped. swapcontext would ask the kernel for the signal mask every time, and
 * kernels switch once a thread and barrier. */
extern "C" void cuemu_switch_stacks(void **save, void *restore);
asm(".text\n"
    ".globl cuemu_switch_stacks\n"
    ".hidden cuemu_switch_stacks\n"
    ".type cuemu_switch_stacks,@function\n"
    "cuemu_switch_stacks:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size cuemu_switch_stacks,.-cuemu_switch_stacks\n");

void context_begin(Context &context, void (*entry)()) {
    forget_frames(context);
    /* As a call would find it: the stack is 8 below a multiple of 16 where a function begins. */
    uintptr_t top = (uintptr_t)(context.stack + context.stack_bytes) & ~(uintptr_t)15;
    void **at = (void **)(top - 16);
    *at = (void *)entry;
    for (int i = 1; i <= 6; i++) at[-i] = nullptr;
    context.stopped = at - 6;
}

static void exchange(Context &from, Context &to) { cuemu_switch_stacks(&from.stopped, to.stopped); }
#else
void context_begin(Context &context, void (*entry)()) {
    forget_frames(context);
    if (!context.stopped) context.stopped = new ucontext_t;
    ucontext_t *u = (ucontext_t *)context.stopped;
    getcontext(u);
    u->uc_stack.ss_sp = context.stack;
    u->uc_stack.ss_size = context.stack_bytes;
    u->uc_link = nullptr;
    makecontext(u, entry, 0);
}

static void exchange(Context &from, Context &to) {
    if (!from.stopped) from.stopped = new ucontext_t;
    swapcontext((ucontext_t *)from.stopped, (ucontext_t *)to.stopped);
}
#endif

void context_new(Context &context, size_t stack_bytes) {
    const size_t page = 4096; /* the lowest page stays closed: a stack that overflows stops there */
    void *memory = mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) {
        perror("cuemu: no memory for the stack of a thread");
        abort();
    }
    /* Stacks that all began at the same place of a page would share few lines of the processor's caches. */
    static unsigned made;
    context.stack = (char *)memory + page;
    context.stack_bytes = stack_bytes - made++ % 16 * 256;
#if defined(CUEMU_TSAN)
    context.tsan_fiber = __tsan_create_fiber(0);
#endif
}

void context_switch(Context &from, Context &to, bool last) {
    (void)last;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
#if defined(CUEMU_TSAN)
    if (!from.stack) from.tsan_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to.tsan_fiber, 1); /* 1: one after the other is not yet one because of the other */
#endif
    exchange(from, to);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

#if defined(CUEMU_TSAN)
void publish(void *at) { __tsan_release(at); }
void observe(void *at) { __tsan_acquire(at); }
#endif

void context_entered(Context &from, Context &self) {
    (void)from, (void)self;
#if defined(__SANITIZE_ADDRESS__)
    const void *stack = nullptr;
    __sanitizer_finish_switch_fiber(self.fake_stack, &stack, &from.stack_bytes);
    from.stack = (char *)const_cast<void *>(stack);
#endif
}

} // namespace cuemu
