/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-pci.c - virtio over PCI: the modern registers in BAR 4, the legacy ones in BAR 0.
 *
 * A transitional device shows both; what a driver wrote first decides nothing, the VERSION_1 feature
 * does. Left out: 64-bit BARs, packed rings, shared memory regions, queue reset. Reference: virtio 1.2, 4.1.
 */
#include "hw/virtio/virtio.h"

#include "dm/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    LEGACY_BAR = 0,
    MSIX_BAR = 1,
    MODERN_BAR = 4,
    COMMON_AT = 0x0000, /* in the modern BAR */
    ISR_AT = 0x1000,
    DEVICE_AT = 0x2000,
    NOTIFY_AT = 0x3000,
    MODERN_LEN = 0x4000,
    COMMON_LEN = 0x38,
    LEGACY_LEN = 0x100,
    NOTIFY_STEP = 4,
    ISR_QUEUE = 1,
    ISR_CONFIG = 2,
    PAGE_SHIFT = 12,
};

static struct virtio_dev *virtio_of(struct device *d)
{
    return (struct virtio_dev *)d;
}

/* ---- interrupts ---- */

void virtio_interrupt(struct virtio_dev *v, int q)
{
    if (v->msix.cap && msix_enabled(&v->msix)) {
        msix_notify(&v->msix, q < 0 ? v->config_vector : v->q[q].vector);
        return;
    }
    v->isr |= q < 0 ? ISR_CONFIG | ISR_QUEUE : ISR_QUEUE;
    pci_set_intx(&v->pci, true);
}

static uint8_t take_isr(struct virtio_dev *v)
{
    uint8_t isr = v->isr;
    v->isr = 0;
    pci_set_intx(&v->pci, false);
    return isr;
}

void virtio_config_changed(struct virtio_dev *v)
{
    v->generation++;
    if (v->status & VIRTIO_S_DRIVER_OK) {
        virtio_interrupt(v, -1);
    }
}

/* ---- what both register sets do ---- */

static struct virtq *selected(struct virtio_dev *v)
{
    return v->select < v->nqueues ? &v->q[v->select] : NULL;
}

static void drop_state(struct virtio_dev *v)
{
    v->ops->reset(v);
    v->features = 0;
    v->status = v->isr = 0;
    v->config_vector = VIRTIO_NO_VECTOR;
    v->select = 0;
    v->host_feature_select = v->guest_feature_select = 0;
    for (unsigned i = 0; i < v->nqueues; i++) {
        v->q[i] =
            (struct virtq){ .max = v->q[i].max, .size = v->q[i].max, .vector = VIRTIO_NO_VECTOR };
    }
    pci_set_intx(&v->pci, false);
}

static void kick(struct virtio_dev *v, unsigned q)
{
    if (q < v->nqueues && v->q[q].enabled && virtio_ready(v)) {
        v->ops->kick(v, q);
    }
}

static void set_status(struct virtio_dev *v, uint8_t val)
{
    bool was_ok = v->status & VIRTIO_S_DRIVER_OK;
    if (val == 0) {
        drop_state(v);
        return;
    }
    if ((val & VIRTIO_S_FEATURES_OK) && !(v->status & VIRTIO_S_FEATURES_OK)) {
        if (v->features & ~v->host_features) {
            val &= (uint8_t)~VIRTIO_S_FEATURES_OK; /* 3.1.1: the driver reads back and gives up */
        } else if (v->ops->features_set) {
            v->ops->features_set(v);
        }
    }
    v->status = (uint8_t)(val | (v->status & VIRTIO_S_NEEDS_RESET));
    for (unsigned i = 0; !was_ok && (val & VIRTIO_S_DRIVER_OK) && i < v->nqueues; i++) {
        kick(v, i); /* buffers may have been there before */
    }
}

