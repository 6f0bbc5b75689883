/* SPDX-License-Identifier: MIT */
/* hw/isa/piix3.c - 82371SB (PIIX3) function 0: PCI-to-ISA bridge.
 *
 * Routes PIRQA-D to ISA interrupts, resets the platform through port 0xcf9 (reached through the
 * host bridge, whose address latch covers that port), takes POST codes at port 0x80, turns a
 * coprocessor error into IRQ 13 and takes its acknowledgement at 0xf0. Its other configuration
 * registers keep what is written.
 *
 * The edge/level control registers (0x4d0, 0x4d1) belong to the interrupt controller: under Xen the
 * hypervisor's, elsewhere property elcr=on makes this bridge hold them.
 *
 * Left out: the motherboard DMA and IRQ routing registers do nothing; IGNNE# has no wire (a
 * processor goes on once its handler has cleared the error). Soft and hard reset are the same.
 * Reference: Intel 82371FB/82371SB data sheet 290550, 2.2 and 2.5.
 */
#include "hw/isa/piix3.h"

#include <errno.h>

enum {
    PIRQRC = 0x60, /* ... 0x63 */
    PIRQRC_OFF = 0x80,
    PIRQRC_WRITABLE = 0x8f,
    PIRQRC_VALID = 0xdef8, /* IRQ 3-7, 9-12, 14, 15; the rest is reserved */

    RC_SRST = 0x02, /* hard rather than soft */
    RC_RCPU = 0x04, /* 0 to 1 starts the reset */

    ELCR1_WRITABLE = 0xf8,
    ELCR2_WRITABLE = 0xde,
};

struct piix3 {
    struct pci_dev pci;
    struct region post, ferr, elcr_ports;
    bool has_elcr;
    uint8_t rc, post_code, elcr[2];
    bool ferr_pin, irq13_on;
    struct line irq13;
};

static const struct {
    uint8_t off, value, writable;
} config_regs[] = {
    { 0x4c, 0x4d, 0xff }, /* IORT: I/O recovery timer */
    { 0x4e, 0x03, 0xff }, /* XBCS: X-bus chip select */
    { 0x4f, 0x00, 0x01 },
    { 0x60, PIRQRC_OFF, PIRQRC_WRITABLE }, /* PIRQRC[A:D] */
    { 0x61, PIRQRC_OFF, PIRQRC_WRITABLE },
    { 0x62, PIRQRC_OFF, PIRQRC_WRITABLE },
    { 0x63, PIRQRC_OFF, PIRQRC_WRITABLE },
    { 0x69, 0x02, 0xfe }, /* TOM: top of memory */
    { 0x6a, 0x00, 0xff }, /* MSTAT */
    { 0x6b, 0x00, 0xff },
    { 0x70, 0x80, 0xef }, /* MBIRQ0 */
    { 0x76, 0x0c, 0x8f }, /* MBDMA0, 1 */
    { 0x77, 0x0c, 0x8f },
    { 0x78, 0x02, 0xff }, /* PCSC: programmable chip select */
    { 0x79, 0x00, 0xff },
    { 0x80, 0x00, 0x7f }, /* APICBASE */
    { 0x82, 0x00, 0x0f }, /* DLC: deterministic latency */
    { 0xa0, 0x08, 0x1f }, /* SMICNTL */
    { 0xa2, 0x00, 0xff }, /* SMIEN */
    { 0xa3, 0x00, 0xff },
    { 0xa4, 0x00, 0xff }, /* SEE */
    { 0xa5, 0x00, 0xff },
    { 0xa6, 0x00, 0xff },
    { 0xa7, 0x00, 0xe0 },
    { 0xa8, 0x0f, 0xff }, /* FTMR: fast-off timer */
    { 0xaa, 0x00, 0xff }, /* SMIREQ */
    { 0xab, 0x00, 0xff },
    { 0xac, 0x00, 0xff }, /* CTLTMR */
    { 0xae, 0x00, 0xff }, /* CTHTMR */
};

static void route(struct piix3 *s, unsigned link)
{
    uint8_t r = s->pci.config[PIRQRC + link];
    unsigned irq = r & 0x0f;

    if (r & PIRQRC_OFF || !(PIRQRC_VALID >> irq & 1)) {
        irq = 0;
    }
    line_pci_link(s->pci.dev.m, link, irq);
}

static void route_all(struct piix3 *s)
{
    for (unsigned link = 0; link < 4; link++) {
        route(s, link);
    }
}

static void piix3_config_wrote(struct pci_dev *p, unsigned off, unsigned size)
{
    for (unsigned link = 0; link < 4; link++) {
        if (off <= PIRQRC + link && PIRQRC + link < off + size) {
            route((struct piix3 *)p, link);
        }
    }
}

static uint64_t rc_read(struct device *d, uint64_t off, unsigned size)
{
    (void)off, (void)size;
    return ((struct piix3 *)d)->rc;
}

static void rc_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct piix3 *s = (struct piix3 *)d;
    bool was = s->rc & RC_RCPU;

    (void)off, (void)size;
    s->rc = val & (RC_SRST | RC_RCPU);
    if ((s->rc & RC_RCPU) && !was) {
        line_power(d->m, POWER_RESET);
    }
}

static uint64_t post_read(struct device *d, uint64_t off, unsigned size)
{
    (void)off, (void)size;
    return ((struct piix3 *)d)->post_code;
}

static void post_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)off, (void)size;
    ((struct piix3 *)d)->post_code = (uint8_t)val;
}

