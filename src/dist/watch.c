#define _GNU_SOURCE
#include "dist/watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "dist/beacon.h"
#include "dist/farewell.h"
#include "dist/mpi_error.h"

/* Seconds. INTERVAL: between two questions, more where so many ranks ask that PER_RANK of them is more. PROBE: for all
 * ranks to answer at the start, asked every PROBE_INTERVAL or more. QUIET: silence after which a rank is remarked upon.
 * GONE: after its host said that nobody listens. SPEAKER: that others leave to the lowest rank. END: until a process
 * that does not end is ended. */
static const double longest_interval_s = 0.2, per_rank_s = 0.005, probe_s = 3, probe_interval_s = 0.02, quiet_s = 3,
                    gone_s = 0.4, speaker_s = 2, end_s = 5;

enum { NAMED = 8, TEXT = 1600 };

typedef enum verdict { HERE, BUSY, BEHIND, ELSEWHERE, SILENT, GONE, UNHEARD } verdict;

/* How a rank has behaved while this one waits in its present place. */
typedef struct record {
    double silent_s;  /* since its last answer */
    double refused_s; /* since its host first said that nobody listens */
    bool known;       /* it has answered */
    bool remarked;
} record;

struct ec_watch {
    ec_comm *comm;
    ec_beacon *beacon;
    pthread_t thread;
    bool running;
    _Atomic bool quit, probing;
    _Atomic int ending; /* exit code + 1; 0: no */

    /* The thread's own: */
    record *record; /* (size) */
    uint64_t place, device;
    int64_t since_ns, tick_ns; /* when the main thread was first seen there; last tick */
    double ending_s, next_warning_s;
};

static double smaller(double a, double b) { return a < b ? a : b; }

static double larger(double a, double b) { return a > b ? a : b; }

static double interval_s(const ec_watch *w) {
    return larger(smaller(longest_interval_s, w->comm->deadline_s / 8), per_rank_s * w->comm->size);
}

/* Two questions at least, for one may get lost. */
static double quiet_time_s(const ec_watch *w) {
    return larger(smaller(quiet_s, w->comm->deadline_s / 2), 2 * interval_s(w));
}

/* --- What is said --- */

static void add(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(char *text, const char *format, ...) {
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, TEXT - used, format, args);
    va_end(args);
}

static void add_place(char *text, uint64_t place, int64_t step) {
    add(text, "%s (collective %llu", ec__comm_call_name(ec__place_call(place)),
        (unsigned long long)ec__place_number(place));
    if (step >= 0) add(text, ", step %lld", (long long)step);
    add(text, ")");
}

/* A place of the host, or of the GPU that it waits for. */
static void add_whereabouts(char *text, uint64_t place, uint64_t device, uint64_t bytes, int64_t step) {
    if (ec__place_call(place) != EC_CALL_DEVICE) {
        add_place(text, place, step);
        return;
    }
    add(text, "%s (collective %llu of the GPU, %llu bytes", ec__comm_call_name(ec__place_call(device)),
        (unsigned long long)ec__place_number(device), (unsigned long long)bytes);
    if (step >= 0) add(text, ", step %lld", (long long)step);
    add(text, ")");
}

static void add_rank(const ec_watch *w, char *text, int32_t r) {
    add(text, "rank %d on %s", r, ec__beacon_peer(w->beacon, r)->host);
}

static void add_doing(char *text, const ec_whereabouts *at) {
    add(text, "%s for %.0f s", *at->doing ? at->doing : "busy between two collectives", at->doing_s);
    if (at->step >= 0) add(text, ", step %lld", (long long)at->step);
}

static void add_reason(const ec_watch *w, char *text, int32_t r, verdict v) {
    const ec_whereabouts *at = &ec__beacon_peer(w->beacon, r)->at;
    switch (v) {
    case SILENT: add(text, " (no answer for %.1f s)", w->record[r].silent_s); break;
    case GONE: add(text, " (its process has ended)"); break;
    case UNHEARD: add(text, " (whereabouts not known)"); break;
    case BUSY:
        add(text, " (alive, ");
        add_doing(text, at);
        add(text, ")");
        break;
    case ELSEWHERE:
    case BEHIND:
        add(text, " (waits in ");
        add_whereabouts(text, at->place, at->device, at->device_bytes, at->step);
        add(text, ")");
        break;
    case HERE: break;
    }
}

static void add_self(const ec_watch *w, char *text, const char *verb) {
    add_rank(w, text, w->comm->rank);
    add(text, " %s ", verb);
}

