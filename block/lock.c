/* SPDX-License-Identifier: MIT */
/* block/lock.c - image locks that qemu and its tools understand.
 *
 * Whoever opens an image takes a shared lock on one byte for each thing it does and on one byte for
 * each thing it does not want others to do, then looks whether anybody holds the opposite byte.
 * Nothing is ever locked exclusively, so a crash or a slow process leaves no trace. Open file
 * description locks (F_OFD_SETLK) are not lost when some other descriptor of the file is closed.
 */
#include "block/file.h"
#include "dm/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { LOCK_USED = 100, LOCK_UNSHARED = 200 };
enum { PERM_CONSISTENT_READ = 1, PERM_WRITE = 2, PERM_RESIZE = 8, PERM_BITS = 4 };

static const char *const perm_names[PERM_BITS] = { "consistent read", "write", "write unchanged",
                                                   "resize" };

static int take(int fd, int base, unsigned perms)
{
    for (int i = 0; i < PERM_BITS; i++) {
        struct flock l = {
            .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = base + i, .l_len = 1
        };
        if ((perms & 1u << i) && fcntl(fd, F_OFD_SETLK, &l) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* -EAGAIN when somebody else holds one of perms at base; *which says which. */
static int look(int fd, int base, unsigned perms, const char **which)
{
    for (int i = 0; i < PERM_BITS; i++) {
        struct flock l = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = base + i, .l_len = 1
        };
        if (!(perms & 1u << i)) {
            continue;
        }
        if (fcntl(fd, F_OFD_GETLK, &l) < 0) {
            return -errno;
        }
        if (l.l_type != F_UNLCK) {
            *which = perm_names[i];
            return -EAGAIN;
        }
    }
    return 0;
}

static int refused(const char *filename, const char *what, const char *which, struct err *e)
{
    return err_set(e, -EAGAIN,
                   "image '%s': Failed to get %s\"%s\" lock: another process uses the image",
                   filename, what, which);
}

int file_lock(int fd, const char *filename, bool writes, bool resizes, bool share_rw, struct err *e)
{
    unsigned used = PERM_CONSISTENT_READ | (writes ? PERM_WRITE : 0) | (resizes ? PERM_RESIZE : 0);
    unsigned unshared = share_rw ? 0 : PERM_WRITE | PERM_RESIZE;
    const char *which = "";
    int ret = take(fd, LOCK_USED, used);

    if (ret == 0) {
        ret = take(fd, LOCK_UNSHARED, unshared);
    }
    if (ret < 0) {
        /* EACCES and EAGAIN: someone holds it exclusively, which no peer does. */
        return ret == -EAGAIN || ret == -EACCES ? refused(filename, "", "any", e) : 0;
    }
    if (look(fd, LOCK_UNSHARED, used, &which) == -EAGAIN) {
        return refused(filename, "", which, e);
    }
    if (look(fd, LOCK_USED, unshared, &which) == -EAGAIN) {
        return refused(filename, "shared ", which, e);
    }
    return 0;
}
