/* SPDX-License-Identifier: MIT */
/* dm/hmp-chr.h - the monitor's commands on character streams and on who debugs through one. */
#ifndef DM_HMP_CHR_H
#define DM_HMP_CHR_H

struct keel;
struct text;

/* chardev-add OPTIONS as -chardev has them; chardev-remove ID; chardev-send-break ID; gdbserver
 * [DEV|none]. */
void hmp_chardev(struct keel *k, char *const word[], struct text *out);
void hmp_gdbserver(struct keel *k, char *const word[], struct text *out);

#endif
