/* SPDX-License-Identifier: MIT */
/* dm/gdb-packet.h - packets of the gdb remote serial protocol over a character device. On the loop. */
#ifndef DM_GDB_PACKET_H
#define DM_GDB_PACKET_H

#include "dm/base/chr.h"
#include "dm/base/util.h"
#include "dm/text.h"

#define GDB_PACKET_MAX 0x4000u /* bytes of payload, as told to gdb in qSupported */

/* What whoever answers is told. */
struct gdb_packet_user {
    void (*packet)(void *opaque, const char *p, size_t len); /* terminated behind len */
    void (*too_long)(void *opaque);                          /* one of more than GDB_PACKET_MAX */
    void (*interrupt)(void *opaque);                         /* Ctrl-C */
    void (*opened)(void *opaque);
    void (*closed)(void *opaque);
};

enum gdb_rx { GDB_IDLE, GDB_DATA, GDB_SUM_HIGH, GDB_SUM_LOW };

struct gdb_link {
    struct chr *chr;
    const struct gdb_packet_user *user;
    void *opaque;
    bool no_ack; /* QStartNoAckMode */

    enum gdb_rx rx;
    char in[GDB_PACKET_MAX + 1]; /* the payload that comes in */
    size_t len;
    uint8_t sum, told_sum; /* computed and sent */
    bool too_long;
    struct text out;  /* not taken by the peer yet */
    struct text last; /* the last packet, for a NAK */
};

/* l is zeroed, and stays in place until gdb_link_close. */
void gdb_link_open(struct gdb_link *l, struct chr *chr, const struct gdb_packet_user *user,
                   void *opaque);
/* Whether somebody is there. */
bool gdb_link_is_up(const struct gdb_link *l);
/* Lets go of the device, which is left to the caller. */
void gdb_link_close(struct gdb_link *l);
void gdb_send(struct gdb_link *l, const char *p, size_t len);

/* Bytes as two digits each. get: false when there are not n of them. */
void gdb_put_hex(struct text *t, const uint8_t *p, size_t n);
bool gdb_get_hex(const char *s, uint8_t *p, size_t n);
/* A number in hexadecimal, or a character, at *s, which moves behind it; false when there is none. */
bool gdb_get_number(const char **s, uint64_t *v);
bool gdb_get_char(const char **s, char c);

#endif
