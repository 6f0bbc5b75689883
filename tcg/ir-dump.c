/* SPDX-License-Identifier: MIT */
/* tcg/ir-dump.c - a block as text (-d op, -d op_opt).
 *
 * One operation a line: `dst[, dst2] = NAME.size a, b, c`, then what only some operations have. Flags
 * that somebody reads stand behind "->". */
#include "tcg/ir.h"

#include <inttypes.h>
#include <string.h>

static const char *const gpr_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
static const char *const high_names[4] = { "ah", "ch", "dh", "bh" };
static const char *const cond_names[16] = { "o", "no", "b", "ae", "e", "ne", "be", "a",
                                            "s", "ns", "p", "np", "l", "ge", "le", "g" };
static const char *const seg_names[6] = { "es", "cs", "ss", "ds", "fs", "gs" };

static void dump_arg(const struct ir_arg *a, FILE *out)
{
    switch (a->kind) {
    case IR_TEMP:
        fprintf(out, "t%u", a->num);
        break;
    case IR_GPR:
        fputs(a->high ? high_names[a->num & 3] : gpr_names[a->num & 15], out);
        break;
    case IR_CONST:
        fprintf(out, "%s0x%" PRIx64, a->value < 0 ? "-" : "",
                a->value < 0 ? -(uint64_t)a->value : (uint64_t)a->value);
        break;
    default:
        fputc('_', out);
    }
}

static void dump_flags(uint16_t f, FILE *out)
{
    static const struct {
        uint16_t bit;
        char name;
    } names[] = { { F_CF, 'c' }, { F_PF, 'p' }, { F_AF, 'a' },
                  { F_ZF, 'z' }, { F_SF, 's' }, { F_OF, 'o' } };
    for (unsigned i = 0; i < 6; i++) {
        if (f & names[i].bit) {
            fputc(names[i].name, out);
        }
    }
}

static void dump_mem(const struct ir_mem *m, FILE *out)
{
    fprintf(out, " %s[", m->seg >= 0 && m->seg < 6 ? seg_names[m->seg] : "");
    bool some = false;
    if (m->base.kind != IR_NONE) {
        dump_arg(&m->base, out);
        some = true;
    }
    if (m->index.kind != IR_NONE) {
        fputs(some ? "+" : "", out);
        dump_arg(&m->index, out);
        fprintf(out, "*%u", m->scale);
        some = true;
    }
    if (m->disp || !some) {
        fprintf(out, "%s0x%" PRIx64,
                m->disp < 0 ? "-"
                : some      ? "+"
                            : "",
                m->disp < 0 ? -(uint64_t)m->disp : (uint64_t)m->disp);
    }
    fprintf(out, "]%s%s%s",
            m->addr_size == 2   ? ".a16"
            : m->addr_size == 4 ? ".a32"
                                : "",
            m->lin32 ? ".lin32" : "",
            m->flags & IR_MEM_ALIGN ? ".align"
            : m->flags & IR_MEM_RMW ? ".rmw"
                                    : "");
}

static bool has_mem(const struct ir_op *o)
{
    return (o->op >= IR_LEA && o->op <= IR_A_CMPXCHG) ||
           (o->op == IR_NATIVE && o->native->mem_size != 0);
}

static void dump_native(const struct ir_native *n, FILE *out)
{
    static const char *const enc[] = { "", "vex ", "x87 " };
    fprintf(out, " %smap%u pp%u op %02x reg %u rm %u v %u mem %u%s%s", enc[n->encoding % 3], n->map,
            n->pp, n->opcode, n->reg, n->rm, n->v, n->mem_size, n->mem_read ? "r" : "",
            n->mem_write ? "w" : "");
    if (n->has_imm) {
        fprintf(out, " imm %02x", n->imm);
    }
    fputs(" {", out);
    for (unsigned i = 0; i < n->len; i++) {
        fprintf(out, "%s%02x", i ? " " : "", n->bytes[i]);
    }
    fputs("}", out);
}

static void dump_exit(const struct ir_exit *x, FILE *out)
{
    fprintf(out, " 0x%" PRIx64 "(", x->pc);
    dump_flags(x->live_flags, out);
    fputs(")", out);
}

static void dump_details(const struct ir_block *b, const struct ir_op *o, FILE *out)
{
    switch (o->op) {
    case IR_SETCC:
    case IR_CMOV:
        fprintf(out, " %s", cond_names[o->cond & 15]);
        break;
    case IR_BRCC:
        fprintf(out, " %s", cond_names[o->cond & 15]);
        dump_exit(&b->exit[0], out);
        dump_exit(&b->exit[1], out);
        break;
    case IR_BRNZ:
        dump_exit(&b->exit[0], out);
        dump_exit(&b->exit[1], out);
        break;
    case IR_GOTO:
        dump_exit(&b->exit[0], out);
        break;
    case IR_JMP:
        fputs(o->imm == IR_JMP_CALL ? " call" : o->imm == IR_JMP_RET ? " ret" : "", out);
        break;
    case IR_CALL:
        fprintf(out, " %s", o->helper->name);
        break;
    case IR_NATIVE:
        dump_native(o->native, out);
        break;
    case IR_LDZX:
    case IR_LDSX:
        fprintf(out, " from %" PRId64, o->imm);
        break;
    case IR_A_RMW:
        fprintf(out, " %s", ir_opdefs[o->imm].name);
        break;
    case IR_F_SET:
    case IR_LD_STATE:
    case IR_ST_STATE:
        fprintf(out, " 0x%" PRIx64, (uint64_t)o->imm);
        break;
    default:
        break;
    }
}

static void dump_op(const struct ir_block *b, const struct ir_op *o, FILE *out)
{
    if (o->op == IR_INSN) {
        fprintf(out, " ---- 0x%" PRIx64 " +%" PRId64 "\n", (uint64_t)o->imm, o->imm2);
        return;
    }
    fputs("    ", out);
    if (o->dst.kind != IR_NONE) {
        dump_arg(&o->dst, out);
        if (o->dst2.kind != IR_NONE) {
            fputs(", ", out);
            dump_arg(&o->dst2, out);
        }
        fputs(" = ", out);
    }
    fprintf(out, "%s.%u", ir_opdefs[o->op].name, o->size);
    const struct ir_arg *args[] = { &o->a, &o->b, &o->c };
    for (unsigned i = 0; i < 3 && args[i]->kind != IR_NONE; i++) {
        fputs(i ? ", " : " ", out);
        dump_arg(args[i], out);
    }
    if (has_mem(o)) {
        dump_mem(&o->mem, out);
    }
    dump_details(b, o, out);
    uint16_t need = o->fneed & ir_flags_written(o);
    if (need) {
        fputs("  -> ", out);
        dump_flags(need, out);
    }
    fputc('\n', out);
}

void ir_dump(const struct ir_block *b, FILE *out)
{
    for (unsigned i = 0; i < b->n; i++) {
        if (b->op[i].op != IR_NOP) {
            dump_op(b, &b->op[i], out);
        }
    }
}
