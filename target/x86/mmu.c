/* SPDX-License-Identifier: MIT */
/* target/x86/mmu.c - from linear addresses to memory: page tables, soft TLB, everything not plain.
 *
 *   translated code --miss--> load, store --> in one page? --> tlb_fill: walk, soft_page, new entry
 *                                                         |--> plain memory, or ioreq_run
 *
 * A table for each set of rights (TLB_*): an entry's tags say what is plain with those rights. What
 * is never plain: devices, ROM for writing, pages with translated code for writing, pages with a
 * data breakpoint, clean pages whose D bit must be set first, pages whose writes are logged.
 *
 * Other threads only ever take tags away (x86_tlb_drop_writes) or ask for a flush; tlb_gen and the
 * second look at tcg_page_has_code catch what they change while an entry is being made.
 * Reference: SDM vol. 3 chapter 4.
 */
#include "ioreq/machine.h"
#include "ioreq/soft.h"
#include "target/x86/debug.h"
#include "target/x86/mmu-int.h"
#include "target/x86/vcpu-int.h"

/* In tlb_phys. STORE: a store needs nothing but a look for translated code there. */
#define PHYS_GLOBAL 1ull
#define PHYS_STORE 2ull

/* ---- the soft TLB ---- */

static inline uint64_t large_page_bit(uint64_t linear, unsigned *word)
{
    uint64_t n = linear >> 22;
    *word = (n ^ n >> 9) >> 6 & 7;
    return 1ull << ((n ^ n >> 9) & 63);
}

static void note_large(struct x86_cpu *c, uint64_t linear)
{
    unsigned word;
    uint64_t bit = large_page_bit(linear, &word);
    c->large_pages[word] |= bit;
}

static void note_huge(struct x86_cpu *c, uint64_t linear)
{
    unsigned half = (unsigned)(linear >> 63);
    if (c->large_lo[half] > linear || c->large_hi[half] < linear) {
        uint64_t lo = linear & ~0x3fffffffull, hi = linear | 0x3fffffff;
        bool none = c->large_lo[half] > c->large_hi[half];
        c->large_lo[half] = none || lo < c->large_lo[half] ? lo : c->large_lo[half];
        c->large_hi[half] = none || hi > c->large_hi[half] ? hi : c->large_hi[half];
    }
}

enum { SLOTS_LISTED = sizeof(((struct x86_slots *)0)->slot) / sizeof(uint16_t) };

