/* SPDX-License-Identifier: MIT */
/* dm/guest-dump.h - a guest's memory and registers as an ELF core file, for crash(8), gdb, drgn. */
#ifndef DM_GUEST_DUMP_H
#define DM_GUEST_DUMP_H

#include <stdbool.h>
#include <stdint.h>

struct keel;
struct err;

struct guest_dump {
    bool paging;            /* segments have the guest's linear addresses, else physical ones */
    uint64_t begin, length; /* guest-physical bytes; length 0: all */
};

/* Writes the file to fd, which stays the caller's; pages of zeroes become holes where it can seek.
 * The guest must not run. *total: bytes of guest memory in it. 0, or -errno with e. */
int guest_dump_write(struct keel *k, int fd, const struct guest_dump *d, uint64_t *total,
                     struct err *e);

#endif
