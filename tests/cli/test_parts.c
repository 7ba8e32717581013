/* The parts of the program that all commands share: option tables, signals, the terminal line, error messages. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/clock.h"
#include "core/stop.h"
#include "support.h"

/* --- options --- */

typedef struct values {
    bool deep;
    const char *image;
    int64_t k;
    double limit;
    cli_list tag;
    int mode;
} values;

static const char *const modes[] = {"fast", "exact", NULL};
static const values defaults = {.k = 5, .limit = 0.5, .image = "none", .mode = 1};

static const cli_option table[] = {
    {.name = "deep", .letter = 'd', .type = CLI_FLAG, .help = "x", .offset = offsetof(values, deep)},
    {.name = "image",
     .letter = 'i',
     .type = CLI_TEXT,
     .argument = "FILE",
     .help = "x",
     .offset = offsetof(values, image)},
    {.name = "top",
     .letter = 'k',
     .type = CLI_INT,
     .argument = "K",
     .help = "x",
     .offset = offsetof(values, k),
     .low = 1,
     .high = 99},
    {.name = "limit",
     .type = CLI_DOUBLE,
     .argument = "X",
     .help = "x",
     .offset = offsetof(values, limit),
     .low = -1,
     .high = 1},
    {.name = "tag", .letter = 't', .type = CLI_LIST, .argument = "TAG", .help = "x", .offset = offsetof(values, tag)},
    {.name = "mode",
     .type = CLI_CHOICE,
     .argument = "M",
     .help = "x",
     .offset = offsetof(values, mode),
     .choices = modes},
    {.name = NULL},
};

static const cli_command command = {
    .name = "search",
    .summary = "x",
    .arguments = "FILE [MORE]",
    .arguments_min = 1,
    .arguments_max = 2,
    .options = table,
    .values_size = sizeof(values),
    .defaults = &defaults,
};

/* Parses words separated by spaces. */
static ec_status parse(const char *line, cli_parsed *out) {
    static char words[512];
    char *argv[32];
    int argc = 0;
    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    return cli_parse(&command, "emoclim search", argc, argv, out);
}

static void test_options(void **state) {
    (void)state;
    cli_parsed p;
    CHECK_OK(parse("a", &p));
    const values *v = p.values;
    assert_memory_equal(v, &defaults, sizeof defaults);
    assert_int_equal(p.context.argument_count, 1);
    assert_false(p.context.json);
    cli_parsed_release(&command, &p);

    CHECK_OK(parse("a -dk7 --image=x=y --limit -0.25 -t one b --tag two -tthree --mode fast --json", &p));
    v = p.values;
    assert_true(v->deep);
    assert_int_equal(v->k, 7);
    assert_string_equal(v->image, "x=y");
    assert_true(v->limit == -0.25);
    assert_int_equal(v->tag.count, 3);
    assert_string_equal(v->tag.item[2], "three");
    assert_int_equal(v->mode, 0);
    assert_true(p.context.json);
    assert_int_equal(p.context.argument_count, 2);
    assert_string_equal(p.context.argument[1], "b");
    cli_parsed_release(&command, &p);

    CHECK_OK(parse("-- --image -", &p));
    assert_string_equal(p.context.argument[0], "--image");
    assert_string_equal(p.context.argument[1], "-");
    cli_parsed_release(&command, &p);

    CHECK_OK(parse("--help", &p)); /* needs no arguments */
    assert_true(p.help);
    cli_parsed_release(&command, &p);
}

