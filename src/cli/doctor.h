/* What `emoclim doctor` finds out. */
#ifndef EC_CLI_DOCTOR_H
#define EC_CLI_DOCTOR_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "dist/comm.h"

/* One host, as one process sees it. Bytes are -1 where the system does not tell. */
typedef struct doctor_machine {
    char processor[96];         /* model name; "" where unknown */
    int32_t usable, online;     /* processors: that this process may run on, that there are */
    int64_t memory, available;  /* bytes: that this process may use, that are free now */
    int64_t shared, shared_free; /* bytes of /dev/shm, which ranks of one host exchange through */
} doctor_machine;

void doctor_look_at_machine(doctor_machine *out);

/* What each rank tells about itself. */
typedef struct doctor_rank {
    char host[64];
    int64_t pid;
    int32_t usable;  /* processors */
    cpu_set_t set;   /* which */
} doctor_rank;

enum { DOCTOR_BYTES = 1 << 20 };

typedef struct doctor_talk {
    doctor_rank *rank;   /* (size), owned */
    double barrier_us;   /* median of a barrier */
    double gather_us;    /* median of an all-gather of DOCTOR_BYTES a rank */
    bool sums_right;     /* an ordered sum over ranks has the value that it must have */
} doctor_talk;

/* Collective. rank is to be freed by the caller (also NULL, after an error). */
ec_status doctor_let_ranks_talk(ec_comm *comm, doctor_talk *out);

/* "0-3,8" */
void doctor_format_set(const cpu_set_t *set, char *into, size_t size);

#endif
