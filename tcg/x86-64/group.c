/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/group.c - which memory accesses of a block one look-up serves.
 *
 * Accesses that differ by a known distance (fields of a structure, what a function pushes, variables
 * beside one another) mostly lie on one page. The first of a group looks up everything from the lowest to
 * the highest byte, for writing if one of them writes; the others find the host address in a register:
 *
 *     push rbx            look-up of [rsp - 8, rsp + 24), pointer P      mov [P], rbx
 *     mov rax, [rdi]      a look-up of its own, "apart"
 *     mov rcx, [rsp + 24]                                                mov rcx, [P + 24]
 *
 * If all have one base register, which keeps its value between them, P is what leads from it to the host's
 * addresses, so that they do not wait for a sum:
 *
 *     mov rax, [rdi + 8]  look-up of [rdi, rdi + 16), distance D         mov rax, [rdi + D + 8]
 *     mov rdi, [rdi]                                                     mov rdi, [rdi + D]
 *
 * A table that a byte is the index of is a group of its own: its beginning is looked up, which does not wait
 * for the index. Whether it lies on one page is told by what its base register holds when the block is made:
 *
 *     xor rdx, [rsi + rax * 8]     look-up of [rsi, rsi + 2048), pointer P     xor rdx, [P + rax * 8]
 *
 * When the bytes are not all plain memory of one page (a miss that C code can fill quietly is none of
 * that) the block is left as the instruction begins, for one in which each access is looked up by itself
 * (TB_APART). So nothing but such a look happens between the first and the last of a group: accesses
 * there that are none's are treated alike, and C code that may change mappings ends all groups.
 * Leaving that way does the instruction again from its beginning: the first of a group is the first
 * access of its instruction, and what that instruction did to plain memory before it does the same again.
 * An access behind one that changed registers or flags already ends all groups, unless it belongs to one.
 */
#include "tcg/eval.h"
#include "tcg/x86-64/gen.h"

enum { MOST_BYTES = 512, PAGE = 4096, ENTRY_IDS = 16 };

/* What a guest register or temporary is known to hold: something, named by a number, plus a distance. Of
 * size 4 only the lower halves are known to be that. */
struct value {
    uint16_t
        id; /* 0: nothing, as of an address without base; n + 1: what register n held at first */
    uint16_t max; /* no more than this, all of it; 0: not known */
    uint8_t size;
    int64_t off;
};

struct where {
    uint16_t base, index;
    uint8_t scale, addr_size;
    int8_t seg;
    bool lin32;
    int64_t disp;
};

struct candidate {
    struct where w; /* without the distance */
    int64_t lo, hi;
    unsigned n, first, last;
    bool write, indexed;
};

struct scan {
    struct gen *g;
    uint16_t ids;
    struct value gpr[16], temp[IR_MAX_TEMPS];
    struct candidate c[GROUPS];
    unsigned n, open; /* candidates from `open` on may still grow */
    bool begun;       /* the instruction has accessed memory */
    bool changed;     /* or registers or flags */
};

static struct value unknown(struct scan *s)
{
    return (struct value){ .id = ++s->ids, .size = 8 };
}

static struct value *value_at(struct scan *s, const struct ir_arg *a)
{
    return a->kind == IR_GPR && !a->high ? &s->gpr[a->num]
           : a->kind == IR_TEMP          ? &s->temp[a->num]
                                         : NULL;
}

/* ---- what operations leave in registers ---- */

/* What a result of 4 or 8 bytes cannot exceed, if that is less than a page. */
static uint16_t bound_of(const struct ir_op *o)
{
    uint64_t most = PAGE;
    if (o->op == IR_ZX8 || (o->op == IR_LDZX && o->imm == 1)) {
        most = 0xff;
    } else if (o->op == IR_AND && o->b.kind == IR_CONST && o->b.value > 0) {
        most = (uint64_t)o->b.value;
    } else if (o->op == IR_SHR && o->b.kind == IR_CONST) {
        most = (o->size == 4 ? UINT32_MAX : UINT64_MAX) >>
               ((unsigned)o->b.value & count_mask(o->size));
    }
    return o->size >= 4 && most < PAGE ? (uint16_t)most : 0;
}