static void test_wrong_options(void **state) {
    (void)state;
    const struct {
        const char *line, *message;
    } wrong[] = {
        {"a --imgae x", "unknown option --imgae; did you mean --image?"},
        {"a --imgae=x", "unknown option --imgae; did you mean --image?"},
        {"a --zzzz", "unknown option --zzzz"},
        {"a -z", "unknown option -z"},
        {"a -dz", "unknown option -z"},
        {"a --image", "option --image needs a value: --image FILE"},
        {"a -i", "option --image needs a value"},
        {"a --deep=1", "option --deep takes no value; found \"1\""},
        {"a --top 0", "--top: found 0, expected a whole number from 1 to 99"},
        {"a --top 100", "--top: found 100"},
        {"a --top 7x", "--top: found \"7x\", expected a whole number"},
        {"a --top=", "--top: found \"\", expected a whole number"},
        {"a --top 99999999999999999999", "expected a whole number"},
        {"a --limit nan", "--limit: found \"nan\", expected a number"},
        {"a --limit inf", "--limit: found \"inf\""},
        {"a --limit 1.01", "--limit: found 1.01, expected a number from -1 to 1"},
        {"a --mode fats", "--mode: found \"fats\", expected one of fast, exact; did you mean fast?"},
        {"", "missing arguments; usage: emoclim search [options] FILE [MORE]"},
        {"a b c", "unexpected argument \"c\"; usage: emoclim search [options] FILE [MORE]"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cli_parsed p;
        CHECK_ERROR(parse(wrong[i].line, &p), EC_ERR_USAGE, wrong[i].message);
        cli_parsed_release(&command, &p);
    }
}

/* --- a child process whose stderr is looked at --- */

enum { CAPTURE = 1 << 16 };

static void read_all(int fd, char text[CAPTURE]) {
    size_t used = 0;
    ssize_t got;
    /* Reading from a terminal whose other end is closed fails instead of ending. */
    while (used < CAPTURE - 1 && (got = read(fd, text + used, CAPTURE - 1 - used)) > 0) used += (size_t)got;
    text[used] = '\0';
}

/* Runs act in a child with its stderr going to fd; returns the child's wait status. */
static int in_child(void (*act)(void), int fd, int other_end, char text[CAPTURE]) {
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(fd, STDERR_FILENO);
        close(fd);
        close(other_end);
        act();
        fflush(stderr);
        _exit(0);
    }
    close(fd);
    read_all(other_end, text);
    close(other_end);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static int through_pipe(void (*act)(void), char text[CAPTURE]) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    return in_child(act, ends[1], ends[0], text);
}

static int through_terminal(void (*act)(void), int columns, char text[CAPTURE]) {
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0 && ioctl(slave, TIOCSWINSZ, &size) == 0);
    return in_child(act, slave, master, text);
}

static void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* --- signals --- */

static void one_usr1_one_term(void) {
    if (cli_catch_signals() != EC_OK || ec__stop_requested() != 0) _exit(9);
    raise(SIGUSR1);
    if (ec__stop_requested() != SIGUSR1) _exit(8);
    raise(SIGTERM);
    if (ec__stop_requested() != SIGTERM) _exit(7);
    _exit(42);
}

static void two_interrupts(void) {
    if (cli_catch_signals() != EC_OK) _exit(9);
    raise(SIGINT);
    raise(SIGINT);
    _exit(8);
}

static void int_and_term(void) {
    if (cli_catch_signals() != EC_OK) _exit(9);
    raise(SIGINT);
    raise(SIGTERM);
    _exit(8);
}

