/* SPDX-License-Identifier: MIT */
/* dm/hmp-info.c - the topics of the monitor's `info`. Reference: docs/qmp.md 7. */
#include "dm/hmp-info.h"

#include "dm/base/chr.h"
#include "dm/base/util.h"
#include "dm/hmp-block.h"
#include "dm/hmp-cpu.h"
#include "dm/hmp-net.h"
#include "dm/keel.h"
#include "dm/qmp-block.h"
#include "dm/text.h"
#include "dm/vm-snapshot.h"
#include "hw/pci/pci.h"
#include "ioreq/soft.h"
#include "ui/vnc.h"
#include "xen-glue/xen.h"

#include <string.h>
#include <unistd.h>

static void info_version(struct keel *k, struct text *out)
{
    (void)k;
    text_add(out, "7.2.0 (Keel " KEEL_VERSION ")\r\n");
}

static void info_status(struct keel *k, struct text *out)
{
    enum run_state s = k->m->run_state;
    if (s == RUN_RUNNING) {
        text_add(out, "VM status: running\r\n");
    } else if (s == RUN_PAUSED) {
        text_add(out, "VM status: paused\r\n");
    } else {
        text_add(out, "VM status: paused (%s)\r\n", run_state_name(s));
    }
}

static void info_name(struct keel *k, struct text *out)
{
    if (k->o.name) {
        text_add(out, "%s\r\n", k->o.name);
    }
}

static void info_uuid(struct keel *k, struct text *out)
{
    text_add(out, "%s\r\n", k->o.uuid ? k->o.uuid : "00000000-0000-0000-0000-000000000000");
}

static void info_block(struct keel *k, struct text *out)
{
    for (const struct drive *d = k->be.drives; d; d = d->next) {
        const struct blk_image *image = blk_image(d->blk);
        if (image) {
            text_add(out, "%s: %s (%s%s)\r\n", d->id, image->filename ? image->filename : "",
                     image->ops->format, image->read_only ? ", read-only" : "");
        } else {
            text_add(out, "%s: [not inserted]\r\n", d->id);
        }
        if (d->dev_id[0]) {
            text_add(out, "    Attached to:      %s\r\n", d->dev_id);
        }
        if (drive_removable(d)) {
            text_add(out, "    Removable device: %slocked, tray %s\r\n",
                     blk_locked(d->blk) ? "" : "not ", blk_tray_open(d->blk) ? "open" : "closed");
        }
    }
}

static void info_blockstats(struct keel *k, struct text *out)
{
    for (const struct drive *d = k->be.drives; d; d = d->next) {
        const struct blk_stats *s = blk_stats(d->blk);
        text_add(out,
                 "%s: rd_bytes=%llu wr_bytes=%llu rd_operations=%llu wr_operations=%llu "
                 "flush_operations=%llu\r\n",
                 d->id, (unsigned long long)s->bytes[BLK_READ],
                 (unsigned long long)s->bytes[BLK_WRITE], (unsigned long long)s->ops[BLK_READ],
                 (unsigned long long)s->ops[BLK_WRITE], (unsigned long long)s->ops[BLK_FLUSH]);
    }
}

static void info_chardev(struct keel *k, struct text *out)
{
    for (size_t i = 0; i < k->be.nchrs; i++) {
        text_add(out, "%s: filename=%s\r\n", k->be.chrs[i]->id, k->be.chrs[i]->filename);
    }
}

/* For the idle benchmark: a quiet guest's process sleeps. */
static void info_loop(struct keel *k, struct text *out)
{
    text_add(out, "wake-ups: %llu\r\n", (unsigned long long)ev_wakeups(k->loop));
}

static void info_cpus(struct keel *k, struct text *out)
{
    for (unsigned i = 0; i < k->o.max_cpus; i++) {
        if (cpu_present(k, i)) {
            text_add(out, "%c CPU #%u: thread_id=%d\r\n", i == k->monitor_cpu ? '*' : ' ', i,
                     (int)getpid());
        }
    }
}