static struct value result_of(struct scan *s, const struct ir_op *o)
{
    struct value bounded = { .max = bound_of(o), .size = 8 };
    if (bounded.max) {
        bounded.id = unknown(s).id;
        return bounded;
    }
    const struct value *from = NULL;
    int64_t off = 0;
    if (o->op == IR_MOV) {
        from = value_at(s, &o->a);
    } else if (o->op == IR_LEA && o->mem.index.kind == IR_NONE && o->mem.addr_size >= o->size) {
        from = value_at(s, &o->mem.base);
        off = o->mem.disp;
    } else if ((o->op == IR_ADD || o->op == IR_SUB) && o->b.kind == IR_CONST) {
        from = value_at(s, &o->a);
        off = o->op == IR_ADD ? o->b.value : (int64_t)(0 - (uint64_t)o->b.value);
    }
    if (!from || o->size < 4) {
        return unknown(s);
    }
    struct value v = *from;
    if (v.max && o->op == IR_MOV) {
        return v;
    }
    v.max = 0;
    v.size = o->size < v.size ? o->size : v.size;
    v.off = (int64_t)((uint64_t)v.off + (uint64_t)off);
    return v;
}

static void note_results(struct scan *s, const struct ir_op *o)
{
    struct value v = result_of(s, o), *to = value_at(s, &o->dst);
    uint16_t written = ir_gprs_written(o);
    s->changed |= written || (o->fneed & ir_flags_written(o));
    for (unsigned left = written; left; left &= left - 1) {
        s->gpr[__builtin_ctz(left)] = unknown(s);
    }
    if (o->dst2.kind == IR_TEMP) {
        s->temp[o->dst2.num] = unknown(s);
    }
    if (to && o->dst2.kind == IR_NONE) {
        *to = v;
    } else if (to) {
        *to = unknown(s);
    }
}

/* ---- accesses ---- */

static bool accesses(const struct ir_op *o)
{
    return (o->op >= IR_LD && o->op <= IR_A_CMPXCHG) || (o->op == IR_NATIVE && o->native->mem_size);
}

static unsigned size_of(const struct ir_op *o)
{
    return o->op == IR_NATIVE                     ? o->native->mem_size
           : o->op == IR_LDZX || o->op == IR_LDSX ? (unsigned)o->imm
                                                  : o->size;
}

static bool writes(const struct ir_op *o)
{
    switch (o->op) {
    case IR_LD:
        return o->mem.flags & IR_MEM_RMW;
    case IR_LDZX:
    case IR_LDSX:
        return false;
    case IR_NATIVE:
        return o->native->mem_write;
    default:
        return true;
    }
}

/* C code that may do more than look at page tables; what may be a segment base. */
static bool ends_groups(const struct gen *g, const struct ir_op *o)
{
    return o->op == IR_CALL || o->op == IR_ST_STATE ||
           (o->op == IR_NATIVE && native_is_c(g, o->native)) ||
           (o->op >= IR_A_RMW && o->op <= IR_A_CMPXCHG && atomic_is_c(o));
}

/* Distances between such addresses are those between linear ones. */
static bool may_join(const struct ir_op *o)
{
    const struct ir_mem *m = &o->mem;
    return (o->op < IR_A_RMW || o->op > IR_A_CMPXCHG) && !(m->flags & IR_MEM_ALIGN) &&
           (m->addr_size == 8 || (m->addr_size == 4 && (m->seg < 0 || m->lin32)));
}

static struct value part(struct scan *s, const struct ir_arg *a, unsigned size)
{
    struct value *v = value_at(s, a);
    if (v && v->size < size) {
        *v = unknown(s);
    }
    return v ? *v : (struct value){ .id = 0 };
}

static struct where where_of(struct scan *s, const struct ir_mem *m)
{
    struct value base = part(s, &m->base, m->addr_size), index = part(s, &m->index, m->addr_size);
    uint64_t disp = (uint64_t)m->disp + (uint64_t)base.off + (uint64_t)index.off * m->scale;
    return (struct where){ .base = base.id,
                           .index = index.id,
                           .scale = index.id ? m->scale : 1,
                           .addr_size = m->addr_size,
                           .seg = m->seg,
                           .lin32 = m->lin32,
                           .disp = m->addr_size == 8 ? (int64_t)disp : (int32_t)disp };
}

static bool same(const struct where *a, const struct where *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale &&
           a->addr_size == b->addr_size && a->seg == b->seg && a->lin32 == b->lin32;
}

/* The index of the operand leads to few places, probably all on one page: then w and *size become
 * those of them all. */
