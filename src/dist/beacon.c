#define _GNU_SOURCE
#include "dist/beacon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
/* Before it: linux/errqueue.h needs struct timespec. */
#include <time.h>

#include <linux/errqueue.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "dist/mpi_error.h"

/* ADDRESSES of a host that are tried. BUFFER: bytes that are asked for, of questions that wait for this rank's
 * thread. */
enum { ADDRESSES = 16, BUFFER = 1 << 20 };

/* What a rank tells the others at the start; address: in network order, the loopback first. */
typedef struct card {
    char host[EC_HOST_BYTES];
    uint64_t run;
    uint32_t address[ADDRESSES];
    int32_t addresses;
    uint16_t port; /* in network order; 0: no socket */
} card;

enum { ASK = 1, ANSWER = 2 };

typedef struct packet {
    uint64_t run;
    int32_t kind, from, to, zero;
    ec_whereabouts at; /* of an answer */
} packet;

struct ec_beacon {
    ec_comm *comm;
    int socket, wake; /* -1: none */
    card *card;       /* (size) */
    ec_peer *peer;    /* (size) */
    struct sockaddr_in *address; /* (size) where rank answers from, once it is heard */
    _Atomic int32_t heard;
};

static void list_addresses(card *mine) {
    struct ifaddrs *all = NULL;
    mine->address[mine->addresses++] = htonl(INADDR_LOOPBACK);
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *i = all; i && mine->addresses < ADDRESSES; i = i->ifa_next) {
        struct sockaddr_in at;
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || !(i->ifa_flags & IFF_UP) ||
            i->ifa_flags & IFF_LOOPBACK)
            continue;
        memcpy(&at, i->ifa_addr, sizeof at);
        mine->address[mine->addresses++] = at.sin_addr.s_addr;
    }
    freeifaddrs(all);
}

/* A socket at any port of all addresses; where there is none, port stays 0. */
static void open_socket(ec_beacon *b, card *mine) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof at;
    const int on = 1, buffer = BUFFER;
    b->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    b->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (b->wake < 0 || b->socket < 0) return;
    if (bind(b->socket, (struct sockaddr *)&at, sizeof at) != 0) return;
    if (getsockname(b->socket, (struct sockaddr *)&at, &length) != 0) return;
    /* Without the first a refusal is not told, without the second questions of many ranks may have to be repeated. */
    (void)setsockopt(b->socket, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
    (void)setsockopt(b->socket, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    mine->port = at.sin_port;
    list_addresses(mine);
}

static void write_card(ec_beacon *b, card *mine) {
    memset(mine, 0, sizeof *mine);
    if (gethostname(mine->host, sizeof mine->host - 1) != 0) strcpy(mine->host, "unknown");
    if (getrandom(&mine->run, sizeof mine->run, GRND_NONBLOCK) != sizeof mine->run) mine->run = (uint64_t)ec__now_ns();
    open_socket(b, mine);
}

ec_status ec__beacon_open(ec_comm *comm, MPI_Comm world, ec_beacon **out) {
    ec_status status = EC_OK;
    card mine;
    const size_t size = (size_t)comm->size;
    ec_beacon *b = calloc(1, sizeof *b);
    if (!b) EC_FAIL(EC_ERR_MEMORY, "no memory for a beacon");
    b->comm = comm;
    b->socket = b->wake = -1;
    b->card = calloc(size, sizeof *b->card);
    b->peer = calloc(size, sizeof *b->peer);
    b->address = calloc(size, sizeof *b->address);
    if (!b->card || !b->peer || !b->address) EC_FAIL(EC_ERR_MEMORY, "no memory for the addresses of %zu ranks", size);
    write_card(b, &mine);
    EC_MPI(MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, b->card, (int)sizeof mine, MPI_BYTE, world));
    for (size_t r = 0; r < size; r++) memcpy(b->peer[r].host, b->card[r].host, sizeof b->peer[r].host);
    *out = b;
    b = NULL;
done:
    ec__beacon_close(b);
    return status;
}

void ec__beacon_close(ec_beacon *b) {
    if (!b) return;
    if (b->socket >= 0) close(b->socket);
    if (b->wake >= 0) close(b->wake);
    free(b->address);
    free(b->peer);
    free(b->card);
    free(b);
}

ec_peer *ec__beacon_peer(ec_beacon *b, int32_t rank) { return &b->peer[rank]; }

int32_t ec__beacon_heard(const ec_beacon *b) { return atomic_load(&b->heard); }

