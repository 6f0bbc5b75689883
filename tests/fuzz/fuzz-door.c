/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-door.c - the doors under requests, memory calls, maps and lends in any order.
 *
 * Two invented devices with windows in all spaces move and unmap them from the outside and from
 * inside their own callbacks. What must hold is asserted: items stay inside the window and are as
 * wide as allowed, and memory the device did not write keeps its guard bytes.
 */
#include "ioreq/flat.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM (64u << 10)

struct in {
    const uint8_t *p;
    size_t left;
};

static uint64_t take(struct in *in, unsigned n)
{
    uint64_t v = 0;
    while (n-- && in->left) {
        v = v << 8 | *in->p++;
        in->left--;
    }
    return v;
}

/* An address: mostly one where things are or end, sometimes anything. */
static uint64_t take_addr(struct in *in, enum io_space space)
{
    static const uint64_t corners[] = { 0, 0x100, 0xfff0, RAM - 8, 0xa0000, 0xf0000000 };
    uint64_t how = take(in, 1), off = take(in, 1);
    if (how < 200) {
        uint64_t base = corners[how % ARRAY_SIZE(corners)];
        return space == IO_PCI ? PCI_CFG_ADDR(how & 3, (base + off) & 0xfff) : base + off;
    }
    return how < 220 ? UINT64_MAX - off : take(in, 8);
}

struct toy {
    struct device dev;
    struct region win[4];
    struct gmem_block ram;
    struct line irq;
    struct vtimer t;
    struct in *in; /* what to do inside callbacks */
    unsigned depth;
};

static void act_inside(struct toy *t)
{
    uint8_t buf[32];
    assert(t->depth++ == 0);
    switch (take(t->in, 1) & 15) {
    case 0:
        region_unmap(&t->win[take(t->in, 1) & 3]);
        break;
    case 1: {
        struct region *r = &t->win[take(t->in, 1) & 3];
        region_map(r, take_addr(t->in, r->space));
        break;
    }
    case 2:
        (void)gmem_read(t->dev.m, take_addr(t->in, IO_MMIO), buf, take(t->in, 1) & 31);
        break;
    case 3:
        memset(buf, 0x5a, sizeof(buf));
        (void)gmem_write(t->dev.m, take_addr(t->in, IO_MMIO), buf, take(t->in, 1) & 31);
        break;
    case 4:
        line_set(&t->irq, take(t->in, 1) & 1);
        break;
    case 5:
        vtimer_arm(&t->t, (int64_t)take(t->in, 2));
        break;
    case 6:
        assert(io_read(t->dev.m, IO_PIO, 0x100, 1) == 0xff); /* not from in here */
        break;
    case 7:
        (void)gmem_block_lend(t->dev.m, &t->ram, take_addr(t->in, IO_MMIO) & ~0xfffull);
        break;
    default:
        break;
    }
    t->depth--;
}

static void check_item(const struct toy *t, uint64_t off, unsigned size, unsigned widest)
{
    uint64_t longest = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(t->win); i++) {
        longest = max_u64(longest, t->win[i].len);
    }
    assert(size == 1 || size == 2 || size == 4 || size == 8);
    assert(size <= widest && off < longest && size <= longest - off);
}

static uint64_t narrow_read(struct device *d, uint64_t off, unsigned size)
{
    check_item((struct toy *)d, off, size, 1);
    act_inside((struct toy *)d);
    return off;
}

static uint64_t wide_read(struct device *d, uint64_t off, unsigned size)
{
    check_item((struct toy *)d, off, size, 8);
    act_inside((struct toy *)d);
    return ~off;
}

static void wide_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    check_item((struct toy *)d, off, size, 8);
    assert(val <= ones(size));
    act_inside((struct toy *)d);
}

static const struct region_ops narrow_ops = { narrow_read, NULL, 1, NULL };
static const struct region_ops wide_ops = { wide_read, wide_write, 8, NULL };

static void toy_fire(void *opaque)
{
    act_inside(opaque);
}

static int toy_init(struct device *d, struct err *e)
{
    struct toy *t = (struct toy *)d;
    region_init(&t->win[0], d, &narrow_ops, IO_PIO, 24, "A");
    region_init(&t->win[1], d, &wide_ops, IO_MMIO, 4096, "B");
    region_init(&t->win[2], d, &wide_ops, IO_PCI, 256, "C");
    region_init(&t->win[3], d, &wide_ops, IO_PIO, 7, "D");
    t->win[3].prio = 0;
    line_init(&t->irq, d, LINE_ISA, 4);
    vtimer_init(&t->t, d->m, "t", toy_fire, t);
    t->ram.name = d->id;
    t->ram.len = 8192;
    return gmem_block_new(d->m, &t->ram, e);
}