static void note_slot(struct x86_slots *s, unsigned slot)
{
    if (s->n < SLOTS_LISTED) {
        __atomic_store_n(&s->slot[s->n], (uint16_t)slot, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&s->n, s->n + 1, __ATOMIC_RELEASE); /* others look at it */
}

/* Apart from translated code. */
static bool write_is_plain(const struct walker *k, const struct page *p)
{
    return p->dirty && p->flags & SOFT_WRITE && mmu_allowed(k, p, ACC_WRITE) &&
           (!(p->flags & SOFT_LOG) || k->how == ACC_WRITE);
}

static void enter_page(const struct walker *k, const struct page *p, uint32_t gen)
{
    struct x86_cpu *c = k->c;
    uint64_t tag = k->linear & ~PAGE_MASK;
    struct tcg_tlb *tlb = &c->tcg.tlbs[k->mode];
    unsigned slot = tcg_tlb_slot(tag);
    bool readable = p->host && p->flags & SOFT_READ, watched = x86_watch_page(c, tag);
    if (!p->host) {
        tcg_tlb_set(tlb, tag, NULL, false, false, false);
        return;
    }
    bool may = readable && !watched && write_is_plain(k, p); /* what is plain to write is to read */
    bool write = may && !tcg_page_has_code(c->tcg.tcg, p->phys);
    uint64_t phys =
        p->phys | (p->global ? PHYS_GLOBAL : 0) | (may && !(p->flags & SOFT_LOG) ? PHYS_STORE : 0);
    __atomic_store_n(&c->tlb_phys[k->mode][slot], phys, __ATOMIC_RELAXED); /* others look at it */
    note_slot(p->global ? &c->global[k->mode] : &c->local[k->mode], slot);
    tcg_tlb_set(tlb, tag, p->host, readable && !watched && mmu_allowed(k, p, ACC_READ), write,
                readable && mmu_allowed(k, p, ACC_EXEC));
    if (p->large) {
        note_large(c, tag);
    } else if (p->huge) {
        note_huge(c, tag);
    }
    if (write) { /* the tag is out: look again at what takes it away */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (tcg_page_has_code(c->tcg.tcg, p->phys)) {
            tlb->write[slot] = tcg_tlb_never(slot);
        }
    }
    if (__atomic_load_n(&c->tlb_gen, __ATOMIC_SEQ_CST) != gen) {
        tcg_tlb_set(tlb, tag, NULL, false, false, false);
    }
}

/* Translates and enters; PF_NONE or the fault's code. */
static int tlb_fill(const struct walker *k)
{
    struct x86_cpu *c = k->c;
    struct page *p = k->p;
    uint32_t gen = __atomic_load_n(&c->tlb_gen, __ATOMIC_SEQ_CST);
    int code = mmu_walk(k);
    if (code != PF_NONE) {
        return code;
    }
    p->phys &= c->a20_mask;
    p->host = mmu_soft_page(c, p->phys, &p->flags);
    if (k->how == ACC_WRITE && p->host && p->flags & SOFT_LOG) {
        soft_mark_dirty(c->soft, p->phys);
    }
    enter_page(k, p, gen);
    return PF_NONE;
}

static void raise_fault(struct x86_cpu *c, uint64_t linear, int code)
{
    if (!c->outside) {
        tcg_sync_pc(&c->tcg);
        x86_mf_before_fault(c);
    }
    if (code == PF_NONCANON) {
        x86_raise_noncanonical(c, linear);
    }
    c->cr2 = linear;
    x86_raise_code(c, EX_PF, (uint32_t)code);
}

static void fill_or_raise(struct x86_cpu *c, unsigned mode, uint64_t linear, enum x86_access how,
                          struct page *p)
{
    struct walker k = { .c = c, .linear = linear, .how = how, .mode = mode, .p = p };
    int code = tlb_fill(&k);
    if (code != PF_NONE) {
        raise_fault(c, linear, code);
    }
}

static inline uint8_t *plain_read(struct x86_cpu *c, unsigned mode, uint64_t linear)
{
    const struct tcg_tlb *tlb = &c->tcg.tlbs[mode];
    uint64_t tag = tlb->read[tcg_tlb_slot(linear)];
    return tag == (linear & ~PAGE_MASK) ? tcg_tlb_host(tlb, linear) : NULL;
}

static inline uint8_t *plain_write(struct x86_cpu *c, unsigned mode, uint64_t linear)
{
    const struct tcg_tlb *tlb = &c->tcg.tlbs[mode];
    uint64_t tag = tlb->write[tcg_tlb_slot(linear)];
    return tag == (linear & ~PAGE_MASK) ? tcg_tlb_host(tlb, linear) : NULL;
}

static inline void drop_slot(struct tcg_tlb *tlb, uint64_t slot)
{
    tcg_tlb_set(tlb, slot << 12, NULL, false, false, false);
}

/* Drops what is global, or what is not, from one table. */
static void flush_slots(struct x86_cpu *c, unsigned m, bool global)
{
    struct tcg_tlb *tlb = &c->tcg.tlbs[m];
    struct x86_slots *s = global ? &c->global[m] : &c->local[m];
    if (s->n <= SLOTS_LISTED) {
        for (unsigned i = 0; i < s->n; i++) {
            drop_slot(tlb, s->slot[i]);
        }
    } else {
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            if (!(c->tlb_phys[m][i] & PHYS_GLOBAL) != global) {
                drop_slot(tlb, i);
            }
        }
    }
    __atomic_store_n(&s->n, 0, __ATOMIC_RELEASE);
}

static void flush_local(struct x86_cpu *c)
{
    for (unsigned m = 0; m < TLB_MODES; m++) {
        flush_slots(c, m, false);
        if (c->local_code[m]) {
            tcg_jc_flush_mode(&c->tcg, m);
            c->local_code[m] = false;
        }
    }
}

