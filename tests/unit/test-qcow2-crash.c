/* SPDX-License-Identifier: MIT */
/* tests/unit/test-qcow2-crash.c - every crash of a qcow2 image, on a simulated disk.
 *
 * The real driver runs random workloads on a disk that completes its requests in random order and
 * remembers which writes no flush has covered yet. At every event (a write submitted, a flush
 * completed) the disk could lose power: any subset of those writes may be there, in any order, each
 * torn between sectors. For each state that is tried:
 *
 *   - the image opens, and a check finds no corruption (leaks are allowed);
 *   - every sector of the guest's reads as what it held at the last flush or something written,
 *     zeroed or discarded since;
 *   - now and then: each snapshot in it reads as when it was made; the image opens for writing,
 *     takes writes and closes clean; qemu-img check agrees.
 *
 *   KEEL_CRASH_STATES=N  how many states to try (a bounded slice otherwise)
 *   KEEL_CRASH_SEED=N    where to begin
 */
#include "block/bitmap.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/log.h"
#include "tests/unit/ram-node.h"

#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- randomness ---- */

static uint64_t rng;

static uint64_t rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % n;
}

/* ---- the guest's view: what each sector may hold ---- */

enum { MAX_VALS = 40, MAX_SNAPS = 3, MAX_SECTORS = 4096 };

struct val {
    uint32_t id;   /* 0: zeros */
    uint64_t when; /* it completed at, UINT64_MAX: in flight */
    bool maybe;    /* a discard, or it met others: what was there before stays possible */
    uint32_t tag;  /* of the request */
};

struct sector {
    struct val v[MAX_VALS];
    unsigned n;
    unsigned busy;    /* changes in flight */
    uint64_t changed; /* when the last of them ended */
};

static struct model {
    struct sector s[MAX_SECTORS];
    uint64_t sectors;
    uint64_t other_sectors; /* while a resize is under way: the other size it may have */
    uint64_t clock;
    bool changed[MAX_SECTORS]; /* by a request since there is a bitmap */
    struct snap {
        bool used;
        char name[16];
        uint64_t sectors;
        uint64_t state_len; /* of a machine: byte i is state_byte(name, i) */
        struct sector s[MAX_SECTORS];
    } snaps[MAX_SNAPS];
} model;

static void fill_sector(uint8_t *p, uint64_t sector, uint32_t id)
{
    if (id == 0) {
        memset(p, 0, 512);
        return;
    }
    /* Half of it packs well, so that compressed clusters get small. */
    for (unsigned i = 0; i < 512; i += 8) {
        uint64_t v = i < 256 ? id : id * 0x9e3779b97f4a7c15ull + sector * 0x2545f4914f6cdd1dull + i;
        memcpy(p + i, &v, 8);
    }
    memcpy(p, &id, 4);
    memcpy(p + 4, &sector, 4);
}

static void sector_add(uint64_t i, uint32_t id, uint64_t when, bool maybe, uint32_t tag)
{
    struct sector *s = &model.s[i];

    for (unsigned k = 0; k < s->n && s->busy; k++) { /* either may come last */
        s->v[k].maybe |= s->v[k].when == UINT64_MAX;
        maybe = true;
    }

    if (s->n == MAX_VALS) { /* forget the oldest but one: the check gets no weaker by much */
        memmove(&s->v[1], &s->v[2], (MAX_VALS - 2) * sizeof(s->v[0]));
        s->n--;
    }
    s->v[s->n++] = (struct val){ id, when, maybe, tag };
}

/* What was surely overwritten before a flush began is gone. */
static void model_flushed(uint64_t since)
{
    for (uint64_t i = 0; i < model.sectors; i++) {
        struct sector *s = &model.s[i];
        unsigned keep = 0;

        for (unsigned k = 0; k < s->n; k++) {
            if (s->v[k].when < since && !s->v[k].maybe) {
                keep = k;
            }
        }
        memmove(s->v, s->v + keep, (s->n - keep) * sizeof(s->v[0]));
        s->n -= keep;
    }
}

