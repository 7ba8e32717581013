#define _GNU_SOURCE
#include "trial.h"

#include <dirent.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "support.h"

/* Processes whose last argument is that. */
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

void test_trial_start(test_trial *t, const char *fault, const char *kind) {
    static int number;
    char program[4096] = "", command[8192];
    assert_true(readlink("/proc/self/exe", program, sizeof program - 1) > 0);
    t->start_ns = ec__now_ns();
    snprintf(t->mark, sizeof t->mark, "mark-%d-%d", (int)getpid(), number++);
    snprintf(command, sizeof command, "%s/tests/support/mpirun.sh 3 %s %s %s %s 2>&1", EMOCLIM_SOURCE_DIR, program, fault,
             kind, t->mark);
    t->pipe = popen(command, "r");
    assert_non_null(t->pipe);
}

int test_trial_finish(test_trial *t, double most_s) {
    size_t n = fread(t->text, 1, sizeof t->text - 1, t->pipe);
    t->text[n] = '\0';
    int status = pclose(t->pipe);
    print_message("%s", t->text);
    test_limit("seconds until all ranks had ended", ec__seconds_since(t->start_ns), most_s);
    assert_int_equal(count_processes(t->mark), 0);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

void test_trial_expect(const test_trial *t, const char *part) {
    if (!strstr(t->text, part)) fail_msg("\"%s\" is not in the log:\n%s", part, t->text);
}
