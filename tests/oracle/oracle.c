/* SPDX-License-Identifier: MIT */
/* tests/oracle/oracle.c - runs random tests on all engines and tells where they part.
 *
 *   oracle [-n cases] [-s seed] [-t seconds] [--set NAMES] [--engines NAMES] [--regressions FILE]
 *          [--keep N] [--line TEXT] [--list]
 *   -n 0 with -t: until the time is over. --set: instruction sets or instructions, comma-separated.
 *   --engines: of jit, jit0, tci, native, wrong (the last is native with mistakes, to test the
 *   oracle). --keep: stop after this many different findings (20). --line: one test as printed.
 * Findings are made small and printed as lines for regressions.txt. Exit status: 0 when there are none.
 */
#include "tests/oracle/oracle.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    uint64_t cases, seed;
    double seconds;
    const char *set, *engines, *regressions, *line;
    unsigned keep;
    bool list;
};

static struct server *native, *engine[ENGINES];
static struct test batch[BATCH];
static struct outcome want[BATCH], got[BATCH];
static unsigned findings, moods;
static char seen[4096][40]; /* mnemonic and engine of findings: one of each is enough */
static unsigned seen_count;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What the engine makes of one test; empty when it agrees with the processor. */
static void try_one(enum engine_kind kind, const struct test *t, char *why, size_t len)
{
    static struct outcome w, g;
    server_post(native, t, 1);
    server_post(engine[kind], t, 1);
    server_wait(native, &w);
    server_wait(engine[kind], &g);
    compare(kind, t, &w, &g, why, len);
}

static bool still_differs(enum engine_kind kind, const struct test *t)
{
    char why[4096];
    try_one(kind, t, why, sizeof(why));
    return *why;
}

/* ---- making a finding small ---- */

static bool without_insn(const struct test *t, unsigned i, struct test *u)
{
    unsigned n = t->start[i + 1] - t->start[i];
    *u = *t;
    memmove(u->code + t->start[i], u->code + t->start[i + 1],
            (size_t)t->code_len - t->start[i + 1]);
    u->code_len = (uint16_t)(t->code_len - n);
    return u->code_len && decode_test(u);
}

static void shrink_code(enum engine_kind kind, struct test *t)
{
    struct test u;
    for (unsigned i = 0; i < t->insns && t->insns > 1;) {
        if (without_insn(t, i, &u) && still_differs(kind, &u)) {
            *t = u;
        } else {
            i++;
        }
    }
}

/* Puts bytes back to what an empty state has, if the finding survives that. */
static void shrink_bytes(enum engine_kind kind, struct test *t, size_t offset, size_t n)
{
    struct test u = *t, d;
    test_default(&d);
    memcpy((uint8_t *)&u + offset, (const uint8_t *)&d + offset, n);
    if (memcmp(&u, t, sizeof(u)) && still_differs(kind, &u)) {
        *t = u;
    }
}

static void shrink_state(enum engine_kind kind, struct test *t)
{
    for (unsigned i = 0; i < 16; i++) {
        shrink_bytes(kind, t, offsetof(struct test, in.gpr) + 8 * i, 8);
    }
    for (unsigned i = 0; i < VEC_COUNT; i++) {
        shrink_bytes(kind, t, offsetof(struct test, in.vec) + 32 * i, 32);
    }
    shrink_bytes(kind, t, offsetof(struct test, in.flags), 8);
    shrink_bytes(kind, t, offsetof(struct test, in.mxcsr), 4);
    shrink_bytes(kind, t, offsetof(struct test, in.x87), X87_SIZE);
    for (unsigned i = 32; i < X87_SIZE; i += 16) {
        shrink_bytes(kind, t, offsetof(struct test, in.x87) + i, 16);
    }
    for (unsigned i = 0; i < PATCH_SIZE; i += 32) {
        shrink_bytes(kind, t, offsetof(struct test, patch) + i, 32);
    }
}

/* The mnemonic of the first instruction, in a prefix's company or not. */
static void title(const struct test *t, enum engine_kind kind, char *text, size_t len)
{
    char dis[1024];
    disassemble(t, dis, sizeof(dis));
    dis[strcspn(dis, " ")] = 0;
    snprintf(text, len, "%.24s %s", dis, engine_names[kind]);
}

