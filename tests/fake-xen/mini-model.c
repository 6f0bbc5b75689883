/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/mini-model.c - the smallest device model on xen-glue, for tests of xen-glue alone.
 *
 * mini-model DOMID RAM_BYTES [restrict] [restoring]: one device whose registers call every host
 * function behind the doors. It ends cleanly at the end of its standard input.
 *
 *   ports 0x100-0x107   memory
 *   port 0x110 ADDR, 0x114 LEN (32 bits each), 0x118 COMMAND (see enum), 0x11c RESULT
 *   0xe0000000          4 KiB of memory answered by the device
 *   00:05.0             256 bytes of configuration memory
 */
#include "dm/base/ev.h"
#include "ioreq/machine.h"
#include "xen-glue/xen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum command {
    DMA_FILL = 1, /* LEN bytes of 0xa5 to ADDR; result 0 or errno */
    DMA_SUM,      /* of LEN bytes from ADDR */
    PIN,
    UNPIN,
    LEND, /* the block at ADDR; result: lent? */
    TAKE_BACK,
    DIRTY,     /* how many of the block's pages changed */
    BLOCK_PUT, /* LEN's low byte at offset ADDR of the block */
    BLOCK_GET,
    ISA,  /* IRQ ADDR to level LEN */
    INTX, /* line of 00:05.0 INTA to LEN */
    LINK, /* link ADDR to IRQ LEN */
    MSI,  /* LEN to ADDR */
    POWER,
    DIRTY_LOG,
    MOVE_WINDOW, /* the MMIO window to ADDR */
    STAT,        /* field ADDR of struct xen_stats */
    TIMER,       /* an ISA IRQ 7 in LEN milliseconds */
};

#define BLOCK_BYTES (64u * 4096)

struct mini {
    struct device dev;
    struct region scratch, regs, window, config;
    struct line isa[16], intx;
    struct gmem_block block;
    struct gmem_pin pin;
    struct vtimer timer;
    uint8_t bytes[8], page[4096], pci[256];
    uint32_t reg[4]; /* ADDR, LEN, COMMAND, RESULT */
};

static struct xen *xen; /* the one domain this process serves */

static uint64_t memory_read(const uint8_t *p, uint64_t off, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, p + off, size);
    return v;
}

static uint64_t scratch_read(struct device *d, uint64_t off, unsigned size)
{
    return memory_read(((struct mini *)d)->bytes, off, size);
}

static void scratch_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    memcpy(((struct mini *)d)->bytes + off, &val, size);
}

static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    return memory_read(((struct mini *)d)->page, off, size);
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    memcpy(((struct mini *)d)->page + off, &val, size);
}

static uint64_t config_read(struct device *d, uint64_t off, unsigned size)
{
    return memory_read(((struct mini *)d)->pci, off, size);
}

static void config_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    memcpy(((struct mini *)d)->pci + off, &val, size);
}

static uint32_t dma_fill(struct mini *s)
{
    uint8_t *buf = malloc(s->reg[1] + 1);
    memset(buf, 0xa5, s->reg[1]);
    int r = gmem_write(s->dev.m, s->reg[0], buf, s->reg[1]);
    free(buf);
    return (uint32_t)-r;
}

static uint32_t dma_sum(struct mini *s)
{
    uint8_t *buf = calloc(1, s->reg[1] + 1);
    uint32_t sum = 0;
    int r = gmem_read(s->dev.m, s->reg[0], buf, s->reg[1]);
    for (uint32_t i = 0; i < s->reg[1]; i++) {
        sum += buf[i];
    }
    free(buf);
    return r < 0 ? UINT32_MAX : sum;
}

static uint32_t dirty(struct mini *s)
{
    uint64_t bitmap[BLOCK_BYTES / 4096 / 64];
    gmem_block_dirty(s->dev.m, &s->block, 0, BLOCK_BYTES, bitmap);
    return (uint32_t)__builtin_popcountll(bitmap[0]);
}

static uint32_t stat(uint32_t field)
{
    union {
        struct xen_stats s;
        uint64_t field[sizeof(struct xen_stats) / 8];
    } u;
    xen_stats(xen, &u.s);
    return (uint32_t)u.field[field % (sizeof(u) / 8)];
}

static uint32_t memory_command(struct mini *s, enum command c)
{
    struct machine *m = s->dev.m;
    switch (c) {
    case DMA_FILL:
        return dma_fill(s);
    case DMA_SUM:
        return dma_sum(s);
    case PIN:
        return (uint32_t)-gmem_pin(m, &s->pin, s->reg[0], s->reg[1], true);
    case UNPIN:
        memset(s->pin.iov[0].iov_base, 0x5a, s->pin.iov[0].iov_len);
        gmem_unpin(m, &s->pin, s->pin.len);
        return 0;
    case LEND:
        return gmem_block_lend(m, &s->block, s->reg[0]);
    case TAKE_BACK:
        return gmem_block_lend(m, &s->block, GMEM_NOWHERE);
    case DIRTY:
        return dirty(s);
    case BLOCK_PUT:
        s->block.host[s->reg[0]] = (uint8_t)s->reg[1];
        gmem_block_wrote(m, &s->block, s->reg[0], 1);
        return 0;
    case BLOCK_GET:
        return s->block.host[s->reg[0]];
    default:
        return 0;
    }
}