static uint16_t checked_vector(const struct virtio_dev *v, uint16_t vector)
{
    return v->msix.cap && vector < v->msix.vectors ? vector : VIRTIO_NO_VECTOR;
}

static void config_read(struct virtio_dev *v, uint64_t off, unsigned size, uint8_t *buf)
{
    memset(buf, 0, size);
    if (off < v->ops->config_len) {
        v->ops->config_read(v, (uint32_t)off, buf,
                            (uint32_t)min_u64(size, v->ops->config_len - off));
    }
}

static void config_write(struct virtio_dev *v, uint64_t off, unsigned size, uint64_t val)
{
    uint8_t buf[8];
    store_le(buf, 8, val);
    if (off < v->ops->config_len && v->ops->config_write) {
        v->ops->config_write(v, (uint32_t)off, buf,
                             (uint32_t)min_u64(size, v->ops->config_len - off));
    }
}

/* ---- modern (4.1.4.3) ---- */

enum {
    C_DEVICE_FEATURE_SELECT = 0x00,
    C_DEVICE_FEATURE = 0x04,
    C_DRIVER_FEATURE_SELECT = 0x08,
    C_DRIVER_FEATURE = 0x0c,
    C_CONFIG_VECTOR = 0x10,
    C_NUM_QUEUES = 0x12,
    C_STATUS = 0x14,
    C_GENERATION = 0x15,
    C_QUEUE_SELECT = 0x16,
    C_QUEUE_SIZE = 0x18,
    C_QUEUE_VECTOR = 0x1a,
    C_QUEUE_ENABLE = 0x1c,
    C_QUEUE_NOTIFY_OFF = 0x1e,
    C_QUEUE_DESC = 0x20,
    C_QUEUE_DRIVER = 0x28,
    C_QUEUE_DEVICE = 0x30,
};