static bool by_index(const struct scan *s, const struct ir_op *o, struct where *w, unsigned *size)
{
    const struct ir_mem *m = &o->mem;
    unsigned max = m->index.kind == IR_GPR ? s->gpr[m->index.num].max : 0;
    unsigned all = max * m->scale + *size;
    if (!max || all > PAGE || m->addr_size != 8 || m->seg >= 0 || w->base > ENTRY_IDS ||
        misfit_level(s->g) == MISFIT_TABLES) {
        return false;
    }
    uint64_t base = w->base ? s->g->entry[w->base - 1] : 0;
    if (((base + (uint64_t)w->disp) & (PAGE - 1)) + all > PAGE) {
        return false;
    }
    w->index = 0;
    w->scale = 1;
    *size = all;
    return true;
}

static void add(struct scan *s, unsigned at, struct candidate *c, int64_t disp, unsigned size,
                bool write, bool indexed)
{
    struct place *p = &s->g->place[at];
    c->lo = c->n && c->lo < disp ? c->lo : disp;
    c->hi = c->n && c->hi > disp + size ? c->hi : disp + size;
    c->write |= write;
    c->indexed |= indexed;
    p->indexed = indexed;
    if (c->n++ == 0) {
        c->first = at;
        p->first = true;
    } else {
        s->g->place[c->last].next = (uint16_t)at;
    }
    c->last = at;
    p->group = (uint8_t)(c - s->c);
    p->disp = disp;
}

static bool fits(const struct candidate *c, const struct where *w, unsigned size)
{
    enum { FAR = 1 << 30 };
    if (!same(&c->w, w) || w->disp > c->lo + FAR || w->disp < c->lo - FAR) {
        return false;
    }
    int64_t lo = c->lo < w->disp ? c->lo : w->disp;
    int64_t hi = c->hi > w->disp + size ? c->hi : w->disp + size;
    return hi - lo <= MOST_BYTES || (lo == c->lo && hi == c->hi);
}

static void access(struct scan *s, unsigned at)
{
    const struct ir_op *o = &s->g->ir->op[at];
    bool first = !s->begun;
    s->begun = true;
    if (ends_groups(s->g, o)) {
        s->open = s->n;
        return;
    }
    bool joins = may_join(o);
    struct where w = where_of(s, &o->mem);
    unsigned size = size_of(o);
    bool indexed = joins && by_index(s, o, &w, &size);
    for (unsigned i = s->open; joins && i < s->n; i++) {
        if (fits(&s->c[i], &w, size)) {
            add(s, at, &s->c[i], w.disp, size, writes(o), indexed);
            return;
        }
    }
    if (s->changed) {
        s->open = s->n;
        return;
    }
    bool near_end = w.disp > INT64_MAX - (1ll << 31) || w.disp < INT64_MIN + (1ll << 31);
    if (joins && first && s->n < GROUPS && !near_end) {
        s->c[s->n] = (struct candidate){ .w = w };
        add(s, at, &s->c[s->n++], w.disp, size, writes(o), indexed);
    }
}

static void scan(struct scan *s)
{
    struct ir_block *ir = s->g->ir;
    for (unsigned i = 0; i < 16; i++) {
        s->gpr[i] = unknown(s);
    }
    s->begun = true;
    s->changed = false;
    for (unsigned i = 0, op, st; i < ir->n; i++) {
        const struct ir_op *o = &ir->op[i];
        if (o->op == IR_INSN) {
            s->begun = s->changed = false;
        } else if (accesses(o) || ends_groups(s->g, o)) {
            access(s, i);
        }
        note_results(s, o);
        if (rmw_shape(s->g, i, &op, &st)) { /* one access */
            note_results(s, &ir->op[op]);
            i = st;
        }
    }
}

/* The home of the register that all accesses of the group are beside, always at the same value. */
static unsigned common_base(const struct gen *g, unsigned group, const struct candidate *c)
{
    const struct ir_mem *first = &g->ir->op[c->first].mem;
    const struct where *w = &c->w;
    if (c->indexed || w->index || w->addr_size != 8 || w->seg >= 0 || w->lin32 ||
        first->base.kind != IR_GPR) {
        return NO_REG;
    }
    uint64_t moved = (uint64_t)g->place[c->first].disp - (uint64_t)first->disp;
    if (!fits32((int64_t)((uint64_t)c->lo - moved)) ||
        !fits32((int64_t)((uint64_t)c->hi - moved))) {
        return NO_REG;
    }
    for (unsigned i = c->first; i <= c->last; i++) {
        const struct ir_mem *m = &g->ir->op[i].mem;
        const struct place *p = &g->place[i];
        if (p->group == group && (m->base.kind != IR_GPR || m->base.num != first->base.num ||
                                  (uint64_t)p->disp - (uint64_t)m->disp != moved)) {
            return NO_REG;
        }
    }
    return gpr_home[first->base.num];
}