static void info_vnc(struct keel *k, struct text *out)
{
    struct vnc_client_info who[16];
    if (!k->vnc) {
        text_add(out, "None\r\n");
        return;
    }
    text_add(out, "default:\r\n  Server: %s:%u\r\n    Auth: %s\r\n", vnc_host(k->vnc),
             vnc_port(k->vnc), vnc_has_password(k->vnc) ? "vnc" : "none");
    unsigned n = vnc_clients(k->vnc, who, ARRAY_SIZE(who));
    for (unsigned i = 0; i < n && i < ARRAY_SIZE(who); i++) {
        text_add(out, "  Client: %s:%s\r\n", who[i].host, who[i].service);
    }
}

/* ---- PCI ---- */

static void info_bar(const struct pci_dev *p, unsigned n, struct text *out)
{
    const struct pci_bar *b = &p->bar[n];
    unsigned long long at = b->at;
    if (b->at == PCI_BAR_OFF) {
        text_add(out, "      BAR%u: %s, %llu bytes, off.\r\n", n, b->io ? "I/O" : "memory",
                 (unsigned long long)b->size);
    } else if (b->io) {
        text_add(out, "      BAR%u: I/O at 0x%04llx [0x%04llx].\r\n", n, at, at + b->size - 1);
    } else {
        text_add(out, "      BAR%u: 32 bit %smemory at 0x%08llx [0x%08llx].\r\n", n,
                 b->prefetch ? "prefetchable " : "", at, at + b->size - 1);
    }
}

static void info_function(const struct pci_dev *p, struct text *out)
{
    const uint8_t *c = p->config;
    text_add(out, "  Bus  0, device %3d, function %d:\r\n", p->devfn >> 3, p->devfn & 7);
    text_add(out, "    Class %02x%02x: PCI device %02x%02x:%02x%02x\r\n", c[0x0b], c[0x0a], c[1],
             c[0], c[3], c[2]);
    if (c[PCI_INT_PIN]) {
        text_add(out, "      IRQ %u, pin %c\r\n", c[PCI_INT_LINE], 'A' + c[PCI_INT_PIN] - 1);
    }
    for (unsigned i = 0; i < 7; i++) {
        if (p->bar[i].used) {
            info_bar(p, i, out);
        }
    }
    text_add(out, "      id \"%s\"\r\n", p->dev.id);
}

static void info_pci(struct keel *k, struct text *out)
{
    const struct pci_bus *bus = k->m->pci;
    for (unsigned i = 0; bus && i < 256; i++) {
        if (bus->fn[i]) {
            info_function(bus->fn[i], out);
        }
    }
}

/* ---- the doors ---- */

static void info_space(struct keel *k, enum io_space space, const char *title, struct text *out)
{
    size_t n;
    const struct region_span *s = region_spans(k->m, space, &n);
    text_add(out, "%s\r\n", title);
    for (size_t i = 0; i < n; i++) {
        text_add(out, "  %016llx-%016llx (prio %u, i/o): %s %s\r\n", (unsigned long long)s[i].first,
                 (unsigned long long)s[i].last, s[i].r->prio, s[i].r->d->id, s[i].r->name);
    }
}

static void info_mtree(struct keel *k, struct text *out)
{
    info_space(k, IO_MMIO, "address-space: memory", out);
    for (const struct gmem_block *b = k->m->blocks; b; b = b->next) {
        if (b->gpa != GMEM_NOWHERE) {
            text_add(out, "  %016llx-%016llx (ram): %s\r\n", (unsigned long long)b->gpa,
                     (unsigned long long)(b->gpa + b->len - 1), b->name);
        }
    }
    info_space(k, IO_PIO, "address-space: I/O", out);
    const struct io_stats *st = io_stats(k->m);
    text_add(out, "requests: %llu ports, %llu memory, %llu config; unclaimed %llu, %llu, %llu\r\n",
             (unsigned long long)st->requests[IO_PIO], (unsigned long long)st->requests[IO_MMIO],
             (unsigned long long)st->requests[IO_PCI], (unsigned long long)st->unclaimed[IO_PIO],
             (unsigned long long)st->unclaimed[IO_MMIO], (unsigned long long)st->unclaimed[IO_PCI]);
}

static void put_line(void *opaque, const char *line)
{
    text_add(opaque, "    %s\r\n", line);
}

static void put_value(void *opaque, const char *name, uint64_t value)
{
    text_add(opaque, "    %s = 0x%llx\r\n", name, (unsigned long long)value);
}