/* A packet that cannot be sent is one that gets lost: the question is asked again. */
static void send_packet(ec_beacon *b, const packet *p, const struct sockaddr_in *to) {
    /* The first call may report what became of an earlier packet in place of sending this one. */
    for (int attempt = 0; attempt < 2; attempt++)
        if (sendto(b->socket, p, sizeof *p, 0, (const struct sockaddr *)to, sizeof *to) >= 0) return;
}

static packet packet_to(const ec_beacon *b, int32_t kind, int32_t to) {
    return (packet){.run = b->card[0].run, .kind = kind, .from = b->comm->rank, .to = to};
}

void ec__beacon_ask(ec_beacon *b, int32_t rank) {
    const card *c = &b->card[rank];
    const packet question = packet_to(b, ASK, rank);
    if (b->socket < 0 || c->port == 0) return;
    if (atomic_load(&b->peer[rank].heard)) {
        send_packet(b, &question, &b->address[rank]);
        return;
    }
    for (int32_t i = 0; i < c->addresses; i++) {
        const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = c->port, .sin_addr.s_addr = c->address[i]};
        send_packet(b, &question, &to);
    }
}

static void answer(ec_beacon *b, int32_t rank, const struct sockaddr_in *to) {
    const ec_comm_where *where = &b->comm->where;
    const char *doing = atomic_load(&where->doing);
    packet p = packet_to(b, ANSWER, rank);
    p.at.place = atomic_load(&where->place);
    p.at.device = atomic_load(&where->device);
    p.at.device_bytes = atomic_load(&where->device_bytes);
    p.at.step = atomic_load(&where->step);
    p.at.doing_s = ec__seconds_since(atomic_load(&where->doing_since_ns));
    snprintf(p.at.doing, sizeof p.at.doing, "%s", doing ? doing : "");
    send_packet(b, &p, to);
}

/* The strange are dropped: another run's, or sent to another rank at this port of another host. */
static void take_packet(ec_beacon *b, packet *p, const struct sockaddr_in *from) {
    if (p->run != b->card[0].run || p->to != b->comm->rank || p->from < 0 || p->from >= b->comm->size) return;
    if (p->kind == ASK) {
        answer(b, p->from, from);
        return;
    }
    ec_peer *peer = &b->peer[p->from];
    peer->at = p->at;
    peer->at.doing[EC_DOING_BYTES - 1] = '\0';
    peer->answered = true;
    peer->refused = false;
    if (atomic_load(&peer->heard)) return;
    b->address[p->from] = *from;
    atomic_store(&peer->heard, true);
    atomic_fetch_add(&b->heard, 1);
}

/* Where a packet was refused, its host is there and the process is not. */
static void take_refusals(ec_beacon *b) {
    for (;;) {
        struct sockaddr_in to;
        char control[512];
        packet lost;
        struct iovec data = {.iov_base = &lost, .iov_len = sizeof lost};
        struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &data, .msg_iovlen = 1,
                           .msg_control = control, .msg_controllen = sizeof control};
        if (recvmsg(b->socket, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        struct sock_extended_err why = {0};
        if (!c || c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR) continue;
        memcpy(&why, CMSG_DATA(c), sizeof why);
        for (int32_t r = 0; r < b->comm->size && why.ee_errno == ECONNREFUSED; r++)
            if (atomic_load(&b->peer[r].heard) && b->address[r].sin_port == to.sin_port &&
                b->address[r].sin_addr.s_addr == to.sin_addr.s_addr)
                b->peer[r].refused = true;
    }
}

void ec__beacon_listen(ec_beacon *b, int64_t timeout_ns) {
    struct pollfd at[2] = {{.fd = b->wake, .events = POLLIN}, {.fd = b->socket, .events = POLLIN}};
    const struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    uint64_t calls;
    packet p;
    struct sockaddr_in from;
    if (ppoll(at, 2, timeout_ns > 0 ? &timeout : &(struct timespec){0}, NULL) <= 0) return;
    if (at[0].revents && read(b->wake, &calls, sizeof calls) < 0 && errno != EAGAIN) return;
    if (at[1].revents & POLLERR) take_refusals(b);
    if (!(at[1].revents & POLLIN)) return;
    for (;;) {
        socklen_t length = sizeof from;
        ssize_t n = recvfrom(b->socket, &p, sizeof p, 0, (struct sockaddr *)&from, &length);
        if (n < 0) return;
        if (n == sizeof p) take_packet(b, &p, &from);
    }
}

void ec__beacon_wake(ec_beacon *b) {
    const uint64_t one = 1;
    if (b->wake >= 0 && write(b->wake, &one, sizeof one) < 0) return; /* full: it is awake */
}
