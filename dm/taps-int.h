/* SPDX-License-Identifier: MIT */
/* dm/taps-int.h - what the taps of one machine share. */
#ifndef DM_TAPS_INT_H
#define DM_TAPS_INT_H

#include "dm/record.h"

struct tap_chr;
struct tap_drive;
struct tap_nic;

struct taps {
    struct machine *m;
    struct trace_play *play; /* NULL while recording */
    struct tap_drive *drives;
    struct tap_chr *chrs;
    struct tap_nic *nics;
    struct con *con;
    unsigned con_channel, machine_channel;
};

/* A channel of its own kind, so that a drive may be called like a stream. fn gets its inputs in
 * replay. */
unsigned taps_channel(struct taps *t, const char *kind, const char *id,
                      void (*fn)(void *, uint32_t, const void *, size_t), void *opaque);
void taps_free_nics(struct taps *t);

#endif
