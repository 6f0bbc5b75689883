/* SPDX-License-Identifier: MIT */
/* target/x86/string.c - MOVS, STOS, LODS, CMPS, SCAS, whole runs at a time.
 *
 * A run ends with the count, with a page of either operand that is not followed by its neighbour in our
 * memory, or where the address would wrap. On
 * plain memory it is a memmove, memset, memcmp or memchr; elsewhere, and for an element that lies
 * on two pages, it is one element. Registers are exact after each run, so a fault restarts the
 * instruction where it stood, and an exit request is honoured between runs.
 */
#include "target/x86/string-int.h"

/* ---- registers ---- */

static uint64_t cut(const struct x86_string *s, uint64_t v)
{
    return s->addr == 8 ? v : s->addr == 4 ? (uint32_t)v : (uint16_t)v;
}

static void write_reg(const struct x86_string *s, unsigned r, uint64_t v)
{
    uint64_t *g = &s->c->tcg.gpr[r];
    *g = s->addr == 2 ? (*g & ~0xffffull) | (uint16_t)v : cut(s, v);
}

void x86_string_begin(struct x86_string *s, struct tcg_cpu *t, uint64_t a, uint64_t next,
                      uint64_t here)
{
    struct x86_cpu *c = x86_of(t);
    bool c64 = c->mode & MODE_CS64;
    unsigned seg = a >> 24 & 7;
    *s = (struct x86_string){ .c = c,
                              .size = a & 0xff,
                              .addr = a >> 8 & 0xff,
                              .prefix = a >> 16 & 3,
                              .seg = seg,
                              .next = next,
                              .here = here };
    s->shift = (unsigned)__builtin_ctz(s->size);
    s->step = c->eflags & EF_DF ? -(int)s->size : (int)s->size;
    s->src_base = c64 && seg != FS && seg != GS ? 0 : t->seg_base[seg];
    s->dst_base = c64 ? 0 : t->seg_base[ES];
    s->lin_mask = c64 ? UINT64_MAX : UINT32_MAX;
    s->checked = c->mode & (MODE_SEGLIMITS | MODE_FSGS_LIMITS) && !c64;
    c->ends_block = true;
}

uint64_t x86_string_count(const struct x86_string *s)
{
    return s->prefix ? cut(s, s->c->tcg.gpr[RCX]) : 1;
}

uint64_t x86_string_src(const struct x86_string *s)
{
    return (s->src_base + cut(s, s->c->tcg.gpr[RSI])) & s->lin_mask;
}

uint64_t x86_string_dst(const struct x86_string *s)
{
    return (s->dst_base + cut(s, s->c->tcg.gpr[RDI])) & s->lin_mask;
}

void x86_string_advance(const struct x86_string *s, uint64_t n, bool src, bool dst)
{
    uint64_t by = (uint64_t)((int64_t)n * s->step);
    const uint64_t *g = s->c->tcg.gpr;
    if (src) {
        write_reg(s, RSI, g[RSI] + by);
    }
    if (dst) {
        write_reg(s, RDI, g[RDI] + by);
    }
    if (s->prefix) {
        write_reg(s, RCX, g[RCX] - n);
    }
}

uint64_t x86_string_end(const struct x86_string *s, bool more)
{
    s->c->ends_block = false;
    return x86_go(s->c, more ? s->here : s->next);
}

bool x86_string_pause(const struct x86_string *s)
{
    return s->prefix && (s->c->eflags & EF_TF || /* a trap behind each element */
                         __atomic_load_n(&s->c->tcg.exit_request, __ATOMIC_RELAXED));
}

/* Elements from offset off (a register's value) and linear on that lie wholly on this page and
 * before the offset wraps; 0: one by itself, it straddles or traps. */
uint64_t x86_string_room(const struct x86_string *s, uint64_t off, uint64_t linear)
{
    uint64_t in_page = linear & 0xfff;
    if (s->c->eflags & EF_TF) {
        return 0;
    }
    if (s->step < 0) {
        if (in_page + s->size > 4096) {
            return 0;
        }
        uint64_t left = min_u64(in_page >> s->shift, cut(s, off) >> s->shift);
        return left + 1;
    }
    uint64_t n = (4096 - in_page) >> s->shift;
    if (s->addr < 8) {
        uint64_t top = s->addr == 4 ? 1ull << 32 : 1u << 16;
        n = min_u64(n, (top - cut(s, off)) >> s->shift);
    }
    return n;
}