static void add_own_place(const ec_watch *w, char *text) {
    const ec_comm_where *where = &w->comm->where;
    add_whereabouts(text, w->place, w->device, atomic_load(&where->device_bytes), atomic_load(&where->step));
}

/* --- What is thought of the others --- */

/* Of a rank that is alive, while this one waits for its GPU. */
static verdict judge_device(const ec_watch *w, const ec_whereabouts *at) {
    const uint64_t mine = ec__place_number(w->device), theirs = ec__place_number(at->device);
    if (theirs > mine) return HERE;
    if (theirs == mine)
        return at->device == w->device && at->device_bytes == atomic_load(&w->comm->where.device_bytes) ? HERE
                                                                                                        : ELSEWHERE;
    if (ec__place_call(at->place) == EC_CALL_CLOSE) return ELSEWHERE; /* it will not come any more */
    return ec__place_call(at->place) == EC_CALL_NONE ? BUSY : BEHIND;
}

static verdict judge(const ec_watch *w, int32_t r) {
    const ec_peer *peer = ec__beacon_peer(w->beacon, r);
    const record *x = &w->record[r];
    const uint64_t mine = ec__place_number(w->place), theirs = ec__place_number(peer->at.place);
    const ec_comm_call call = ec__place_call(peer->at.place);
    if (!atomic_load(&peer->heard)) return UNHEARD;
    /* Who closes after us may find that we have ended. */
    if (x->refused_s > 0 && ec__place_call(w->place) != EC_CALL_CLOSE) return GONE;
    if (!x->known || x->silent_s >= quiet_time_s(w)) return SILENT;
    if (ec__place_call(w->place) == EC_CALL_DEVICE) return judge_device(w, &peer->at);
    if (theirs > mine) return HERE; /* it has been here */
    if (theirs == mine)
        return call == EC_CALL_NONE || call == EC_CALL_DEVICE || call == ec__place_call(w->place) ? HERE : ELSEWHERE;
    return call == EC_CALL_NONE ? BUSY : BEHIND;
}

/* Has the run to end because of that rank? */
static bool too_long(const ec_watch *w, int32_t r, verdict v, double waited_s) {
    const double deadline_s = w->comm->deadline_s;
    if (v == GONE) return w->record[r].refused_s >= smaller(gone_s, deadline_s);
    if (v == SILENT) return w->record[r].silent_s >= deadline_s;
    return waited_s >= (v == ELSEWHERE ? deadline_s : w->comm->patience_s);
}

/* Is this the lowest of the ranks that wait here? */
static bool is_speaker(const ec_watch *w) {
    for (int32_t r = 0; r < w->comm->rank; r++)
        if (judge(w, r) == HERE) return false;
    return true;
}

/* --- What is done --- */

static bool several_hosts(const ec_watch *w) {
    const char *own = ec__beacon_peer(w->beacon, w->comm->rank)->host;
    for (int32_t r = 0; r < w->comm->size; r++)
        if (strcmp(ec__beacon_peer(w->beacon, r)->host, own) != 0) return true;
    return false;
}

static void give_up(const ec_watch *w, double waited_s) {
    char text[TEXT] = "";
    int32_t named = 0, more = 0;
    const bool out_of_patience = waited_s >= w->comm->patience_s;
    add_self(w, text, "waited");
    add(text, "%.1f s in ", waited_s);
    add_own_place(w, text);
    for (int32_t r = 0; r < w->comm->size; r++) {
        const verdict v = r == w->comm->rank ? HERE : judge(w, r);
        if (v == HERE || (!out_of_patience && v != SILENT && v != GONE && v != ELSEWHERE)) continue;
        if (named == NAMED) {
            more++;
            continue;
        }
        add(text, named++ ? ", " : "; not arrived: ");
        add_rank(w, text, r);
        add_reason(w, text, r, v);
    }
    if (more) add(text, " and %d more", more);
    if (named == 0) add(text, "; all ranks are there, so it is the network");
    /* Should the log be stuck, too, an alarm ends the process. */
    alarm((unsigned)end_s);
    ec__log(EC_LOG_ERROR, "%s (ending all ranks with exit code %d)", text, ec_status_exit_code(EC_ERR_DIST));
    ec__farewell(ec_status_exit_code(EC_ERR_DIST), several_hosts(w));
}

