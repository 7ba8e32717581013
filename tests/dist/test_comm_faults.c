/* ranks: 1
 * What happens when ranks go astray. A run that is meant to die cannot report about itself: this program starts mpirun
 * on itself with the name of a fault, and looks at the exit code, the time and the log. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "dist/comm.h"
#include "support.h"
#include "trial.h"

extern char **environ;

static void print_log(void *arg, ec_log_level level, int rank, const char *text) {
    (void)arg, (void)level;
    fprintf(stderr, "[%d] %s\n", rank, text);
}

/* One rank calls something else than the others. */
static ec_status call_another(ec_comm *comm, const char *fault, char *all) {
    if (comm->rank != 1) return ec__comm_all_gather(comm, all, all, 8);
    if (strcmp(fault, "other") == 0) return ec__comm_barrier(comm);
    if (strcmp(fault, "size") == 0) return ec__comm_all_gather(comm, all, all, 16);
    return ec__comm_broadcast(comm, all, 8, 0);
}

/* The ranks' side. Returns the exit code. */
static int astray(const char *fault, const char *kind) {
    ec_comm *comm = NULL;
    char all[64] = {0};
    ec__log_set_sink(print_log, NULL, EC_LOG_INFO);
    signal(SIGTERM, SIG_IGN); /* as the program, which only notes it: mpirun sends it a second after a death, then KILL */
    if (ec__comm_open(kind, &comm) != EC_OK) return 100;
    ec_status status = ec__comm_barrier(comm);
    ec__comm_set_deadline(comm, 1, 2);
    ec__comm_set_context(comm, 57, "looking out of the window");
    if (strcmp(fault, "absent") == 0) {
        if (comm->rank == 2) sleep(60);
        status = ec__comm_all_gather(comm, all, all, 8);
    } else if (strcmp(fault, "late") == 0) {
        if (comm->rank == 0) usleep(1500000);
        status = ec__comm_all_gather(comm, all, all, 8);
    } else if (strncmp(fault, "stop", 4) == 0) {
        if (comm->rank == fault[4] - '0') raise(SIGSTOP);
        status = ec__comm_all_gather(comm, all, all, 8);
    } else if (strncmp(fault, "kill", 4) == 0) {
        if (comm->rank == fault[4] - '0') raise(SIGKILL);
        status = ec__comm_all_gather(comm, all, all, 8);
    } else if (strcmp(fault, "abort") == 0) {
        if (comm->rank == 1) ec__comm_abort(comm, 7, "the disk of this rank is on fire");
        status = ec__comm_barrier(comm);
    } else if (strcmp(fault, "death") == 0) {
        if (comm->rank == 1) _exit(9);
        status = ec__comm_barrier(comm);
    } else if (strcmp(fault, "close") == 0) {
        if (comm->rank != 1) status = ec__comm_all_gather(comm, all, all, 8);
    } else if (strcmp(fault, "alone") == 0 || strcmp(fault, "together") == 0) {
        ec__comm_set_deadline(comm, 60, 60);
        status = comm->rank == 2 ? EC_ERROR(EC_ERR_DATA, "row 5 of music.h5 cannot be read") : EC_OK;
        if (strcmp(fault, "together") == 0) status = ec__comm_agree(comm, status);
        else if (status == EC_OK) status = ec__comm_barrier(comm);
    } else {
        status = call_another(comm, fault, all);
    }
    if (status != EC_OK) fprintf(stderr, "[%d] %s\n", comm->rank, ec_error_last()->text);
    ec__comm_fail(comm, status);
    ec__comm_close(comm);
    return ec_status_exit_code(status);
}

/* With shared memory, and by messages; both at once, for they mostly wait. */
static const char *const kinds[] = {"mpi", "mpi-plain"};
enum { KINDS = 2, MOST_S = 16 };

static void run_both(test_trial t[KINDS], const char *fault, int code) {
    for (int k = 0; k < KINDS; k++) test_trial_start(&t[k], fault, kinds[k]);
    for (int k = 0; k < KINDS; k++) assert_int_equal(test_trial_finish(&t[k], MOST_S), code);
}

/* The log names rank r of this host as missing from the gather, for that reason. Who speaks: the lowest other rank. */
static void expect_missing(const test_trial *t, int r, const char *reason) {
    char host[64] = "", part[256];
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    snprintf(part, sizeof part, "rank %d on %s waited ", r == 0, host);
    test_trial_expect(t, part);
    snprintf(part, sizeof part, "s in all_gather (collective 2, step 57); not arrived: rank %d on %s (%s", r, host,
             reason);
    test_trial_expect(t, part);
}

static void test_stopped_rank_is_named(void **state) {
    (void)state;
    test_trial t[KINDS];
    run_both(t, "stop0", 5);
    for (int k = 0; k < KINDS; k++) expect_missing(&t[k], 0, "no answer for 1.");
    run_both(t, "stop2", 5);
    for (int k = 0; k < KINDS; k++) expect_missing(&t[k], 2, "no answer for 1.");
    test_trial_expect(&t[0], "rank 0 on ");
    test_trial_expect(&t[0],
                      " waits for it in all_gather (collective 2, step 57); the run ends after 1.0 s of silence");
}