static uint64_t ferr_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d, (void)off;
    return ones(size);
}

static void set_irq13(struct piix3 *s, bool on)
{
    s->irq13_on = on;
    line_set(&s->irq13, on);
}

static void ferr_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)off, (void)size, (void)val;
    set_irq13((struct piix3 *)d, false);
}

void piix3_ferr(struct device *d, bool level)
{
    struct piix3 *s = (struct piix3 *)d;

    if (level && !s->ferr_pin) {
        set_irq13(s, true);
    }
    s->ferr_pin = level;
}

static uint64_t elcr_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return ((struct piix3 *)d)->elcr[off];
}

static void elcr_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    ((struct piix3 *)d)->elcr[off] = (uint8_t)(val & (off ? ELCR2_WRITABLE : ELCR1_WRITABLE));
}

static const struct reg_name post_names[] = { { 0, "POST" }, { 0, NULL } };
static const struct reg_name ferr_names[] = { { 0, "CPERR" }, { 0, NULL } };
static const struct reg_name elcr_names[] = { { 0, "ELCR1" }, { 1, "ELCR2" }, { 0, NULL } };
static const struct region_ops rc_ops = { rc_read, rc_write, 1, NULL };
static const struct region_ops post_ops = { post_read, post_write, 1, post_names };
static const struct region_ops ferr_ops = { ferr_read, ferr_write, 1, ferr_names };
static const struct region_ops elcr_ops = { elcr_read, elcr_write, 1, elcr_names };

static void fill_config(struct pci_dev *p)
{
    /* Decoding and bus mastering of the bridge are hard-wired on. */
    p->config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    p->wmask[PCI_COMMAND] = 0;
    p->wmask[PCI_COMMAND + 1] = 0x01;
    p->wmask[PCI_INT_LINE] = 0;
    p->config[PCI_STATUS + 1] = 0x02; /* medium DEVSEL timing */
    for (unsigned i = 0; i < ARRAY_SIZE(config_regs); i++) {
        p->config[config_regs[i].off] = config_regs[i].value;
        p->wmask[config_regs[i].off] = config_regs[i].writable;
    }
    p->config_wrote = piix3_config_wrote;
}

static int piix3_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x8086,
        .device = 0x7000,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x060100,
        .multifunction = true,
    };
    struct piix3 *s = (struct piix3 *)d;
    int ret = pci_init(&s->pci, &info, e);

    if (ret < 0) {
        return ret;
    }
    fill_config(&s->pci);
    s->pci.bus->cf9 = &rc_ops;
    s->pci.bus->cf9_dev = d;
    line_init(&s->irq13, d, LINE_ISA, 13);
    region_init(&s->post, d, &post_ops, IO_PIO, 1, "POST");
    region_init(&s->ferr, d, &ferr_ops, IO_PIO, 1, "CPERR");
    region_init(&s->elcr_ports, d, &elcr_ops, IO_PIO, 2, "ELCR");
    region_map(&s->post, 0x80);
    region_map(&s->ferr, 0xf0);
    if (s->has_elcr) {
        region_map(&s->elcr_ports, 0x4d0);
    }
    return 0;
}

static void piix3_reset(struct device *d)
{
    struct piix3 *s = (struct piix3 *)d;

    pci_reset(&s->pci);
    s->rc = s->post_code = s->elcr[0] = s->elcr[1] = 0;
    s->ferr_pin = false;
    set_irq13(s, false);
    route_all(s);
}

static int piix3_loaded(struct device *d, struct err *e)
{
    struct piix3 *s = (struct piix3 *)d;

    if (s->rc & ~(RC_SRST | RC_RCPU) || s->elcr[0] & ~ELCR1_WRITABLE ||
        s->elcr[1] & ~ELCR2_WRITABLE) {
        return err_set(e, -EINVAL, "%s: reserved bits are set in rc or elcr", d->id);
    }
    if (pci_loaded(&s->pci, e) < 0) {
        return -EINVAL;
    }
    set_irq13(s, s->irq13_on);
    route_all(s);
    return 0;
}

static void piix3_fini(struct device *d)
{
    struct piix3 *s = (struct piix3 *)d;

    if (!s->pci.bus) {
        return;
    }
    region_unmap(&s->post);
    region_unmap(&s->ferr);
    region_unmap(&s->elcr_ports);
    line_fini(&s->irq13);
    if (s->pci.bus->cf9_dev == d) {
        s->pci.bus->cf9 = NULL;
    }
    pci_fini(&s->pci);
}

static const struct dev_prop piix3_props[] = {
    PCI_PROPS(struct piix3),
    PROP(struct piix3, "elcr", PROP_BOOL, has_elcr, 0, "answer the ELCR ports 0x4d0 and 0x4d1"),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field piix3_state[] = {
    PCI_STATE(struct piix3),
    FIELD(struct piix3, rc),
    FIELD(struct piix3, post_code),
    FIELD_ARRAY(struct piix3, elcr),
    FIELD_SINCE(struct piix3, ferr_pin, 2),
    FIELD_SINCE(struct piix3, irq13_on, 2),
    FIELD_END,
};

const struct dev_class piix3_class = {
    .name = "PIIX3",
    .desc = "Intel 82371SB PCI-to-ISA bridge",
    .size = sizeof(struct piix3),
    .props = piix3_props,
    .state = piix3_state,
    .state_version = 2,
    .init = piix3_init,
    .reset = piix3_reset,
    .loaded = piix3_loaded,
    .fini = piix3_fini,
};
