/* SPDX-License-Identifier: MIT */
/* ioreq/dev.h - everything a device may know about the world around it.
 *
 * A device is a function of what passes through four doors: requests (region callbacks), lines,
 * guest memory and virtual time. It opens no file, reads no clock, knows no hypervisor. All its
 * code runs under the machine lock and none of it sleeps.
 *
 * Life: dev_new (zeroed, property defaults) -> dev_set_* -> dev_init (class->init, then reset)
 *       -> callbacks, dev_reset, dev_save/dev_load -> dev_free (class->fini).
 */
#ifndef IOREQ_DEV_H
#define IOREQ_DEV_H

#include "ioreq/clock.h"
#include "ioreq/gmem.h"
#include "ioreq/ioreq.h"
#include "ioreq/line.h"
#include "ioreq/state.h"

#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

/* A property: what `-device NAME,prop=value` and the board may set before init. PROP_BLK, PROP_CHR,
 * PROP_NIC and PROP_PTR hold a pointer that the process looks up by name; hw/ only declares them. */
enum prop_kind {
    PROP_END,
    PROP_BOOL,
    PROP_U32,
    PROP_SIZE,
    PROP_STR,
    PROP_BLK,
    PROP_CHR,
    PROP_NIC,
    PROP_PTR
};
struct dev_prop {
    const char *name;
    enum prop_kind kind;
    uint32_t offset;
    uint64_t def;     /* default for BOOL, U32 and SIZE (uint64_t bytes) */
    const char *help; /* one line */
};
#define PROP(type, name, kind, member, def, help)                                                  \
    {                                                                                              \
        name, kind, offsetof(type, member), def, help                                              \
    }

struct dev_class {
    const char *name;             /* as `-device` spells it */
    const char *desc;             /* one line, for `-device help` */
    size_t size;                  /* of the device's struct, whose first member is struct device */
    const struct dev_prop *props; /* ends with PROP_END; may be NULL */
    const struct state_field *state; /* ends with FIELD_END; may be NULL */
    unsigned state_version;          /* 1 and up */
    bool user_creatable;             /* `-device` may make one */
    bool outside; /* processors and memory: they stand outside the doors, in no trace */
    int (*init)(struct device *d, struct err *e); /* once; no guest memory yet */
    void (*reset)(struct device *d);              /* to power-on; idempotent; may be NULL */
    /* State is about to be saved: brings what lies elsewhere into the struct. May be NULL. */
    void (*saving)(struct device *d);
    /* State has arrived: check what ranges cannot say, rebuild what is derived (regions, lines). */
    int (*loaded)(struct device *d, struct err *e); /* may be NULL */
    void (*fini)(struct device *d);                 /* may be NULL */
    /* Appends facts for `info qtree`/`info DEVICE`; may be NULL. */
    void (*info)(const struct device *d, void (*put)(void *o, const char *line), void *o);
};

struct device {
    const struct dev_class *class;
    struct machine *m;
    char id[32];          /* "ide-5632", or made up: "piix3-ide.0"; unique in the machine */
    struct log_limit odd; /* what the guest did wrong, at a bounded rate */
    uint64_t odd_count;
    bool inited;         /* class->init was called, so class->fini will be */
    bool absent;         /* taken away until its next reset: saved state says nothing of it */
    struct device *next; /* the machine's list, in creation order */
};

/* Makes a device with its default properties; id NULL makes one up. Never NULL. An id that is
 * taken, or longer than a device's, is refused by dev_init. */
struct device *dev_new(struct machine *m, const struct dev_class *class, const char *id);
/* Typed property setters for the board; assert that the property exists and is of that kind. */
void dev_set_bool(struct device *d, const char *prop, bool v);
void dev_set_u32(struct device *d, const char *prop, uint32_t v);
void dev_set_size(struct device *d, const char *prop, uint64_t v);
void dev_set_str(struct device *d, const char *prop, const char *v); /* copied */
void dev_set_ptr(struct device *d, const char *prop, void *v);       /* BLK, CHR, NIC, PTR */
/* From text, for the command line: 0, or -ENOENT unknown property, -EINVAL bad value. Not for
 * BLK/CHR/NIC/PTR (-EINVAL). */
int dev_set_text(struct device *d, const char *prop, const char *text, struct err *e);
const struct dev_prop *dev_prop_find(const struct dev_class *c, const char *name);
/* 0 or -errno with e; then only dev_free may follow, which calls class->fini on whatever init left:
 * freeing a zeroed region, line, timer or block does nothing. */
int dev_init(struct device *d, struct err *e);
void dev_reset(struct device *d);
/* Unmaps nothing by itself: class->fini unmaps regions, frees lines, timers and blocks. */
void dev_free(struct device *d);

/* The guest did something no correct driver does: counted, logged at a bounded rate, never fatal. */
void guest_odd(struct device *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