static uint32_t half(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static uint64_t queue_read(struct virtio_dev *v, uint64_t off)
{
    const struct virtq *q = selected(v);
    if (!q) {
        return 0;
    }
    switch (off) {
    case C_QUEUE_SIZE:
        return q->size;
    case C_QUEUE_VECTOR:
        return q->vector;
    case C_QUEUE_ENABLE:
        return q->enabled;
    case C_QUEUE_NOTIFY_OFF:
        return v->select;
    case C_QUEUE_DESC:
        return (uint32_t)q->desc;
    case C_QUEUE_DESC + 4:
        return q->desc >> 32;
    case C_QUEUE_DRIVER:
        return (uint32_t)q->avail;
    case C_QUEUE_DRIVER + 4:
        return q->avail >> 32;
    case C_QUEUE_DEVICE:
        return (uint32_t)q->used;
    case C_QUEUE_DEVICE + 4:
        return q->used >> 32;
    default:
        return 0;
    }
}

static uint64_t common_read(struct virtio_dev *v, uint64_t off)
{
    switch (off) {
    case C_DEVICE_FEATURE_SELECT:
        return v->host_feature_select;
    case C_DEVICE_FEATURE:
        return half(v->host_features, v->host_feature_select);
    case C_DRIVER_FEATURE_SELECT:
        return v->guest_feature_select;
    case C_DRIVER_FEATURE:
        return half(v->features, v->guest_feature_select);
    case C_CONFIG_VECTOR:
        return v->config_vector;
    case C_NUM_QUEUES:
        return v->nqueues;
    case C_STATUS:
        return v->status;
    case C_GENERATION:
        return v->generation;
    case C_QUEUE_SELECT:
        return v->select;
    default:
        return queue_read(v, off);
    }
}

/* Addresses and size are the driver's until it enables the queue. */
static void queue_write(struct virtio_dev *v, uint64_t off, uint64_t val)
{
    struct virtq *q = selected(v);
    if (!q) {
        return;
    }
    if (off == C_QUEUE_VECTOR) {
        q->vector = checked_vector(v, (uint16_t)val);
        return;
    }
    if (q->enabled) {
        return;
    }
    switch (off) {
    case C_QUEUE_SIZE:
        if (val && val <= q->max && !(val & (val - 1))) {
            q->size = (uint16_t)val;
        } else {
            guest_odd(&v->pci.dev, "queue %u: size %llu", v->select, (unsigned long long)val);
        }
        break;
    case C_QUEUE_ENABLE:
        q->enabled = val == 1 && q->size;
        q->seen = q->given = virtio_has(v, VIRTIO_F_RING_PACKED) ? 0x8000 : 0;
        break;
    case C_QUEUE_DESC:
    case C_QUEUE_DESC + 4:
        q->desc = with_half(q->desc, off & 4, (uint32_t)val);
        break;
    case C_QUEUE_DRIVER:
    case C_QUEUE_DRIVER + 4:
        q->avail = with_half(q->avail, off & 4, (uint32_t)val);
        break;
    case C_QUEUE_DEVICE:
    case C_QUEUE_DEVICE + 4:
        q->used = with_half(q->used, off & 4, (uint32_t)val);
        break;
    default:
        break;
    }
}

static void common_write(struct virtio_dev *v, uint64_t off, uint64_t val)
{
    switch (off) {
    case C_DEVICE_FEATURE_SELECT:
        v->host_feature_select = (uint32_t)val;
        break;
    case C_DRIVER_FEATURE_SELECT:
        v->guest_feature_select = (uint32_t)val;
        break;
    case C_DRIVER_FEATURE:
        if (v->guest_feature_select < 2 && !(v->status & VIRTIO_S_FEATURES_OK)) {
            v->features = with_half(v->features, v->guest_feature_select, (uint32_t)val);
        }
        break;
    case C_CONFIG_VECTOR:
        v->config_vector = checked_vector(v, (uint16_t)val);
        break;
    case C_STATUS:
        set_status(v, (uint8_t)val);
        break;
    case C_QUEUE_SELECT:
        v->select = (uint16_t)val;
        break;
    default:
        queue_write(v, off, val);
    }
}

static uint64_t modern_read(struct device *d, uint64_t off, unsigned size)
{
    struct virtio_dev *v = virtio_of(d);
    if (off < COMMON_LEN) {
        return common_read(v, off);
    }
    if (off == ISR_AT) {
        return take_isr(v);
    }
    if (off >= DEVICE_AT && off < NOTIFY_AT) {
        uint8_t buf[8];
        config_read(v, off - DEVICE_AT, size, buf);
        return load_le(buf, size);
    }
    return 0;
}

static void modern_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct virtio_dev *v = virtio_of(d);
    if (off < COMMON_LEN) {
        common_write(v, off, val);
    } else if (off >= NOTIFY_AT) {
        kick(v, (unsigned)((off - NOTIFY_AT) / NOTIFY_STEP));
    } else if (off >= DEVICE_AT) {
        config_write(v, off - DEVICE_AT, size, val);
    }
}

/* ---- legacy (4.1.4.10) ---- */

enum {
    L_HOST_FEATURES = 0,
    L_GUEST_FEATURES = 4,
    L_QUEUE_PFN = 8,
    L_QUEUE_SIZE = 12,
    L_QUEUE_SELECT = 14,
    L_QUEUE_NOTIFY = 16,
    L_STATUS = 18,
    L_ISR = 19,
    L_CONFIG_VECTOR = 20,
    L_QUEUE_VECTOR = 22,
    L_CONFIG = 20, /* 24 while MSI-X is on */
};

static uint64_t legacy_config_at(const struct virtio_dev *v)
{
    return v->msix.cap && msix_enabled(&v->msix) ? L_CONFIG + 4 : L_CONFIG;
}

