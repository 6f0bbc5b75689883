/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio.h - a virtio device on PCI: what a device model and the transport ask of each other.
 *
 *   virtio.c      virtqueues: taking chains, giving them back, who wants to be told; packed.c: packed ones
 *   virtio-pci.c  the PCI transport, modern and legacy registers behind one device
 *   virtio-*.c    the devices
 *
 * A device's struct starts with struct virtio_dev; its class->init calls virtio_init, reset
 * virtio_reset, loaded virtio_loaded, fini virtio_fini, and its state table starts with
 * VIRTIO_STATE(type). Everything a driver wrote is hostile: a chain that cannot be stops the device
 * (DEVICE_NEEDS_RESET), it never harms the host. Reference: virtio 1.2 (OASIS), chapters 2 and 4.1.
 */
#ifndef HW_VIRTIO_VIRTIO_H
#define HW_VIRTIO_VIRTIO_H

#include "hw/pci/msix.h"

enum {
    VIRTIO_MAX_QUEUES = 64,
    VIRTIO_QUEUE_MAX = 1024, /* entries */
    VIRTIO_CHAIN_MAX = 1024, /* descriptors of one chain, indirect ones included */
    VIRTIO_NO_VECTOR = 0xffff,
};

/* Feature bits every device has to do with (6). */
#define VIRTIO_F_NOTIFY_ON_EMPTY (1ull << 24)
#define VIRTIO_F_ANY_LAYOUT (1ull << 27)
#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1 (1ull << 32)
#define VIRTIO_F_RING_PACKED (1ull << 34)

enum {
    VIRTIO_S_DRIVER_OK = 4,
    VIRTIO_S_FEATURES_OK = 8,
    VIRTIO_S_NEEDS_RESET = 0x40,
};

struct virtio_dev;

struct virtq {
    uint16_t max;  /* entries the device offers; 0: there is no such queue */
    uint16_t size; /* entries in use: a power of two */
    bool enabled;
    uint64_t desc, avail, used; /* guest-physical */
    uint16_t vector;
    uint16_t seen;  /* next entry of the available ring to take; packed: see packed.c */
    uint16_t given; /* next entry of the used ring to fill */
    uint16_t told;  /* value of `given` at the last interrupt (EVENT_IDX) */
    bool told_valid;
    bool quiet; /* no bell is wanted; packed: the ring says so itself */
    /* packed, between virtq_put and virtq_tell: flags that are written last */
    bool held;
    uint16_t held_flags;
    uint64_t held_at;
};

/* One piece of guest memory of a chain. */
struct virtq_piece {
    uint64_t gpa;
    uint32_t len;
};

/* A chain taken from a queue: first what the device reads, then what it may write. */
struct virtq_chain {
    uint32_t head; /* by which it is given back */
    unsigned nout, nin;
    uint64_t out_len, in_len;                   /* bytes */
    struct virtq_piece piece[VIRTIO_CHAIN_MAX]; /* nout pieces, then nin */
};

struct virtio_ops {
    uint16_t id;              /* virtio device type, 5 */
    uint16_t transitional_id; /* PCI device of the transitional form, 0: modern only */
    uint32_t class;           /* as struct pci_info */
    uint32_t config_len;      /* bytes of device configuration, up to 256 */
    uint64_t features;        /* besides those of the queues; virtio_init may be given fewer */
    /* The driver rang queue q's bell, or became ready: take what is there. */
    void (*kick)(struct virtio_dev *v, unsigned q);
    void (*reset)(struct virtio_dev *v); /* take back everything in flight */
    /* Device configuration, [off, off + size) inside config_len; NULL write: read-only. */
    void (*config_read)(struct virtio_dev *v, uint32_t off, uint8_t *buf, uint32_t size);
    void (*config_write)(struct virtio_dev *v, uint32_t off, const uint8_t *buf, uint32_t size);
    void (*features_set)(struct virtio_dev *v); /* the driver has chosen; may be NULL */
};