/* ---- one element, any memory ---- */

static void check(const struct x86_string *s, unsigned seg, unsigned reg, bool write)
{
    if (s->checked) {
        x86_h_check_seg.fn(&s->c->tcg, seg | (uint64_t)write << 8, cut(s, s->c->tcg.gpr[reg]),
                           s->size);
    }
}

static uint64_t load_src(const struct x86_string *s)
{
    check(s, s->seg, RSI, false);
    return x86_ld(s->c, x86_string_src(s), s->size);
}

static uint64_t load_dst(const struct x86_string *s)
{
    check(s, ES, RDI, false);
    return x86_ld(s->c, x86_string_dst(s), s->size);
}

static void store_dst(const struct x86_string *s, uint64_t v)
{
    check(s, ES, RDI, true);
    x86_st(s->c, x86_string_dst(s), s->size, v);
}

/* ---- runs ---- */

struct run {
    uint64_t n;         /* elements; 0: take one by itself */
    uint8_t *src, *dst; /* lowest address */
};

enum { RUN_BYTES = 64 << 10 }; /* exit requests are looked at in between */

/* Elements of a run whose first n, to the end of the page, lie at host: pages behind it are taken in
 * while they follow in our memory and are plain already. */
static uint64_t grow(const struct x86_string *s, uint64_t linear, const uint8_t *host,
                     enum x86_access how, uint64_t n, uint64_t most)
{
    unsigned mode = x86_data_mode(s->c);
    if (s->step < 0 || s->addr < 8) {
        return n;
    }
    while (n < most && n * s->size < RUN_BYTES) {
        uint64_t at = linear + n * s->size;
        const uint8_t *h = at & 0xfff         ? NULL
                           : how == ACC_WRITE ? x86_plain_write(s->c, mode, at, 1)
                                              : x86_plain_read(s->c, mode, at, 1);
        if (!h || h != host + n * s->size) {
            break;
        }
        n = min_u64(most, n + (4096u >> s->shift));
    }
    return n;
}

/* The next run of at most count elements. */
static struct run find_run(const struct x86_string *s, uint64_t count, bool src, bool dst,
                           enum x86_access dst_how)
{
    struct run r = { .n = s->checked ? 0 : count };
    const uint64_t *g = s->c->tcg.gpr;
    uint64_t from = x86_string_src(s), to = x86_string_dst(s);
    uint64_t n_src = src ? min_u64(r.n, x86_string_room(s, g[RSI], from)) : r.n;
    uint64_t n_dst = dst ? min_u64(r.n, x86_string_room(s, g[RDI], to)) : r.n;
    if (!n_src || !n_dst) {
        r.n = 0;
        return r;
    }
    if ((src && !(r.src = x86_host_page(s->c, from, ACC_READ))) ||
        (dst && !(r.dst = x86_host_page(s->c, to, dst_how)))) {
        r.n = 0;
        return r;
    }
    n_src = src ? grow(s, from, r.src, ACC_READ, n_src, count) : n_src;
    n_dst = dst ? grow(s, to, r.dst, dst_how, n_dst, count) : n_dst;
    r.n = min_u64(n_src, n_dst);
    if (s->step < 0 && r.n) {
        uint64_t back = (r.n - 1) * s->size;
        r.src -= src ? back : 0;
        r.dst -= dst ? back : 0;
    }
    return r;
}

/* ---- MOVS ---- */

/* Copies up with the destination inside the source: the pattern repeats. */
static void copy_up(uint8_t *dst, const uint8_t *src, uint64_t bytes, unsigned size)
{
    uint64_t gap = (uint64_t)(dst - src);
    if (gap < size) {
        for (uint64_t i = 0; i < bytes; i += size) {
            uint64_t v = load_le(src + i, size);
            store_le(dst + i, size, v);
        }
        return;
    }
    for (uint64_t at = 0, n; at < bytes; at += n) { /* what is copied may be copied from */
        n = min_u64(bytes - at, gap + at);
        memcpy(dst + at, src, n);
    }
}

