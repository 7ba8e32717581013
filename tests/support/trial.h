/* Runs that are meant to die. Such a run cannot report about itself: a test program starts mpirun on itself with the
 * name of a fault, and looks at the exit code, the time and the log. Several trials at a time mostly wait together. */
#ifndef EC_TEST_TRIAL_H
#define EC_TEST_TRIAL_H

#include <stdint.h>
#include <stdio.h>

typedef struct test_trial {
    FILE *pipe;
    int64_t start_ns;
    char mark[64];    /* last argument of its processes */
    char text[16384]; /* what the ranks and mpirun wrote */
} test_trial;

/* Starts this very program on three ranks with the arguments fault and kind, and a mark by which it is known. */
void test_trial_start(test_trial *trial, const char *fault, const char *kind);

/* Waits for its end, prints what it wrote and returns the exit code. Fails the test unless all processes have ended, at
 * most so many seconds after the start. */
int test_trial_finish(test_trial *trial, double most_s);

/* Fails the test unless the trial wrote that. */
void test_trial_expect(const test_trial *trial, const char *part);

#endif
