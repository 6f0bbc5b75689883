/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/fake-guest.c - a fake domain, played by whoever writes lines to standard input.
 *
 * fake-guest DIR DOMID VCPUS RAM_BYTES MAX_MEMKB makes the domain and prints "ok". Then each line
 * is a command and gets a line in answer: "ok [values]", or "error WHY". Numbers are C literals.
 *
 *   ready MS                          wait for the device model
 *   inb PORT (inw inl)                outb PORT VALUE (outw outl)
 *   readb GPA (readw readl readq)     writeb GPA VALUE (writew writel writeq)
 *   config BDF REG SIZE [VALUE]       PCI configuration cycle
 *   memread GPA LEN                   guest memory as hex
 *   memwrite GPA HEX                  memfill GPA LEN BYTE
 *   request TYPE DIR ADDR SIZE COUNT DATA PTR DF MS   a slot as it is: state and data in answer
 *   state STATE MS                    only sets the slot's state and sends the event
 *   vcpu N                            which slot is used from now on
 *   buffered TYPE ADDR SIZE VALUE     one more entry; kick MS: the event, then wait until empty
 *   bufpoke WORD VALUE                a 32-bit word of the buffered page, 0 and 1: the indexes
 *   event PORT                        send any of Xen's ports' events
 *   irq N, intx SLOT PIN, link N, msi levels and counts as the device model left them
 *   domain                            everything else worth knowing, as KEY=VALUE
 *   claimed pio|mmio|pci ADDR SIZE    1 or 0
 *   balloon GFN                       takes a frame out of the guest
 *   hangup                            breaks the event channels' descriptor
 *   bench N PORT [GAP]                N byte reads of a port, GAP ns after each: nanoseconds each
 *   idebench read|write N SPAN        N DMA requests of 64 KiB over SPAN bytes of hda: nanoseconds each
 *   pvbench read|write N SPAN DEPTH RING DATA   N requests of 11 pages to a connected PV disk: the same
 */
#include "tests/fake-xen/disk-bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ARGS 12

struct command {
    const char *name;
    int args; /* at least */
    void (*run)(struct fake_guest *g, char **arg, int n);
};

static uint64_t num(const char *s)
{
    return strtoull(s, NULL, 0);
}

static void ok(void)
{
    puts("ok");
}

static void result(int r, uint64_t val)
{
    if (r < 0) {
        puts("error no answer");
    } else {
        printf("ok 0x%llx\n", (unsigned long long)val);
    }
}