static void copy_down(uint8_t *dst, const uint8_t *src, uint64_t bytes, unsigned size)
{
    for (uint64_t i = bytes; i; i -= size) {
        uint64_t v = load_le(src + i - size, size);
        store_le(dst + i - size, size, v);
    }
}

static void move_run(const struct x86_string *s, const struct run *r)
{
    uint64_t bytes = r->n * s->size;
    if (s->step > 0 && r->dst > r->src && r->dst < r->src + bytes) {
        copy_up(r->dst, r->src, bytes, s->size);
    } else if (s->step < 0 && r->src > r->dst && r->src < r->dst + bytes) {
        copy_down(r->dst, r->src, bytes, s->size);
    } else {
        memmove(r->dst, r->src, bytes);
    }
}

#define STRING_FLAGS (IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)

X86_HELPER(movs, STRING_FLAGS)
{
    struct x86_string s;
    x86_string_begin(&s, t, a, b, cc);
    uint64_t count = x86_string_count(&s);
    while (count) {
        struct run r = find_run(&s, count, true, true, ACC_WRITE);
        if (r.n) {
            move_run(&s, &r);
        } else {
            store_dst(&s, load_src(&s));
            r.n = 1;
        }
        x86_string_advance(&s, r.n, true, true);
        count -= r.n;
        if (count && x86_string_pause(&s)) {
            break;
        }
    }
    return x86_string_end(&s, count != 0);
}

/* ---- STOS ---- */

/* The host's own REP STOSB writes whole lines without reading them first; memset's stores do read. */
static void fill_bytes(uint8_t *p, uint64_t n, uint8_t v)
{
#ifdef __x86_64__
    if (n >= 1024) {
        __asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(v) : "memory");
        return;
    }
#endif
    memset(p, v, n);
}

static void fill(uint8_t *p, uint64_t n, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        fill_bytes(p, n, (uint8_t)v);
        break;
    case 2:
        for (uint64_t i = 0; i < n; i++) {
            memcpy(p + 2 * i, &v, 2);
        }
        break;
    case 4:
        for (uint64_t i = 0; i < n; i++) {
            memcpy(p + 4 * i, &v, 4);
        }
        break;
    default:
        for (uint64_t i = 0; i < n; i++) {
            memcpy(p + 8 * i, &v, 8);
        }
    }
}

X86_HELPER(stos, STRING_FLAGS)
{
    struct x86_string s;
    x86_string_begin(&s, t, a, b, cc);
    uint64_t count = x86_string_count(&s), v = t->gpr[RAX];
    bool bytes_alike = s.size == 8 ? v == (v & 0xff) * 0x0101010101010101ull : false;
    while (count) {
        struct run r = find_run(&s, count, false, true, ACC_WRITE);
        if (r.n && bytes_alike) {
            fill_bytes(r.dst, r.n * 8, (uint8_t)v);
        } else if (r.n) {
            fill(r.dst, r.n, s.size, v);
        } else {
            store_dst(&s, v);
            r.n = 1;
        }
        x86_string_advance(&s, r.n, false, true);
        count -= r.n;
        if (count && x86_string_pause(&s)) {
            break;
        }
    }
    return x86_string_end(&s, count != 0);
}

/* ---- LODS ---- */

static void write_acc(struct tcg_cpu *t, unsigned size, uint64_t v)
{
    uint64_t *g = &t->gpr[RAX];
    switch (size) {
    case 1:
        *g = (*g & ~0xffull) | (uint8_t)v;
        break;
    case 2:
        *g = (*g & ~0xffffull) | (uint16_t)v;
        break;
    case 4:
        *g = (uint32_t)v;
        break;
    default:
        *g = v;
    }
}

