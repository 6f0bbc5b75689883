/* SPDX-License-Identifier: MIT */
/* target/x86/io.c - IN, OUT, INS, OUTS through the request door, with the TSS's permission bitmap.
 *
 * A run of INS or OUTS on one plain page is one request with a pointer, as Xen sends it.
 * Reference: SDM vol. 1 chapter 19.
 */
#include "ioreq/machine.h"
#include "target/x86/string-int.h"
#include "target/x86/vcpu-int.h"

/* What the TSS says of [port, port + size). */
static void check_bitmap(struct x86_cpu *c, uint32_t port, unsigned size)
{
    bool ok = (c->tr.flags & 0xd) == 9 && c->tr.limit >= 103;
    if (ok) {
        uint32_t at = (uint32_t)x86_ld_kernel(c, c->tr.base + 0x66, 2) + port / 8;
        ok = at + 1 <= c->tr.limit;
        if (ok) {
            uint64_t bits = x86_ld_kernel(c, c->tr.base + at, 2) >> (port & 7);
            ok = !(bits & ((1u << size) - 1));
        }
    }
    if (!ok) {
        x86_raise_code(c, EX_GP, 0);
    }
}

static inline void check_port(struct x86_cpu *c, uint32_t port, unsigned size)
{
    unsigned iopl = c->eflags >> 12 & 3;
    if (c->mode & MODE_PE && (c->mode & MODE_VM86 || x86_cpl(c) > iopl)) {
        check_bitmap(c, port, size);
    }
}

X86_HELPER(in, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    check_port(c, (uint16_t)a, (unsigned)b);
    struct io_req r = { .addr = (uint16_t)a, .count = 1, .size = (uint8_t)b, .space = IO_PIO };
    x86_io(c, &r);
    return b == 1 ? (uint8_t)r.data : b == 2 ? (uint16_t)r.data : (uint32_t)r.data;
}

X86_HELPER(out, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    check_port(c, (uint16_t)a, (unsigned)b);
    struct io_req r = { .addr = (uint16_t)a,
                        .data = cc,
                        .count = 1,
                        .size = (uint8_t)b,
                        .space = IO_PIO,
                        .write = true };
    x86_io(c, &r);
    return 0;
}

/* The guest-physical address of a plain page's byte. */
static bool plain_phys(struct x86_cpu *c, uint64_t linear, enum x86_access how, uint64_t *phys)
{
    if (!x86_host_page(c, linear, how)) {
        return false;
    }
    uint64_t page = c->tlb_phys[c->tcg.tlb - c->tcg.tlbs][tcg_tlb_slot(linear)] & ~0xfffull;
    *phys = page | (linear & 0xfff);
    return true;
}

/* Up to count elements at linear; returns how many. */
static uint64_t port_run(const struct x86_string *s, uint64_t count, uint64_t off, uint64_t linear,
                         bool write)
{
    uint64_t n = s->checked ? 0 : min_u64(count, x86_string_room(s, off, linear));
    uint64_t phys;
    struct io_req r = { .addr = (uint16_t)s->c->tcg.gpr[RDX],
                        .count = 1,
                        .size = (uint8_t)s->size,
                        .space = IO_PIO,
                        .write = write };
    if (n > 1 && plain_phys(s->c, linear, write ? ACC_READ : ACC_WRITE, &phys)) {
        r.count = (uint32_t)n;
        r.data = phys;
        r.data_is_ptr = true;
        r.df = s->step < 0;
        x86_io(s->c, &r);
        return n;
    }
    unsigned seg = write ? s->seg : ES;
    if (s->checked) {
        x86_h_check_seg.fn(&s->c->tcg, seg | (uint64_t)!write << 8,
                           s->addr == 2 ? (uint16_t)off : (uint32_t)off, s->size);
    }
    if (write) {
        r.data = x86_ld(s->c, linear, s->size);
        x86_io(s->c, &r);
    } else {
        x86_probe_as(s->c, x86_data_mode(s->c), linear, s->size);
        x86_io(s->c, &r);
        x86_st(s->c, linear, s->size, r.data);
    }
    return 1;
}

static uint64_t port_string(struct tcg_cpu *t, uint64_t a, uint64_t b, uint64_t cc, bool write)
{
    struct x86_string s;
    check_port(x86_of(t), (uint16_t)t->gpr[RDX], a & 0xff);
    x86_string_begin(&s, t, a, b, cc);
    uint64_t count = x86_string_count(&s);
    while (count) {
        uint64_t n = port_run(&s, count, t->gpr[write ? RSI : RDI],
                              write ? x86_string_src(&s) : x86_string_dst(&s), write);
        x86_string_advance(&s, n, write, !write);
        count -= n;
        if (count && x86_string_pause(&s)) {
            break;
        }
    }
    return x86_string_end(&s, count != 0);
}

#define PORT_FLAGS (IR_H_READS | IR_H_WRITES | IR_H_FAULTS)

X86_HELPER(ins, PORT_FLAGS)
{
    return port_string(t, a, b, cc, false);
}

X86_HELPER(outs, PORT_FLAGS)
{
    return port_string(t, a, b, cc, true);
}
