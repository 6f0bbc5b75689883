/* SPDX-License-Identifier: MIT */
/* tests/unit/test-qcow2-crash.c - every crash of a qcow2 image, on a simulated disk.
 *
 * The real driver runs random workloads on the disk of crash-rig.h. For each state that a loss of power
 * could leave there and that is tried:
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
#include "tests/unit/crash-rig.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_SNAPS = 3 };

static struct snap {
    bool used;
    char name[16];
    uint64_t sectors;
    uint64_t state_len; /* of a machine: byte i is state_byte(name, i) */
    struct sector s[MAX_SECTORS];
} snaps[MAX_SNAPS];

/* NULL: there is none. the_base: a backing file that the image is committed into. */
static struct sim *the_sim, *the_data, *the_base;

/* ---- crash states ---- */

static struct {
    uint64_t states, wanted, seen, leaks, qemu, snapshots, written, bitmaps, commits;
    uint64_t every;    /* one event in so many is a crash point */
    unsigned variants; /* states for each */
    bool off, with_bitmap;
    struct node_ctx *ctx; /* where crash states are looked at */
    uint8_t *backing;
    uint64_t backing_len;
    uint8_t *data; /* the data file's state that goes with the image's */
    uint64_t data_len;
} crash;

static void crash_fail(const uint8_t *image, uint64_t len, const char *what)
{
    FILE *f = fopen("/var/tmp/keel-crash.qcow2", "wb");

    if (f) {
        fwrite(image, 1, len, f);
        fclose(f);
    }
    fail_msg("seed %" PRIu64 ", state %" PRIu64 ": %s (image in /var/tmp/keel-crash.qcow2)",
             workload_seed, crash.states, what);
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
            if (snaps[k].used && strcmp(snaps[k].name, name) == 0) {
                if (sn->vm_state_size != snaps[k].state_len) {
                    crash_fail(image, len, "a machine's state has another size");
                }
                look_at_vm_state(n, &snaps[k], image, len);
                if (qcow2_snapshot_apply(n, name, &e) < 0) {
                    crash_fail(image, len, e.msg);
                }
                compare_disk(n, snaps[k].s, snaps[k].sectors, image, len, name);
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
    if (the_base) {
        crash.backing = crash_image(the_base, (enum how)rnd(HOWS));
        crash.backing_len = the_base->base.len;
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
    if (the_base) {
        free(crash.backing);
        crash.backing = NULL;
    }
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
    struct snap *sn = &snaps[k];

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
    bool backing, commits, pass_discard, bitmaps, fixed; /* fixed: a disk of fixed length */
    enum qcow2_prealloc prealloc;
    uint64_t l2_cache;
};

static bool has_snapshots(void)
{
    return snaps[0].used || snaps[1].used || snaps[2].used;
}

static void resize_op(struct node *n, const struct config *f)
{
    struct err e = { 0 };
    uint64_t to = model.sectors + rnd(model.sectors / 4 + 1);

    if (to == model.sectors || to > MAX_SECTORS || f->backing || f->c.data_file ||
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

/* As keel-img commit: what the image has goes into its backing file, and once that is on disk the image
 * is emptied. It reads as before at every moment, whichever of its writes are flushed. */
static void commit_op(struct node *n)
{
    struct node_status st;
    struct err e = { 0 };

    for (uint64_t at = 0; at < n->len; at += st.len) {
        assert_int_equal(node_status(n, at, n->len - at, &st), 0);
        uint8_t *buf = st.flags & NODE_ALLOCATED ? xcalloc(1, st.len) : NULL;
        if (buf) {
            assert_int_equal(node_read(n, at, buf, st.len), 0);
            assert_int_equal(node_write(&the_base->base, at, buf, st.len), 0);
        }
        free(buf);
    }
    assert_int_equal(node_flush(&the_base->base), 0);
    assert_int_equal(qcow2_make_empty(n, &e), 0);
    settle_model();
    crash.commits++;
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
    f.commits = f.backing && !f.c.data_file && rnd(2);
    f.prealloc = (enum qcow2_prealloc)(rnd(3) ? 0 : rnd(4));
    if (f.c.data_file_raw) {
        f.prealloc = QCOW2_PREALLOC_METADATA;
    } else if (f.backing && !f.c.extended_l2) {
        f.prealloc = QCOW2_PREALLOC_OFF;
    }
    f.bitmaps = f.c.version == 3 && rnd(4) == 0;
    f.pass_discard = rnd(2);
    f.fixed = f.c.cluster_bits <= 12 && rnd(3) == 0;
    f.l2_cache = rnd(2) ? 1 : 0; /* the least, or enough */
    return f;
}

static void model_reset(const struct config *f)
{
    memset(&model, 0, sizeof(model));
    memset(snaps, 0, sizeof(snaps));
    model.sectors = model.other_sectors = f->c.size / 512;
    model.clock = 1;
    for (uint64_t i = 0; i < model.sectors; i++) {
        model.s[i].n = 1;
    }
    free(crash.backing);
    crash.backing = NULL;
    if (f->backing) {
        crash.backing_len = (f->commits ? model.sectors : model.sectors / 2 + 1) * 512;
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
    the_sim->slot = &the_sim;
    if (f->fixed) {
        sim_fix(the_sim, len + 8 * f->c.size + (256ull << f->c.cluster_bits));
    }
    the_data = f->c.data_file ? sim_new(ctx, NULL, 0) : NULL;
    if (the_data) {
        the_data->slot = &the_data;
    }
    free(image);
    n = open_sims(f);
    if (qcow2_preallocate(n, 0, f->prealloc) < 0) {
        fail_msg("it cannot be preallocated");
    }
    if (f->commits) {
        the_base = sim_new(ctx, crash.backing, crash.backing_len);
        the_base->slot = &the_base;
        n->backing = &the_base->base;
        free(crash.backing);
        crash.backing = NULL;
    } else if (crash.backing) {
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
        if (f->commits && !has_snapshots() && rnd(12) == 0) {
            while (in_flight) {
                node_ctx_poll(n->ctx, true);
            }
            commit_op(n);
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

    workload_seed = seed;
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
    print_message("%" PRIu64 " states: none corrupt, %" PRIu64 " with leaks; %" PRIu64
                  " written on, %" PRIu64 " snapshots and %" PRIu64 " bitmaps read, %" PRIu64
                  " commits, %" PRIu64 " by qemu-img\n",
                  crash.states, crash.leaks, crash.written, crash.snapshots, crash.bitmaps,
                  crash.commits, crash.qemu);
}

static int setup(void **state)
{
    (void)state;
    crash.ctx = crash_context();
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
