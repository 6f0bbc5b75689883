/* SPDX-License-Identifier: MIT */
/* dm/gdb.h - the gdb server: -gdb DEV, -s. Runs on the loop, under the machine lock. */
#ifndef DM_GDB_H
#define DM_GDB_H

struct err;
struct gdb;
struct keel;

/* Listens as spec says ("tcp::1234", "tcp:HOST:PORT", "unix:PATH", any chardev), one debugger at a
 * time. 0, or -errno with e. */
int gdb_open(struct keel *k, const char *spec, struct err *e);
/* As if the debugger had gone: its breakpoints are off, the machine runs on. */
void gdb_detach(struct keel *k);
/* Tells the debugger that it is over, and stops listening. Nothing happens where nobody listens. */
void gdb_close(struct keel *k);

#endif