void x86_tlb_flush(struct x86_cpu *c, bool global_too)
{
    c->kept_gen++;
    flush_local(c);
    if (!global_too && c->cr4 & CR4_PGE) {
        return;
    }
    for (unsigned m = 0; m < TLB_MODES; m++) {
        flush_slots(c, m, true);
    }
    tcg_jc_flush(&c->tcg);
    memset(c->code_pages, 0, sizeof(c->code_pages));
    memset(c->large_pages, 0, sizeof(c->large_pages));
    c->large_lo[0] = c->large_lo[1] = UINT64_MAX;
    c->large_hi[0] = c->large_hi[1] = 0;
}

static inline uint64_t code_page_bit(uint64_t linear, unsigned *word)
{
    uint64_t n = linear >> 12;
    n ^= n >> 15;
    *word = n >> 6 & (CODE_PAGE_WORDS - 1);
    return 1ull << (n & 63);
}

void x86_tlb_flush_page(struct x86_cpu *c, uint64_t linear)
{
    unsigned half = (unsigned)(linear >> 63), word;
    uint64_t bit = large_page_bit(linear, &word);
    if ((linear >= c->large_lo[half] && linear <= c->large_hi[half]) ||
        c->large_pages[word] & bit) {
        x86_tlb_flush(c, true);
        return;
    }
    c->kept_gen++;
    for (unsigned m = 0; m < TLB_MODES; m++) {
        tcg_tlb_set(&c->tcg.tlbs[m], linear, NULL, false, false, false);
    }
    bit = code_page_bit(linear, &word);
    if (c->code_pages[word] & bit) {
        tcg_jc_flush(&c->tcg);
        memset(c->code_pages, 0, sizeof(c->code_pages));
    }
}

static inline void drop_write(struct x86_cpu *c, unsigned m, unsigned slot, uint64_t first,
                              uint64_t last)
{
    uint64_t page = __atomic_load_n(&c->tlb_phys[m][slot], __ATOMIC_RELAXED) & ~PAGE_MASK;
    if ((page | PAGE_MASK) >= first && page <= last) {
        __atomic_store_n(&c->tcg.tlbs[m].write[slot], tcg_tlb_never(slot), __ATOMIC_SEQ_CST);
    }
}

/* False: more slots than the list has. */
static bool drop_listed(struct x86_cpu *c, unsigned m, const struct x86_slots *s, uint64_t first,
                        uint64_t last)
{
    unsigned n = __atomic_load_n(&s->n, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; n <= SLOTS_LISTED && i < n; i++) {
        drop_write(c, m, __atomic_load_n(&s->slot[i], __ATOMIC_RELAXED), first, last);
    }
    return n <= SLOTS_LISTED;
}

/* By any thread: what the vCPU enters meanwhile it looks at again itself (enter_page). */
void x86_tlb_drop_writes(struct x86_cpu *c, uint64_t first, uint64_t last)
{
    for (unsigned m = 0; m < TLB_MODES; m++) {
        if (drop_listed(c, m, &c->local[m], first, last) &&
            drop_listed(c, m, &c->global[m], first, last)) {
            continue;
        }
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            drop_write(c, m, i, first, last);
        }
    }
}

/* ---- devices ---- */

/* The largest naturally aligned piece of [at, at + n). */
static unsigned piece(uint64_t at, unsigned n)
{
    unsigned p = 8;
    while (p > n || (p > 1 && at & (p - 1) && n != p)) {
        p >>= 1;
    }
    return p;
}

static uint64_t device_read(struct x86_cpu *c, uint64_t phys, unsigned size)
{
    uint64_t v = 0;
    for (unsigned at = 0, n; at < size; at += n) {
        n = piece(phys + at, size - at);
        struct io_req r = { .addr = phys + at, .count = 1, .size = (uint8_t)n, .space = IO_MMIO };
        x86_io(c, &r);
        uint64_t got = n == 8 ? r.data : r.data & ((1ull << 8 * n) - 1);
        v |= got << 8 * at;
    }
    return v;
}

static void device_write(struct x86_cpu *c, uint64_t phys, unsigned size, uint64_t val)
{
    for (unsigned at = 0, n; at < size; at += n) {
        n = piece(phys + at, size - at);
        struct io_req r = { .addr = phys + at,
                            .data = val >> 8 * at,
                            .count = 1,
                            .size = (uint8_t)n,
                            .space = IO_MMIO,
                            .write = true };
        x86_io(c, &r);
    }
}