/* One line for all that are busy; again when as much time has passed once more. */
static void warn_of_busy(ec_watch *w, double waited_s) {
    char text[TEXT] = "";
    int32_t named = 0;
    if (waited_s < w->next_warning_s) return;
    w->next_warning_s = 2 * waited_s;
    add_self(w, text, "has waited");
    add(text, "%.1f s in ", waited_s);
    add_own_place(w, text);
    for (int32_t r = 0; r < w->comm->size && named < NAMED; r++) {
        if (r == w->comm->rank || judge(w, r) != BUSY) continue;
        add(text, named++ ? ", " : " for ");
        add_rank(w, text, r);
        add_reason(w, text, r, BUSY);
    }
    if (named > 0) EC_WARN("%s; it goes on up to %.0f s", text, w->comm->patience_s);
}

static void warn_of_silence(ec_watch *w, int32_t r) {
    char text[TEXT] = "";
    record *x = &w->record[r];
    if (x->remarked) return;
    x->remarked = true;
    add_rank(w, text, r);
    add(text, " has not answered for %.1f s; ", x->silent_s);
    add_self(w, text, "waits for it in");
    add_own_place(w, text);
    EC_WARN("%s; the run ends after %.1f s of silence", text, w->comm->deadline_s);
}

/* Takes in the answers to the last questions, which were asked passed_s ago. */
static void take_answers(ec_watch *w, double passed_s) {
    for (int32_t r = 0; r < w->comm->size; r++) {
        ec_peer *peer = ec__beacon_peer(w->beacon, r);
        record *x = &w->record[r];
        if (r == w->comm->rank) continue;
        x->silent_s = peer->answered ? 0 : x->silent_s + passed_s;
        x->refused_s = peer->refused ? x->refused_s + passed_s : 0;
        x->known |= peer->answered;
    }
}

static void review(ec_watch *w, double passed_s) {
    const double waited_s = ec__seconds_since(w->since_ns), quiet = quiet_time_s(w);
    bool end = false;
    take_answers(w, passed_s);
    const bool speaker = is_speaker(w);
    for (int32_t r = 0; r < w->comm->size; r++) {
        if (r == w->comm->rank) continue;
        verdict v = judge(w, r);
        if (speaker && v == SILENT && w->record[r].silent_s >= quiet) warn_of_silence(w, r);
        end |= too_long(w, r, v, waited_s);
    }
    if (end && (speaker || w->ending_s >= speaker_s)) give_up(w, waited_s);
    w->ending_s = end ? w->ending_s + passed_s : 0;
    if (speaker) warn_of_busy(w, waited_s);
}

static void ask_all(ec_watch *w) {
    for (int32_t r = 0; r < w->comm->size; r++) {
        if (r == w->comm->rank) continue;
        ec_peer *peer = ec__beacon_peer(w->beacon, r);
        peer->answered = false; /* a refusal stands until there is an answer */
        ec__beacon_ask(w->beacon, r);
    }
}

static void arrive(ec_watch *w, uint64_t place, uint64_t device, int64_t now_ns) {
    w->place = place;
    w->device = device;
    w->since_ns = now_ns;
    w->ending_s = 0;
    w->next_warning_s = w->comm->deadline_s;
    memset(w->record, 0, sizeof *w->record * (size_t)w->comm->size);
    for (int32_t r = 0; r < w->comm->size; r++) ec__beacon_peer(w->beacon, r)->refused = false;
}

/* The end that was announced does not come about. */
static void see_to_the_end(ec_watch *w, double passed_s) {
    if (atomic_load(&w->ending) == 0) return;
    w->ending_s += passed_s;
    if (w->ending_s >= end_s) ec__farewell(atomic_load(&w->ending) - 1, several_hosts(w));
}

static void tick(ec_watch *w) {
    const uint64_t place = atomic_load(&w->comm->where.place);
    const uint64_t device = ec__place_call(place) == EC_CALL_DEVICE ? atomic_load(&w->comm->where.device) : 0;
    const int64_t now_ns = ec__now_ns();
    /* While this process was stopped nobody's silence counts. */
    const double passed_s = smaller((double)(now_ns - w->tick_ns) * 1e-9, 2 * interval_s(w));
    w->tick_ns = now_ns;
    if (atomic_load(&w->ending) != 0) {
        see_to_the_end(w, passed_s);
    } else if (place != w->place || device != w->device) {
        arrive(w, place, device, now_ns);
        if (ec__place_call(place) != EC_CALL_NONE) ask_all(w);
    } else if (ec__place_call(place) != EC_CALL_NONE) {
        review(w, passed_s);
        ask_all(w);
    }
}

