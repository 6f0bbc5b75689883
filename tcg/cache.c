/* SPDX-License-Identifier: MIT */
/* tcg/cache.c - memory for host code: one memfd, mapped writable and mapped executable.
 *
 * No page is ever both. Code is generated through one view at addresses of the other.
 */
#include "tcg/tcg-int.h"

#include "dm/base/err.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int cache_init(struct tcg_cache *c, size_t bytes, struct err *e)
{
    int fd = memfd_create("keel-code", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
        int err = errno;
        if (fd >= 0) {
            close(fd);
        }
        return err_set(e, -err, "code cache of %zu bytes: %s", bytes, strerror(err));
    }
    void *rw = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void *rx = mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    int err = errno;
    close(fd);
    if (rw == MAP_FAILED || rx == MAP_FAILED) {
        if (rw != MAP_FAILED) {
            munmap(rw, bytes);
        }
        if (rx != MAP_FAILED) {
            munmap(rx, bytes);
        }
        return err_set(e, -err, "executable memory: %s (keel-engine=interp needs none)",
                       strerror(err));
    }
    *c = (struct tcg_cache){ .rw = rw, .rx = rx, .bytes = bytes };
    return 0;
}

void cache_fini(struct tcg_cache *c)
{
    if (c->rw) {
        munmap(c->rw, c->bytes);
        munmap(c->rx, c->bytes);
    }
}
