/* SPDX-License-Identifier: MIT */
/* dm/vm-snapshot.c - snapshots of the whole machine: find the disks, stop, save or load, go on. */
#include "dm/vm-snapshot.h"

#include "block/job.h"
#include "block/open.h"
#include "block/qcow2.h"
#include "block/snapshot-text.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/hmp-int.h"
#include "dm/keel.h"
#include "dm/qmp-node.h"
#include "dm/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- which disks ---- */

struct disk {
    struct node *n; /* the qcow2 node; shared */
    const char *name;
};

struct disks {
    struct disk *d;
    size_t n, state; /* state: which one keeps the machine's state */
};

static void disks_fini(struct disks *s)
{
    for (size_t i = 0; i < s->n; i++) {
        node_close(s->d[i].n);
    }
    free(s->d);
}

static int add_disk(struct disks *s, struct node *n, const char *name, struct err *e)
{
    if (job_node_free(n, e) < 0) {
        return e->code;
    }
    n = node_skip_filters(n);
    if (job_node_free(n, e) < 0) {
        return e->code;
    }
    if (!qcow2_is(n) || n->read_only) {
        return err_set(e, -ENOTSUP, "Device '%.60s' is writable but does not support snapshots",
                       name);
    }
    s->d = xrealloc(s->d, (s->n + 1) * sizeof(*s->d));
    s->d[s->n++] = (struct disk){ node_share(n), name };
    return 0;
}

static int add_named(struct keel *k, struct disks *s, const char *name, struct err *e)
{
    const struct drive *d = drive_find_any(&k->be, name, name);
    struct node *n = d ? drive_node(d) : graph_find(k->be.graph, name);

    return n ? add_disk(s, n, name, e) : err_set(e, -ENODEV, "No block device node '%.60s'", name);
}

static int add_all(struct keel *k, struct disks *s, struct err *e)
{
    int ret = 0;

    for (const struct drive *d = k->be.drives; d && ret == 0; d = d->next) {
        struct node *n = drive_node(d);
        if (n && !blk_read_only(d->blk)) {
            ret = add_disk(s, n, d->id, e);
        }
    }
    return ret;
}

/* By the name it was asked for, or any other name of the node. */
static int choose_state(struct keel *k, struct disks *s, const char *name, struct err *e)
{
    const struct drive *d = name ? drive_find_any(&k->be, name, name) : NULL;
    struct node *n = d ? drive_node(d) : name ? graph_find(k->be.graph, name) : NULL;

    if (s->n == 0) {
        return err_set(e, -ENOTSUP, "No block device can store vmstate for snapshot");
    }
    if (name && !n) {
        return err_set(e, -ENODEV, "vmstate block device '%.60s' does not exist", name);
    }
    n = n ? node_skip_filters(n) : s->d[0].n;
    while (s->state < s->n && s->d[s->state].n != n) {
        s->state++;
    }
    return s->state < s->n
               ? 0
               : err_set(e, -ENOTSUP, "vmstate block device '%.60s' does not support snapshots",
                         name);
}

static int find_disks(struct keel *k, const struct vm_disks *want, struct disks *s, struct err *e)
{
    int ret = 0;

    *s = (struct disks){ 0 };
    if (k->xen || !k->soft) {
        return err_set(e, -ENOTSUP,
                       k->xen ? "the guest's memory and processors are Xen's: use xl save"
                              : "only a machine with processors of Keel's own has snapshots");
    }
    if (k->m->run_state == RUN_INMIGRATE) {
        return err_set(e, -EBUSY, "the machine waits for its state to arrive");
    }
    for (size_t i = 0; want->names && i < want->n && ret == 0; i++) {
        ret = add_named(k, s, want->names[i], e);
    }
    ret = want->names ? ret : add_all(k, s, e);
    return ret < 0 ? ret : choose_state(k, s, want->vmstate, e);
}

static const struct qcow2_snapshot *find_tag(const struct node *n, const char *tag)
{
    const struct qcow2_snapshot *sn;

    for (unsigned i = 0; (sn = qcow2_snapshot(n, i)); i++) {
        if (strcmp(sn->name, tag) == 0) {
            return sn;
        }
    }
    return NULL;
}

/* The id of the snapshot, malloc'd: it outlives changes of the table. NULL: there is none. */
static char *tag_id(const struct node *n, const char *tag)
{
    const struct qcow2_snapshot *sn = find_tag(n, tag);

    return sn ? xstrdup(sn->id) : NULL;
}

static int delete_id(const struct disk *d, const char *tag, const char *id, struct err *e)
{
    return !id || qcow2_snapshot_delete(d->n, id, e) == 0
               ? 0
               : err_prefix(e, "Could not delete snapshot '%.100s' on '%.60s'", tag, d->name);
}

