/* SPDX-License-Identifier: MIT */
/* xen-glue/pv.h - the back ends' half of Xen's paravirtual devices: the handshake in xenstore, shared
 * rings, event channels, and copies to and from pages that the front end has granted.
 *
 * A struct pv_bus is what one process has of these; a struct pv_backend is one device on it, which
 * whoever implements it embeds. Everything runs on the loop thread under the machine lock. The front
 * end is the guest and as hostile: what lies on a shared page is copied once, then looked at.
 * Reference: Xen's public/io/xenbus.h, public/io/ring.h, public/grant_table.h.
 */
#ifndef XEN_GLUE_PV_H
#define XEN_GLUE_PV_H

#include "dm/base/ev.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct pv_backend;
struct pv_bus;
struct xen_lib;

#define PV_PAGE 4096u

/* lib is the caller's and stays. NULL with e naming what is not to be had. */
struct pv_bus *pv_bus_new(const struct xen_lib *lib, struct ev_loop *loop, unsigned domid,
                          struct err *e);
void pv_bus_free(struct pv_bus *b);

struct pv_ops {
    /* The front end has said all it has to say: maps rings, binds its event channel. 0; or -errno
     * with e, and the device is closed. */
    int (*connect)(struct pv_backend *d, struct err *e);
    /* The front end is gone, or closes: unmaps, unbinds. Only after connect said 0. */
    void (*disconnect)(struct pv_backend *d);
    /* The event channel rang. */
    void (*event)(struct pv_backend *d);
};

/* One device. The implementer sets the first six, the rest is pv.c's. */
struct pv_backend {
    const struct pv_ops *ops;
    const char *type;       /* of the back end's directory: "qdisk" */
    const char *front_type; /* ... the front end's: "vif"; only for pv_start */
    unsigned index;         /* number of the device */
    const char *name;       /* for messages */
    bool said_closed;       /* once the tool stack takes it away its owner calls pv_say_closed */

    struct pv_bus *bus;
    char front[64], back[64]; /* directories */
    unsigned state;           /* enum xenbus_state as last written */
    bool connected, broken;
    bool adopted; /* the tool stack made it: it stays when we go */
    bool gone;    /* ... and has closed it for good */
    int port;     /* local event channel, -1: none */
    struct pv_backend *next;
};

/* A node to be written before the device shows up. */
struct pv_node {
    const char *name;
    const char *value;
};

/* Makes both directories, where the front end has none yet, and offers the device (state InitWait). Lists end with name NULL. */
int pv_start(struct pv_bus *b, struct pv_backend *d, const struct pv_node *front,
             const struct pv_node *back, struct err *e);
/* Takes over a device whose directories the tool stack made: back end "/local/domain/0/backend/TYPE/
 * DOMID/INDEX". Writes `back` there and offers it. */
int pv_adopt(struct pv_bus *b, struct pv_backend *d, const struct pv_node *back, struct err *e);
/* Disconnects and takes both directories away, unless they were adopted. */
void pv_stop(struct pv_backend *d);
/* Calls fn for each device of a type that the tool stack has made, now and whenever it makes another or
 * closes one. One caller a bus; fn NULL: no more. */
int pv_on_devices(struct pv_bus *b, const char *type, void (*fn)(void *opaque), void *opaque,
                  struct err *e);
/* What stood behind a device that is gone has been let go of: the tool stack need not wait longer. */
void pv_say_closed(struct pv_bus *b, const char *type, const char *device);
/* Names below the tool stack's directory of a type: malloc'ed, one block; NULL when there are none. */
char **pv_devices(struct pv_bus *b, const char *type, unsigned *n);
/* The front end breaks the protocol: says so, closes the device and hears it no more until it
 * starts anew. From inside event() too: disconnect is called from a turn of the loop. */
void pv_broken(struct pv_backend *d, const char *why);

/* Decimal digits at *p, at most max; *p moves behind them. False: there are none, or too large. */
bool pv_digits(const char **p, uint32_t max, uint32_t *out);
/* A number that the front end (or the tool stack, with back) wrote, at most max. 0, -ENOENT or -EINVAL. */
int pv_read_u32(struct pv_backend *d, bool back, const char *name, uint32_t max, uint32_t *out);
/* Malloc'ed text of a node of the back end's directory; NULL when absent. */
char *pv_read_back(struct pv_backend *d, const char *name);
char *pv_read_front(struct pv_backend *d, const char *name);
char *pv_read_device(struct pv_bus *b, const char *type, const char *device, const char *name);
/* Writes a node of the back end's directory; what goes wrong is logged. */
void pv_write_back(struct pv_backend *d, const char *name, const char *value);
/* A connected front end shall look at the back end's nodes again. */
void pv_touch(struct pv_backend *d);

/* Maps one granted page, for writing. NULL with errno. */
void *pv_map_page(struct pv_backend *d, uint32_t ref);
void pv_unmap_page(struct pv_backend *d, void *page);
/* ... or n of them, one behind the other. */
void *pv_map_pages(struct pv_backend *d, uint32_t *ref, unsigned n);
void pv_unmap_pages(struct pv_backend *d, void *pages, unsigned n);
/* Binds the front end's port; events arrive from here on. 0 or -errno. */
int pv_bind(struct pv_backend *d, uint32_t port);
void pv_unbind(struct pv_backend *d);
void pv_notify(struct pv_backend *d);

/* Bytes of one granted page to or from memory of ours: off + len is within the page. */
struct pv_piece {
    uint32_t ref;
    uint16_t off, len;
    void *local;
    bool ok; /* out */
};
enum { PV_PIECES_MAX = 64 };
/* n <= PV_PIECES_MAX. True when all went well. */
bool pv_copy(struct pv_backend *d, bool to_guest, struct pv_piece *p, unsigned n);

#endif
