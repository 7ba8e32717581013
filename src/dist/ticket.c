#include "dist/ticket.h"

#include <stdio.h>

bool ec__ticket_same(const ec_ticket *a, const ec_ticket *b) {
    return a->call == b->call && a->bytes == b->bytes && a->root == b->root && a->number == b->number;
}

static void describe(const ec_ticket *t, int32_t rank, char *text, size_t size) {
    int used = snprintf(text, size, "rank %d called %s", rank, ec__comm_call_name((ec_comm_call)t->call));
    if (t->call == EC_CALL_BROADCAST) used += snprintf(text + used, size - (size_t)used, " from rank %d", t->root);
    if (t->call != EC_CALL_BARRIER && t->call != EC_CALL_CLOSE)
        used += snprintf(text + used, size - (size_t)used, " of %llu bytes", (unsigned long long)t->bytes);
    snprintf(text + used, size - (size_t)used, " as collective number %llu", (unsigned long long)t->number);
}

ec_status ec__ticket_mismatch(ec_comm *comm, const ec_ticket *mine, const ec_ticket *theirs, int32_t other) {
    char a[160], b[160];
    describe(mine, comm->rank, a, sizeof a);
    describe(theirs, other, b, sizeof b);
    ec__comm_all_know(comm);
    return EC_ERROR(EC_ERR_DIST, "%s, but %s", a, b);
}