/* ---- one page ---- */

/* What the guest does to its memory with several processors at once is the guest's: the names are what a
 * race detector is told (tests/tsan.supp). */
static inline uint64_t guest_get(const uint8_t *h, unsigned size)
{
    return size == 8 ? load_le64(h) : load_le(h, size);
}

static inline void guest_put(uint8_t *h, unsigned size, uint64_t val)
{
    size == 8 ? store_le(h, 8, val) : store_le(h, size, val);
}

static inline void guest_copy(void *to, const void *from, unsigned n)
{
    memcpy(to, from, n);
}

static uint64_t load_here(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    const uint8_t *h = plain_read(c, mode, linear);
    if (h) {
        return guest_get(h, size);
    }
    struct page p;
    fill_or_raise(c, mode, linear, ACC_READ, &p);
    x86_watch_check(c, linear, size, false);
    if (p.host && p.flags & SOFT_READ) {
        return guest_get(p.host + (linear & PAGE_MASK), size);
    }
    return device_read(c, p.phys | (linear & PAGE_MASK), size);
}

/* A page with translated code: its blocks go before the bytes change. */
static void before_code_changes(struct x86_cpu *c, uint64_t phys, unsigned size)
{
    bool inside = !c->outside && !c->ends_block;
    if (tcg_page_has_code(c->tcg.tcg, phys) &&
        tcg_invalidate(c->tcg.tcg, inside ? &c->tcg : NULL, phys, size)) {
        tcg_retry_single(&c->tcg);
    }
}

/* Memory for a store that only translated code on the page keeps from being plain; what code it hits
 * is gone then. NULL: look properly. */
static uint8_t *beside_code(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    unsigned slot = tcg_tlb_slot(linear);
    const struct tcg_tlb *tlb = &c->tcg.tlbs[mode];
    uint64_t phys = c->tlb_phys[mode][slot];
    if (tlb->read[slot] != (linear & ~PAGE_MASK) || !(phys & PHYS_STORE) ||
        !tcg_page_has_code(c->tcg.tcg, phys)) {
        return NULL;
    }
    before_code_changes(c, (phys & ~PAGE_MASK) | (linear & PAGE_MASK), size);
    return tcg_tlb_host(tlb, linear);
}

static void store_found(struct x86_cpu *c, const struct page *p, uint64_t linear, const void *buf,
                        unsigned size)
{
    uint64_t phys = p->phys | (linear & PAGE_MASK);
    x86_watch_check(c, linear, size, true);
    if (p->host && p->flags & SOFT_WRITE) {
        before_code_changes(c, phys, size);
        guest_copy(p->host + (linear & PAGE_MASK), buf, size);
    } else if (!(p->host && p->flags & SOFT_IGNORE)) {
        for (unsigned at = 0; at < size; at += 8) {
            unsigned n = size - at < 8 ? size - at : 8;
            device_write(c, phys + at, n, load_le((const uint8_t *)buf + at, n));
        }
    }
}

static void store_here(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size,
                       uint64_t val)
{
    uint8_t *h = plain_write(c, mode, linear);
    if (h || (h = beside_code(c, mode, linear, size))) {
        guest_put(h, size, val);
        return;
    }
    struct page p;
    fill_or_raise(c, mode, linear, ACC_WRITE, &p);
    store_found(c, &p, linear, &val, size);
}

/* Whatever a store would do before it changes bytes: an instruction that changes more than memory is
 * either told here to start again alone, because it overwrites its own block, or not at all. */
static void probe_here(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    if (!plain_write(c, mode, linear)) {
        struct page p;
        fill_or_raise(c, mode, linear, ACC_WRITE, &p);
        before_code_changes(c, p.phys | (linear & PAGE_MASK), size);
    }
}

/* ---- any address ---- */

/* Bytes of [linear, linear + size) on its first page. */
static inline unsigned first_part(uint64_t linear, unsigned size)
{
    unsigned room = 4096 - (unsigned)(linear & PAGE_MASK);
    return size < room ? size : room;
}