static bool sector_allows(const struct sector *s, uint64_t i, const uint8_t *p)
{
    uint8_t want[512];

    for (unsigned k = 0; k < s->n; k++) {
        fill_sector(want, i, s->v[k].id);
        if (memcmp(want, p, 512) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- the simulated disk ---- */

struct sim_write {
    uint64_t offset, len;
    uint8_t *bytes;
    uint64_t done;          /* when it completed, 0: not yet */
    struct sim_write *next; /* in the order submitted */
};

struct sim_op {
    struct node_req *r;
    struct sim_write *w;
    uint64_t since; /* when it was submitted */
    struct sim_op *next;
};

struct sim {
    struct node base; /* first */
    uint8_t *now;     /* what reads find */
    uint8_t *stable;  /* what a crash cannot take */
    uint64_t room;
    struct sim_write *writes, **tail; /* not covered by a flush */
    struct sim_op *ops;
    unsigned nops;
    struct node_poller poller;
    uint64_t fail_at; /* the I/O of that number fails; 0: none */
    int fail_with;
    uint64_t ios, clock;
};

static struct sim *the_sim, *the_data; /* the_data: NULL without a data file */
static void crash_point(void);

static void sim_reach(struct sim *m, uint64_t end)
{
    if (end > m->room) {
        uint64_t room = max_u64(end, m->room * 2);

        m->now = xrealloc(m->now, room);
        m->stable = xrealloc(m->stable, room);
        memset(m->now + m->room, 0, room - m->room);
        memset(m->stable + m->room, 0, room - m->room);
        m->room = room;
    }
    m->base.len = max_u64(m->base.len, end);
}

static struct sim_write *sim_log(struct sim *m, const struct node_req *r)
{
    struct sim_write *w = xcalloc(1, sizeof(*w));

    w->offset = r->offset;
    w->len = r->len;
    w->bytes = xcalloc(1, r->len);
    if (r->op == NODE_WRITE) {
        node_iov_to_buf(r->iov, r->iovcnt, 0, w->bytes, r->len);
    }
    sim_reach(m, r->offset + r->len);
    *m->tail = w;
    m->tail = &w->next;
    return w;
}

static void sim_submit(struct node *n, struct node_req *r)
{
    struct sim *m = (struct sim *)n;
    struct sim_op *op = xcalloc(1, sizeof(*op));

    op->r = r;
    op->since = m->clock;
    op->next = m->ops;
    m->ops = op;
    m->nops++;
    if (r->op == NODE_DISCARD && r->offset >= n->len) {
        return;
    }
    if (r->op == NODE_WRITE || r->op == NODE_ZERO || r->op == NODE_DISCARD) {
        op->w = sim_log(m, r);
        crash_point();
    }
}

/* The disk is as lazy as it may be: a flush covers what had completed when it was submitted. */
static void sim_flush(struct sim *m, uint64_t since)
{
    struct sim_write **at = &m->writes, *w;

    while ((w = *at)) {
        if (!w->done || w->done > since) {
            at = &w->next;
            continue;
        }
        memcpy(m->stable + w->offset, w->bytes, w->len);
        *at = w->next;
        free(w->bytes);
        free(w);
    }
    m->tail = at;
}

static int sim_do(struct sim *m, struct sim_op *op)
{
    struct node_req *r = op->r;

    if (m->fail_at && ++m->ios == m->fail_at) {
        if (op->w) {
            op->w->done = ++m->clock; /* it may be there all the same, wholly or in part */
        }
        return m->fail_with;
    }
    switch (r->op) {
    case NODE_READ:
        node_iov_zero(r->iov, r->iovcnt, 0, r->len);
        if (r->offset < m->room) {
            node_iov_from_buf(r->iov, r->iovcnt, 0, m->now + r->offset,
                              min_u64(r->len, m->room - r->offset));
        }
        return 0;
    case NODE_FLUSH:
        sim_flush(m, op->since);
        return 0;
    default:
        if (op->w) {
            memcpy(m->now + op->w->offset, op->w->bytes, op->w->len);
            op->w->done = ++m->clock;
        }
        return 0;
    }
}

static bool sim_poll(void *opaque, bool block)
{
    struct sim *m = opaque;
    struct sim_op **at = &m->ops, *op;

    (void)block;
    if (!m->nops) {
        return false;
    }
    for (uint64_t k = rnd(m->nops); k; k--) {
        at = &(*at)->next;
    }
    op = *at;
    *at = op->next;
    m->nops--;
    bool flush = op->r->op == NODE_FLUSH;
    node_complete(op->r, sim_do(m, op));
    free(op);
    if (flush) {
        crash_point();
    }
    return true;
}

static int sim_close(struct node *n)
{
    struct sim *m = (struct sim *)n;
    struct sim_write *w;

    node_ctx_del_poller(n->ctx, &m->poller);
    while ((w = m->writes)) {
        m->writes = w->next;
        free(w->bytes);
        free(w);
    }
    free(m->now);
    free(m->stable);
    if (m == the_data) {
        the_data = NULL;
    } else {
        the_sim = NULL;
    }
    free(m);
    return 0;
}

static const struct node_ops sim_ops = { .name = "sim", .submit = sim_submit, .close = sim_close };

static struct sim *sim_new(struct node_ctx *c, const uint8_t *data, uint64_t len)
{
    struct sim *m = xcalloc(1, sizeof(*m));

    m->base.ops = &sim_ops;
    m->base.ctx = c;
    m->base.growable = m->base.zero_tail = true;
    m->base.filename = xstrdup("sim");
    m->tail = &m->writes;
    m->poller = (struct node_poller){ .poll = sim_poll, .opaque = m };
    node_ctx_add_poller(c, &m->poller);
    sim_reach(m, max_u64(len, 512));
    if (len) {
        memcpy(m->now, data, len);
        memcpy(m->stable, data, len);
    }
    return m;
}

/* ---- crash states ---- */

static struct {
    uint64_t states, wanted, seen, leaks, qemu, snapshots, written, bitmaps;
    uint64_t every;    /* one event in so many is a crash point */
    unsigned variants; /* states for each */
    bool off, with_bitmap;
    uint64_t seed;
    struct node_ctx *ctx; /* where crash states are looked at */
    uint8_t *backing;
    uint64_t backing_len;
    uint8_t *data; /* the data file's state that goes with the image's */
    uint64_t data_len;
} crash;

enum how { KEEP_ALL, DROP_ALL, SOME, TORN, LAST_ONLY, ALL_BUT_ONE, SHUFFLED, HOWS };

static void apply(uint8_t *image, const struct sim_write *w, bool torn)
{
    for (uint64_t at = 0; at < w->len; at += 512) {
        if (!torn || rnd(2)) {
            memcpy(image + w->offset + at, w->bytes + at, 512);
        }
    }
}

static void apply_shuffled(uint8_t *image, const struct sim *m)
{
    const struct sim_write *list[512];
    unsigned n = 0;

    for (const struct sim_write *w = m->writes; w && n < ARRAY_SIZE(list); w = w->next) {
        list[n++] = w;
    }
    while (n) {
        unsigned k = (unsigned)rnd(n);
        if (rnd(4)) {
            apply(image, list[k], rnd(2));
        }
        list[k] = list[--n];
    }
}

static uint8_t *crash_image(const struct sim *m, enum how how)
{
    uint8_t *image = malloc(m->room);
    uint64_t n = 0, i = 0, odd;

    memcpy(image, m->stable, m->base.len);
    for (const struct sim_write *w = m->writes; w; w = w->next) {
        n++;
    }
    odd = n ? rnd(n) : 0;
    if (how == SHUFFLED) {
        apply_shuffled(image, m);
        return image;
    }
    for (const struct sim_write *w = m->writes; w; w = w->next, i++) {
        bool keep = how == KEEP_ALL || how == TORN || (how == SOME && rnd(2)) ||
                    (how == LAST_ONLY && i == n - 1) || (how == ALL_BUT_ONE && i != odd);
        if (keep) {
            apply(image, w, how == TORN);
        }
    }
    return image;
}

static void crash_fail(const uint8_t *image, uint64_t len, const char *what)
{
    FILE *f = fopen("/var/tmp/keel-crash.qcow2", "wb");

    if (f) {
        fwrite(image, 1, len, f);
        fclose(f);
    }
    fail_msg("seed %" PRIu64 ", state %" PRIu64 ": %s (image in /var/tmp/keel-crash.qcow2)",
             crash.seed, crash.states, what);
}

static void say_finding(void *opaque, const char *line)
{
    (void)opaque;
    if (strncmp(line, "Leaked", 6) != 0) {
        print_message("  %s\n", line);
    }
}

static struct node *open_state(uint8_t *image, uint64_t len, bool read_only, bool check)
{
    struct qcow2_open o = { .read_only = read_only, .check = check };
    struct err e = { 0 };
    struct node *file =
        read_only ? ram_node_view(crash.ctx, image, len) : ram_node_new(crash.ctx, image, len);
    struct node *n = qcow2_open(file, &o, &e);

    if (!n) {
        crash_fail(image, len, e.msg);
    }
    if (crash.data) {
        qcow2_set_data(n, read_only ? ram_node_view(crash.ctx, crash.data, crash.data_len)
                                    : ram_node_new(crash.ctx, crash.data, crash.data_len));
    }
    return n;
}

static bool is_dirty(const uint8_t *image)
{
    return image[7] >= 3 && (image[79] & 1);
}

static void check_state(uint8_t *image, uint64_t len)
{
    struct node *n = open_state(image, len, !is_dirty(image), true);
    struct qcow2_check c = { 0 };
    struct qcow2_info info;

    qcow2_info(n, &info);
    if (info.dirty) { /* lazy refcounts: what is wrong with them is put right at the next open */
        assert_int_equal(qcow2_check(n, QCOW2_REPAIR_ALL, &c), 0);
    } else {
        c.say = say_finding;
        if (qcow2_check(n, QCOW2_CHECK_ONLY, &c) < 0) {
            crash_fail(image, len, "the check failed");
        }
    }
    if (c.corruptions || c.errors) {
        crash_fail(image, len, "corruption");
    }
    crash.leaks += c.leaks != 0;
    node_close(n);
}

static void compare_disk(struct node *n, const struct sector *s, uint64_t sectors,
                         const uint8_t *image, uint64_t len, const char *what)
{
    uint64_t have = min_u64(n->len / 512, sectors);
    uint8_t *buf = xcalloc(have + 1, 512);

    if (node_read(n, 0, buf, have * 512) < 0) {
        crash_fail(image, len, "it cannot be read");
    }
    for (uint64_t i = 0; i < have; i++) {
        if (!sector_allows(&s[i], i, buf + i * 512)) {
            char msg[300];
            uint32_t id, sec;
            int at;
            memcpy(&id, buf + i * 512, 4);
            memcpy(&sec, buf + i * 512 + 4, 4);
            at = snprintf(msg, sizeof(msg), "%s: sector %" PRIu64 " reads as %u of sector %u, not",
                          what, i, id, sec);
            for (unsigned k = 0; k < s[i].n && at < 250; k++) {
                at += snprintf(msg + at, sizeof(msg) - (size_t)at, " %u%s", s[i].v[k].id,
                               s[i].v[k].when == UINT64_MAX ? "*" : "");
            }
            free(buf);
            crash_fail(image, len, msg);
        }
    }
    free(buf);
}

static struct node *with_backing(struct node *n)
{
    if (crash.backing) {
        n->backing = ram_node_new(crash.ctx, crash.backing, crash.backing_len);
        n->backing->growable = false;
    }
    return n;
}

/* A bitmap that is not in use tells of every sector that a request has reached. */
static void check_bitmap(const struct node *n, const uint8_t *image, uint64_t len)
{
    const struct bitmap *b = bitmap_find(n, "b");

    if (!b) {
        crash_fail(image, len, "its bitmap is gone");
    }
    for (uint64_t i = 0; !b->inconsistent && i < n->len / 512 && i < model.sectors; i++) {
        if (model.changed[i] && !bitmap_get(b, i * 512)) {
            crash_fail(image, len, "its bitmap knows less than it should");
        }
    }
    crash.bitmaps += !b->inconsistent;
}

static void read_state(uint8_t *image, uint64_t len)
{
    struct node *n = with_backing(open_state(image, len, true, false));

    if (n->len != model.sectors * 512 && n->len != model.other_sectors * 512) {
        crash_fail(image, len, "it has a size it never had");
    }
    compare_disk(n, model.s, model.sectors, image, len, "disk");
    if (crash.with_bitmap) {
        check_bitmap(n, image, len);
    }
    node_close(n);
}

static uint8_t state_byte(const char *name, uint64_t i)
{
    return (uint8_t)(i * 31 + (i >> 9) + (uint8_t)name[1]);
}

static void look_at_vm_state(struct node *n, const struct snap *sn, uint8_t *image, uint64_t len)
{
    uint8_t *p;
    struct err e = { 0 };

    if (qcow2_snapshot_state(n, sn->name, UINT64_MAX, &p, &e) < 0) {
        crash_fail(image, len, e.msg);
    }
    for (uint64_t i = 0; i < sn->state_len; i++) {
        if (p[i] != state_byte(sn->name, i)) {
            crash_fail(image, len, "a machine's state is another");
        }
    }
    free(p);
}

static void look_at_snapshots(uint8_t *image, uint64_t len)
{
    struct node *n = with_backing(open_state(image, len, false, false));
    const struct qcow2_snapshot *sn;

    for (unsigned i = 0; (sn = qcow2_snapshot(n, i)); i++) {
        char name[16];
        struct err e = { 0 };
        snprintf(name, sizeof(name), "%s", sn->name);
        for (unsigned k = 0; k < MAX_SNAPS; k++) {
            if (model.snaps[k].used && strcmp(model.snaps[k].name, name) == 0) {
                if (sn->vm_state_size != model.snaps[k].state_len) {
                    crash_fail(image, len, "a machine's state has another size");
                }
                look_at_vm_state(n, &model.snaps[k], image, len);
                if (qcow2_snapshot_apply(n, name, &e) < 0) {
                    crash_fail(image, len, e.msg);
                }
                compare_disk(n, model.snaps[k].s, model.snaps[k].sectors, image, len, name);
                crash.snapshots++;
            }
        }
    }
    node_close(n);
}

/* Life goes on after the crash. */
static void write_state(uint8_t *image, uint64_t len)
{
    struct node *n = with_backing(open_state(image, len, false, false));
    struct qcow2_check c = { .say = say_finding };
    uint8_t buf[4096], back[4096];
    uint64_t at = rnd(max_u64(n->len / 512, 16) - 8) * 512;

    memset(buf, 0x5a, sizeof(buf));
    if (n->len >= at + sizeof(buf)) {
        if (node_write(n, at, buf, sizeof(buf)) < 0 || node_flush(n) < 0 ||
            node_read(n, at, back, sizeof(back)) < 0 || memcmp(buf, back, sizeof(buf)) != 0) {
            crash_fail(image, len, "it does not take a write");
        }
    }
    if (qcow2_check(n, QCOW2_CHECK_ONLY, &c) < 0 || c.corruptions) {
        crash_fail(image, len, "corruption after a write");
    }
    node_close(n);
    crash.written++;
}

static void qemu_state(const uint8_t *image, uint64_t len)
{
    char name[] = "/var/tmp/keel-test-crash-XXXXXX", cmd[200];
    int fd = mkstemp(name), rc;

    assert_int_equal(write(fd, image, len), (ssize_t)len);
    close(fd);
    snprintf(cmd, sizeof(cmd), "qemu-img check -q -f qcow2 %s >/dev/null 2>&1", name);
    rc = system(cmd);
    unlink(name);
    if (!WIFEXITED(rc) || WEXITSTATUS(rc) == 127) {
        return; /* it is not installed */
    }
    if (WEXITSTATUS(rc) != 0 && WEXITSTATUS(rc) != 3) { /* 3: leaks only */
        crash_fail(image, len, "qemu-img check finds corruption");
    }
    crash.qemu++;
}

static void try_state(enum how how)
{
    uint64_t len = the_sim->base.len, seen = crash.seen++;
    uint8_t *image = crash_image(the_sim, how);

    if (the_data) { /* the two lose power at once, but what they lose has nothing in common */
        crash.data = crash_image(the_data, (enum how)rnd(HOWS));
        crash.data_len = the_data->base.len;
    }
    crash.states++;
    check_state(image, len);
    read_state(image, len);
    if (seen % 16 == 0) {
        look_at_snapshots(image, len);
        write_state(image, len);
    }
    if (crash.states % 500 == 0 && !is_dirty(image) && !crash.backing && !crash.data) {
        qemu_state(image, len);
    }
    free(image);
    free(crash.data);
    crash.data = NULL;
}

static void crash_point(void)
{
    if (crash.off || !the_sim || crash.states >= crash.wanted || rnd(crash.every)) {
        return;
    }
    crash.off = true;
    for (unsigned i = 0; i < crash.variants; i++) {
        try_state((enum how)rnd(HOWS));
    }
    crash.off = false;
}

/* ---- workloads ---- */

struct guest_op {
    struct node_req r;
    struct iovec iov;
    uint64_t first, n, since;
    uint32_t tag;
    unsigned *in_flight;
    bool may_fail;
};

static uint32_t next_id, next_tag;

static void trace(const char *what, const struct guest_op *g, int ret)
{
    if (getenv("KEEL_CRASH_VERBOSE")) {
        print_message("%s: op %d sectors %" PRIu64 "+%" PRIu64 " flags %u tag %u ret %d\n", what,
                      g->r.op, g->first, g->n, g->r.flags, g->tag, ret);
    }
}

static void guest_done(struct node_req *r, int ret)
{
    struct guest_op *g = container_of(r, struct guest_op, r);

    if (ret < 0 && !g->may_fail) {
        fail_msg("seed %" PRIu64 ": request %d ends with %d", crash.seed, r->op, ret);
    }
    model.clock++;
    trace("done", g, ret);
    if (r->op == NODE_FLUSH && ret == 0) {
        model_flushed(g->since);
    }
    for (uint64_t i = g->first; i < g->first + g->n && r->op != NODE_READ; i++) {
        for (unsigned k = 0; k < model.s[i].n; k++) {
            struct val *v = &model.s[i].v[k];
            if (v->tag == g->tag) {
                v->when = model.clock;
                v->maybe |= ret < 0;
            }
        }
        model.s[i].busy--;
        model.s[i].changed = model.clock;
    }
    for (uint64_t i = g->first; i < g->first + g->n && r->op == NODE_READ && ret == 0; i++) {
        const struct sector *s = &model.s[i];
        /* What changed while the read was under way may be read as before or as after. */
        if (s->busy == 0 && s->changed < g->since &&
            !sector_allows(s, i, (uint8_t *)g->iov.iov_base + (i - g->first) * 512)) {
            fail_msg("seed %" PRIu64 ": sector %" PRIu64 " reads wrong", crash.seed, i);
        }
    }
    --*g->in_flight;
    free(g->iov.iov_base);
    free(g);
}

static bool any_busy(uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++) {
        if (model.s[i].busy) {
            return true;
        }
    }
    return false;
}

static void guest_submit(struct node *n, enum node_op op, uint64_t first, uint64_t len,
                         unsigned flags, unsigned *in_flight, bool may_fail)
{
    struct guest_op *g = xcalloc(1, sizeof(*g));

    g->first = first;
    g->n = op == NODE_FLUSH ? 0 : len;
    g->in_flight = in_flight;
    g->since = model.clock + 1;
    g->may_fail = may_fail;
    g->r = (struct node_req){ .op = op,
                              .flags = flags,
                              .offset = g->n ? first * 512 : 0,
                              .len = g->n * 512,
                              .done = guest_done };
    if (op == NODE_WRITE || op == NODE_READ) {
        g->iov = (struct iovec){ xcalloc(len, 512), len * 512 };
        g->r.iov = &g->iov;
        g->r.iovcnt = 1;
    }
    uint32_t id = op == NODE_WRITE ? ++next_id : 0;
    g->tag = ++next_tag;
    for (uint64_t i = first; i < first + g->n && op != NODE_READ; i++) {
        if (op == NODE_WRITE) {
            fill_sector((uint8_t *)g->iov.iov_base + (i - first) * 512, i, id);
        }
        sector_add(i, id, UINT64_MAX, op == NODE_DISCARD, g->tag);
        model.changed[i] = true;
        model.s[i].busy++;
    }
    ++*in_flight;
    trace("submit", g, 0);
    node_submit(n, &g->r);
}

static void random_op(struct node *n, const struct qcow2_create *c, unsigned *in_flight,
                      bool may_fail)
{
    static const enum node_op ops[] = { NODE_WRITE, NODE_WRITE,   NODE_WRITE,   NODE_WRITE,
                                        NODE_READ,  NODE_DISCARD, NODE_DISCARD, NODE_ZERO,
                                        NODE_FLUSH, NODE_FLUSH };
    enum node_op op = ops[rnd(ARRAY_SIZE(ops))];
    uint64_t cluster = (1ull << c->cluster_bits) / 512;
    uint64_t first = rnd(model.sectors), len = 1 + rnd(rnd(3) ? 8 : 4 * cluster);
    unsigned flags = op == NODE_ZERO && rnd(2) ? NODE_UNMAP : 0;

    if (op == NODE_ZERO && c->extended_l2 && rnd(2)) { /* parts of clusters */
        first -= first % (cluster / 32);
        len = cluster / 32 * (1 + rnd(40));
    } else if (op == NODE_DISCARD || (op == NODE_ZERO && rnd(2))) {
        first -= first % cluster;
        len = cluster * (1 + rnd(3));
    }
    if (op == NODE_WRITE && cluster >= 2 && !c->data_file && rnd(6) == 0) {
        first -= first % cluster;
        len = cluster;
        flags = first + len <= model.sectors ? NODE_COMPRESS : 0;
    }
    len = min_u64(len, model.sectors - first);
    if (op == NODE_READ || op == NODE_FLUSH || rnd(4) == 0 || !any_busy(first, len)) {
        guest_submit(n, op, first, len, flags, in_flight, may_fail);
    }
}

/* All is on disk and nothing in flight: each sector has one value, or two after a discard. */
static void settle_model(void)
{
    model_flushed(++model.clock);
}

static void remember(struct snap *sn)
{
    sn->sectors = model.sectors;
    memcpy(sn->s, model.s, model.sectors * sizeof(model.s[0]));
}

static int take_snapshot(struct node *n, struct snap *sn, struct err *e)
{
    uint8_t *p = xcalloc(1, 300000);
    struct qcow2_vm vm = { .state = p, .clock_ns = 123, .icount = UINT64_MAX };

    sn->state_len = vm.len = rnd(3) ? 0 : 1 + rnd(rnd(2) ? 2000 : 300000);
    for (uint64_t i = 0; i < vm.len; i++) {
        p[i] = state_byte(sn->name, i);
    }
    int ret = qcow2_snapshot_create_vm(n, sn->name, rnd(2) || vm.len ? &vm : NULL, e);
    free(p);
    return ret;
}

static void snapshot_op(struct node *n)
{
    struct err e = { 0 };
    unsigned k = (unsigned)rnd(MAX_SNAPS);
    struct snap *sn = &model.snaps[k];

    if (!sn->used) {
        snprintf(sn->name, sizeof(sn->name), "s%u", ++next_id);
        remember(sn);
        sn->used = true;
        int ret = take_snapshot(n, sn, &e);
        if (ret == -EINVAL) { /* one more than its reference counts can count */
            sn->used = false;
            return;
        }
        assert_int_equal(ret, 0);
        settle_model();
        remember(sn);
    } else if (rnd(2)) {
        assert_int_equal(qcow2_snapshot_delete(n, sn->name, &e), 0);
        settle_model();
        sn->used = false;
    } else {
        uint64_t larger = max_u64(sn->sectors, model.sectors);
        for (uint64_t i = 0; i < larger; i++) {
            model.s[i].n = i < model.sectors ? model.s[i].n : 0;
            for (unsigned v = 0; i < sn->sectors && v < sn->s[i].n; v++) {
                sector_add(i, sn->s[i].v[v].id, UINT64_MAX, false, 0);
            }
        }
        model.other_sectors = sn->sectors;
        assert_int_equal(qcow2_snapshot_apply(n, sn->name, &e), 0);
        memcpy(model.s, sn->s, sn->sectors * sizeof(model.s[0]));
        memset(model.changed, 1, sizeof(model.changed));
        model.sectors = sn->sectors;
    }
    model.other_sectors = model.sectors;
}

struct config {
    struct qcow2_create c;
    bool backing, pass_discard, bitmaps;
    enum qcow2_prealloc prealloc;
    uint64_t l2_cache;
};

static bool has_snapshots(void)
{
    return model.snaps[0].used || model.snaps[1].used || model.snaps[2].used;
}

static void resize_op(struct node *n, const struct config *f)
{
    struct err e = { 0 };
    uint64_t to = model.sectors + rnd(model.sectors / 4 + 1);

    if (to == model.sectors || to > MAX_SECTORS || crash.backing || f->c.data_file ||
        (f->c.version < 3 && has_snapshots())) {
        return;
    }
    for (uint64_t i = model.sectors; i < to; i++) {
        model.s[i] = (struct sector){ .n = 1 };
        model.changed[i] = false;
    }
    model.other_sectors = to;
    assert_int_equal(node_resize(n, to * 512, &e), 0);
    settle_model();
    model.sectors = model.other_sectors = to;
}

static struct config random_config(void)
{
    static const unsigned bits[] = { 9, 9, 10, 12, 12, 13, 16 };
    struct config f = { .c.version = rnd(4) ? 3 : 2, .c.cluster_bits = bits[rnd(7)] };

    f.c.refcount_bits = f.c.version == 3 ? 1u << rnd(7) : 16;
    f.c.refcount_bits = f.c.refcount_bits < 4 && rnd(2) ? 16 : f.c.refcount_bits;
    f.c.lazy_refcounts = f.c.version == 3 && rnd(4) == 0;
    f.c.zstd = f.c.version == 3 && rnd(2);
    f.c.extended_l2 = f.c.version == 3 && rnd(4) == 0;
    if (f.c.extended_l2) {
        f.c.cluster_bits = 14 + (unsigned)rnd(3);
    }
    if (f.c.version == 3 && rnd(8) == 0) {
        f.c.data_file = "data";
        f.c.data_file_raw = rnd(2);
    }
    /* Mostly small disks: what goes wrong does so in them too, and more states can be seen. */
    f.c.size = 512 * (64 + rnd(rnd(4) ? 150 : f.c.cluster_bits > 12 ? 2000 : 500));
    f.backing = rnd(3) == 0 && !f.c.data_file_raw;
    f.prealloc = (enum qcow2_prealloc)(rnd(3) ? 0 : rnd(4));
    if (f.c.data_file_raw) {
        f.prealloc = QCOW2_PREALLOC_METADATA;
    } else if (f.backing && !f.c.extended_l2) {
        f.prealloc = QCOW2_PREALLOC_OFF;
    }
    f.bitmaps = f.c.version == 3 && rnd(4) == 0;
    f.pass_discard = rnd(2);
    f.l2_cache = rnd(2) ? 1 : 0; /* the least, or enough */
    return f;
}

static void model_reset(const struct config *f)
{
    memset(&model, 0, sizeof(model));
    model.sectors = model.other_sectors = f->c.size / 512;
    model.clock = 1;
    for (uint64_t i = 0; i < model.sectors; i++) {
        model.s[i].n = 1;
    }
    free(crash.backing);
    crash.backing = NULL;
    if (f->backing) {
        crash.backing_len = (model.sectors / 2 + 1) * 512;
        crash.backing = xcalloc(1, crash.backing_len);
        for (uint64_t i = 0; i < crash.backing_len / 512; i++) {
            model.s[i].v[0].id = ++next_id;
            fill_sector(crash.backing + i * 512, i, next_id);
        }
    }
}

/* A fresh image, as bytes. */
static uint8_t *new_image(const struct config *f, uint64_t *len)
{
    struct err e = { 0 };
    struct node *r = ram_node_new(crash.ctx, NULL, 0);
    uint8_t *copy;

    if (qcow2_create(r, &f->c, &e) < 0) {
        fail_msg("%s", e.msg);
    }
    *len = r->len;
    copy = xcalloc(1, r->len);
    memcpy(copy, ((struct ram_node *)r)->data, r->len);
    node_close(r);
    return copy;
}

static struct node *open_sims(const struct config *f)
{
    struct qcow2_open o = { .pass_discard = f->pass_discard,
                            .l2_cache = f->l2_cache,
                            .refcount_cache = f->l2_cache };
    struct err e = { 0 };
    struct node *n = qcow2_open(&the_sim->base, &o, &e);

    if (!n) {
        fail_msg("%s", e.msg);
    }
    if (the_data) {
        qcow2_set_data(n, &the_data->base);
    }
    return n;
}

/* The image is closed and opened again, with crashes in the middle of both. */
static struct node *close_and_open(struct node *n, const struct config *f)
{
    struct node *backing = n->backing ? node_share(n->backing) : NULL;

    node_share(&the_sim->base);
    if (the_data) {
        node_share(&the_data->base);
    }
    assert_int_equal(node_close(n), 0);
    settle_model();
    n = open_sims(f);
    n->backing = backing;
    return n;
}

static void add_bitmap(struct node *n)
{
    struct err e = { 0 };
    struct bitmap *b = bitmap_new(n, "b", 512u << rnd(5), &e);

    assert_non_null(b);
    b->persistent = true;
    memset(model.changed, 0, sizeof(model.changed));
}

static struct node *start(struct node_ctx *ctx, const struct config *f)
{
    uint64_t len;
    uint8_t *image = new_image(f, &len);
    struct node *n;

    the_sim = sim_new(ctx, image, len);
    the_data = f->c.data_file ? sim_new(ctx, NULL, 0) : NULL;
    free(image);
    n = open_sims(f);
    if (qcow2_preallocate(n, 0, f->prealloc) < 0) {
        fail_msg("it cannot be preallocated");
    }
    if (crash.backing) {
        n->backing = ram_node_new(ctx, crash.backing, crash.backing_len);
        n->backing->growable = false;
    }
    return n;
}

/* Returns the node, which may have been closed and opened again. */
static struct node *workload(struct node *n, const struct config *f, unsigned steps, bool snapshots)
{
    unsigned in_flight = 0;

    for (unsigned i = 0; i < steps && crash.states < crash.wanted; i++) {
        random_op(n, &f->c, &in_flight, false);
        for (unsigned k = (unsigned)rnd(6); k && in_flight; k--) {
            node_ctx_poll(n->ctx, true);
        }
        while (in_flight > 12) {
            node_ctx_poll(n->ctx, true);
        }
        if (f->bitmaps && rnd(40) == 0) {
            while (in_flight) {
                node_ctx_poll(n->ctx, true);
            }
            n = close_and_open(n, f);
        }
        if (snapshots && rnd(25) == 0) {
            while (in_flight) {
                node_ctx_poll(n->ctx, true);
            }
            if (rnd(4)) {
                snapshot_op(n);
            } else {
                resize_op(n, f);
            }
        }
    }
    while (in_flight) {
        node_ctx_poll(n->ctx, true);
    }
    return n;
}

static void one_workload(uint64_t seed)
{
    struct node_ctx *ctx;
    struct config f;
    struct node *n;

    crash.seed = seed;
    rng = seed * 0x9e3779b97f4a7c15ull + 1;
    next_id = next_tag = 0;
    crash.seen = seed; /* what is done to every n-th state starts at another one each time */
    for (int i = 0; i < 8; i++) {
        rnd(2);
    }
    f = random_config();
    model_reset(&f);
    if (getenv("KEEL_CRASH_VERBOSE")) {
        print_message("seed %" PRIu64 ": v%u cluster %u refcount %u lazy %d size %" PRIu64
                      " backing %d discard %d cache %" PRIu64
                      " extended %d data %d raw %d prealloc %d\n",
                      seed, f.c.version, 1u << f.c.cluster_bits, f.c.refcount_bits,
                      f.c.lazy_refcounts, f.c.size, f.backing, f.pass_discard, f.l2_cache,
                      f.c.extended_l2, !!f.c.data_file, f.c.data_file_raw, f.prealloc);
    }
    ctx = node_ctx_new(NULL);
    node_ctx_no_threads(ctx);
    crash.every = 1 + rnd(8);
    crash.variants = 6;
    crash.with_bitmap = false;
    n = start(ctx, &f);
    if (f.bitmaps) {
        add_bitmap(n);
        n = close_and_open(n, &f);
        crash.with_bitmap = true;
    }
    n = workload(n, &f, 150, f.c.refcount_bits >= 4 && !f.c.data_file);
    assert_int_equal(node_close(n), 0);
    node_ctx_free(ctx);
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);

    return v ? strtoull(v, NULL, 0) : otherwise;
}

static void test_qcow2_after_any_crash_holds_what_was_flushed(void **state)
{
    uint64_t seed = env_number("KEEL_CRASH_SEED", 1);

    (void)state;
    crash.wanted = env_number("KEEL_CRASH_STATES", 12000);
    crash.states = 0;
    for (; crash.states < crash.wanted; seed++) {
        one_workload(seed);
        if (crash.wanted > 100000 && seed % 100 == 0) {
            print_message("  seed %" PRIu64 ": %" PRIu64 " states\n", seed, crash.states);
        }
    }
    print_message(
        "%" PRIu64 " states: none corrupt, %" PRIu64 " with leaks; %" PRIu64 " written on, %" PRIu64
        " snapshots and %" PRIu64 " bitmaps read, %" PRIu64 " by qemu-img\n",
        crash.states, crash.leaks, crash.written, crash.snapshots, crash.bitmaps, crash.qemu);
}

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    mallopt(M_MMAP_THRESHOLD, 64 << 20); /* images come and go: keep their memory */
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    crash.ctx = node_ctx_new(NULL);
    node_ctx_no_threads(crash.ctx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    node_ctx_free(crash.ctx);
    free(crash.backing);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qcow2_after_any_crash_holds_what_was_flushed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
