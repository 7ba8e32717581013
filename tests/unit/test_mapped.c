/* Maps whose pages are gone: an error that names file and byte in the thread that read them, nested or not; any other
 * SIGBUS still ends the process. */
#define _GNU_SOURCE
#include "core/mapped.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { PAGES = 4, OFFSET = 2 }; /* pages that are mapped, and that precede them in the file */

typedef struct file {
    char path[64];
    size_t page;
    ec_mapped map;
} file;

/* Of PAGES pages after OFFSET others, all ones; the last page is then cut off. The handler is installed anew: cmocka
 * has one of its own for the time of a test. */
static void make_file(file *f) {
    CHECK_OK(ec__mapped_catch());
    *f = (file){.path = "/tmp/emoclim-mapped-XXXXXX", .page = (size_t)sysconf(_SC_PAGESIZE)};
    const size_t bytes = (OFFSET + PAGES) * f->page;
    int fd = mkstemp(f->path);
    char *ones = malloc(bytes);
    assert_true(fd >= 0 && ones);
    memset(ones, 1, bytes);
    assert_int_equal(write(fd, ones, bytes), bytes);
    void *start = mmap(NULL, PAGES * f->page, PROT_READ, MAP_SHARED, fd, (off_t)(OFFSET * f->page));
    assert_true(start != MAP_FAILED);
    assert_int_equal(ftruncate(fd, (off_t)(bytes - f->page)), 0);
    close(fd);
    free(ones);
    f->map = (ec_mapped){f->path, start, PAGES * f->page, (int64_t)(OFFSET * f->page)};
}

static void remove_file(file *f) {
    munmap((void *)(uintptr_t)f->map.start, f->map.bytes);
    unlink(f->path);
}

typedef struct sum {
    const file *f;
    size_t first, end; /* bytes of the map */
    int64_t sum;
} sum;

static ec_status add_up(void *arg) {
    sum *s = arg;
    const volatile unsigned char *byte = s->f->map.start;
    for (size_t i = s->first; i < s->end; i++) s->sum += byte[i];
    return EC_OK;
}

/* "…" of byte number `at` of the map. */
static const char *expected(const file *f, size_t at) {
    static char text[160];
    snprintf(text, sizeof text, "reading %s at byte %zu failed: the file was cut", f->path, OFFSET * f->page + at);
    return text;
}

static void test_whole_and_cut(void **state) {
    (void)state;
    file f;
    make_file(&f);
    sum whole = {.f = &f, .end = 3 * f.page}, cut = {.f = &f, .first = f.page, .end = PAGES * f.page};
    for (int again = 0; again < 3; again++) { /* the signal is not blocked by the first */
        CHECK_OK(ec__mapped_read(&f.map, add_up, &whole));
        CHECK_ERROR(ec__mapped_read(&f.map, add_up, &cut), EC_ERR_DATA, expected(&f, 3 * f.page));
    }
    assert_int_equal(whole.sum, 3 * 3 * (int64_t)f.page);
    assert_int_equal(cut.sum, 3 * 2 * (int64_t)f.page);
    remove_file(&f);
}

typedef struct nested {
    sum inner;
    const ec_mapped *other;
    ec_status found;
} nested;

static ec_status nest(void *arg) {
    nested *n = arg;
    n->found = ec__mapped_read(n->other, add_up, &n->inner);
    n->inner.first = n->inner.end - 1; /* the last byte once more, for the outer one */
    return add_up(&n->inner);
}

static void test_nested(void **state) {
    (void)state;
    file f;
    make_file(&f);
    nested n = {.inner = {.f = &f, .end = PAGES * f.page}, .other = &f.map};
    CHECK_ERROR(ec__mapped_read(&f.map, nest, &n), EC_ERR_DATA, expected(&f, PAGES * f.page - 1));
    assert_int_equal(n.found, EC_ERR_DATA);
    remove_file(&f);
}

static void *reader(void *arg) {
    sum *s = arg;
    for (int i = 0; i < 200; i++) {
        if (ec__mapped_read(&s->f->map, add_up, s) != EC_ERR_DATA) return NULL;
        if (!strstr(ec_error_last()->text, s->f->path)) return NULL;
    }
    return s;
}

static void test_threads(void **state) {
    enum { THREADS = 4 };
    (void)state;
    file f[THREADS];
    sum s[THREADS];
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) {
        make_file(&f[i]);
        s[i] = (sum){.f = &f[i], .first = 2 * f[i].page, .end = PAGES * f[i].page};
        assert_int_equal(pthread_create(&thread[i], NULL, reader, &s[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        pthread_join(thread[i], &result);
        assert_ptr_equal(result, &s[i]);
        remove_file(&f[i]);
    }
}

/* How a process ends that does it: the signal's number. */
static int end_of(void (*do_it)(file *f), file *f) {
    int state = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0};
        setrlimit(RLIMIT_CORE, &no_core);
        do_it(f);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &state, 0), child);
    return WIFSIGNALED(state) ? WTERMSIG(state) : 0;
}

static void touch_outside(file *f) {
    sum s = {.f = f, .end = PAGES * f->page};
    add_up(&s);
}

static void touch_another(file *f) {
    nested n = {.inner = {.f = f, .end = PAGES * f->page}};
    ec_mapped first = f->map;
    first.bytes = f->page; /* the page that is gone is not of this map */
    ec__mapped_read(&first, add_up, &n.inner);
}

static ec_status send(void *arg) {
    (void)arg;
    kill(getpid(), SIGBUS);
    return EC_OK;
}

static void be_sent(file *f) { ec__mapped_read(&f->map, send, NULL); }

static void test_other_signals(void **state) {
    (void)state;
    file f;
    make_file(&f);
    assert_int_equal(end_of(touch_outside, &f), SIGBUS);
    assert_int_equal(end_of(touch_another, &f), SIGBUS);
    assert_int_equal(end_of(be_sent, &f), SIGBUS);
    remove_file(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_cut),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_other_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