static uint64_t legacy_read(struct device *d, uint64_t off, unsigned size)
{
    struct virtio_dev *v = virtio_of(d);
    const struct virtq *q = selected(v);
    uint64_t config = legacy_config_at(v);
    if (off >= config) {
        uint8_t buf[8];
        config_read(v, off - config, size, buf);
        return load_le(buf, size);
    }
    switch (off) {
    case L_HOST_FEATURES:
        return (uint32_t)v->host_features;
    case L_GUEST_FEATURES:
        return (uint32_t)v->features;
    case L_QUEUE_PFN:
        return q && q->enabled ? q->desc >> PAGE_SHIFT : 0;
    case L_QUEUE_SIZE:
        return q ? q->max : 0;
    case L_QUEUE_SELECT:
        return v->select;
    case L_STATUS:
        return v->status;
    case L_ISR:
        return take_isr(v);
    case L_CONFIG_VECTOR:
        return v->config_vector;
    case L_QUEUE_VECTOR:
        return q ? q->vector : VIRTIO_NO_VECTOR;
    default:
        return 0;
    }
}

/* One address says it all: table, available ring, and the used ring on the next page (2.7.2). */
static void set_pfn(struct virtio_dev *v, uint32_t pfn)
{
    struct virtq *q = selected(v);
    if (!q) {
        return;
    }
    if (pfn == 0) {
        drop_state(v); /* how a legacy driver lets go */
        return;
    }
    q->size = q->max;
    q->desc = (uint64_t)pfn << PAGE_SHIFT;
    q->avail = q->desc + 16ull * q->size;
    q->used = (q->avail + 4 + 2ull * q->size + 2 + 4095) & ~4095ull;
    q->enabled = q->size != 0;
}

static void legacy_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct virtio_dev *v = virtio_of(d);
    struct virtq *q = selected(v);
    uint64_t config = legacy_config_at(v);
    if (off >= config) {
        config_write(v, off - config, size, val);
        return;
    }
    switch (off) {
    case L_GUEST_FEATURES:
        v->features = (uint32_t)(val & v->host_features);
        if (v->ops->features_set) {
            v->ops->features_set(v);
        }
        break;
    case L_QUEUE_PFN:
        set_pfn(v, (uint32_t)val);
        break;
    case L_QUEUE_SELECT:
        v->select = (uint16_t)val;
        break;
    case L_QUEUE_NOTIFY:
        kick(v, (unsigned)val & 0xffff);
        break;
    case L_STATUS:
        set_status(v, (uint8_t)val);
        break;
    case L_CONFIG_VECTOR:
        v->config_vector = checked_vector(v, (uint16_t)val);
        break;
    case L_QUEUE_VECTOR:
        if (q) {
            q->vector = checked_vector(v, (uint16_t)val);
        }
        break;
    default:
        break;
    }
}

static const struct reg_name legacy_names[] = {
    { L_HOST_FEATURES, "HOST_FEATURES" },
    { L_GUEST_FEATURES, "GUEST_FEATURES" },
    { L_QUEUE_PFN, "QUEUE_PFN" },
    { L_QUEUE_SIZE, "QUEUE_SIZE" },
    { L_QUEUE_SELECT, "QUEUE_SELECT" },
    { L_QUEUE_NOTIFY, "QUEUE_NOTIFY" },
    { L_STATUS, "STATUS" },
    { L_ISR, "ISR" },
    { L_CONFIG, "CONFIG" },
    { LEGACY_LEN, NULL },
};
static const struct reg_name modern_names[] = {
    { COMMON_AT, "COMMON" }, { ISR_AT, "ISR" },    { DEVICE_AT, "DEVICE" },
    { NOTIFY_AT, "NOTIFY" }, { MODERN_LEN, NULL },
};
static const struct region_ops legacy_ops = { legacy_read, legacy_write, 4, legacy_names };
static const struct region_ops modern_ops = { modern_read, modern_write, 4, modern_names };

/* ---- life ---- */