static inline uint64_t advance(const struct x86_cpu *c, uint64_t linear, unsigned n)
{
    return linear >> 32 || c->mode & MODE_CS64 ? linear + n : (uint32_t)(linear + n);
}

uint64_t x86_ld_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    unsigned n = first_part(linear, size);
    if (n == size) {
        return load_here(c, mode, linear, size);
    }
    uint64_t lo = load_here(c, mode, linear, n);
    return lo | load_here(c, mode, advance(c, linear, n), size - n) << 8 * n;
}

void x86_st_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size, uint64_t val)
{
    unsigned n = first_part(linear, size);
    if (n == size) {
        store_here(c, mode, linear, size, val);
        return;
    }
    uint64_t second = advance(c, linear, n);
    probe_here(c, mode, linear, n);
    probe_here(c, mode, second, size - n);
    store_here(c, mode, linear, n, val);
    store_here(c, mode, second, size - n, val >> 8 * n);
}

const uint8_t *x86_plain_read(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    return first_part(linear, size) == size ? plain_read(c, mode, linear) : NULL;
}

uint8_t *x86_plain_write(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    return first_part(linear, size) == size ? plain_write(c, mode, linear) : NULL;
}

void x86_probe_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    unsigned n = first_part(linear, size);
    probe_here(c, mode, linear, n);
    if (n < size) {
        probe_here(c, mode, advance(c, linear, n), size - n);
    }
}

static void read_here(struct x86_cpu *c, unsigned mode, uint64_t linear, uint8_t *buf, unsigned n)
{
    const uint8_t *h = plain_read(c, mode, linear);
    struct page p;
    if (!h) {
        fill_or_raise(c, mode, linear, ACC_READ, &p);
        x86_watch_check(c, linear, n, false);
        h = p.host && p.flags & SOFT_READ ? p.host + (linear & PAGE_MASK) : NULL;
    }
    if (h) {
        guest_copy(buf, h, n);
        return;
    }
    for (unsigned at = 0, s; at < n; at += s) {
        s = n - at < 8 ? n - at : 8;
        store_le(buf + at, s, device_read(c, (p.phys | (linear & PAGE_MASK)) + at, s));
    }
}

static void write_here(struct x86_cpu *c, unsigned mode, uint64_t linear, const uint8_t *buf,
                       unsigned n)
{
    uint8_t *h = plain_write(c, mode, linear);
    if (h || (h = beside_code(c, mode, linear, n))) {
        guest_copy(h, buf, n);
        return;
    }
    struct page p;
    fill_or_raise(c, mode, linear, ACC_WRITE, &p);
    store_found(c, &p, linear, buf, n);
}

void x86_read_bytes(struct x86_cpu *c, unsigned mode, uint64_t linear, void *buf, unsigned size)
{
    uint8_t *to = buf;
    for (unsigned n; size; size -= n, to += n, linear = advance(c, linear, n)) {
        n = first_part(linear, size);
        read_here(c, mode, linear, to, n);
    }
}

void x86_write_bytes(struct x86_cpu *c, unsigned mode, uint64_t linear, const void *buf,
                     unsigned size)
{
    const uint8_t *from = buf;
    unsigned first = first_part(linear, size);
    if (first < size) {
        x86_probe_as(c, mode, linear, size); /* all or nothing */
    }
    for (unsigned n; size; size -= n, from += n, linear = advance(c, linear, n)) {
        n = first_part(linear, size);
        write_here(c, mode, linear, from, n);
    }
}

/* ---- the engine's callbacks ---- */

static inline unsigned mode_now(const struct x86_cpu *c)
{
    return (unsigned)(c->tcg.tlb - c->tcg.tlbs);
}

uint64_t x86_mmu_load(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    return x86_ld_as(c, mode_now(c), linear, size);
}

void x86_mmu_store(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t val)
{
    struct x86_cpu *c = x86_of(cpu);
    x86_st_as(c, mode_now(c), linear, size, val);
}

void x86_mmu_load_bytes(struct tcg_cpu *cpu, uint64_t linear, void *buf, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    x86_read_bytes(c, mode_now(c), linear, buf, size);
}

void x86_mmu_store_bytes(struct tcg_cpu *cpu, uint64_t linear, const void *buf, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    x86_write_bytes(c, mode_now(c), linear, buf, size);
}

