/* What happens when ranks go astray while others wait for their GPUs. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute/backend.h"
#include "core/log.h"
#include "core/module.h"
#include "dist/comm.h"
#include "support.h"
#include "trial.h"

enum { SKIPPED = 77, BYTES = 64 };

/* The watch needs the deadline, two seconds if the lowest rank is silent, and mpirun one or two. */
static const double most_s = 16;

static void print_log(void *arg, ec_log_level level, int rank, const char *text) {
    (void)arg, (void)level;
    fprintf(stderr, "[%d] %s\n", rank, text);
}

/* Rank 1 or 2 does something else than all to gather 8 bytes from all. x: memory of the device. */
static ec_status err(ec_comm *comm, const char *fault, char *x) {
    if (strcmp(fault, "stop") == 0 && comm->rank == 2) raise(SIGSTOP);
    if (strcmp(fault, "kill") == 0 && comm->rank == 0) raise(SIGKILL);
    if (strcmp(fault, "busy") == 0 && comm->rank == 2) sleep(60);
    if (strcmp(fault, "close") == 0 && comm->rank == 1) return EC_OK;
    if (strcmp(fault, "other") == 0 && comm->rank == 1) return ec__comm_all_reduce_fast(comm, (float *)(void *)x, 2);
    if (strcmp(fault, "size") == 0 && comm->rank == 1) return ec__comm_all_gather(comm, x, x, 16);
    return ec__comm_all_gather(comm, x, x, 8);
}

typedef struct stray {
    ec_comm *comm;
    const char *fault;
    char *x;
} stray;

static ec_status enqueue(void *arg) {
    const stray *s = arg;
    return err(s->comm, s->fault, s->x);
}

/* From a recording: the device alone knows where it is. */
static ec_status run_astray(ec_comm *comm, ec_backend *be, const char *fault) {
    void *x = NULL;
    ec_recording *recording = NULL;
    EC_RETURN_IF(be->memory->alloc(be, BYTES, &x));
    EC_RETURN_IF(be->memory->zero(be, be->main_stream(be), x, BYTES));
    EC_RETURN_IF(ec__comm_broadcast(comm, x, BYTES, 0));
    EC_RETURN_IF(ec__comm_barrier(comm));
    ec__comm_set_deadline(comm->host, 1, 3);
    ec__comm_set_context(comm, 57, "looking out of the window");
    stray s = {.comm = comm, .fault = fault, .x = x};
    EC_RETURN_IF(be->record(be, enqueue, &s, &recording));
    EC_RETURN_IF(be->replay(be, recording));
    return ec__comm_wait(comm);
}

/* The ranks' side. Returns the exit code. */
static int astray(const char *fault) {
    ec_comm *host = NULL, *comm = NULL;
    ec_backend *be = NULL;
    ec__log_set_sink(print_log, NULL, EC_LOG_INFO);
    setenv("EMOCLIM_CUEMU_DEVICES", "8", 1);
    if (strcmp(fault, "broken") == 0) setenv("EMOCLIM_CUEMU_NCCL_FAIL", "1:7", 1);
    if (ec__comm_open("mpi", &host) != EC_OK) return 100;
    const int32_t device = ec__backend_device_for(host->node_rank);
    const ec_backend_options options = {.threads = 1, .device = device, .deterministic = true};
    if (ec__backend_open_with("cuda", &options, &be) != EC_OK) return 101;
    if (ec__comm_open_over(host, be->native_queue(be), &comm) != EC_OK) return 102;
    ec_status status = run_astray(comm, be, fault);
    if (status != EC_OK) fprintf(stderr, "[%d] %s\n", comm->rank, ec_error_last()->text);
    ec__comm_fail(host, status);
    ec__comm_close(comm);
    be->close(be);
    ec__comm_close(host);
    return ec_status_exit_code(status);
}

/* The log names rank r of this host as missing from the gather, for that reason. Who speaks: the lowest other rank. */
static void expect_missing(const test_trial *t, int r, const char *reason) {
    char host[64] = "", part[256];
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    snprintf(part, sizeof part, "rank %d on %s waited ", r == 0, host);
    test_trial_expect(t, part);
    snprintf(part, sizeof part, "s in all_gather (collective 6 of the GPU, 8 bytes, step 57); not arrived: rank %d on %s (%s", r,
             host, reason);
    test_trial_expect(t, part);
}

static void test_faults(void **state) {
    (void)state;
    static const struct {
        const char *fault;
        int missing;
        const char *reason;
    } fault[] = {
        {"stop", 2, "no answer for 1."},
        {"busy", 2, "alive, looking out of the window for "},
        {"close", 1, "waits in close (collective "},
        /* Whoever speaks first, the odd rank or the others, names both places. */
        {"other", -1, " in all_reduce_fast (collective 6 of the GPU, 8 bytes, step 57)"},
        {"size", -1, " in all_gather (collective 6 of the GPU, 16 bytes, step 57)"},
    };
    enum { FAULTS = sizeof fault / sizeof fault[0] };
    static test_trial trial[FAULTS];
    for (int i = 0; i < FAULTS; i++) test_trial_start(&trial[i], fault[i].fault, "nccl");
    for (int i = 0; i < FAULTS; i++) {
        assert_int_equal(test_trial_finish(&trial[i], most_s), 5);
        if (fault[i].missing >= 0) expect_missing(&trial[i], fault[i].missing, fault[i].reason);
        test_trial_expect(&trial[i], fault[i].reason);
        test_trial_expect(&trial[i], " in all_gather (collective 6 of the GPU, 8 bytes, step 57)");
        test_trial_expect(&trial[i], "; not arrived: rank ");
    }
}

/* The launcher notices a death, too, and its exit code tells the signal. */
static void test_killed_rank(void **state) {
    (void)state;
    static test_trial t;
    test_trial_start(&t, "kill", "nccl");
    assert_int_equal(test_trial_finish(&t, most_s), 137);
}

/* NCCL's own error ends the run although all ranks are there; its text is told. */
static void test_broken_connection(void **state) {
    (void)state;
    const ec_module *module = NULL;
    static test_trial t;
    CHECK_OK(ec__module_cuda(&module));
    if (!strstr(module->kind, "emulated")) skip();
    test_trial_start(&t, "broken", "nccl");
    assert_int_equal(test_trial_finish(&t, most_s), 5);
    test_trial_expect(&t, "[1] NCCL on the device: unhandled system error: a connection was lost");
    test_trial_expect(&t, "ending all ranks with exit code 5");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_killed_rank),
        cmocka_unit_test(test_broken_connection),
    };
    ec_backend *be = NULL;
    if (argc == 4) return astray(argv[1]);
    if (ec__backend_open("cuda", 1, &be) != EC_OK) {
        printf("%s\n", ec_error_last()->text);
        return SKIPPED;
    }
    be->close(be);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
