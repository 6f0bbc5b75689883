/* SPDX-License-Identifier: MIT */
/* dm/board.h - the machine's wiring.
 *
 * board_build puts the chips of options->machine into m, which the caller made on the host it
 * likes (Xen, flat, a trace), and plugs in the back ends. The same options give the same devices
 * with the same ids in the same order: that is what restore and replay rely on.
 */
#ifndef DM_BOARD_H
#define DM_BOARD_H

#include <stdbool.h>

struct backends;
struct device;
struct dev_prop;
struct err;
struct keyval;
struct machine;
struct options;

/* "xenfv", "pc", "none": what machine_new wants as type. */
const char *board_type(const struct options *o);
/* 0, or -errno with e naming the option. Under the machine lock. */
int board_build(struct machine *m, const struct options *o, struct backends *b, struct err *e);
/* One more device while the machine runs; kv as -device has it. 0, or -errno with e. */
int board_device_add(struct machine *m, const struct options *o, struct backends *b,
                     struct keyval *kv, struct device **added, struct err *e);

/* What a property takes, as `-device NAME,help` says it: "bool", "str", "drive"... */
const char *board_prop_kind(const struct dev_prop *p);
/* For `-device help` and `-device NAME,help`; 0, or -ENOENT with e when NAME is unknown. */
int board_device_help(const char *name, struct err *e);
void board_machine_help(void);

#endif
