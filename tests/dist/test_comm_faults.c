/* ranks: 1
 * What happens when ranks go astray. A run that is meant to die cannot report about itself: this program starts mpirun
 * on itself with the name of a fault, and looks at the exit code, the time and the log. */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
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
    if (ec__comm_open(kind, &comm) != EC_OK) return 100;
    ec_status status = ec__comm_barrier(comm);
    ec__comm_set_deadline(comm, 1, 3);
    ec__comm_set_context(comm, 57, "looking out of the window");
    if (strcmp(fault, "absent") == 0) {
        if (comm->rank == 2) sleep(60);
        status = ec__comm_all_gather(comm, all, all, 8);
    } else if (strcmp(fault, "late") == 0) {
        if (comm->rank == 0) sleep(2);
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
    } else {
        status = call_another(comm, fault, all);
    }
    if (status != EC_OK) fprintf(stderr, "[%d] %s\n", comm->rank, ec_error_last()->text);
    ec__comm_close(comm);
    return ec_status_exit_code(status);
}

/* Processes of this program that were started with that argument. */
static int count_processes(const char *mark) {
    int count = 0;
    DIR *all = opendir("/proc");
    assert_non_null(all);
    for (struct dirent *entry = readdir(all); entry; entry = readdir(all)) {
        char path[300], line[4096] = "";
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        size_t n = fread(line, 1, sizeof line - 1, file);
        fclose(file);
        count += n > strlen(mark) && strcmp(line + n - 1 - strlen(mark), mark) == 0;
    }
    closedir(all);
    return count;
}

/* Runs three ranks of a fault; returns the exit code, and what they wrote in text. Afterwards nobody is left. */
static int run(const char *fault, const char *kind, char *text, size_t size) {
    char command[8192], mark[64];
    const int64_t start_ns = ec__now_ns();
    snprintf(mark, sizeof mark, "mark-%d-%lld", (int)getpid(), (long long)start_ns);
    snprintf(command, sizeof command, "%s/tests/support/mpirun.sh 3 %s %s %s %s 2>&1", EMOCLIM_SOURCE_DIR, program, fault,
             kind, mark);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(text, 1, size - 1, pipe);
    text[n] = '\0';
    int status = pclose(pipe);
    print_message("%s", text);
    test_limit("seconds until all ranks had ended", ec__seconds_since(start_ns), 16);
    assert_int_equal(count_processes(mark), 0);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect_text(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("\"%s\" is not in the log:\n%s", part, text);
}

/* The log names rank r of this host as missing from the gather, for that reason. Who speaks: the lowest other rank. */
static void expect_missing(const char *text, int r, const char *reason) {
    char host[64] = "", part[256];
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    snprintf(part, sizeof part, "rank %d on %s waited ", r == 0, host);
    expect_text(text, part);
    snprintf(part, sizeof part, "s in all_gather (collective 2, step 57); not arrived: rank %d on %s (%s", r, host, reason);
    expect_text(text, part);
}

static const char *const kinds[] = {"mpi", "mpi-plain"};

static void test_stopped_rank_is_named(void **state) {
    (void)state;
    char text[16384];
    for (int k = 0; k < 2; k++) {
        char fault[] = {'s', 't', 'o', 'p', (char)(k ? '0' : '2'), 0};
        assert_int_equal(run(fault, kinds[k], text, sizeof text), 5);
        expect_missing(text, k ? 0 : 2, "no answer for 1.");
        expect_text(text, "has not answered for ");
    }
}

/* The launcher notices a death, too, and its exit code tells the signal; it leaves the others about a second. */
static void test_killed_rank_is_named(void **state) {
    (void)state;
    char text[16384];
    for (int k = 0; k < 2; k++) {
        char fault[] = {'k', 'i', 'l', 'l', (char)(k ? '1' : '0'), 0};
        assert_int_equal(run(fault, kinds[k], text, sizeof text), 128 + SIGKILL);
        expect_missing(text, k, "its process has ended)");
    }
}

static void test_busy_rank_is_waited_for(void **state) {
    (void)state;
    char text[16384];
    for (int k = 0; k < 2; k++) {
        assert_int_equal(run("late", kinds[k], text, sizeof text), 0);
        expect_text(text, "[1] rank 1 on ");
        expect_text(text, " (alive, looking out of the window for 1 s, step 57); it goes on up to 3 s");
    }
    assert_int_equal(run("absent", "mpi", text, sizeof text), 5);
    expect_missing(text, 2, "alive, looking out of the window for 3 s, step 57)");
}

static void test_wrong_collective(void **state) {
    (void)state;
    char text[16384];
    for (int k = 0; k < 1; k++) {
        assert_int_equal(run("other", kinds[k], text, sizeof text), 5);
        expect_text(text, "rank 0 called all_gather of 8 bytes as collective number 2, but rank 1 called barrier");
        assert_int_equal(run("size", kinds[k], text, sizeof text), 5);
        expect_text(text, "called all_gather of 8 bytes as collective number 2, but rank 1 called all_gather of 16 bytes");
    }
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
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_stopped_rank_is_named),
        cmocka_unit_test(test_killed_rank_is_named),
        cmocka_unit_test(test_busy_rank_is_waited_for),
        cmocka_unit_test(test_wrong_collective),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_death),
        cmocka_unit_test(test_early_close),
    };
    if (argc == 4) return astray(argv[1], argv[2]);
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0) return 1;
    leave_launcher();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
