/* Switching between stacks. */
#ifndef CUEMU_CONTEXT_H
#define CUEMU_CONTEXT_H

#include <cstddef>

namespace cuemu {

/* A stack and where its program stopped; or the place of the one that started the others (stack NULL). */
struct Context {
    void *stopped = nullptr;
    char *stack = nullptr;
    size_t stack_bytes = 0;
    void *fake_stack = nullptr; /* AddressSanitizer's */
    void *tsan_fiber = nullptr; /* ThreadSanitizer's */
};

/* Gives a context a stack of its own, kept until the process ends. */
void context_new(Context &context, size_t stack_bytes);
/* Makes it begin anew with entry() at the next switch; entry must not return. */
void context_begin(Context &context, void (*entry)());
/* Leaves one for the other. last: what is left will begin anew before it is entered again. */
void context_switch(Context &from, Context &to, bool last);
/* To be called first by entry. */
void context_entered(Context &from, Context &self);

/* For ThreadSanitizer: what was done before publish(at) is known to those who observe(at) afterwards. */
#if defined(CUEMU_TSAN)
void publish(void *at);
void observe(void *at);
#else
inline void publish(void *) {}
inline void observe(void *) {}
#endif

} // namespace cuemu

#endif