static void info_qtree(struct keel *k, struct text *out)
{
    for (const struct device *d = k->m->devices; d; d = d->next) {
        text_add(out, "dev: %s, id \"%s\"\r\n", d->class->name, d->id);
        if (d->odd_count) {
            text_add(out, "    odd accesses = %llu\r\n", (unsigned long long)d->odd_count);
        }
        if (d->class->info) {
            d->class->info(d, put_line, out);
        }
    }
}

/* The declared state of every device: what a processor's registers are to its own `info`. */
static void info_state(struct keel *k, struct text *out)
{
    for (const struct device *d = k->m->devices; d; d = d->next) {
        text_add(out, "dev: %s, id \"%s\"\r\n", d->class->name, d->id);
        dev_state_each(d, put_value, out);
    }
}

static void info_xen(struct keel *k, struct text *out)
{
    if (!k->xen) {
        text_add(out, "not on Xen\r\n");
        return;
    }
    struct xen_stats s;
    xen_stats(k->xen, &s);
    text_add(out, "domain %ld, %u vCPUs\r\n", k->o.domid, xen_vcpus(k->xen));
    text_add(out,
             "requests: %llu synchronous, %llu buffered, %llu invalidate, %llu timeoffset, "
             "%llu refused, %llu without a wake, %llu looks in vain\r\n",
             (unsigned long long)s.sync, (unsigned long long)s.buffered,
             (unsigned long long)s.invalidate, (unsigned long long)s.timeoffset,
             (unsigned long long)s.bad_slot, (unsigned long long)s.lingered,
             (unsigned long long)s.vain);
    text_add(out, "map cache: %llu hits, %llu misses, %llu bytes\r\n",
             (unsigned long long)s.map_hits, (unsigned long long)s.map_misses,
             (unsigned long long)s.map_bytes);
}

/* Interrupt controllers and timers, where they are ours. */
static void info_pic(struct keel *k, struct text *out)
{
    const struct board_pc *pc = &k->be.pc;
    if (!pc->pic) {
        text_add(out, "the interrupt controllers are not Keel's\r\n");
        return;
    }
    pc->pic->class->info(pc->pic, put_line, out);
    text_add(out, "ioapic:\r\n");
    pc->ioapic->class->info(pc->ioapic, put_line, out);
}

static void info_lapic(struct keel *k, struct text *out)
{
    for (unsigned i = 0; k->be.pc.apic && i < k->o.max_cpus; i++) {
        apic_info_cpu(k->be.pc.apic, i, put_line, out);
    }
    if (!k->be.pc.apic) {
        text_add(out, "the local APICs are not Keel's\r\n");
    }
}

static void info_irq(struct keel *k, struct text *out)
{
    if (!k->soft) {
        text_add(out, "interrupts are not counted here\r\n");
        return;
    }
    text_add(out, "IRQ statistics:\r\n");
    for (unsigned i = 0; i < 16; i++) {
        uint64_t n = soft_irq_count(k->soft, i);
        if (n) {
            text_add(out, "%2u: %llu\r\n", i, (unsigned long long)n);
        }
    }
}

static const struct {
    const char *name;
    void (*tell)(struct keel *k, struct text *out);
} topics[] = {
    { "block", info_block },
    { "block-jobs", hmp_info_block_jobs },
    { "blockstats", info_blockstats },
    { "chardev", info_chardev },
    { "cpus", info_cpus },
    { "irq", info_irq },
    { "jit", hmp_info_jit },
    { "lapic", info_lapic },
    { "loop", info_loop },
    { "mem", hmp_info_mem },
    { "mtree", info_mtree },
    { "name", info_name },
    { "network", hmp_info_network },
    { "pci", info_pci },
    { "registers", hmp_info_registers },
    { "tlb", hmp_info_tlb },
    { "pic", info_pic },
    { "qtree", info_qtree },
    { "snapshots", hmp_info_snapshots },
    { "state", info_state },
    { "status", info_status },
    { "usernet", hmp_info_usernet },
    { "uuid", info_uuid },
    { "version", info_version },
    { "vnc", info_vnc },
    { "xen", info_xen },
};

bool hmp_info(struct keel *k, const char *what, struct text *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
        if (strcmp(topics[i].name, what) == 0) {
            topics[i].tell(k, out);
            return true;
        }
    }
    return false;
}

void hmp_info_names(struct text *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
        text_add(out, "%s%s", i ? "|" : "", topics[i].name);
    }
    text_add(out, "\r\n");
}
