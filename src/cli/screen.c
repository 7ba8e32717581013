/* The terminal line: progress that is redrawn in place, and log lines that don't tear it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/clock.h"

enum { PHASE = 64, LINE = 512, BAR_WIDEST = 40 };
static const double redraw_s = 0.1, line_s = 5;

/* The one terminal of the process; worker threads may log while the loader reports progress. */
static struct {
    pthread_mutex_t lock;
    bool terminal, bar_shown;
    char bar[LINE];
    char what[PHASE];
    int64_t start_ns, drawn_ns; /* of this phase; of the last redraw or line */
    int64_t first, last;        /* done at the start of the phase, done as last told */
    bool ended;                 /* the end of the phase has been told */
} screen = {.lock = PTHREAD_MUTEX_INITIALIZER};

int cli_columns(int fd) {
    struct winsize size;
    if (isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

static void hide_bar(void) {
    if (screen.bar_shown) fputs("\r\033[K", stderr);
}

static void draw_bar(void) {
    if (screen.bar_shown) fprintf(stderr, "\r%s\033[K", screen.bar);
    fflush(stderr);
}

void cli_line(const char *text) {
    pthread_mutex_lock(&screen.lock);
    hide_bar();
    fprintf(stderr, "%s\n", text);
    draw_bar();
    pthread_mutex_unlock(&screen.lock);
}

void cli_progress_end(void) {
    pthread_mutex_lock(&screen.lock);
    if (screen.bar_shown) fputc('\n', stderr);
    fflush(stderr);
    screen.bar_shown = false;
    screen.what[0] = '\0';
    pthread_mutex_unlock(&screen.lock);
}

static void format_seconds(double seconds, char *into, size_t size) {
    long long s = seconds < 1e9 ? (long long)(seconds + 0.5) : 1000000000;
    if (s < 60) snprintf(into, size, "%lld s", s);
    else if (s < 3600) snprintf(into, size, "%lld:%02lld min", s / 60, s % 60);
    else snprintf(into, size, "%lld:%02lld h", s / 3600, s / 60 % 60);
}

static void format_rate(double rate, char *into, size_t size) {
    if (rate >= 1e6) snprintf(into, size, "%.2fM/s", rate / 1e6);
    else if (rate >= 1e4) snprintf(into, size, "%.1fk/s", rate / 1e3);
    else snprintf(into, size, rate >= 100 ? "%.0f/s" : "%.1f/s", rate);
}

/* "1234/5678  45 %  12.3/s  0:12 min left"; with nothing left, the time that it took. */
static void format_figures(int64_t done, int64_t total, char *into, size_t size) {
    char time[32], speed[32];
    double elapsed = ec__seconds_since(screen.start_ns);
    double rate = elapsed > 0 ? (double)(done - screen.first) / elapsed : 0;
    format_rate(rate, speed, sizeof speed);
    if (total <= 0) {
        snprintf(into, size, "%lld  %s", (long long)done, speed);
    } else if (done >= total) {
        format_seconds(elapsed, time, sizeof time);
        snprintf(into, size, "%lld/%lld  100 %%  %s  %s", (long long)done, (long long)total, speed, time);
    } else {
        format_seconds(rate > 0 ? (double)(total - done) / rate : 0, time, sizeof time);
        snprintf(into, size, "%lld/%lld  %d %%  %s%s%s%s", (long long)done, (long long)total,
                 (int)(100.0 * (double)done / (double)total), speed, rate > 0 ? "  " : "", rate > 0 ? time : "",
                 rate > 0 ? " left" : "");
    }
}

static void compose_bar(int64_t done, int64_t total, const char *figures) {
    char cells[BAR_WIDEST + 1];
    int columns = cli_columns(STDERR_FILENO);
    int room = columns - 1 - (int)strlen(screen.what) - (int)strlen(figures) - 5;
    int width = room > BAR_WIDEST ? BAR_WIDEST : room;
    if (total > 0 && width >= 8) {
        double share = (double)done / (double)total;
        int full = (int)((share > 1 ? 1 : share) * width);
        for (int i = 0; i < width; i++) cells[i] = i < full ? '#' : '.';
        cells[width] = '\0';
        snprintf(screen.bar, sizeof screen.bar, "%s [%s] %s", screen.what, cells, figures);
    } else {
        snprintf(screen.bar, sizeof screen.bar, "%s %s", screen.what, figures);
    }
    /* A line that wraps could not be redrawn in place. */
    if (columns - 1 < (int)sizeof screen.bar) screen.bar[columns - 1] = '\0';
}

static void start_phase(const char *what, int64_t done) {
    if (screen.bar_shown) fputc('\n', stderr);
    screen.bar_shown = false;
    snprintf(screen.what, sizeof screen.what, "%s", what);
    screen.start_ns = screen.drawn_ns = ec__now_ns();
    screen.first = done;
    screen.ended = false;
}

/* Called with the lock held; returns true when line should go to the log once the lock is free. */
static bool advance(const char *what, int64_t done, int64_t total, char *line, size_t size) {
    char figures[128];
    if (strcmp(what, screen.what) != 0 || done < screen.last) start_phase(what, done);
    screen.last = done;
    bool complete = total > 0 && done >= total;
    double quiet = ec__seconds_since(screen.drawn_ns);
    bool first = screen.terminal && !screen.bar_shown;
    if (complete ? screen.ended : quiet < (screen.terminal ? redraw_s : line_s) && !first) return false;
    screen.ended = complete;
    screen.drawn_ns = ec__now_ns();
    format_figures(done, total, figures, sizeof figures);
    if (!screen.terminal) {
        snprintf(line, size, "%s: %s", screen.what, figures);
        return true;
    }
    compose_bar(done, total, figures);
    screen.bar_shown = true;
    draw_bar();
    return false;
}

static void update(void *arg, const char *what, int64_t done, int64_t total) {
    (void)arg;
    char line[LINE];
    pthread_mutex_lock(&screen.lock);
    bool log = advance(what, done, total, line, sizeof line);
    pthread_mutex_unlock(&screen.lock);
    /* The log calls cli_line, which takes the lock itself. */
    if (log) EC_INFO("%s", line);
}

static const ec_progress progress = {.update = update};

const ec_progress *cli_progress(const cli_context *cli) {
    if (cli->quiet || cli_rank() != 0) return NULL;
    const char *term = getenv("TERM");
    screen.terminal = isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
    return &progress;
}