void x86_mmu_probe_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    x86_probe_as(c, mode_now(c), linear, size);
}

/* The page is entered as for a load: one whose D bit the first store must set does not become plain. */
void *x86_mmu_plain(struct tcg_cpu *cpu, uint64_t linear, unsigned size, bool write)
{
    struct x86_cpu *c = x86_of(cpu);
    unsigned mode = mode_now(c);
    struct page p;
    struct walker k = { .c = c, .linear = linear, .how = ACC_READ, .mode = mode, .p = &p };
    if (first_part(linear, size) < size ||
        (!plain_read(c, mode, linear) && tlb_fill(&k) != PF_NONE)) {
        return NULL;
    }
    return write ? plain_write(c, mode, linear) : plain_read(c, mode, linear);
}

void *x86_mmu_host_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    if (first_part(linear, size) < size) {
        x86_probe_as(c, mode_now(c), linear, size);
        return NULL;
    }
    probe_here(c, mode_now(c), linear, size);
    uint8_t *h = plain_write(c, mode_now(c), linear);
    return h ? h : beside_code(c, mode_now(c), linear, size);
}

void x86_unaligned(struct tcg_cpu *cpu, uint64_t linear)
{
    (void)linear;
    tcg_sync_pc(cpu);
    x86_mf_before_fault(x86_of(cpu));
    x86_raise_code(x86_of(cpu), EX_GP, 0);
}

/* ---- for helpers ---- */

uint64_t x86_ld(struct x86_cpu *c, uint64_t linear, unsigned size)
{
    return x86_ld_as(c, mode_now(c), linear, size);
}

void x86_st(struct x86_cpu *c, uint64_t linear, unsigned size, uint64_t val)
{
    x86_st_as(c, mode_now(c), linear, size, val);
}

uint64_t x86_ld_kernel(struct x86_cpu *c, uint64_t linear, unsigned size)
{
    return x86_ld_as(c, TLB_KERNEL, linear, size);
}

void x86_st_kernel(struct x86_cpu *c, uint64_t linear, unsigned size, uint64_t val)
{
    x86_st_as(c, TLB_KERNEL, linear, size, val);
}

void *x86_host_page(struct x86_cpu *c, uint64_t linear, enum x86_access how)
{
    unsigned mode = mode_now(c);
    uint8_t *h = how == ACC_WRITE ? plain_write(c, mode, linear) : plain_read(c, mode, linear);
    if (!h) {
        struct page p;
        fill_or_raise(c, mode, linear, how, &p);
        h = how == ACC_WRITE ? plain_write(c, mode, linear) : plain_read(c, mode, linear);
    }
    return h;
}

static unsigned exec_mode(const struct x86_cpu *c)
{
    return x86_cpl(c) == 3 ? TLB_USER : TLB_KERNEL;
}

static bool fetch_page(struct x86_cpu *c, uint64_t linear, struct page *p, int *code)
{
    unsigned mode = exec_mode(c), slot = tcg_tlb_slot(linear), word;
    const struct tcg_tlb *tlb = &c->tcg.tlbs[mode];
    uint64_t bit = code_page_bit(linear, &word);
    c->code_pages[word] |= bit;
    if (tlb->exec[slot] == (linear & ~PAGE_MASK)) {
        uint64_t phys = c->tlb_phys[mode][slot];
        p->phys = phys & ~PAGE_MASK;
        p->global = phys & PHYS_GLOBAL;
        p->host = tcg_tlb_host(tlb, linear & ~PAGE_MASK);
        p->flags = SOFT_READ;
        c->local_code[mode_now(c)] |= !p->global;
        return true;
    }
    struct walker k = {
        .c = c, .linear = linear, .how = ACC_EXEC, .mode = mode, .no_code = true, .p = p
    };
    *code = tlb_fill(&k);
    c->local_code[mode_now(c)] |= !p->global;
    return *code == PF_NONE;
}

uint64_t x86_fetch_phys(struct x86_cpu *c, uint64_t linear)
{
    struct page p;
    int code;
    if (!fetch_page(c, linear, &p, &code)) {
        raise_fault(c, linear, code);
    }
    return p.phys | (linear & PAGE_MASK);
}

