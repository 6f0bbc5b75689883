/* SPDX-License-Identifier: MIT */
/* tools/keel-trace.c - looks into traces and replays them: see keel-trace(1).
 *
 * Exit status: 0 the same, 1 a difference, 2 a wrong command line or a broken file.
 */
#include "dm/record.h"
#include "ui/con.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAME, DIFFERENT, BROKEN };

static int usage(void)
{
    fprintf(stderr, "usage: keel-trace info FILE\n"
                    "       keel-trace show FILE [FIRST [COUNT]]\n"
                    "       keel-trace replay [--png FILE] [--until EVENT] [--state] FILE\n"
                    "       keel-trace diff FILE FILE\n");
    return BROKEN;
}

static int fail(const struct err *e)
{
    fprintf(stderr, "keel-trace: %s\n", e->msg);
    return BROKEN;
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void put_line(void *opaque, const char *line)
{
    (void)opaque;
    puts(line);
}

/* ---- info ---- */

static void print_stats(const struct trace_stats *s)
{
    printf("events    %" PRIu64 "\n", s->events);
    printf("requests  %" PRIu64 " port, %" PRIu64 " memory, %" PRIu64 " configuration\n",
           s->requests[IO_PIO], s->requests[IO_MMIO], s->requests[IO_PCI]);
    printf("dma       %" PRIu64 " reads, %" PRIu64 " writes\n", s->dma_reads, s->dma_writes);
    printf("lines     %" PRIu64 "\n", s->lines);
    printf("timers    %" PRIu64 "\n", s->timers);
    printf("back ends %" PRIu64 " inputs, %" PRIu64 " outputs\n", s->inputs, s->outputs);
    printf("time      %.6f s\n", (double)s->last_ns / 1e9);
    if (s->truncated) {
        printf("the recorder did not finish: what it wrote last is missing\n");
    }
}

static int info(struct trace_play *p)
{
    struct err e = { 0 };
    size_t n;
    const struct trace_option *o = trace_options(p, &n);

    for (size_t i = 0; i < n; i++) {
        printf("%-9s %s\n", o[i].name, o[i].value);
    }
    if (trace_show(p, UINT64_MAX, 0, put_line, NULL, &e) < 0) {
        return fail(&e);
    }
    print_stats(trace_stats(p));
    return SAME;
}

/* ---- replay ---- */

struct wish {
    const char *png;
    uint64_t until;
    bool state;
};

static void print_field(void *opaque, const char *name, uint64_t value)
{
    printf("%s.%s = 0x%" PRIx64 "\n", ((const struct device *)opaque)->id, name, value);
}

static void print_state(const struct machine *m)
{
    for (struct device *d = m->devices; d; d = d->next) {
        dev_state_each(d, print_field, d);
    }
}

static void print_summary(const struct trace_stats *s, double seconds)
{
    printf("%" PRIu64 " events, %.3f s of the machine's time, replayed in %.3f s "
           "(%.0f events/s)%s\n",
           s->events, (double)s->last_ns / 1e9, seconds, (double)s->events / seconds,
           s->truncated ? "; the recorder did not finish" : "");
}

static int replay_on(struct trace_play *p, struct replay *r, const struct wish *w)
{
    struct machine *m = replay_machine(r);
    struct trace_diff diff;
    struct err e = { 0 };
    double start = now_s();
    int ret = trace_run(p, m, w->until, &diff, &e);

    if (ret < 0) {
        return fail(&e);
    }
    print_summary(trace_stats(p), now_s() - start);
    if (diff.differs) {
        printf("%s\n", diff.text);
    }
    machine_enter(m);
    if (w->state) {
        print_state(m);
    }
    if (w->png) {
        ret = con_screendump(replay_con(r), w->png, "png", &e);
    }
    machine_leave(m);
    return ret < 0 ? fail(&e) : diff.differs ? DIFFERENT : SAME;
}

static int replay(struct trace_play *p, const struct wish *w)
{
    struct err e = { 0 };
    struct replay *r = replay_new(p, &e);
    int ret;

    if (!r) {
        return fail(&e);
    }
    ret = replay_on(p, r, w);
    replay_free(r);
    return ret;
}

/* ---- diff ---- */

static int diff(struct trace_play *a, struct trace_play *b)
{
    struct trace_diff d;
    struct err e = { 0 };
    int ret = trace_compare(a, b, &d, &e);

    if (ret < 0) {
        return fail(&e);
    }
    if (ret > 0) {
        printf("%s\n", d.text);
    }
    return ret > 0 ? DIFFERENT : SAME;
}

/* ---- the command line ---- */

static bool number(const char *text, uint64_t *out)
{
    char *end;

    *out = strtoull(text, &end, 0);
    return *text && !*end;
}

static int show(struct trace_play *p, char **args, int nargs)
{
    uint64_t first = 0, count = UINT64_MAX;
    struct err e = { 0 };

    if ((nargs > 0 && !number(args[0], &first)) || (nargs > 1 && !number(args[1], &count))) {
        return usage();
    }
    return trace_show(p, first, count, put_line, NULL, &e) < 0 ? fail(&e) : SAME;
}

static bool take_options(int argc, char **argv, struct wish *w)
{
    static const struct option options[] = {
        { "png", required_argument, NULL, 'p' },
        { "until", required_argument, NULL, 'u' },
        { "state", no_argument, NULL, 's' },
        { 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'p') {
            w->png = optarg;
        } else if (c == 's') {
            w->state = true;
        } else if (c != 'u' || !number(optarg, &w->until)) {
            return false;
        }
    }
    return true;
}

/* args: what follows the verb, files and numbers only. */
static int run(const char *verb, char **args, int nargs, const struct wish *w)
{
    bool two = strcmp(verb, "diff") == 0;
    struct err e = { 0 };
    struct trace_play *p = trace_open(args[0], &e);
    struct trace_play *q = p && two ? trace_open(args[1], &e) : NULL;
    int ret;

    if (!p || (two && !q)) {
        ret = fail(&e);
    } else if (two) {
        ret = diff(p, q);
    } else if (strcmp(verb, "info") == 0) {
        ret = info(p);
    } else if (strcmp(verb, "show") == 0) {
        ret = show(p, args + 1, nargs - 1);
    } else {
        ret = replay(p, w);
    }
    trace_close(q);
    trace_close(p);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *verb;
        int least, most;
    } verbs[] = { { "info", 1, 1 }, { "show", 1, 3 }, { "replay", 1, 1 }, { "diff", 2, 2 } };
    struct wish w = { 0 };

    if (!take_options(argc, argv, &w) || optind >= argc) {
        return usage();
    }
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        int nargs = argc - optind - 1;

        if (strcmp(argv[optind], verbs[i].verb) == 0 && nargs >= verbs[i].least &&
            nargs <= verbs[i].most) {
            return run(argv[optind], argv + optind + 1, nargs, &w);
        }
    }
    return usage();
}