/* ---- saving ---- */

/* A request that failed and waits for another try is in no state: it would be lost. */
static int nothing_held(struct keel *k, struct err *e)
{
    for (const struct drive *d = k->be.drives; d; d = d->next) {
        if (blk_held_error(d->blk)) {
            return err_set(e, -EBUSY, "Device '%.60s' has a request that failed: cont first",
                           d->id);
        }
    }
    return 0;
}

/* The id of the snapshot made last, malloc'd. */
static char *last_id(const struct node *n)
{
    unsigned i = 0;

    while (qcow2_snapshot(n, i + 1)) {
        i++;
    }
    return xstrdup(qcow2_snapshot(n, i)->id);
}

/* One more snapshot on each disk; when one fails, the others' go. */
static int save_disks(const struct disks *s, const char *tag, const struct qcow2_vm *vm,
                      struct err *e)
{
    struct qcow2_vm disk_only = *vm;
    int ret = 0;
    size_t i;

    disk_only.len = 0;
    for (i = 0; i < s->n && ret == 0; i++) {
        ret = qcow2_snapshot_create_vm(s->d[i].n, tag, i == s->state ? vm : &disk_only, e);
    }
    if (ret == 0) {
        return 0;
    }
    err_prefix(e, "Error while creating snapshot on '%.60s'", s->d[--i].name);
    while (i--) {
        struct err unused;
        char *id = last_id(s->d[i].n);
        delete_id(&s->d[i], tag, id, &unused);
        free(id);
    }
    return ret;
}

static int save_stopped(struct keel *k, const struct disks *s, const char *tag, struct err *e)
{
    struct state_buf b = { 0 };
    struct qcow2_vm vm = { .clock_ns = (uint64_t)vclock_now(k->m), .icount = UINT64_MAX };
    char **old = xcalloc(s->n, sizeof(*old));
    int ret = machine_save(k->m, &b, e);

    clock_gettime(CLOCK_REALTIME, &vm.date);
    vm.state = b.p;
    vm.len = b.len;
    for (size_t i = 0; i < s->n; i++) {
        old[i] = tag_id(s->d[i].n, tag);
    }
    ret = ret < 0 ? ret : save_disks(s, tag, &vm, e);
    for (size_t i = 0; i < s->n; i++) {
        ret = ret < 0 ? ret : delete_id(&s->d[i], tag, old[i], e);
        free(old[i]);
    }
    free(old);
    free(b.p);
    return ret;
}

int vm_snapshot_save(struct keel *k, const char *tag, bool replace, const struct vm_disks *want,
                     struct err *e)
{
    struct disks s;
    int ret = find_disks(k, want, &s, e);
    bool was_running = machine_running(k->m);

    for (size_t i = 0; ret == 0 && !replace && i < s.n; i++) {
        if (find_tag(s.d[i].n, tag)) {
            ret =
                err_set(e, -EEXIST, "Snapshot '%.100s' already exists in one or more devices", tag);
        }
    }
    ret = ret < 0 ? ret : nothing_held(k, e);
    if (ret == 0) {
        keel_stop(k);
        jobs_hold(k->be.jobs, NULL);
        ret = nothing_held(k, e); /* something may have failed meanwhile */
        ret = ret < 0 ? ret : save_stopped(k, &s, tag, e);
        jobs_release(k->be.jobs);
        if (was_running) {
            keel_cont(k, NULL);
        }
    }
    disks_fini(&s);
    return ret;
}

/* ---- loading ---- */

static int check_tag(const struct disks *s, const char *tag, struct err *e)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!find_tag(s->d[i].n, tag)) {
            return err_set(e, -ENOENT, "Snapshot '%.100s' does not exist in one or more devices",
                           tag);
        }
    }
    return find_tag(s->d[s->state].n, tag)->vm_state_size
               ? 0
               : err_set(e, -EINVAL,
                         "This is a disk-only snapshot. Revert to it  offline using qemu-img");
}

static int apply(struct keel *k, const struct disk *d, const char *tag, struct err *e)
{
    char *id = tag_id(d->n, tag);
    uint64_t len = d->n->len;
    int ret = qcow2_snapshot_apply(d->n, id, e);

    free(id);
    if (ret < 0) {
        return err_prefix(e, "Could not load snapshot '%.100s' on '%.60s'", tag, d->name);
    }
    if (d->n->len != len) {
        drives_resized(k, d->n);
    }
    return 0;
}