const uint8_t *x86_fetch(struct x86_cpu *c, uint64_t linear, unsigned *avail, bool *fault)
{
    struct page p;
    int code;
    *avail = 4096 - (unsigned)(linear & PAGE_MASK);
    *fault = !fetch_page(c, linear, &p, &code);
    if (*fault || !p.host || !(p.flags & SOFT_READ)) {
        return NULL;
    }
    return p.host + (linear & PAGE_MASK);
}

bool x86_fetch_byte(struct x86_cpu *c, uint64_t linear, uint8_t *byte)
{
    unsigned avail;
    bool fault;
    const uint8_t *h = x86_fetch(c, linear, &avail, &fault);
    *byte = h ? *h : 0xff;
    return !fault;
}

bool x86_debug_translate(struct x86_cpu *c, uint64_t linear, uint64_t *phys)
{
    struct page p;
    struct walker k = {
        .c = c, .linear = linear, .how = ACC_READ, .mode = TLB_KERNEL_AC, .quiet = true, .p = &p
    };
    if (mmu_walk(&k) != PF_NONE) {
        return false;
    }
    *phys = (p.phys & c->a20_mask) | (linear & PAGE_MASK);
    return true;
}

/* ---- physical memory ---- */

uint64_t x86_ld_phys(struct x86_cpu *c, uint64_t phys, unsigned size)
{
    unsigned flags = 0;
    const uint8_t *h = soft_page(c->soft, phys & ~PAGE_MASK, c->smm, &flags);
    return h && flags & SOFT_READ ? load_le(h + (phys & PAGE_MASK), size)
                                  : device_read(c, phys, size);
}

void x86_st_phys(struct x86_cpu *c, uint64_t phys, unsigned size, uint64_t val)
{
    struct page p = { .phys = phys & ~PAGE_MASK };
    p.host = soft_page(c->soft, p.phys, c->smm, &p.flags);
    if (p.host && p.flags & SOFT_LOG) {
        soft_mark_dirty(c->soft, p.phys);
    }
    if (p.host && p.flags & SOFT_WRITE && tcg_page_has_code(c->tcg.tcg, phys)) {
        tcg_invalidate(c->tcg.tcg, NULL, phys, size);
    }
    if (p.host && p.flags & SOFT_WRITE) {
        store_le(p.host + (phys & PAGE_MASK), size, val);
    } else if (!(p.host && p.flags & SOFT_IGNORE)) {
        device_write(c, phys, size, val);
    }
}

/* ---- data breakpoints (SDM vol. 3, 18.2) ---- */

/* Whether DRn watches [linear, linear + size) for that kind of access. */
static bool watches(const struct x86_cpu *c, unsigned n, uint64_t linear, uint64_t size)
{
    static const uint8_t lens[4] = { 1, 2, 8, 4 };
    unsigned rw = c->dr[7] >> (16 + 4 * n) & 3;
    uint64_t len = lens[c->dr[7] >> (18 + 4 * n) & 3], at = c->dr[n] & ~(len - 1);
    return c->dr[7] >> 2 * n & 3 && rw & 1 && linear < at + len && at < linear + size;
}

bool x86_watch_page(const struct x86_cpu *c, uint64_t linear)
{
    if (x86_debug_watches_page(c->debug, linear)) {
        return true;
    }
    if (!(c->dr[7] & 0xff)) {
        return false;
    }
    for (unsigned n = 0; n < 4; n++) {
        if (watches(c, n, linear & ~PAGE_MASK, 4096)) {
            return true;
        }
    }
    return false;
}

void x86_watch_check(struct x86_cpu *c, uint64_t linear, unsigned size, bool write)
{
    if (x86_debug_watch_hit(c->debug, linear, size, write, &c->watch_addr, &c->watch_how)) {
        x86_debug_trap(c, DB_WATCHED);
    }
    if (!(c->dr[7] & 0xff)) {
        return;
    }
    uint64_t hit = 0;
    for (unsigned n = 0; n < 4; n++) {
        bool reads = (c->dr[7] >> (16 + 4 * n) & 3) == 3;
        if ((write || reads) && watches(c, n, linear, size)) {
            hit |= 1ull << n;
        }
    }
    if (hit) {
        x86_debug_trap(c, hit);
    }
}
