/* SPDX-License-Identifier: MIT */
/* target/x86/translate.c - from guest bytes to one block of IR.
 *
 * A block is straight-line code from one RIP to the first transfer, the end of the page, or
 * MAX_INSNS. Only its first instruction may cross into another page, and then it is alone.
 * What is known at translation (struct tb_key: mode, CPL, CS base) is never tested at run time.
 *
 * Flags: before a block ends, the code at each of its exits is looked at (x86_flags_live), so that
 * flags nobody reads need not be kept. The IR says from which bytes that was concluded.
 */
#include "target/x86/disas.h"
#include "target/x86/glance.h"
#include "target/x86/translate-int.h"
#include "target/x86/vcpu-int.h"

#include <string.h>

enum { MAX_INSNS = 64, PAGE = 4096, MAX_LEN = 15, PEEK_INSNS = 12, PEEK_REACH = 1024 };

/* ---- what code at an exit does with flags ---- */

struct peek {
    struct dc *d;
    unsigned budget;
    uint64_t lo, hi;
};

static uint16_t live_at(struct peek *p, uint64_t pc, uint16_t killed)
{
    uint16_t live = 0;
    while (killed != F_ALL) {
        uint64_t off = pc - p->d->page;
        struct glance g;
        if (off >= PAGE || !p->budget || pc + PEEK_REACH < p->d->b->pc ||
            pc > p->d->b->pc + PEEK_REACH) {
            return (live | ~killed) & F_ALL;
        }
        p->budget--;
        if (!glance(p->d->c->all->glances, &p->d->decoder, p->d->page_bytes + off,
                    PAGE - (unsigned)off, &g)) {
            return (live | ~killed) & F_ALL;
        }
        p->lo = pc < p->lo ? pc : p->lo;
        p->hi = pc + g.length > p->hi ? pc + g.length : p->hi;
        live |= g.tested & (uint16_t)~killed;
        killed |= g.killed;
        pc += g.length;
        if (g.flow == GLANCE_NEXT) {
            continue;
        }
        if (g.flow == GLANCE_LOST) {
            return (live | ~killed) & F_ALL;
        }
        uint64_t target = (pc + (uint64_t)g.rel) & p->d->pc_mask;
        if (g.flow == GLANCE_BRANCH) {
            live |= live_at(p, target, killed);
        } else {
            pc = target;
        }
    }
    return live;
}

uint16_t x86_flags_live(struct dc *d, uint64_t pc)
{
    if (!d->page_bytes || d->mode & MODE_TF || d->key->cflags & TB_SINGLE) {
        return F_ALL;
    }
    struct peek p = { .d = d, .budget = PEEK_INSNS, .lo = pc, .hi = pc };
    uint16_t live = live_at(&p, pc, 0);
    if (p.hi > p.lo && live != F_ALL) {
        struct ir_block *b = d->b;
        bool first = b->peek_hi == b->peek_lo;
        b->peek_lo = first || p.lo < b->peek_lo ? p.lo : b->peek_lo;
        b->peek_hi = first || p.hi > b->peek_hi ? p.hi : b->peek_hi;
    }
    return live;
}

/* ---- fetching and decoding ---- */

static void init_decoder(struct dc *d)
{
    ZydisMachineMode m;
    ZydisStackWidth w = ZYDIS_STACK_WIDTH_32;
    if (d->code64) {
        m = ZYDIS_MACHINE_MODE_LONG_64;
        w = ZYDIS_STACK_WIDTH_64;
    } else if (d->mode & MODE_CS32) {
        m = ZYDIS_MACHINE_MODE_LEGACY_32;
    } else {
        m = d->real || d->vm86 ? ZYDIS_MACHINE_MODE_REAL_16 : ZYDIS_MACHINE_MODE_LEGACY_16;
    }
    if (d->ssz == 2) {
        w = ZYDIS_STACK_WIDTH_16;
    }
    ZydisDecoderInit(&d->decoder, m, w);
    static const ZydisDecoderMode off[] = { ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
                                            ZYDIS_DECODER_MODE_WBNOINVD,
                                            ZYDIS_DECODER_MODE_CLDEMOTE };
    for (unsigned i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
        ZydisDecoderEnableMode(&d->decoder, off[i], ZYAN_FALSE);
    }
    ZydisDecoderEnableMode(&d->decoder, ZYDIS_DECODER_MODE_LZCNT, x86_has(d->c, X86_ABM));
    ZydisDecoderEnableMode(&d->decoder, ZYDIS_DECODER_MODE_TZCNT, x86_has(d->c, X86_BMI1));
}