struct virtio_dev {
    struct pci_dev pci; /* first */
    struct pci_msix msix;
    const struct virtio_ops *ops;
    bool disable_legacy, disable_modern, packed; /* properties */
    uint32_t vectors;                            /* property: MSI-X vectors, 0: none */
    uint8_t window;                              /* offset of the configuration access capability */

    uint64_t host_features, features; /* offered, chosen */
    uint8_t status, isr, generation;
    uint16_t config_vector, select;
    uint32_t host_feature_select, guest_feature_select;
    struct virtq q[VIRTIO_MAX_QUEUES];
    unsigned nqueues;
};

#define VIRTIO_PROPS(type)                                                                         \
    PCI_PROPS_AT(type, v.pci),                                                                     \
        PROP(type, "disable-legacy", PROP_BOOL, v.disable_legacy, 0, "modern registers only"),     \
        PROP(type, "disable-modern", PROP_BOOL, v.disable_modern, 0, "legacy registers only"),     \
        PROP(type, "packed", PROP_BOOL, v.packed, 0, "offer packed virtqueues"),                   \
        PROP(type, "vectors", PROP_U32, v.vectors, 0xffffffff, "MSI-X vectors; 0: INTx only")
extern const struct state_field virtio_state[];
#define VIRTIO_STATE(type) FIELD_SUB(type, v, virtio_state, 1)

/* Queues get their sizes by virtio_add_queue before or after. 0, or -errno with e. */
int virtio_init(struct virtio_dev *v, const struct virtio_ops *ops, struct err *e);
void virtio_add_queue(struct virtio_dev *v, uint16_t max);
void virtio_reset(struct virtio_dev *v);
int virtio_loaded(struct virtio_dev *v, struct err *e);
void virtio_fini(struct virtio_dev *v);

static inline bool virtio_has(const struct virtio_dev *v, uint64_t feature)
{
    return (v->features & feature) == feature;
}
/* The driver is ready and nothing broke. */
bool virtio_ready(const struct virtio_dev *v);

/* Takes the next chain of queue q: true, or false when there is none (or the device broke). */
bool virtq_take(struct virtio_dev *v, unsigned q, struct virtq_chain *c);
/* Chains the driver has made available and nobody took; bounded by the queue's size. Packed: 1 at most. */
unsigned virtq_waiting(struct virtio_dev *v, unsigned q);
/* Puts the last chain taken back, as if it had not been taken. */
void virtq_untake(struct virtio_dev *v, unsigned q, uint32_t head);
/* Gives head back, written bytes filled in; the driver is told when it wants to be. */
void virtq_give(struct virtio_dev *v, unsigned q, uint32_t head, uint32_t written);
/* The same in steps, for several chains at once: put them, then publish. The driver sees none of them
 * before, then all, but is told of it by virtq_tell only, which publishes too. */
void virtq_put(struct virtio_dev *v, unsigned q, uint32_t head, uint32_t written);
void virtq_publish(struct virtio_dev *v, unsigned q);
void virtq_tell(struct virtio_dev *v, unsigned q);
/* No bell needed for a while (the device will look by itself), or needed again. After asking again look
 * once more: the driver may have been quicker. Not in the state: ask again after a load. */
void virtq_want_kick(struct virtio_dev *v, unsigned q, bool want);

/* Copies len bytes at offset off of the chain's out or in part; bytes copied (fewer at its end), or -1
 * when a piece is not memory (the device then needs a reset). */
int64_t virtq_read(struct virtio_dev *v, const struct virtq_chain *c, uint64_t off, void *buf,
                   uint64_t len);
int64_t virtq_write(struct virtio_dev *v, const struct virtq_chain *c, uint64_t off,
                    const void *buf, uint64_t len);

/* Device configuration changed: interrupt, generation. */
void virtio_config_changed(struct virtio_dev *v);
/* The driver broke the rules: the device stops until it is reset (2.1.2). */
void virtio_broken(struct virtio_dev *v, const char *why);

/* virtio.c to virtio-pci.c: queue q (or configuration, q < 0) interrupts. */
void virtio_interrupt(struct virtio_dev *v, int q);

#endif
