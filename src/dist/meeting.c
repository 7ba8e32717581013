#define _GNU_SOURCE
#include "dist/meeting.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>


/* The words are shared between processes, so these are not the _PRIVATE forms. */
static void sleep_while(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void wake_all(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Counters wrap around, ranks are never more than one meeting apart. */
static bool reached(uint32_t arrived, uint32_t now) { return (int32_t)(arrived - now) >= 0; }

static bool has_come(ec_seat *seat, uint32_t now) {
    return reached(atomic_load_explicit(&seat->arrived, memory_order_acquire), now);
}

static void wait_for(const ec_meeting *m, ec_seat *seat) {
    for (int32_t i = 0; i < m->spins; i++) {
        if (has_come(seat, m->now)) return;
        relax();
    }
    for (int32_t i = 0; i < m->yields; i++) {
        if (has_come(seat, m->now)) return;
        sched_yield();
    }
    /* Sequentially consistent on both sides: either the sleeper sees the arrival, or the arriving rank the sleeper. */
    atomic_fetch_add(&seat->sleepers, 1);
    uint32_t arrived;
    while (!reached(arrived = atomic_load(&seat->arrived), m->now)) sleep_while(&seat->arrived, arrived);
    atomic_fetch_sub(&seat->sleepers, 1);
}

ec_status ec__meet(ec_meeting *m, const ec_ticket *ticket) {
    const int32_t rank = m->comm->rank, size = m->comm->size;
    ec_seat *mine = &m->seat[rank];
    int32_t other = rank;
    m->closed |= ticket->call == EC_CALL_CLOSE;
    m->now++;
    mine->ticket[m->now & 1] = *ticket;
    atomic_store(&mine->arrived, m->now);
    if (atomic_load(&mine->sleepers) > 0) wake_all(&mine->arrived);
    for (int32_t i = 1; i < size; i++) {
        int32_t r = (rank + i) % size;
        wait_for(m, &m->seat[r]);
        const ec_ticket *theirs = &m->seat[r].ticket[m->now & 1];
        m->closed |= theirs->call == EC_CALL_CLOSE;
        if (!ec__ticket_same(ticket, theirs)) other = r;
    }
    if (other == rank) return EC_OK;
    return ec__ticket_mismatch(m->comm, ticket, &m->seat[other].ticket[m->now & 1], other);
}