static void add_capability(struct virtio_dev *v, uint8_t type, uint32_t at, uint32_t len)
{
    bool notify = type == 2;
    uint8_t bytes = notify ? 20 : 16;
    uint8_t *c = &v->pci.config[pci_add_cap(&v->pci, 0x09, bytes)];
    c[2] = bytes;
    c[3] = type;
    c[4] = MODERN_BAR;
    store_le(c + 8, 4, at);
    store_le(c + 12, 4, len);
    if (notify) {
        store_le(c + 16, 4, NOTIFY_STEP);
    }
}

/* ---- the modern registers through configuration space (4.1.4.9) ---- */

enum { WINDOW_BAR = 4, WINDOW_OFFSET = 8, WINDOW_LENGTH = 12, WINDOW_DATA = 16, WINDOW_BYTES = 20 };

/* Whether an access of config bytes reaches the window's data, and the window a register. */
static bool window_hit(const struct virtio_dev *v, unsigned off, unsigned size, uint32_t *at,
                       uint32_t *len)
{
    const uint8_t *c = &v->pci.config[v->window];
    unsigned data = v->window + WINDOW_DATA;
    *at = load_le32(c + WINDOW_OFFSET);
    *len = load_le32(c + WINDOW_LENGTH);
    return off < data + 4 && off + size > data && c[WINDOW_BAR] == MODERN_BAR &&
           (*len == 1 || *len == 2 || *len == 4) && *at % *len == 0 && *at < MODERN_LEN;
}

static void window_reading(struct pci_dev *p, unsigned off, unsigned size)
{
    struct virtio_dev *v = virtio_of(&p->dev);
    uint32_t at, len;
    if (window_hit(v, off, size, &at, &len)) {
        store_le(&p->config[v->window + WINDOW_DATA], len, modern_read(&p->dev, at, len));
    }
}

static void window_wrote(struct pci_dev *p, unsigned off, unsigned size)
{
    struct virtio_dev *v = virtio_of(&p->dev);
    uint32_t at, len;
    if (window_hit(v, off, size, &at, &len)) {
        modern_write(&p->dev, at, len, load_le(&p->config[v->window + WINDOW_DATA], len));
    }
}

static void add_window(struct virtio_dev *v)
{
    unsigned cap = pci_add_cap(&v->pci, 0x09, WINDOW_BYTES);
    uint8_t *c = &v->pci.config[cap], *w = &v->pci.wmask[cap];
    c[2] = WINDOW_BYTES;
    c[3] = 5;
    w[WINDOW_BAR] = 0xff;
    memset(w + WINDOW_OFFSET, 0xff, WINDOW_BYTES - WINDOW_OFFSET);
    v->window = (uint8_t)cap;
    v->pci.config_reading = window_reading;
    v->pci.config_wrote = window_wrote;
}

static void add_registers(struct virtio_dev *v)
{
    if (!v->disable_legacy) {
        pci_add_bar(&v->pci, LEGACY_BAR, true, LEGACY_LEN, &legacy_ops, "VIRTIO");
    }
    if (!v->disable_modern) {
        pci_add_bar(&v->pci, MODERN_BAR, false, MODERN_LEN, &modern_ops, "VIRTIO-1");
        add_capability(v, 1, COMMON_AT, COMMON_LEN);
        add_capability(v, 3, ISR_AT, 1);
        add_capability(v, 4, DEVICE_AT, 0x1000);
        add_capability(v, 2, NOTIFY_AT, 0x1000);
        add_window(v);
    }
}

void virtio_add_queue(struct virtio_dev *v, uint16_t max)
{
    assert(v->nqueues < VIRTIO_MAX_QUEUES && max <= VIRTIO_QUEUE_MAX);
    v->q[v->nqueues++].max = max;
}

