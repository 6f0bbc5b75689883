/* SPDX-License-Identifier: MIT */
/* tools/nbd-list.h - keel-nbd -L. */
#ifndef TOOLS_NBD_LIST_H
#define TOOLS_NBD_LIST_H

struct nbd_how;

/* Prints what a server exports. The program's exit status. */
int nbd_print_list(const char *address, const struct nbd_how *how);

#endif