/* Candidates with more than one access, or with one by an index, become groups. */
static void settle(struct scan *s)
{
    struct gen *g = s->g;
    for (unsigned k = 0; k < s->n; k++) {
        const struct candidate *c = &s->c[k];
        if (c->n == 1 && !c->indexed) {
            g->place[c->first].group = NO_GROUP;
            continue;
        }
        g->group[k] = (struct group){ .bytes = (uint16_t)(c->hi - c->lo),
                                      .base = (uint8_t)common_base(g, k, c),
                                      .write = c->write };
        g->temp[g->ir->temps + k] = (struct temp){ .where = T_NONE, .uses = (uint16_t)c->n };
        for (unsigned i = c->first; i <= c->last; i++) {
            struct place *p = &g->place[i];
            p->apart = true;
            p->at = p->group == k ? (uint16_t)(p->disp - c->lo) : p->at;
        }
    }
}

/* ---- stack pointers on their way ---- */

/* lea rsp, [rsp - 8], the other half of a push. */
static bool moves_itself(const struct ir_op *o)
{
    const struct ir_mem *m = &o->mem;
    return o->op == IR_LEA && o->size == 8 && o->dst.kind == IR_GPR && m->base.kind == IR_GPR &&
           m->base.num == o->dst.num && m->index.kind == IR_NONE && m->addr_size == 8 &&
           m->seg < 0 && !m->lin32;
}

static uint16_t gpr_bit(const struct ir_arg *a)
{
    return a->kind == IR_GPR ? (uint16_t)(1u << a->num) : 0;
}

/* Guest registers that the operation looks at or sets, itself or by leaving the block. An access that finds
 * its place by a group's pointer cannot leave it, and looks at its base only if all have the same. */
static uint16_t gprs_seen(const struct gen *g, unsigned i)
{
    const struct ir_op *o = &g->ir->op[i];
    if (o->op == IR_INSN || o->op == IR_NOP) {
        return 0;
    }
    if (o->op == IR_LD || o->op == IR_LDZX || o->op == IR_LDSX || o->op == IR_ST) {
        const struct place *p = &g->place[i];
        if (p->group == NO_GROUP || p->first) {
            return UINT16_MAX;
        }
        unsigned base = g->group[p->group].base == NO_REG ? 0 : gpr_bit(&o->mem.base);
        return (uint16_t)(base | gpr_bit(&o->dst) | gpr_bit(&o->a) | gpr_bit(&o->mem.index));
    }
    bool stays = o->op == IR_LEA || ir_is_pure(o->op);
    return stays ? ir_gprs_read(o) | ir_gprs_written(o) : UINT16_MAX;
}

/* What a function pushes and pops moves its stack pointer each time; between accesses of a group only the
 * sum is ever seen. */
static void move_at_once(struct gen *g)
{
    struct ir_op *unseen[16] = { NULL };
    uint16_t any = 0;
    for (unsigned i = 0; i < g->ir->n; i++) {
        struct ir_op *o = &g->ir->op[i];
        unsigned r = o->dst.num;
        if (!moves_itself(o)) {
            any &= (uint16_t) ~(any ? gprs_seen(g, i) : 0);
            continue;
        }
        if (any >> r & 1 && fits32(o->mem.disp + unseen[r]->mem.disp)) {
            o->mem.disp += unseen[r]->mem.disp;
            *unseen[r] = (struct ir_op){ .op = IR_NOP };
        }
        unseen[r] = o;
        any |= (uint16_t)(1u << r);
    }
}

void group_accesses(struct gen *g)
{
    struct scan s;
    struct ir_block *ir = g->ir;
    unsigned n = 0, tables = 0;
    for (unsigned i = 0; i < ir->n; i++) {
        bool any = accesses(&ir->op[i]);
        g->place[i] = (struct place){ .group = NO_GROUP, .next = NEVER };
        n += any;
        tables += any && ir->op[i].mem.index.kind == IR_GPR;
    }
    if (n + tables < 2 || !(g->t->opt.passes & PASS_GROUP) ||
        g->b->tb.key.cflags & (TB_APART | TB_ICOUNT) || misfit_level(g) == MISFIT_GROUPS) {
        return;
    }
    s.g = g;
    s.ids = 0;
    s.n = s.open = 0;
    scan(&s);
    settle(&s);
    move_at_once(g);
}
