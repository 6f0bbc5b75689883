/* SPDX-License-Identifier: MIT */
/* dm/backends.c - drives and character streams from the command line. */
#include "dm/backends.h"

#include "block/job.h"
#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/blockdev.h"
#include "dm/chardev/chardev.h"
#include "dm/chardev/chr-mux.h"
#include "dm/fdset.h"
#include "dm/keyval.h"
#include "dm/options.h"
#include "dm/secret.h"
#include "dm/tls-object.h"
#include "hw/net/net-dev.h"
#include "ui/con.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct drive *drive_find(const struct backends *b, const char *id)
{
    return drive_find_any(b, id, NULL);
}

struct drive *drive_find_any(const struct backends *b, const char *id, const char *dev_id)
{
    for (struct drive *d = b->drives; d; d = d->next) {
        if ((id && strcmp(d->id, id) == 0) || (dev_id && strcmp(d->dev_id, dev_id) == 0)) {
            return d;
        }
    }
    return NULL;
}

struct chr *chr_find(const struct backends *b, const char *id)
{
    for (size_t i = 0; i < b->nchrs; i++) {
        if (strcmp(b->chrs[i]->id, id) == 0) {
            return b->chrs[i];
        }
    }
    return NULL;
}

static struct chr *keep_chr(struct backends *b, struct chr *c)
{
    b->chrs = xrealloc(b->chrs, (b->nchrs + 1) * sizeof(struct chr *));
    b->chrs[b->nchrs++] = c;
    return c;
}

void chr_remove(struct backends *b, struct chr *c)
{
    size_t i = 0;
    while (b->chrs[i] != c) {
        i++;
    }
    memmove(&b->chrs[i], &b->chrs[i + 1], (b->nchrs - i - 1) * sizeof(struct chr *));
    b->nchrs--;
    chr_free(c);
}

static struct chr *add_chr(struct backends *b, const char *id, const char *spec, struct err *e)
{
    if (chr_find(b, id)) {
        err_set(e, -EEXIST, "id=%s: used twice", id);
        return NULL;
    }
    struct chr *c = chardev_new(b->loop, id, b->pretend ? "null" : spec, e);
    return c ? keep_chr(b, c) : NULL;
}

/* A stream whose other half is a monitor's. Ctrl-C belongs to the guest then. */
static struct chr *add_muxed(struct backends *b, const char *id, const char *spec, struct err *e)
{
    char name[48];
    if (b->nmuxed == ARRAY_SIZE(b->muxed)) {
        err_set(e, -EINVAL, "more than %zu streams are shared with monitors", ARRAY_SIZE(b->muxed));
        return NULL;
    }
    snprintf(name, sizeof(name), "%s-base", id);
    struct chr *base = add_chr(b, name, strcmp(spec, "stdio") == 0 ? "stdio,signal=off" : spec, e);
    if (!base) {
        return NULL;
    }
    struct muxed_monitor *m = &b->muxed[b->nmuxed++];
    m->mux = chr_mux_new(base);
    struct chr *front = keep_chr(b, chr_mux_front(m->mux, id));
    snprintf(name, sizeof(name), "%s-monitor", id);
    m->chr = keep_chr(b, chr_mux_front(m->mux, name));
    return front;
}

struct chr *chr_from_spec(struct backends *b, const char *id, const char *spec, struct err *e)
{
    *e = (struct err){ 0 };
    if (strncmp(spec, "mon:", 4) == 0) {
        return add_muxed(b, id, spec + 4, e);
    }
    if (strcmp(spec, "none") == 0) {
        return NULL;
    }
    if (strncmp(spec, "chardev:", 8) != 0) {
        return add_chr(b, id, spec, e);
    }
    struct chr *c = chr_find(b, spec + 8);
    if (!c) {
        err_set(e, -ENOENT, "no -chardev has id=%s", spec + 8);
    } else if (c->handlers) {
        err_set(e, -EBUSY, "chardev '%s' is in use", spec + 8);
        c = NULL;
    }
    return c;
}

static int add_fd(struct backends *b, struct keyval *kv, struct err *e)
{
    uint32_t fd = UINT32_MAX, set = UINT32_MAX;
    if (keyval_u32(kv, "fd", &fd, e) < 0 || keyval_u32(kv, "set", &set, e) < 0) {
        return -EINVAL;
    }
    if (fd == UINT32_MAX || set == UINT32_MAX) {
        return err_set(e, -EINVAL, "%s: missing", fd == UINT32_MAX ? "fd" : "set");
    }
    if (b->pretend) {
        return 0;
    }
    if (fd > INT32_MAX || fcntl((int)fd, F_GETFD) < 0 || fd <= STDERR_FILENO) {
        return err_set(e, -EINVAL, "fd=%u: not an open descriptor above 2", fd);
    }
    int own = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    int64_t id = set;
    return own < 0 ? err_set(e, -errno, "fd=%u: %s", fd, strerror(errno))
                   : fdset_add(&b->fdsets, &id, own, keyval_get(kv, "opaque"), e);
}

static int each(struct backends *b, const struct opt_list *l, const char *option,
                int (*fn)(struct backends *, struct keyval *, struct err *), struct err *e)
{
    for (size_t i = 0; i < l->n; i++) {
        int ret = fn(b, l->kv[i], e);
        if (ret < 0) {
            const char *file = keyval_get(l->kv[i], "file");
            bool made_up = !l->kv[i]->text[0]; /* from -hda and its kin */
            err_prefix(e, "-%s %s", option, made_up && file ? file : l->kv[i]->text);
            return ret;
        }
    }
    return 0;
}