/* The size that the last letter of inb, writeq, ... stands for. */
static unsigned size_of(const char *name)
{
    switch (name[strlen(name) - 1]) {
    case 'b':
        return 1;
    case 'w':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

static void cmd_ready(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    puts(fake_guest_wait_ready(g, (int)num(arg[1])) < 0 ? "error not ready" : "ok");
}

static void cmd_in(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    uint64_t val = 0;
    int r = fake_guest_pio(g, false, (uint16_t)num(arg[1]), size_of(arg[0]), &val);
    result(r, val);
}

static void cmd_out(struct fake_guest *g, char **arg, int n)
{
    uint64_t val = n > 2 ? num(arg[2]) : 0;
    int r = fake_guest_pio(g, true, (uint16_t)num(arg[1]), size_of(arg[0]), &val);
    result(r, 0);
}

static void cmd_read(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    uint64_t val = 0;
    int r = fake_guest_mem(g, false, num(arg[1]), size_of(arg[0]), &val);
    result(r, val);
}

static void cmd_write(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    uint64_t val = num(arg[2]);
    int r = fake_guest_mem(g, true, num(arg[1]), size_of(arg[0]), &val);
    result(r, 0);
}

static void cmd_config(struct fake_guest *g, char **arg, int n)
{
    uint64_t val = n > 4 ? num(arg[4]) : 0;
    int r = fake_guest_config(g, n > 4, (uint16_t)num(arg[1]), (unsigned)num(arg[2]),
                              (unsigned)num(arg[3]), &val);
    result(r, val);
}

static void cmd_memread(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    size_t len = num(arg[2]);
    uint8_t *buf = malloc(len + 1);
    if (fake_guest_copy(g, false, num(arg[1]), buf, len) < 0) {
        puts("error hole");
    } else {
        printf("ok ");
        for (size_t i = 0; i < len; i++) {
            printf("%02x", buf[i]);
        }
        putchar('\n');
    }
    free(buf);
}

static void cmd_memwrite(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    size_t len = strlen(arg[2]) / 2;
    uint8_t *buf = malloc(len + 1);
    for (size_t i = 0; i < len; i++) {
        char hex[3] = { arg[2][2 * i], arg[2][2 * i + 1], 0 };
        buf[i] = (uint8_t)strtoul(hex, NULL, 16);
    }
    puts(fake_guest_copy(g, true, num(arg[1]), buf, len) < 0 ? "error hole" : "ok");
    free(buf);
}

static void cmd_memfill(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    size_t len = num(arg[2]);
    uint8_t *buf = malloc(len + 1);
    memset(buf, (int)num(arg[3]), len);
    puts(fake_guest_copy(g, true, num(arg[1]), buf, len) < 0 ? "error hole" : "ok");
    free(buf);
}

static void cmd_request(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    struct ioreq s = { .type = (uint8_t)num(arg[1]),
                       .dir = num(arg[2]) & 1,
                       .addr = num(arg[3]),
                       .size = (uint32_t)num(arg[4]),
                       .count = (uint32_t)num(arg[5]),
                       .data = num(arg[6]),
                       .data_is_ptr = num(arg[7]) & 1,
                       .df = num(arg[8]) & 1 };
    if (fake_guest_request(g, &s, (int)num(arg[9])) < 0) {
        printf("error state %u\n", s.state);
    } else {
        printf("ok %u 0x%llx\n", s.state, (unsigned long long)s.data);
    }
}

static void cmd_state(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    struct ioreq *s = &g->slots[g->vcpu];
    struct timespec t = { 0, 1000000 * (long)num(arg[2]) };
    s->state = num(arg[1]) & 15;
    fake_guest_send(g, FAKE_FIRST_VCPU_PORT + g->vcpu);
    nanosleep(&t, NULL);
    printf("ok %u\n", s->state);
    s->state = STATE_IOREQ_NONE;
}

static void cmd_vcpu(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    g->vcpu = (unsigned)num(arg[1]) % g->dom->vcpus;
    ok();
}

static void cmd_buffered(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    int r = fake_guest_buffered(g, (uint8_t)num(arg[1]), num(arg[2]), (unsigned)num(arg[3]),
                                num(arg[4]));
    puts(r < 0 ? "error full" : "ok");
}

static void cmd_kick(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    fake_guest_send(g, FAKE_BUFFERED_PORT);
    puts(fake_guest_drained(g, (int)num(arg[1])) < 0 ? "error not drained" : "ok");
}

static void cmd_bufpoke(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    ((uint32_t *)(void *)g->buffered)[num(arg[1]) % 1024] = (uint32_t)num(arg[2]);
    ok();
}

static void cmd_event(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    fake_guest_send(g, (unsigned)num(arg[1]));
    ok();
}

static void cmd_irq(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    result(0, g->dom->isa_level[num(arg[1]) & 15]);
}

static void cmd_intx(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    result(0, g->dom->intx[num(arg[1]) & 31][num(arg[2]) & 3]);
}

static void cmd_link(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    result(0, g->dom->link[num(arg[1]) & 3]);
}

static void cmd_msi(struct fake_guest *g, char **arg, int n)
{
    (void)n, (void)arg;
    printf("ok %u 0x%llx 0x%x\n", g->dom->msi_count, (unsigned long long)g->dom->msi_addr,
           g->dom->msi_data);
}

static void cmd_domain(struct fake_guest *g, char **arg, int n)
{
    (void)n, (void)arg;
    const struct fake_domain *d = g->dom;
    printf("ok shutdowns=%u reason=%u s_state=%u isa_calls=%u modified_calls=%llu "
           "modified_pages=%llu track_calls=%llu track_pages=%llu map_calls=%llu mapped_pages=%llu "
           "mmio_ranges=%u cache_ranges=%u pages=%llu max_memkb=%llu enabled=%u rd=%u wr=%u\n",
           d->shutdowns, d->shutdown_reason, d->s_state, d->isa_calls,
           (unsigned long long)d->modified_calls, (unsigned long long)d->modified_pages,
           (unsigned long long)d->track_calls, (unsigned long long)d->track_n,
           (unsigned long long)d->map_calls, (unsigned long long)d->mapped_pages, d->mmio_ranges,
           d->cache_ranges, (unsigned long long)d->pages, (unsigned long long)d->max_memkb,
           d->enabled, g->buffered->read_pointer, g->buffered->write_pointer);
}

static void cmd_claimed(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    uint64_t at = num(arg[2]), size = num(arg[3]);
    result(0, !strcmp(arg[1], "pio")    ? fake_guest_claimed_pio(g, (uint16_t)at, (unsigned)size)
              : !strcmp(arg[1], "mmio") ? fake_guest_claimed_mmio(g, at, at + size - 1)
                                        : fake_guest_claimed_pci(g, (uint16_t)at));
}

/* Cuts the frame out of its extent. */
static void cmd_balloon(struct fake_guest *g, char **arg, int n)
{
    (void)n;
    uint64_t gfn = num(arg[1]);
    for (uint32_t i = 0; i < g->dom->extents && g->dom->extents < FAKE_MAX_EXTENTS; i++) {
        struct fake_extent *x = &g->dom->extent[i];
        if (gfn - x->gfn < x->n) {
            uint64_t before = gfn - x->gfn;
            g->dom->extent[g->dom->extents++] =
                (struct fake_extent){ gfn + 1, x->page + before + 1, x->n - before - 1 };
            x->n = before;
            ok();
            return;
        }
    }
    puts("error hole");
}

static void cmd_hangup(struct fake_guest *g, char **arg, int n)
{
    (void)n, (void)arg;
    fake_guest_hang_up(g);
    ok();
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* As a guest computes between two accesses. */
static void busy_for(int64_t ns)
{
    for (int64_t end = now_ns() + ns; now_ns() < end;) {
    }
}

static void cmd_bench(struct fake_guest *g, char **arg, int n)
{
    uint64_t count = num(arg[1]), val;
    int64_t gap = n > 3 ? (int64_t)num(arg[3]) : 0, start = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        if (fake_guest_pio(g, false, (uint16_t)num(arg[2]), 1, &val) < 0) {
            puts("error no answer");
            return;
        }
        if (gap) {
            busy_for(gap);
        }
    }
    printf("ok %.1f\n", (double)(now_ns() - start) / (double)count - (double)gap);
}

static void each_took(int ret, int64_t start, uint64_t count)
{
    if (ret < 0) {
        puts("error a request failed");
    } else {
        printf("ok %.1f\n", (double)(now_ns() - start) / (double)count);
    }
}

static void cmd_idebench(struct fake_guest *g, char **arg, int n)
{
    int64_t start = now_ns();
    (void)n;
    each_took(disk_bench_ide(g, !strcmp(arg[1], "write"), (unsigned)num(arg[2]), num(arg[3])),
              start, num(arg[2]));
}

static const char *domain_dir;

static void cmd_pvbench(struct fake_guest *g, char **arg, int n)
{
    int64_t start = now_ns();
    (void)n;
    each_took(disk_bench_pv(g, domain_dir, !strcmp(arg[1], "write"), (unsigned)num(arg[2]),
                            num(arg[3]), (unsigned)num(arg[4]), (uint32_t)num(arg[5]),
                            (uint32_t)num(arg[6])),
              start, num(arg[2]));
}

static const struct command commands[] = {
    { "ready", 2, cmd_ready },
    { "inb", 2, cmd_in },
    { "inw", 2, cmd_in },
    { "inl", 2, cmd_in },
    { "outb", 3, cmd_out },
    { "outw", 3, cmd_out },
    { "outl", 3, cmd_out },
    { "readb", 2, cmd_read },
    { "readw", 2, cmd_read },
    { "readl", 2, cmd_read },
    { "readq", 2, cmd_read },
    { "writeb", 3, cmd_write },
    { "writew", 3, cmd_write },
    { "writel", 3, cmd_write },
    { "writeq", 3, cmd_write },
    { "config", 4, cmd_config },
    { "memread", 3, cmd_memread },
    { "memwrite", 3, cmd_memwrite },
    { "memfill", 4, cmd_memfill },
    { "request", 10, cmd_request },
    { "state", 3, cmd_state },
    { "vcpu", 2, cmd_vcpu },
    { "buffered", 5, cmd_buffered },
    { "kick", 2, cmd_kick },
    { "bufpoke", 3, cmd_bufpoke },
    { "event", 2, cmd_event },
    { "irq", 2, cmd_irq },
    { "intx", 3, cmd_intx },
    { "link", 2, cmd_link },
    { "msi", 1, cmd_msi },
    { "domain", 1, cmd_domain },
    { "claimed", 4, cmd_claimed },
    { "balloon", 2, cmd_balloon },
    { "hangup", 1, cmd_hangup },
    { "bench", 3, cmd_bench },
    { "idebench", 4, cmd_idebench },
    { "pvbench", 7, cmd_pvbench },
};

static void run(struct fake_guest *g, char *line)
{
    char *arg[MAX_ARGS] = { 0 };
    int n = 0;
    for (char *p = strtok(line, " \n"); p && n < MAX_ARGS; p = strtok(NULL, " \n")) {
        arg[n++] = p;
    }
    for (size_t i = 0; n && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (!strcmp(commands[i].name, arg[0]) && n >= commands[i].args) {
            commands[i].run(g, arg, n);
            return;
        }
    }
    puts("error unknown command");
}

int main(int argc, char **argv)
{
    struct fake_guest g;
    char *line = NULL;
    size_t cap = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 6) {
        fprintf(stderr, "usage: fake-guest DIR DOMID VCPUS RAM_BYTES MAX_MEMKB\n");
        return 2;
    }
    if (fake_guest_init(&g, argv[1], (unsigned)num(argv[2]), (unsigned)num(argv[3]), num(argv[4]),
                        num(argv[5])) < 0) {
        fprintf(stderr, "fake-guest: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    domain_dir = argv[1];
    ok();
    while (getline(&line, &cap, stdin) > 0) {
        run(&g, line);
    }
    free(line);
    return 0;
}