static void probe(ec_watch *w) {
    for (int32_t r = 0; r < w->comm->size; r++)
        if (r != w->comm->rank && !atomic_load(&ec__beacon_peer(w->beacon, r)->heard)) ec__beacon_ask(w->beacon, r);
    w->tick_ns = ec__now_ns();
}

/* Until the next tick, or the next round of first questions. */
static double pause_s(const ec_watch *w, bool probing) {
    return probing ? larger(probe_interval_s, per_rank_s * w->comm->size / 5) : interval_s(w);
}

static void *thread_main(void *arg) {
    ec_watch *w = arg;
    bool probed = false;
    while (!atomic_load(&w->quit)) {
        const bool probing = atomic_load(&w->probing), first = probing && !probed;
        const int64_t next_ns = w->tick_ns + (int64_t)(pause_s(w, probing) * 1e9);
        const int64_t left_ns = first ? 0 : next_ns - ec__now_ns();
        probed = probing;
        if (left_ns > 0) {
            ec__beacon_listen(w->beacon, left_ns);
        } else {
            ec__beacon_listen(w->beacon, 0); /* answers that came in time count, however late this thread is */
            if (probing) probe(w);
            else tick(w);
        }
    }
    return NULL;
}

/* Signals are for the main thread: the new one inherits a mask that blocks them all. */
static ec_status start_thread(ec_watch *w) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return EC_ERROR(EC_ERR_ENV, "cannot start the thread that watches over ranks: %s", strerror(failed));
    w->running = true;
    return EC_OK;
}

/* Everybody asks everybody once, to find the address that works and to learn who cannot be heard at all. */
static ec_status find_all(ec_watch *w, MPI_Comm world) {
    ec_status status = EC_OK;
    const struct timespec nap = {.tv_nsec = 200000};
    int32_t deaf = -1, *all = NULL;
    EC_MPI(MPI_Barrier(world)); /* from here on everybody listens */
    const int64_t start_ns = ec__now_ns();
    atomic_store(&w->probing, true);
    ec__beacon_wake(w->beacon);
    while (ec__beacon_heard(w->beacon) < w->comm->size - 1 && ec__seconds_since(start_ns) < probe_s)
        nanosleep(&nap, NULL);
    atomic_store(&w->probing, false);
    for (int32_t r = w->comm->size - 1; r >= 0; r--)
        if (r != w->comm->rank && !atomic_load(&ec__beacon_peer(w->beacon, r)->heard)) deaf = r;
    all = malloc((size_t)w->comm->size * sizeof *all);
    if (!all) EC_FAIL(EC_ERR_MEMORY, "no memory for the state of %d ranks", w->comm->size);
    EC_MPI(MPI_Allgather(&deaf, 1, MPI_INT32_T, all, 1, MPI_INT32_T, world));
    for (int32_t r = 0; r < w->comm->size && w->comm->rank == 0; r++) {
        if (all[r] < 0) continue;
        EC_WARN("rank %d on %s gets no answer from rank %d on %s over UDP (a firewall?): a rank that dies or hangs "
                "will be noticed only after distributed.patience_s",
                r, ec__beacon_peer(w->beacon, r)->host, all[r], ec__beacon_peer(w->beacon, all[r])->host);
        break;
    }
done:
    free(all);
    return status;
}

ec_status ec__watch_open(ec_comm *comm, MPI_Comm world, ec_watch **out) {
    ec_status status = EC_OK;
    ec_watch *w = calloc(1, sizeof *w);
    if (!w) EC_FAIL(EC_ERR_MEMORY, "no memory to watch over ranks");
    w->comm = comm;
    w->tick_ns = ec__now_ns();
    w->record = calloc((size_t)comm->size, sizeof *w->record);
    if (!w->record) EC_FAIL(EC_ERR_MEMORY, "no memory to watch over %d ranks", comm->size);
    EC_TRY(ec__beacon_open(comm, world, &w->beacon));
    EC_TRY(start_thread(w));
    EC_TRY(find_all(w, world));
    *out = w;
    w = NULL;
done:
    ec__watch_close(w);
    return status;
}

void ec__watch_close(ec_watch *w) {
    if (!w) return;
    if (w->running) {
        atomic_store(&w->quit, true);
        ec__beacon_wake(w->beacon);
        pthread_join(w->thread, NULL);
    }
    ec__beacon_close(w->beacon);
    free(w->record);
    free(w);
}

void ec__watch_end_soon(ec_watch *w, int exit_code) {
    if (w) atomic_store(&w->ending, exit_code + 1);
}