static uint32_t command(struct mini *s, enum command c)
{
    switch (c) {
    case ISA:
        line_set(&s->isa[s->reg[0] & 15], s->reg[1]);
        return 0;
    case INTX:
        line_set(&s->intx, s->reg[1]);
        return 0;
    case LINK:
        line_pci_link(s->dev.m, s->reg[0] & 3, s->reg[1] & 15);
        return 0;
    case MSI:
        line_msi(&s->dev, s->reg[0], s->reg[1]);
        return 0;
    case POWER:
        line_power(s->dev.m, (enum power_event)s->reg[0]);
        return 0;
    case DIRTY_LOG:
        return (uint32_t)xen_set_dirty_log(xen, s->reg[0], NULL);
    case MOVE_WINDOW:
        region_map(&s->window, s->reg[0]);
        return 0;
    case STAT:
        return stat(s->reg[0]);
    case TIMER:
        vtimer_arm(&s->timer, (int64_t)s->reg[1] * 1000000);
        return 0;
    default:
        return memory_command(s, c);
    }
}

static uint64_t regs_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return ((struct mini *)d)->reg[off / 4];
}

static void regs_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct mini *s = (struct mini *)d;
    (void)size;
    s->reg[off / 4] = (uint32_t)val;
    if (off == 8) {
        s->reg[3] = command(s, (enum command)val);
    }
}

static const struct region_ops scratch_ops = { scratch_read, scratch_write, 8, NULL };
static const struct region_ops window_ops = { window_read, window_write, 8, NULL };
static const struct region_ops config_ops = { config_read, config_write, 4, NULL };
static const struct region_ops regs_ops = { regs_read, regs_write, 4, NULL };

static void timer_fired(void *opaque)
{
    struct mini *s = opaque;
    line_set(&s->isa[7], true);
}

static int mini_init(struct device *d, struct err *e)
{
    struct mini *s = (struct mini *)d;
    region_init(&s->scratch, d, &scratch_ops, IO_PIO, 8, "SCRATCH");
    region_init(&s->regs, d, &regs_ops, IO_PIO, 16, "REGS");
    region_init(&s->window, d, &window_ops, IO_MMIO, sizeof(s->page), "WINDOW");
    region_init(&s->config, d, &config_ops, IO_PCI, sizeof(s->pci), "CONFIG");
    region_map(&s->scratch, 0x100);
    region_map(&s->regs, 0x110);
    region_map(&s->window, 0xe0000000);
    region_map(&s->config, PCI_CFG_ADDR(5 << 3, 0));
    for (uint16_t i = 0; i < 16; i++) {
        line_init(&s->isa[i], d, LINE_ISA, i);
    }
    line_init(&s->intx, d, LINE_INTX, 5 << 5);
    vtimer_init(&s->timer, d->m, "timer", timer_fired, s);
    s->block.name = "mini.ram";
    s->block.len = BLOCK_BYTES;
    return gmem_block_new(d->m, &s->block, e);
}

static void mini_fini(struct device *d)
{
    struct mini *s = (struct mini *)d;
    gmem_block_free(d->m, &s->block);
    vtimer_fini(&s->timer);
    for (int i = 0; i < 16; i++) {
        line_fini(&s->isa[i]);
    }
    line_fini(&s->intx);
    region_unmap(&s->scratch);
    region_unmap(&s->regs);
    region_unmap(&s->window);
    region_unmap(&s->config);
}

static const struct dev_class mini_class = {
    .name = "mini",
    .desc = "every door",
    .size = sizeof(struct mini),
    .init = mini_init,
    .fini = mini_fini,
};

static void enter(void *opaque)
{
    machine_enter(opaque);
}

static void leave(void *opaque)
{
    machine_leave(opaque);
}

static void input(void *opaque, unsigned events)
{
    char buf[64];
    (void)events;
    if (read(0, buf, sizeof(buf)) <= 0) {
        ev_quit(opaque);
    }
}

static void lost(void *opaque, const struct err *e)
{
    fprintf(stderr, "mini-model: %s\n", e->msg);
    ev_quit(opaque);
}

static bool has(int argc, char **argv, const char *word)
{
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], word)) {
            return true;
        }
    }
    return false;
}

static int start(struct machine *m, struct ev_loop *loop, bool restrict_it, struct err *e)
{
    struct device *d = dev_new(m, &mini_class, "mini");
    machine_enter(m);
    int r = dev_init(d, e);
    if (r == 0) {
        r = xen_start(xen, m, loop, e);
    }
    if (r == 0) {
        machine_set_run_state(m, RUN_RUNNING);
        r = restrict_it ? xen_restrict(xen, e) : xen_ready(xen, e);
    }
    machine_leave(m);
    return r;
}

int main(int argc, char **argv)
{
    struct err e;
    if (argc < 3) {
        return 2;
    }
    unsigned domid = (unsigned)atoi(argv[1]);
    xen = xen_open(domid, strtoull(argv[2], NULL, 0), 0, has(argc, argv, "restoring"), &e);
    if (!xen) {
        fprintf(stderr, "mini-model: %s\n", e.msg);
        xen_store_failure(domid, e.msg);
        return 1;
    }
    struct machine *m = machine_new("mini", &xen_host, xen);
    struct ev_loop *loop = ev_loop_new(enter, leave, m);
    xen_set_on_lost(xen, lost, loop);
    struct ev_fd in = { .fd = 0, .events = EV_READ, .cb = input, .opaque = loop };
    int r = start(m, loop, has(argc, argv, "restrict"), &e);
    if (r < 0) {
        fprintf(stderr, "mini-model: %s\n", e.msg);
    } else {
        ev_fd_add(loop, &in);
        ev_loop_run(loop);
    }
    xen_stop(xen);
    machine_free(m);
    xen_close(xen);
    ev_loop_free(loop);
    return r < 0;
}
