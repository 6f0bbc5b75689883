/* SPDX-License-Identifier: MIT */
/* dm/record.h - back ends in a trace: listened to while recording, stood in for in replay.
 *
 * Taps go between a device and its drives, streams and screen once the device has them. What
 * enters through them is an input of the trace, what the device sends an output. In replay the
 * same taps deliver the recorded inputs at their place in the order. Everything under the machine
 * lock.
 */
#ifndef DM_RECORD_H
#define DM_RECORD_H

#include "ioreq/trace.h"

struct backends;
struct blk;
struct chr;
struct con;
struct nic;
struct replay;
struct taps;

/* m records already, or was made on trace_play_host (then p, else NULL). */
struct taps *taps_new(struct machine *m, struct trace_play *p);
/* Plugs one in; the same ones in the same order for recording and replay. A drive's user and a
 * stream's handlers must be there; a stream nobody attached to is left alone. */
void taps_drive(struct taps *t, struct blk *blk);
void taps_chr(struct taps *t, struct chr *c);
/* One that no card is plugged into is left alone. */
void taps_nic(struct taps *t, struct nic *n);
void taps_con(struct taps *t, struct con *con);
/* What the monitor is about to do to a device directly; t may be NULL. */
enum taps_command {
    TAPS_POWER_BUTTON = 1,
    TAPS_CPU_PLUG, /* arg: which */
    TAPS_NMI,
    TAPS_CMOS,   /* arg: index << 8 | value */
    TAPS_CONFIG, /* a byte of PCI configuration space: devfn << 16 | register << 8 | value */
    TAPS_WAKE,
};
void taps_command(struct taps *t, enum taps_command c, uint32_t arg);
/* Gives every back end back to its device. */
void taps_free(struct taps *t);

/* An image that completes nothing by itself, for a replayed drive. */
struct blk_image *replay_image(uint64_t len, bool read_only);

/* Records m to path, from a board just built of argv and b, before anybody else listens to b's
 * streams. NULL with e. record_stop ends it (NULL: nothing to end). */
struct taps *record_start(struct machine *m, struct backends *b, const char *path, int argc,
                          char **argv, struct err *e);
void record_stop(struct machine *m, struct taps *t);

/* The machine that p was recorded of, with p for back ends. NULL with e. */
struct replay *replay_new(struct trace_play *p, struct err *e);
struct machine *replay_machine(const struct replay *r);
struct con *replay_con(const struct replay *r);
void replay_free(struct replay *r);

#endif