X86_HELPER(lods, STRING_FLAGS)
{
    struct x86_string s;
    x86_string_begin(&s, t, a, b, cc);
    uint64_t count = x86_string_count(&s);
    while (count) {
        struct run r = find_run(&s, count, true, false, ACC_READ);
        if (r.n) { /* only the last one stays */
            const uint8_t *p = s.step > 0 ? r.src + (r.n - 1) * s.size : r.src;
            write_acc(t, s.size, load_le(p, s.size));
        } else {
            write_acc(t, s.size, load_src(&s));
            r.n = 1;
        }
        x86_string_advance(&s, r.n, true, false);
        count -= r.n;
        if (count && x86_string_pause(&s)) {
            break;
        }
    }
    return x86_string_end(&s, count != 0);
}

/* ---- CMPS, SCAS ---- */

static void compare_flags(struct tcg_cpu *t, uint64_t x, uint64_t y, unsigned size)
{
    unsigned top = size * 8 - 1;
    uint64_t mask = size == 8 ? UINT64_MAX : (1ull << size * 8) - 1;
    x &= mask;
    y &= mask;
    uint64_t r = (x - y) & mask, f = 0;
    f |= x < y ? F_CF : 0;
    f |= __builtin_parity((unsigned)r & 0xff) ? 0 : F_PF;
    f |= (x ^ y ^ r) & F_AF;
    f |= r == 0 ? F_ZF : 0;
    f |= r >> top & 1 ? F_SF : 0;
    f |= ((x ^ y) & (x ^ r)) >> top & 1 ? F_OF : 0;
    t->flags = f;
}

/* Element i of a run in the order it is visited. */
static uint64_t element(const struct x86_string *s, const uint8_t *lowest, uint64_t n, uint64_t i)
{
    return load_le(lowest + (s->step > 0 ? i : n - 1 - i) * s->size, s->size);
}

/* How many elements of a run compare before the repeat ends, the deciding one included. */
static uint64_t compare_run(const struct x86_string *s, const struct run *r, uint64_t acc)
{
    bool want = s->prefix == 1; /* goes on while equal */
    bool scas = !r->src;
    if (!scas && want && memcmp(r->src, r->dst, r->n * s->size) == 0) {
        return r->n;
    }
    if (scas && !want && s->size == 1 && s->step > 0) {
        const uint8_t *hit = memchr(r->dst, (int)(acc & 0xff), r->n);
        return hit ? (uint64_t)(hit - r->dst) + 1 : r->n;
    }
    for (uint64_t i = 0; i < r->n; i++) {
        uint64_t x = scas ? acc : element(s, r->src, r->n, i);
        if ((x == element(s, r->dst, r->n, i)) != want) {
            return i + 1;
        }
    }
    return r->n;
}

static uint64_t compare_string(struct x86_string *s, bool scas)
{
    struct tcg_cpu *t = &s->c->tcg;
    uint64_t count = x86_string_count(s),
             mask = s->size == 8 ? UINT64_MAX : (1ull << s->size * 8) - 1;
    uint64_t acc = t->gpr[RAX] & mask, want = s->prefix == 1 ? F_ZF : 0;
    while (count) {
        struct run r = find_run(s, s->prefix ? count : 0, !scas, true, ACC_READ);
        uint64_t x, y, did = 1;
        if (r.n) {
            did = compare_run(s, &r, acc);
            x = scas ? acc : element(s, r.src, r.n, did - 1);
            y = element(s, r.dst, r.n, did - 1);
        } else {
            x = scas ? acc : load_src(s);
            y = load_dst(s);
        }
        compare_flags(t, x, y, s->size);
        x86_string_advance(s, did, !scas, true);
        count -= did;
        if (!s->prefix || (t->flags & F_ZF) != want) {
            count = 0;
        }
        if (count && x86_string_pause(s)) {
            break;
        }
    }
    return x86_string_end(s, count != 0);
}

X86_HELPER(cmps, STRING_FLAGS)
{
    struct x86_string s;
    x86_string_begin(&s, t, a, b, cc);
    return compare_string(&s, false);
}

X86_HELPER(scas, STRING_FLAGS)
{
    struct x86_string s;
    x86_string_begin(&s, t, a, b, cc);
    return compare_string(&s, true);
}