static int load_stopped(struct keel *k, const struct disks *s, const char *tag, struct err *e)
{
    const struct disk *d = &s->d[s->state];
    const struct qcow2_snapshot *sn = find_tag(d->n, tag);
    uint64_t len = sn->vm_state_size;
    uint8_t *state;
    char *id = xstrdup(sn->id);
    int ret = qcow2_snapshot_state(d->n, id, keel_state_max(k), &state, e);

    for (size_t i = 0; ret == 0 && i < s->n; i++) {
        ret = apply(k, &s->d[i], tag, e);
    }
    if (ret == 0) {
        ret = machine_load(k->m, state, len, e);
        k->power_events = 0; /* of the time that never was */
    }
    free(id);
    free(state);
    return ret;
}

int vm_snapshot_load(struct keel *k, const char *tag, const struct vm_disks *want, struct err *e)
{
    struct disks s;
    int ret = find_disks(k, want, &s, e);
    bool was_running = machine_running(k->m);

    ret = ret < 0 ? ret : check_tag(&s, tag, e);
    if (ret == 0 && k->taps) {
        ret = err_set(e, -EBUSY, "-keel-record: a recording cannot follow a load");
    }
    if (ret == 0) {
        keel_stop(k);
        jobs_hold(k->be.jobs, NULL);
        ret = load_stopped(k, &s, tag, e);
        jobs_release(k->be.jobs);
        if (ret == 0 && k->m->run_state != RUN_PRELAUNCH) {
            machine_set_run_state(k->m, RUN_PAUSED);
        }
        if (ret == 0 && was_running) {
            keel_cont(k, NULL);
        }
    }
    disks_fini(&s);
    return ret;
}

/* ---- deleting ---- */

int vm_snapshot_delete(struct keel *k, const char *tag, const struct vm_disks *want, struct err *e)
{
    struct disks s;
    int ret = find_disks(k, want, &s, e);

    jobs_hold(k->be.jobs, NULL);
    for (size_t i = 0; ret == 0 && i < s.n; i++) {
        char *id = tag_id(s.d[i].n, tag);
        ret = delete_id(&s.d[i], tag, id, e);
        free(id);
    }
    jobs_release(k->be.jobs);
    disks_fini(&s);
    return ret;
}

/* ---- the monitor for people ---- */

static bool on_all(const struct disks *s, const char *tag)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!find_tag(s->d[i].n, tag)) {
            return false;
        }
    }
    return true;
}

/* The snapshots of disk d that are on all disks, or those that are not. */
static void list_some(const struct disks *s, const struct disk *d, bool all, struct text *out)
{
    const struct qcow2_snapshot *sn;
    bool any = false;

    for (unsigned i = 0; (sn = qcow2_snapshot(d->n, i)); i++) {
        if (on_all(s, sn->name) != all) {
            continue;
        }
        if (!any && all) {
            text_add(out, "List of snapshots present on all disks:\r\n%s\r\n", SNAPSHOT_HEADING);
        } else if (!any) {
            text_add(out, "\r\nList of partial (non-loadable) snapshots on '%s':\r\n%s\r\n",
                     d->name, SNAPSHOT_HEADING);
        }
        any = true;
        char *line = snapshot_line(sn, all ? "--" : sn->id);
        text_add(out, "%s\r\n", line);
        free(line);
    }
    if (!any && all) {
        text_add(out, "There is no suitable snapshot available\r\n");
    }
}

void hmp_info_snapshots(struct keel *k, struct text *out)
{
    const struct vm_disks every = { 0 };
    struct disks s;
    struct err e = { 0 };

    if (find_disks(k, &every, &s, &e) < 0) {
        hmp_report(out, e.code, &e);
    } else {
        list_some(&s, &s.d[s.state], true, out);
        for (size_t i = 0; i < s.n; i++) {
            list_some(&s, &s.d[i], false, out);
        }
    }
    disks_fini(&s);
}

void hmp_vm_snapshot(struct keel *k, char *const *word, struct text *out)
{
    const struct vm_disks every = { 0 };
    struct err e = { 0 };
    char made_up[32];
    const char *tag = word[1];
    time_t now = time(NULL);
    struct tm tm;
    int ret;

    if (strcmp(word[0], "savevm") == 0) {
        if (!*tag) {
            strftime(made_up, sizeof(made_up), "vm-%Y%m%d%H%M%S", localtime_r(&now, &tm));
            tag = made_up;
        }
        ret = vm_snapshot_save(k, tag, true, &every, &e);
    } else if (strcmp(word[0], "loadvm") == 0) {
        ret = vm_snapshot_load(k, tag, &every, &e);
    } else {
        ret = vm_snapshot_delete(k, tag, &every, &e);
    }
    hmp_report(out, ret, &e);
}
