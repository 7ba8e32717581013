/* ranks: 1
 * What happens when ranks go astray. A run that is meant to die cannot report about itself: this program starts mpirun
 * on itself with the name of a fault, and looks at the exit code, the time and the log. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "dist/comm.h"
#include "support.h"

extern char **environ;

static char program[4096];

static void print_log(void *arg, ec_log_level level, int rank, const char *text) {
    (void)arg, (void)level;
    fprintf(stderr, "[%d] %s\n", rank, text);
}

/* The ranks' side. Returns the exit code. */
static int astray(const char *fault, const char *kind) {
    ec_comm *comm = NULL;
    char all[64] = {0};
    ec__log_set_sink(print_log, NULL, EC_LOG_INFO);
    if (ec__comm_open(kind, &comm) != EC_OK) return 100;
    ec_status status = ec__comm_barrier(comm);
    if (strcmp(fault, "absent") == 0) {
        if (comm->rank == 2) sleep(60);
        ec__comm_set_deadline(comm, 0.5);
        status = ec__comm_all_gather(comm, all, all, 8);
    } else if (strcmp(fault, "abort") == 0) {
        if (comm->rank == 1) ec__comm_abort(comm, 7, "the disk of this rank is on fire");
        status = ec__comm_barrier(comm);
    } else if (strcmp(fault, "death") == 0) {
        if (comm->rank == 1) _exit(9);
        status = ec__comm_barrier(comm);
    } else if (strcmp(fault, "close") == 0 && comm->rank != 1) {
        status = ec__comm_all_gather(comm, all, all, 8);
    }
    if (status != EC_OK) fprintf(stderr, "[%d] %s\n", comm->rank, ec_error_last()->text);
    ec__comm_close(comm);
    return ec_status_exit_code(status);
}

/* Runs three ranks of a fault; returns the exit code, and what they wrote in text. */
static int run(const char *fault, const char *kind, char *text, size_t size) {
    char command[8192];
    const int64_t start_ns = ec__now_ns();
    snprintf(command, sizeof command, "%s/tests/support/mpirun.sh 3 %s %s %s 2>&1", EMOCLIM_SOURCE_DIR, program, fault, kind);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(text, 1, size - 1, pipe);
    text[n] = '\0';
    int status = pclose(pipe);
    print_message("%s", text);
    test_limit("seconds until all ranks had ended", ec__seconds_since(start_ns), 20);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_text(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("\"%s\" is not in the log:\n%s", part, text);
}

static void check_absent(const char *kind) {
    char text[16384];
    assert_int_equal(run("absent", kind, text, sizeof text), 5);
    expect_text(text, "s in all_gather, collective number 2; not arrived: rank 2 ");
}

static void test_absent_rank_is_named(void **state) {
    (void)state;
    check_absent("mpi");
    check_absent("mpi-plain");
}

static void test_abort(void **state) {
    (void)state;
    char text[16384];
    assert_int_equal(run("abort", "auto", text, sizeof text), 7);
    expect_text(text, "[1] the disk of this rank is on fire");
}

static void test_death(void **state) {
    (void)state;
    char text[16384];
    assert_int_equal(run("death", "mpi", text, sizeof text), 9);
}

static void test_early_close(void **state) {
    (void)state;
    char text[16384];
    assert_int_equal(run("close", "mpi", text, sizeof text), 5);
    expect_text(text, "called all_gather of 8 bytes as collective number 2, but rank 1 called close");
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
        cmocka_unit_test(test_auto),  cmocka_unit_test(test_absent_rank_is_named), cmocka_unit_test(test_abort),
        cmocka_unit_test(test_death), cmocka_unit_test(test_early_close),
    };
    if (argc == 3) return astray(argv[1], argv[2]);
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0) return 1;
    leave_launcher();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