static void toy_fini(struct device *d)
{
    struct toy *t = (struct toy *)d;
    for (unsigned i = 0; i < ARRAY_SIZE(t->win); i++) {
        region_unmap(&t->win[i]);
    }
    line_fini(&t->irq);
    vtimer_fini(&t->t);
    gmem_block_free(d->m, &t->ram);
}

static const struct dev_class toy_class = {
    .name = "toy", .size = sizeof(struct toy), .init = toy_init, .fini = toy_fini
};

static void request(struct machine *m, struct in *in)
{
    uint64_t bits = take(in, 1);
    struct io_req req = { .space = (uint8_t)(bits & 3),
                          .write = bits >> 2 & 1,
                          .df = bits >> 3 & 1,
                          .data_is_ptr = bits >> 4 & 1,
                          .size = (uint8_t)(bits >> 5 == 7 ? take(in, 1) : 1u << (bits >> 5 & 3)) };
    req.addr = take_addr(in, req.space);
    req.data = take_addr(in, IO_MMIO);
    req.count = (uint32_t)(take(in, 1) < 32 ? take(in, 3) % 70000 : 1 + take(in, 1) % 5);
    struct io_req before = req;
    int rc = ioreq_run(m, &req);
    bool size_ok = before.size == 1 || before.size == 2 || before.size == 4 || before.size == 8;
    bool shape_ok = size_ok && before.space < IO_SPACES && before.count &&
                    before.count <= IO_REQ_MAX_COUNT &&
                    (before.space != IO_PIO || before.addr <= 0xffff) &&
                    (before.space != IO_PCI || (uint32_t)before.addr < 4096);
    assert((rc == 0) == shape_ok);
    if (rc == 0 && (before.write || before.data_is_ptr)) {
        assert(req.data == before.data);
    } else if (rc == 0) {
        assert(req.data <= ones(before.size));
    }
}

static void pin(struct machine *m, struct in *in)
{
    struct gmem_pin p;
    uint64_t gpa = take_addr(in, IO_MMIO), len = take(in, 3);
    bool to_guest = take(in, 1) & 1;
    machine_enter(m);
    if (gmem_pin(m, &p, gpa, (size_t)len, to_guest) == 0) {
        size_t sum = 0;
        for (int i = 0; i < p.iovcnt; i++) {
            sum += p.iov[i].iov_len;
            memset(p.iov[i].iov_base, 0x77, to_guest ? p.iov[i].iov_len : 0);
        }
        assert(sum == len);
        gmem_unpin(m, &p, (size_t)min_u64(take(in, 3), len));
    }
    machine_leave(m);
}

static void step(struct machine *m, struct flat_host *f, struct toy *t, struct in *in)
{
    uint8_t buf[64] = { 0 };
    uint64_t bits;
    switch (take(in, 1) & 7) {
    case 0:
        machine_enter(m);
        act_inside(t);
        machine_leave(m);
        break;
    case 1:
        flat_mem_read(m, take_addr(in, IO_MMIO), buf, take(in, 1) & 63);
        break;
    case 2:
        flat_mem_write(m, take_addr(in, IO_MMIO), buf, take(in, 1) & 63);
        break;
    case 3:
        flat_advance(f, m, (int64_t)take(in, 2));
        break;
    case 4:
        pin(m, in);
        break;
    case 5:
        machine_enter(m);
        gmem_block_dirty(m, &t->ram, 0, t->ram.len, &bits);
        machine_leave(m);
        assert(bits <= 3);
        break;
    default:
        request(m, in);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct in in = { data, size };
    struct flat_host *f = flat_new(RAM);
    struct machine *m = machine_new("fuzz", &flat_host_ops, f);
    struct toy *t[2];
    for (unsigned i = 0; i < 2; i++) {
        t[i] = (struct toy *)dev_new(m, &toy_class, NULL);
        t[i]->in = &in;
        assert(dev_init(&t[i]->dev, NULL) == 0);
        region_map(&t[i]->win[0], 0x100 + 16 * i);
        region_map(&t[i]->win[1], 0xf0000000 + 2048 * i);
        region_map(&t[i]->win[2], PCI_CFG_ADDR(i, 0));
        region_map(&t[i]->win[3], 0x10c);
    }
    machine_enter(m);
    machine_set_run_state(m, RUN_RUNNING);
    machine_leave(m);
    while (in.left) {
        step(m, f, t[in.left & 1], &in);
    }
    machine_free(m);
    flat_free(f);
    return 0;
}