static bool is_new(const struct test *t, enum engine_kind kind)
{
    char name[40];
    title(t, kind, name, sizeof(name));
    for (unsigned i = 0; i < seen_count; i++) {
        if (!strcmp(seen[i], name)) {
            return false;
        }
    }
    if (seen_count < sizeof(seen) / sizeof(seen[0])) {
        strcpy(seen[seen_count++], name);
    }
    return true;
}

/* The processor, asked twice more, agrees with what the engine said at once: something beside us changed
 * what it did the first time (a hypervisor that emulates an instruction, say). */
static bool was_a_mood(enum engine_kind kind, const struct test *t, const struct outcome *g)
{
    static struct outcome w;
    char why[4096];
    for (unsigned i = 0; i < 2; i++) {
        server_post(native, t, 1);
        server_wait(native, &w);
        compare(kind, t, &w, g, why, sizeof(why));
        if (*why) {
            return false;
        }
    }
    return true;
}

static void report(enum engine_kind kind, struct test t, const struct outcome *g, const char *first)
{
    if (was_a_mood(kind, &t, g)) {
        printf("# the processor says otherwise when asked again: %s: %s\n", engine_names[kind],
               first);
        moods++;
        return;
    }
    char line[4096], why[4096], dis[1024];
    if (t.insns == 1 && !is_new(&t, kind)) {
        findings++;
        return;
    }
    bool alone = t.insns == 1;
    shrink_code(kind, &t);
    if (!alone && t.insns == 1 && !is_new(&t, kind)) {
        findings++;
        return;
    }
    shrink_state(kind, &t);
    try_one(kind, &t, why, sizeof(why));
    if (!*why) {
        printf("# not reproducible by itself: %s\n", first);
    }
    test_print(&t, line, sizeof(line));
    disassemble(&t, dis, sizeof(dis));
    printf("%s # %s: %s:%s\n", line, dis, engine_names[kind], why);
    fflush(stdout);
    findings++;
}

/* ---- running ---- */

/* A native process that somebody else ended says nothing of the test: it is asked once more. */
static void ask_again_what_crashed(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (want[i].vector == ENDED_CRASH) {
            server_post(native, &batch[i], 1);
            server_wait(native, &want[i]);
        }
    }
}

static void run_batch(unsigned n)
{
    char why[4096];
    server_post(native, batch, n);
    for (unsigned k = 0; k < ENGINES; k++) {
        if (engine[k]) {
            server_post(engine[k], batch, n);
        }
    }
    server_wait(native, want);
    ask_again_what_crashed(n);
    for (unsigned k = 0; k < ENGINES; k++) {
        if (!engine[k]) {
            continue;
        }
        server_wait(engine[k], got);
        for (unsigned i = 0; i < n; i++) {
            compare(k, &batch[i], &want[i], &got[i], why, sizeof(why));
            if (*why && want[i].vector != ENDED_HANG) {
                report(k, batch[i], &got[i], why);
            }
        }
    }
}

/* How the host tells of a stack operand that is not canonical. */
static void learn_of_host(void)
{
    struct outcome w;
    struct test t;
    if (!test_parse("code=488b0424@0 rsp=8000000000000000", &t)) { /* mov rax, [rsp] */
        abort();
    }
    server_post(native, &t, 1);
    server_wait(native, &w);
    compare_stack_faults_loosely(w.vector == 13);
    if (w.vector == 13) {
        printf("# this host tells of a stack fault by #GP\n");
    }
}

/* Moods are rare, or they are no moods. */
static bool too_many_moods(uint64_t tests)
{
    return moods > 3 * ENGINES + tests / 10000;
}

static uint64_t run_regressions(const char *path)
{
    char *line = NULL;
    size_t room = 0;
    uint64_t n = 0;
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        exit(2);
    }
    while (getline(&line, &room, f) > 0) {
        if (line[strspn(line, " \t")] == '#' || line[strspn(line, " \t")] == '\n') {
            continue;
        }
        if (!test_parse(line, &batch[0])) {
            fprintf(stderr, "oracle: cannot read the line %s", line);
            exit(2);
        }
        run_batch(1);
        n++;
    }
    free(line);
    fclose(f);
    return n;
}

