/* SPDX-License-Identifier: MIT */
/* dm/fdset.c - sets of descriptors that a peer passed in. */
#include "dm/fdset.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct fdset *find(struct fdset *sets, int64_t id)
{
    for (struct fdset *s = sets; s; s = s->next) {
        if (s->id == id) {
            return s;
        }
    }
    return NULL;
}

/* Keeps the list sorted by id, so that query-fdsets answers in order. */
static struct fdset *insert(struct fdset **sets, int64_t id)
{
    struct fdset **at = sets;
    while (*at && (*at)->id < id) {
        at = &(*at)->next;
    }
    struct fdset *s = xcalloc(1, sizeof(*s));
    s->id = id;
    s->next = *at;
    *at = s;
    return s;
}

int fdset_add(struct fdset **sets, int64_t *id, int fd, const char *opaque, struct err *e)
{
    if (*id < 0) {
        for (*id = 0; find(*sets, *id); (*id)++) {
        }
    }
    struct fdset *s = find(*sets, *id);
    if (s && s->n >= 64) {
        return err_set(e, -EINVAL, "fd set %lld is full", (long long)*id);
    }
    s = s ? s : insert(sets, *id);
    s->member = xrealloc(s->member, (s->n + 1) * sizeof(s->member[0]));
    s->member[s->n++] = (struct fdset_member){ fd, opaque ? xstrdup(opaque) : NULL };
    return 0;
}

static void drop_member(struct fdset *s, unsigned i)
{
    close(s->member[i].fd);
    free(s->member[i].opaque);
    s->member[i] = s->member[--s->n];
}

static void unlink_empty(struct fdset **sets)
{
    for (struct fdset **at = sets; *at;) {
        struct fdset *s = *at;
        if (s->n) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        free(s->member);
        free(s);
    }
}

int fdset_remove(struct fdset **sets, int64_t id, int fd)
{
    struct fdset *s = find(*sets, id);
    bool found = s && fd < 0;
    for (unsigned i = s ? s->n : 0; i-- > 0;) {
        if (fd < 0 || s->member[i].fd == fd) {
            drop_member(s, i);
            found = true;
        }
    }
    unlink_empty(sets);
    return found ? 0 : -ENOENT;
}

int fdset_open(const struct fdset *sets, int64_t id, int flags)
{
    const struct fdset *s = find((struct fdset *)sets, id);
    for (unsigned i = 0; s && i < s->n; i++) {
        int mode = fcntl(s->member[i].fd, F_GETFL);
        if (mode >= 0 && (mode & O_ACCMODE) == (flags & O_ACCMODE)) {
            int fd = fcntl(s->member[i].fd, F_DUPFD_CLOEXEC, 0);
            return fd < 0 ? -errno : fd;
        }
    }
    return s ? -EACCES : -ENOENT;
}

int64_t fdset_parse(const char *path)
{
    static const char prefix[] = "/dev/fdset/";
    size_t len = sizeof(prefix) - 1;
    if (strncmp(path, prefix, len) != 0 || path[len] < '0' || path[len] > '9') {
        return -1;
    }
    char *end;
    errno = 0;
    long long id = strtoll(path + len, &end, 10);
    return *end || errno ? -1 : id;
}

void fdset_free_all(struct fdset **sets)
{
    while (*sets) {
        fdset_remove(sets, (*sets)->id, -1);
    }
}