int virtio_init(struct virtio_dev *v, const struct virtio_ops *ops, struct err *e)
{
    if (v->disable_modern && v->disable_legacy) {
        return err_set(e, -EINVAL, "%s: neither legacy nor modern registers are left",
                       v->pci.dev.id);
    }
    if (!ops->transitional_id) {
        v->disable_legacy = true;
    }
    const struct pci_info info = {
        .vendor = 0x1af4,
        .device = v->disable_legacy ? (uint16_t)(0x1040 + ops->id) : ops->transitional_id,
        .subvendor = 0x1af4,
        .subdevice = v->disable_legacy ? 0x1100 : ops->id,
        .class = ops->class,
        .revision = v->disable_legacy ? 1 : 0,
        .int_pin = 1,
    };
    int ret = pci_init(&v->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    v->ops = ops;
    v->host_features = ops->features | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
                       (v->disable_legacy ? 0 : VIRTIO_F_ANY_LAYOUT) |
                       (v->disable_modern ? 0 : VIRTIO_F_VERSION_1) |
                       (v->packed && !v->disable_modern ? VIRTIO_F_RING_PACKED : 0);
    add_registers(v);
    unsigned vectors = v->vectors == 0xffffffff ? v->nqueues + 1 : v->vectors;
    if (vectors) {
        msix_init(&v->pci, &v->msix, vectors < MSIX_MAX ? vectors : MSIX_MAX, MSIX_BAR);
    }
    return 0;
}

void virtio_reset(struct virtio_dev *v)
{
    pci_reset(&v->pci);
    if (v->msix.cap) {
        msix_reset(&v->msix);
    }
    v->generation = 0;
    drop_state(v);
}

static bool size_ok(const struct virtq *q)
{
    return q->size <= q->max && !(q->size & (q->size - 1)) && (q->size || !q->enabled);
}

/* Places in a packed ring that is in use lie inside it. */
static bool places_ok(const struct virtio_dev *v, const struct virtq *q)
{
    return !q->enabled || !virtio_has(v, VIRTIO_F_RING_PACKED) ||
           ((q->seen & 0x7fff) < q->size && (q->given & 0x7fff) < q->size);
}

int virtio_loaded(struct virtio_dev *v, struct err *e)
{
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
        if (!size_ok(&v->q[i])) {
            return err_set(e, -EINVAL, "queue %u of %u entries", i, v->q[i].size);
        }
        if (!places_ok(v, &v->q[i])) {
            return err_set(e, -EINVAL, "queue %u: a place outside its ring", i);
        }
        v->q[i].vector = checked_vector(v, v->q[i].vector);
    }
    if ((v->status & VIRTIO_S_FEATURES_OK) && (v->features & ~v->host_features)) {
        return err_set(e, -EINVAL, "features that are not offered: 0x%llx",
                       (unsigned long long)(v->features & ~v->host_features));
    }
    v->config_vector = checked_vector(v, v->config_vector);
    int ret = v->msix.cap ? msix_loaded(&v->msix, e) : 0;
    if (ret == 0) {
        ret = pci_loaded(&v->pci, e);
    }
    if (ret == 0) {
        pci_set_intx(&v->pci, v->isr != 0);
    }
    return ret;
}

void virtio_fini(struct virtio_dev *v)
{
    pci_fini(&v->pci);
}

#define Q(member) FIELD(struct virtq, member)
static const struct state_field queue_state[] = {
    Q(size), Q(enabled), Q(desc), Q(avail),      Q(used),   Q(vector),
    Q(seen), Q(given),   Q(told), Q(told_valid), FIELD_END,
};
#define V(member) FIELD(struct virtio_dev, member)
const struct state_field virtio_state[] = {
    PCI_STATE(struct virtio_dev),
    MSIX_STATE(struct virtio_dev, msix),
    V(features),
    V(status),
    V(isr),
    V(generation),
    V(config_vector),
    V(select),
    V(host_feature_select),
    V(guest_feature_select),
    FIELD_SUB(struct virtio_dev, q, queue_state, VIRTIO_MAX_QUEUES),
    FIELD_END,
};