static void init_dc(struct dc *d, struct tcg_cpu *cpu, const struct tb_key *key, struct ir_block *b)
{
    d->c = x86_of(cpu);
    d->b = b;
    d->key = key;
    d->mode = key->flags;
    d->code64 = key->flags & MODE_CS64;
    d->vm86 = key->flags & MODE_VM86;
    d->real = !(key->flags & MODE_PE);
    d->ssz = d->code64 ? 8 : key->flags & MODE_SS32 ? 4 : 2;
    d->cpl = (key->flags & MODE_CPL) >> MODE_CPL_SHIFT;
    d->pc = key->pc;
    d->pc_mask = d->code64 ? UINT64_MAX : UINT32_MAX;
    d->page_bytes = NULL;
    d->ended = d->last = d->last_after_next = false;
    init_decoder(d);
}

static uint64_t linear_pc(const struct dc *d, uint64_t pc)
{
    uint64_t l = d->key->cs_base + pc;
    return d->code64 ? l : (uint32_t)l;
}

enum fetched { FETCHED, FETCH_CROSSES, FETCH_UD, FETCH_TOO_LONG };

static enum fetched decode(struct dc *d, const uint8_t *bytes, unsigned avail)
{
    ZydisDecoderContext ctx;
    ZyanStatus s = ZydisDecoderDecodeInstruction(&d->decoder, &ctx, bytes, avail, &d->in);
    if (s == ZYDIS_STATUS_NO_MORE_DATA) {
        return avail >= MAX_LEN ? FETCH_TOO_LONG : FETCH_CROSSES;
    }
    if (s == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
        return FETCH_TOO_LONG;
    }
    if (!ZYAN_SUCCESS(s)) {
        return FETCH_UD;
    }
    d->bytes = bytes;
    s = ZydisDecoderDecodeOperands(&d->decoder, &ctx, &d->in, d->op,
                                   d->in.operand_count_visible < 5 ? d->in.operand_count_visible
                                                                   : 5);
    return ZYAN_SUCCESS(s) ? FETCHED : FETCH_UD;
}

/* Bytes of code that lie in no plain memory (a device's ROM), one by one. */
static unsigned fetch_slowly(struct dc *d, uint64_t linear, uint8_t *buf)
{
    unsigned n = 0;
    do {
        buf[n] = (uint8_t)x86_ld(d->c, linear + n, 1);
        n++;
    } while (n < MAX_LEN && (linear + n) % PAGE);
    return n;
}

/* The first instruction reaches into the second page. */
static enum fetched decode_crossing(struct dc *d, const uint8_t *first, unsigned avail,
                                    uint8_t buf[MAX_LEN], uint64_t *phys2)
{
    uint64_t second = linear_pc(d, d->pc) + avail;
    bool fault = false;
    unsigned more = 0;
    if (!d->code64) {
        second = (uint32_t)second;
    }
    *phys2 = x86_fetch_phys(d->c, second) & ~(uint64_t)(PAGE - 1);
    const uint8_t *p = x86_fetch(d->c, second, &more, &fault);
    if (first != buf) {
        memcpy(buf, first, avail);
    }
    if (p) {
        memcpy(buf + avail, p, MAX_LEN - avail);
    } else {
        for (unsigned i = 0; avail + i < MAX_LEN; i++) {
            buf[avail + i] = (uint8_t)x86_ld(d->c, second + i, 1);
        }
    }
    return decode(d, buf, MAX_LEN);
}

/* ---- blocks ---- */

static bool dispatch(struct dc *d)
{
    const struct emitter *e = &x86_emitters[d->in.mnemonic];
    if (d->in.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
        d->in.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
        d->in.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ||
        d->in.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW) {
        return false;
    }
    /* MOVSD and CMPSD are string or vector instructions */
    if (e->fn == emit_string && d->in.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT) {
        return emit_native(d);
    }
    if (e->fn) {
        d->arg = e->arg;
        e->fn(d);
        return true;
    }
    return emit_native(d);
}

/* What is told whenever the block runs. */
static void log_block(struct dc *d)
{
    unsigned log = tcg_shows(d->c->tcg.tcg, d->pc) ? d->c->all->log : 0;
    if (log & VCPU_LOG_EXEC) {
        call_k(d, &x86_h_log_exec, (int64_t)d->pc, 0, 0);
    }
    if (log & VCPU_LOG_CPU) {
        call_k(d, &x86_h_log_cpu, (int64_t)d->pc, 0, 0);
    }
}