static uint64_t run_random(const struct options *o)
{
    struct rng r = { o->seed };
    double start = now();
    uint64_t n = 0;
    static uint32_t ended[32];
    while (!o->cases || n < o->cases) {
        unsigned k = o->cases && o->cases - n < BATCH ? (unsigned)(o->cases - n) : BATCH;
        if ((o->seconds > 0 && now() - start > o->seconds) || seen_count > o->keep) {
            break;
        }
        for (unsigned i = 0; i < k; i++) {
            generate(&r, &batch[i]);
        }
        run_batch(k);
        for (unsigned i = 0; i < k; i++) {
            ended[want[i].vector & 31]++;
        }
        n += k;
    }
    for (unsigned i = 0; i < 32; i++) {
        if (ended[i]) {
            printf("# %u tests ended by exception %u\n", ended[i], i);
        }
    }
    return n;
}

static bool named(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',') {
        if (strcspn(p, ",") == n && !strncmp(p, name, n)) {
            return true;
        }
    }
    return false;
}

static void usage(void)
{
    fprintf(stderr,
            "usage: oracle [-n cases] [-s seed] [-t seconds] [--set NAMES] [--engines NAMES]\n"
            "              [--regressions FILE] [--keep N] [--line TEXT] [--list]\n");
    exit(2);
}

static struct options options_of(int argc, char **argv)
{
    static const struct option longs[] = {
        { "set", 1, NULL, 'x' },  { "engines", 1, NULL, 'e' }, { "regressions", 1, NULL, 'r' },
        { "keep", 1, NULL, 'k' }, { "line", 1, NULL, 'l' },    { "list", 0, NULL, 'i' },
        { NULL, 0, NULL, 0 },
    };
    struct options o = { .seed = 1, .engines = "jit,jit0,tci", .keep = 20 };
    int c;
    while ((c = getopt_long(argc, argv, "n:s:t:", longs, NULL)) != -1) {
        switch (c) {
        case 'n':
            o.cases = strtoull(optarg, NULL, 0);
            break;
        case 's':
            o.seed = strtoull(optarg, NULL, 0);
            break;
        case 't':
            o.seconds = atof(optarg);
            break;
        case 'x':
            o.set = optarg;
            break;
        case 'e':
            o.engines = optarg;
            break;
        case 'r':
            o.regressions = optarg;
            break;
        case 'k':
            o.keep = (unsigned)atoi(optarg);
            break;
        case 'l':
            o.line = optarg;
            break;
        case 'i':
            o.list = true;
            break;
        default:
            usage();
        }
    }
    return o;
}

static void start_engines(const char *names)
{
    native = server_start(ENGINE_NATIVE);
    for (unsigned k = 0; k < ENGINES; k++) {
        if (named(names, engine_names[k])) {
            engine[k] = server_start(k);
        }
    }
}

static void stop_engines(void)
{
    server_stop(native);
    for (unsigned k = 0; k < ENGINES; k++) {
        if (engine[k]) {
            server_stop(engine[k]);
        }
    }
}

static void list_tests(const struct options *o)
{
    struct rng r = { o->seed };
    char dis[1024];
    for (uint64_t i = 0; i < (o->cases ? o->cases : 20); i++) {
        generate(&r, &batch[0]);
        disassemble(&batch[0], dis, sizeof(dis));
        printf("%s\n", dis);
    }
}

int main(int argc, char **argv)
{
    struct options o = options_of(argc, argv);
    uint64_t n = 0;
    double start = now();
    unsigned known = generate_init(o.set);
    if (!known) {
        fprintf(stderr, "oracle: no instruction is in the set %s\n", o.set);
        return 2;
    }
    if (o.list) {
        list_tests(&o);
        return 0;
    }
    start_engines(o.engines);
    learn_of_host();
    if (o.line) {
        if (!test_parse(o.line, &batch[0])) {
            fprintf(stderr, "oracle: cannot read that line\n");
            return 2;
        }
        run_batch(1);
        n = 1;
    } else {
        n += o.regressions ? run_regressions(o.regressions) : 0;
        n += o.cases || o.seconds > 0 ? run_random(&o) : 0;
    }
    stop_engines();
    if (too_many_moods(n)) {
        printf("# the processor changed its mind %u times\n", moods);
        findings++;
    }
    printf("# %llu tests, %u mnemonics, seed %llu, %.1f s: %u findings\n", (unsigned long long)n,
           known, (unsigned long long)o.seed, now() - start, findings);
    return findings ? 1 : 0;
}
