/* SPDX-License-Identifier: MIT */
/* tests/oracle/server.c - engines in processes of their own, so that a crash is a finding and not the end.
 *
 * A batch of tests and its outcomes lie in shared memory; a byte in a pipe says go, one back says
 * done. A test whose outcome was not written when the process ended is the one that killed it.
 */
#include "tests/oracle/oracle.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HANG_MS = 10000, NO_OUTCOME = 0xffffffff };

const char *const engine_names[ENGINES] = {
    [ENGINE_NATIVE] = "native", [ENGINE_JIT] = "jit",     [ENGINE_JIT0] = "jit0",
    [ENGINE_TCI] = "tci",       [ENGINE_WRONG] = "wrong",
};

struct shared {
    uint32_t first, n;
    struct test t[BATCH];
    struct outcome o[BATCH];
};

struct server {
    enum engine_kind kind;
    struct shared *shared;
    pid_t pid;
    int go, done;
    uint32_t n;
};

static void run_batch(enum engine_kind kind, struct shared *s)
{
    if (kind == ENGINE_NATIVE || kind == ENGINE_WRONG) {
        native_run(s->t + s->first, s->o + s->first, s->n - s->first);
        return;
    }
    for (uint32_t i = s->first; i < s->n; i++) {
        struct outcome o;
        memset(&o, 0, sizeof(o));
        translator_run(&s->t[i], &o);
        s->o[i] = o;
    }
}

static void serve(enum engine_kind kind, struct shared *s, int go, int done)
{
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (kind == ENGINE_NATIVE || kind == ENGINE_WRONG) {
        native_init(kind == ENGINE_WRONG);
    } else {
        translator_init(kind);
    }
    while (read(go, &byte, 1) == 1) {
        run_batch(kind, s);
        if (write(done, &byte, 1) != 1) {
            break;
        }
    }
    _exit(0);
}

static void spawn(struct server *s)
{
    int go[2], done[2];
    if (pipe(go) || pipe(done)) {
        perror("oracle: pipe");
        exit(1);
    }
    fflush(NULL);
    s->pid = fork();
    if (s->pid < 0) {
        perror("oracle: fork");
        exit(1);
    }
    if (!s->pid) {
        close(go[1]);
        close(done[0]);
        serve(s->kind, s->shared, go[0], done[1]);
    }
    close(go[0]);
    close(done[1]);
    s->go = go[1];
    s->done = done[0];
}

static void reap(struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    close(s->go);
    close(s->done);
}

struct server *server_start(enum engine_kind kind)
{
    struct server *s = calloc(1, sizeof(*s));
    s->kind = kind;
    s->shared =
        mmap(NULL, sizeof(*s->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    spawn(s);
    return s;
}

static void start_from(struct server *s, uint32_t first)
{
    s->shared->first = first;
    if (write(s->go, "g", 1) != 1) {
        perror("oracle: engine process");
    }
}

void server_post(struct server *s, const struct test *t, unsigned n)
{
    memcpy(s->shared->t, t, n * sizeof(*t));
    for (unsigned i = 0; i < n; i++) {
        s->shared->o[i].vector = NO_OUTCOME;
    }
    s->n = s->shared->n = n;
    start_from(s, 0);
}

/* The process ended or hangs: notes that in the test it was at; how many tests have outcomes then. */
static uint32_t bury(struct server *s, bool hung)
{
    uint32_t i = s->shared->first;
    while (i < s->n && s->shared->o[i].vector != NO_OUTCOME) {
        i++;
    }
    reap(s);
    if (i < s->n) {
        memset(&s->shared->o[i], 0, sizeof(s->shared->o[i]));
        s->shared->o[i].vector = hung ? ENDED_HANG : ENDED_CRASH;
        i++;
    }
    spawn(s);
    return i;
}

void server_wait(struct server *s, struct outcome *o)
{
    for (;;) {
        struct pollfd p = { .fd = s->done, .events = POLLIN };
        char byte;
        int r = poll(&p, 1, HANG_MS);
        if (r == 1 && read(s->done, &byte, 1) == 1) {
            break;
        }
        uint32_t next = bury(s, r == 0);
        if (next >= s->n) {
            break;
        }
        start_from(s, next);
    }
    memcpy(o, s->shared->o, s->n * sizeof(*o));
}

void server_stop(struct server *s)
{
    reap(s);
    munmap(s->shared, sizeof(*s->shared));
    free(s);
}