static void translate_one(struct dc *d, enum fetched f)
{
    unsigned len = f == FETCHED ? d->in.length : 1;
    struct ir_op *o = emit(d, IR_INSN, 0, ir_none(), ir_none(), ir_none());
    o->imm = (int64_t)d->pc;
    o->imm2 = len;
    d->b->insns++;
    d->next = (d->pc + len) & d->pc_mask;
    if (d->b->insns == 1) {
        log_block(d);
    }
    if (d->mode & MODE_RF_DR) {
        call_k(d, &x86_h_debug_check, (int64_t)d->pc, 0, 0);
    }
    if (f == FETCH_TOO_LONG) {
        raise_gp0(d);
    } else if (f == FETCH_UD || !dispatch(d)) {
        emit_ud(d);
    }
}

static unsigned limit_of(const struct dc *d)
{
    unsigned limit = d->key->cflags >> 8 & 0xff;
    if (d->key->cflags & TB_SINGLE || d->mode & MODE_TF) {
        return 1;
    }
    return limit && limit < MAX_INSNS ? limit : MAX_INSNS;
}

static void first_page(struct dc *d, const uint8_t **bytes, unsigned *avail, uint8_t *buf)
{
    uint64_t linear = linear_pc(d, d->pc);
    bool fault = false;
    *bytes = x86_fetch(d->c, linear, avail, &fault);
    if (fault) {
        x86_fetch_phys(d->c, linear); /* raises */
    }
    d->page = d->pc - linear % PAGE;
    if (*bytes) {
        d->page_bytes = *bytes - linear % PAGE;
    } else {
        *avail = fetch_slowly(d, linear, buf);
        *bytes = buf;
    }
}

/* The debugger wants to stop in front of the instruction at d->pc. */
static void break_here(struct dc *d)
{
    if (d->b->insns) {
        go_to(d, d->pc);
        return;
    }
    struct ir_op *o = emit(d, IR_INSN, 0, ir_none(), ir_none(), ir_none());
    o->imm = (int64_t)d->pc;
    o->imm2 = 1;
    d->b->insns++;
    call_k(d, &x86_h_debug_break, (int64_t)d->pc, 0, 0);
    emit(d, IR_EXIT, 0, ir_none(), ir_none(), ir_none());
    d->ended = true;
}

void x86_translate(struct tcg_cpu *cpu, const struct tb_key *key, struct ir_block *b, uint16_t *len,
                   uint64_t *phys2)
{
    struct dc d;
    const uint8_t *bytes;
    uint8_t buf[MAX_LEN];
    unsigned avail = 0, used = 0;
    init_dc(&d, cpu, key, b);
    ir_block_init(b, key->pc);
    *phys2 = UINT64_MAX;
    first_page(&d, &bytes, &avail, buf);
    unsigned limit = d.page_bytes ? limit_of(&d) : 1;
    for (bool last = false; !d.ended;) {
        if (used == avail) {
            go_to(&d, d.pc);
            break;
        }
        if (x86_debug_break_at(d.c->debug, linear_pc(&d, d.pc)) && !(key->cflags & TB_SINGLE)) {
            break_here(&d);
            break;
        }
        enum fetched f = decode(&d, bytes + used, avail - used);
        if (f == FETCH_CROSSES) {
            if (b->insns) {
                go_to(&d, d.pc);
                break;
            }
            f = decode_crossing(&d, bytes, avail, buf, phys2);
            limit = 1;
        }
        last = d.last_after_next;
        d.last_after_next = false;
        translate_one(&d, f);
        used += f == FETCHED ? d.in.length : 1;
        d.pc = d.next;
        if (!d.ended && last) { /* an interrupt that STI let in comes here: look for it */
            jump_to(&d, ir_const((int64_t)d.pc), IR_JMP_PLAIN);
        } else if (!d.ended && (d.last || b->insns >= limit || ir_full(b))) {
            go_to(&d, d.pc);
        }
    }
    *len = (uint16_t)used;
    if (d.c->all->log & VCPU_LOG_IN_ASM && tcg_shows(d.c->tcg.tcg, key->pc)) {
        fputs("----------------\nIN: \n", d.c->all->log_to);
        x86_disas(d.c->all->log_to, key->pc, *phys2 == UINT64_MAX ? bytes : buf, used, key->flags);
        fputc('\n', d.c->all->log_to);
    }
}
