/* SPDX-License-Identifier: MIT */
/* dm/fdset.h - sets of descriptors that a peer passed in, named /dev/fdset/N.
 *
 * Opening such a name takes the member whose access mode fits and duplicates it; the set keeps its
 * own. So a process without any right to open files still gets its images.
 */
#ifndef DM_FDSET_H
#define DM_FDSET_H

#include <stdbool.h>
#include <stdint.h>

struct err;

struct fdset_member {
    int fd;
    char *opaque; /* NULL when none was given */
};

struct fdset {
    int64_t id;
    struct fdset_member *member;
    unsigned n;
    struct fdset *next;
};

/* Adds fd (owned by the set from here on) to set *id, or to a new one with the lowest free id when
 * *id is negative, which is stored in *id. 0, or -EINVAL with e. */
int fdset_add(struct fdset **sets, int64_t *id, int fd, const char *opaque, struct err *e);
/* Closes fd of the set, or all of it when fd is negative. -ENOENT when there is no such thing. */
int fdset_remove(struct fdset **sets, int64_t id, int fd);
/* A duplicate with close-on-exec of the member that opens as flags (O_RDONLY, O_WRONLY, O_RDWR)
 * say, or -ENOENT, -EACCES. */
int fdset_open(const struct fdset *sets, int64_t id, int flags);
/* The N of /dev/fdset/N, or -1 for any other path. */
int64_t fdset_parse(const char *path);
void fdset_free_all(struct fdset **sets);

#endif
