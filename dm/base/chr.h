/* SPDX-License-Identifier: MIT */
/* dm/base/chr.h - a character stream with a device on one side and the host on the other.
 *
 * The device end (a UART, a monitor, a debug port) calls chr_write and gets its handlers called on
 * the loop, under the machine lock. A back end implements struct chr_ops; they live in
 * dm/chardev/. Bytes towards the device are only offered when can_read says how many fit.
 */
#ifndef DM_BASE_CHR_H
#define DM_BASE_CHR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chr_event { CHR_OPENED, CHR_CLOSED, CHR_BREAK };

struct chr;
struct chr_ops {
    const char *kind;
    /* Takes up to len bytes; returns how many, 0 when the host side is full (writable() follows),
     * or -errno. Never blocks. */
    long (*write)(struct chr *c, const void *buf, size_t len);
    /* The same with a descriptor for the peer, which stays the caller's; NULL: cannot be passed. */
    long (*write_fd)(struct chr *c, const void *buf, size_t len, int fd);
    /* The device has room again: offer bytes now. May be NULL. */
    void (*kick)(struct chr *c);
    /* The device drives modem lines, break, or line speed; may be NULL. */
    void (*set_params)(struct chr *c, unsigned baud, unsigned data_bits, char parity,
                       unsigned stop_bits);
    /* Descriptors the peer passed with the bytes just read; returns one or -1. May be NULL. */
    int (*take_fd)(struct chr *c);
    /* Drops the current peer, if there is such a thing (a socket). May be NULL. */
    void (*disconnect)(struct chr *c);
    void (*free)(struct chr *c);
};

struct chr_handlers {
    size_t (*can_read)(void *opaque); /* bytes the device would take now */
    void (*read)(void *opaque, const uint8_t *buf, size_t len);
    void (*writable)(void *opaque);                /* after a write came back short; may be NULL */
    void (*event)(void *opaque, enum chr_event e); /* may be NULL */
};

struct chr {
    const struct chr_ops *ops;
    char *id;                            /* "serial0", "libxl-cmd" */
    char *filename;                      /* as query-chardev prints it: "pty:/dev/pts/3" */
    bool open;                           /* a peer is there */
    const struct chr_handlers *handlers; /* NULL when no device is attached */
    void *opaque;
};

/* Attaches a device (or detaches, h == NULL). CHR_OPENED is delivered at once when c->open. */
void chr_attach(struct chr *c, const struct chr_handlers *h, void *opaque);

/* c may be NULL: everything is swallowed, as on a port with nothing plugged in. Returns bytes
 * taken, 0 when full. */
long chr_write(struct chr *c, const void *buf, size_t len);
/* The same with a descriptor that the peer gets a copy of; -1: none. -ENOTSUP where none can pass. */
long chr_write_fd(struct chr *c, const void *buf, size_t len, int fd);
/* The device can take bytes again. */
void chr_kick(struct chr *c);
void chr_free(struct chr *c);

#endif