static void test_signals(void **state) {
    (void)state;
    static char text[CAPTURE];
    int status = through_pipe(one_usr1_one_term, text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    status = through_pipe(two_interrupts, text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    status = through_pipe(int_and_term, text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

/* --- progress --- */

static void count_pictures(void) {
    const cli_context cli = {.command = "test"};
    setenv("TERM", "xterm", 1);
    cli_output_open();
    const ec_progress *progress = cli_progress(&cli);
    for (int i = 0; i <= 300; i++) {
        ec__progress(progress, "pictures", i, 300);
        if (i == 150) EC_WARN("half-way");
        sleep_ms(1);
    }
    cli_progress_end();
    cli_line("the end");
}

/* Widest piece between two carriage returns or newlines, and how often the cursor goes back. */
static void measure(const char *text, int *widest, int *redraws) {
    int width = 0;
    *widest = *redraws = 0;
    for (; *text; text++) {
        if (*text == '\r' || *text == '\n') {
            if (*text == '\r' && text[1] != '\n') ++*redraws;
            width = 0;
        } else if (*text == '\033') {
            text += 2; /* "[K" */
        } else if (++width > *widest) {
            *widest = width;
        }
    }
}

static void test_bar(void **state) {
    (void)state;
    static char text[CAPTURE];
    for (int columns = 20; columns <= 120; columns += 50) {
        int widest, redraws;
        int64_t start = ec__now_ns();
        assert_int_equal(through_terminal(count_pictures, columns, text), 0);
        measure(text, &widest, &redraws);
        assert_in_range(widest, 1, columns - 1);
        /* Ten a second at most, besides the first, the last, and two for the line of the log. */
        assert_in_range(redraws, 3, (int)(10 * ec__seconds_since(start)) + 4);
        assert_non_null(strstr(text, "\033[Kwarning: half-way\r\n"));
        assert_non_null(strstr(text, "\nthe end\r\n"));
        if (columns >= 70) {
            assert_non_null(strstr(text, "300/300  100 %"));
            assert_non_null(strstr(text, "pictures [####"));
            assert_non_null(strstr(text, " left"));
        }
    }
}

static void test_progress_in_a_log(void **state) {
    (void)state;
    static char text[CAPTURE];
    assert_int_equal(through_pipe(count_pictures, text), 0);
    assert_null(strpbrk(text, "\r\033"));
    assert_int_equal(strncmp(text, "warning: half-way\npictures: 300/300  100 %", 42), 0);
    assert_non_null(strstr(text, "\nthe end\n"));
}

static void count_quietly(void) {
    const cli_context cli = {.command = "test", .quiet = true};
    ec__progress(cli_progress(&cli), "pictures", 1, 1);
    const cli_context loud = {.command = "test"};
    cli_set_ranks(1, 2); /* only rank 0 shows progress */
    ec__progress(cli_progress(&loud), "pictures", 1, 1);
}

static void test_no_progress(void **state) {
    (void)state;
    static char text[CAPTURE];
    assert_int_equal(through_terminal(count_quietly, 80, text), 0);
    assert_string_equal(text, "");
}

/* --- errors --- */

static void usage_error(void) {
    EC_ERROR(EC_ERR_USAGE, "no such thing");
    cli_print_error("emoclim search", false);
}

static void internal_error(void) {
    EC_ERROR(EC_ERR_BUG, "odd");
    cli_print_error("emoclim search", false);
}

static void verbose_error(void) {
    ec__error_pass(EC_ERROR(EC_ERR_DATA, "bad file"), "caller.c", 7, "caller");
    cli_print_error("emoclim search", true);
}

static void error_of_another_rank(void) {
    cli_set_ranks(1, 4);
    EC_ERROR(EC_ERR_DATA, "mine");
    ec_error other = *ec_error_last();
    cli_print_error("emoclim train", false);
    other.rank = 2;
    ec__error_adopt(&other);
    cli_print_error("emoclim train", false);
}

static void same_error_on_every_rank(void) {
    setenv("OMPI_COMM_WORLD_RANK", "3", 1);
    EC_ERROR(EC_ERR_USAGE, "same");
    cli_print_error("emoclim train", false);
    EC_ERROR(EC_ERR_CONFIG, "t.yaml:1:1: same");
    cli_print_error("emoclim train", false);
    EC_ERROR(EC_ERR_CONFIG, "configuration: cannot open t.yaml");
    cli_print_error("emoclim train", false);
}

static void logs_of_rank_1(void) {
    cli_output_open();
    cli_set_ranks(1, 4);
    EC_INFO("hidden");
    EC_WARN("shown");
    cli_set_log_level(EC_LOG_DEBUG, true);
    cli_set_log_level(EC_LOG_WARN, false); /* the user's choice wins */
    EC_INFO("verbose");
    EC_DEBUG("detail");
}

static void test_messages(void **state) {
    (void)state;
    static char text[CAPTURE];
    assert_int_equal(through_pipe(usage_error, text), 0);
    assert_string_equal(text, "emoclim search: no such thing\n  hint: \"emoclim search --help\" tells more\n");
    assert_int_equal(through_pipe(internal_error, text), 0);
    assert_non_null(strstr(text, "emoclim search: internal error: odd\n  hint: "));
    assert_non_null(strstr(text, "\n  in internal_error ("));
    assert_int_equal(through_pipe(verbose_error, text), 0);
    assert_non_null(strstr(text, "emoclim search: bad file\n  in verbose_error ("));
    assert_non_null(strstr(text, "\n  from caller (caller.c:7)\n"));
    assert_int_equal(through_pipe(error_of_another_rank, text), 0);
    assert_string_equal(text, "[rank 1] emoclim train: mine\n");
    assert_int_equal(through_pipe(same_error_on_every_rank, text), 0);
    assert_string_equal(text, "emoclim train: configuration: cannot open t.yaml\n");
    assert_int_equal(through_pipe(logs_of_rank_1, text), 0);
    assert_string_equal(text, "[rank 1] warning: shown\n[rank 1] verbose\n[rank 1] debug: detail\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),  cmocka_unit_test(test_wrong_options),     cmocka_unit_test(test_signals),
        cmocka_unit_test(test_bar),      cmocka_unit_test(test_progress_in_a_log), cmocka_unit_test(test_no_progress),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