/* The launcher notices a death, too, and its exit code tells the signal; it leaves the others about a second. */
static void test_killed_rank_is_named(void **state) {
    (void)state;
    test_trial t[KINDS];
    run_both(t, "kill0", 128 + SIGKILL);
    for (int k = 0; k < KINDS; k++) expect_missing(&t[k], 0, "its process has ended)");
    run_both(t, "kill1", 128 + SIGKILL);
    for (int k = 0; k < KINDS; k++) expect_missing(&t[k], 1, "its process has ended)");
}

static void test_busy_rank_is_waited_for(void **state) {
    (void)state;
    test_trial t[KINDS];
    run_both(t, "late", 0);
    for (int k = 0; k < KINDS; k++) {
        test_trial_expect(&t[k], "[1] rank 1 on ");
        test_trial_expect(&t[k], " (alive, looking out of the window for 1 s, step 57); it goes on up to 2 s");
    }
    run_both(t, "absent", 5);
    for (int k = 0; k < KINDS; k++) expect_missing(&t[k], 2, "alive, looking out of the window for 2 s, step 57)");
}

static void test_wrong_collective(void **state) {
    (void)state;
    test_trial t[KINDS];
    run_both(t, "other", 5);
    for (int k = 0; k < KINDS; k++)
        test_trial_expect(&t[k],
                          "rank 0 called all_gather of 8 bytes as collective number 2, but rank 1 called barrier");
    run_both(t, "size", 5);
    for (int k = 0; k < KINDS; k++)
        test_trial_expect(
            &t[k], "called all_gather of 8 bytes as collective number 2, but rank 1 called all_gather of 16 bytes");
    run_both(t, "close", 5);
    test_trial_expect(&t[0], "called all_gather of 8 bytes as collective number 2, but rank 1 called close");
    test_trial_expect(&t[1], "rank 1 called close");
}

static void test_abort_and_exit(void **state) {
    (void)state;
    test_trial t[KINDS];
    run_both(t, "abort", 7);
    for (int k = 0; k < KINDS; k++) test_trial_expect(&t[k], "[1] the disk of this rank is on fire");
    run_both(t, "death", 9);
}

/* An error that one rank has ends all at once, with its own exit code; one that all have ends none before its time. */
static void test_failure_of_one(void **state) {
    (void)state;
    test_trial t[KINDS];
    run_both(t, "alone", 3); /* the deadline is a minute */
    for (int k = 0; k < KINDS; k++)
        test_trial_expect(&t[k], "[2] row 5 of music.h5 cannot be read (ending all ranks with exit code 3)");
    run_both(t, "together", 3);
    for (int k = 0; k < KINDS; k++) {
        test_trial_expect(&t[k], "[0] row 5 of music.h5 cannot be read\n");
        if (strstr(t[k].text, "ending all ranks")) fail_msg("an error that all have was taken for one rank's");
    }
}

/* This program itself runs under mpirun; a second one must not take its environment for its own. */
static void leave_launcher(void) {
    static const char *const prefixes[] = {"OMPI_", "PMIX_", "PMI_", "PRTE_", "ORTE_", "SLURM_"};
    for (char **entry = environ; *entry;) {
        char name[256];
        bool drop = false;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*entry, "="), *entry);
        for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
            drop |= strncmp(name, prefixes[i], strlen(prefixes[i])) == 0;
        if (drop) unsetenv(name); /* moves the next one here */
        else entry++;
    }
}

/* Which communicator "auto" means, by what launchers leave in the environment. */
static void test_auto(void **state) {
    (void)state;
    ec_comm *comm = NULL;
    CHECK_OK(ec__comm_open("auto", &comm));
    assert_string_equal(comm->kind, "self");
    ec__comm_close(comm);
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    CHECK_OK(ec__comm_open("auto", &comm));
    assert_string_equal(comm->kind, "self");
    ec__comm_close(comm);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    /* A batch script has the job's variables, but no step of several tasks started it. */
    setenv("SLURM_PROCID", "0", 1);
    setenv("SLURM_NTASKS", "4", 1);
    CHECK_OK(ec__comm_open("auto", &comm));
    assert_string_equal(comm->kind, "self");
    ec__comm_close(comm);
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    CHECK_ERROR(ec__comm_open("auto", &comm), EC_ERR_ENV, "--mpi=pmix");
    leave_launcher();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_stopped_rank_is_named),
        cmocka_unit_test(test_killed_rank_is_named),
        cmocka_unit_test(test_busy_rank_is_waited_for),
        cmocka_unit_test(test_wrong_collective),
        cmocka_unit_test(test_abort_and_exit),
        cmocka_unit_test(test_failure_of_one),
    };
    if (argc == 4) return astray(argv[1], argv[2]);
    leave_launcher();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