int secret_object_add(struct backends *b, struct keyval *kv, struct err *e)
{
    const char *id = keyval_get(kv, "id");

    if (id && throttle_group_find(b->throttles, id)) {
        return err_set(e, -EEXIST, "object '%s' is there already", id);
    }
    return b->pretend ? 0 : secret_add(&b->secrets, kv, e);
}

int tls_creds_object_add(struct backends *b, struct keyval *kv, struct err *e)
{
    const char *id = keyval_get(kv, "id");

    if (id && throttle_group_find(b->throttles, id)) {
        return err_set(e, -EEXIST, "object '%s' is there already", id);
    }
    return b->pretend ? 0 : tls_object_add(&b->tls, kv, b->secrets, e);
}

int secret_option(struct backends *b, struct keyval *kv, const char *key,
                  const struct luks_key **out, struct err *e)
{
    const char *id = keyval_get(kv, key);

    if (!id || b->pretend) {
        return 0;
    }
    *out = secret_find(b->secrets, id, e);
    return *out ? 0 : err_prefix(e, "%s=%s", key, id);
}

/* -chardev file,path=/dev/fdset/N: the kernel's own name of a passed descriptor in its place. */
static int add_passed_file(struct backends *b, struct keyval *kv, int64_t set, struct err *e)
{
    const char *backend = keyval_get(kv, "backend"), *append = keyval_get(kv, "append");
    int fd = fdset_open(b->fdsets, set, O_WRONLY);
    fd = fd < 0 ? fdset_open(b->fdsets, set, O_RDWR) : fd;
    if (fd < 0) {
        return err_set(e, fd, "path=/dev/fdset/%lld: no such set, or none of its files is writable",
                       (long long)set);
    }
    char *spec =
        xasprintf("%s,path=/proc/self/fd/%d,append=%s", backend, fd, append ? append : "off");
    struct chr *c = add_chr(b, keyval_get(kv, "id"), spec, e);
    close(fd);
    free(spec);
    return c ? 0 : e->code;
}

int chardev_add(struct backends *b, struct keyval *kv, struct err *e)
{
    const char *id = keyval_get(kv, "id");
    if (!id || !*id) {
        return err_set(e, -EINVAL, "id: missing");
    }
    const char *path = keyval_get(kv, "path");
    int64_t set = path ? fdset_parse(path) : -1;
    if (set < 0 || b->pretend) {
        return add_chr(b, id, kv->text, e) ? 0 : e->code;
    }
    return add_passed_file(b, kv, set, e);
}

/* What QEMU puts into a PC nobody asked anything of: an empty CD-ROM drive, an empty floppy drive.
 */
static void default_drive(struct backends *b, const char *interface, const char *index,
                          const char *media)
{
    struct err taken;
    struct keyval *kv = keyval_parse("", NULL);
    keyval_add(kv, "if", interface);
    keyval_add(kv, "index", index);
    keyval_add(kv, "media", media);
    drive_add(b, kv, &taken);
    keyval_free(kv);
}

int backends_open(struct backends *b, struct ev_loop *loop, const struct options *o, bool pretend,
                  struct err *e)
{
    *b = (struct backends){ .loop = loop, .pretend = pretend, .con = con_new() };
    b->graph = node_ctx_new(loop);
    b->jobs = jobs_new(b->graph);
    int ret = each(b, &o->add_fds, "add-fd", add_fd, e);
    if (ret == 0) {
        ret = each(b, &o->chardevs, "chardev", chardev_add, e);
    }
    b->snapshot = o->snapshot;
    b->incoming = o->incoming != NULL;
    if (ret == 0) {
        ret = each(b, &o->secrets, "object", secret_object_add, e);
    }
    if (ret == 0) {
        ret = each(b, &o->tls, "object", tls_creds_object_add, e);
    }
    if (ret == 0) {
        ret = each(b, &o->throttles, "object", throttle_object_add, e);
    }
    if (ret == 0) {
        ret = each(b, &o->blockdevs, "blockdev", blockdev_add, e);
    }
    if (ret == 0) {
        ret = each(b, &o->drives, "drive", drive_add, e);
    }
    if (ret == 0) {
        ret = networks_open(b, o, e);
    }
    if (ret == 0 && !o->nodefaults && o->machine != MACHINE_NONE) {
        default_drive(b, "ide", "2", "cdrom");
        default_drive(b, "floppy", "0", "disk");
    }
    return ret;
}

bool backends_busy(const struct backends *b)
{
    for (const struct drive *d = b->drives; d; d = d->next) {
        if (blk_in_flight(d->blk)) {
            return true;
        }
    }
    return false;
}

void backends_drain(struct backends *b)
{
    for (struct drive *d = b->drives; d; d = d->next) {
        blk_drain(d->blk);
    }
}

void backends_close(struct backends *b)
{
    exports_free(b);
    jobs_free(b->jobs);
    while (b->drives) {
        drive_remove(b, b->drives);
    }
    blockdev_close_all(b);
    while (b->throttles) {
        throttle_group_drop(&b->throttles, b->throttles);
    }
    tls_object_free_all(&b->tls);
    secret_free_all(&b->secrets);
    node_ctx_free(b->graph);
    networks_close(b); /* filters hold streams */
    for (size_t i = 0; i < b->nchrs; i++) {
        chr_free(b->chrs[i]);
    }
    free(b->chrs);
    fdset_free_all(&b->fdsets);
    boot_list_free(&b->boot);
    con_free(b->con);
    backends_free_roms(b);
    *b = (struct backends){ 0 };
}
