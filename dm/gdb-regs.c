/* SPDX-License-Identifier: MIT */
/* dm/gdb-regs.c - the registers in gdb's order.
 *
 * The features i386.core, sse, avx and segments are gdb's own names and orders; the control registers
 * come in a feature of Keel's, named as QEMU names its registers, so that `p $cr3` works. gdb stays in
 * 64-bit mode whatever the processor does: that is what the target description says.
 */
#include "dm/gdb-regs.h"

#include "dm/base/util.h"
#include "dm/text.h"
#include "ioreq/cpu.h"
#include "target/x86/cpu.h"

#include <string.h>

enum reg_kind {
    R_GPR, /* arg: x86 number */
    R_RIP,
    R_EFLAGS,
    R_SEG, /* arg: enum x86_seg */
    R_ST,  /* arg: st(n) */
    R_FPU, /* arg: offset in the FXSAVE image, 16 bits there */
    R_FTAG,
    R_VEC, /* arg: number */
    R_YMMH,
    R_MXCSR,
    R_SEGBASE, /* arg: enum x86_seg */
    R_MEMBER,  /* arg: offset in struct x86_cpu */
    R_CR8,
};
struct reg {
    const char *name;
    uint8_t bytes;
    uint8_t kind; /* enum reg_kind */
    uint32_t arg;
    const char *type, *group;
};
#define GPR(name, n, type)                                                                         \
    {                                                                                              \
        name, 8, R_GPR, n, type, NULL                                                              \
    }
#define SEG(name, n)                                                                               \
    {                                                                                              \
        name, 4, R_SEG, n, "int32", NULL                                                           \
    }
#define ST(n)                                                                                      \
    {                                                                                              \
        "st" #n, 10, R_ST, n, "i387_ext", NULL                                                     \
    }
#define FPU(name, off)                                                                             \
    {                                                                                              \
        name, 4, R_FPU, off, "int", "float"                                                        \
    }
#define XMM(n)                                                                                     \
    {                                                                                              \
        "xmm" #n, 16, R_VEC, n, "vec128", NULL                                                     \
    }
#define YMMH(n)                                                                                    \
    {                                                                                              \
        "ymm" #n "h", 16, R_YMMH, n, "uint128", NULL                                               \
    }

enum { FX_FCW = 0, FX_FSW = 2, FX_FTW = 4, FX_FOP = 6, FX_RIP = 8, FX_RDP = 16, FX_ST0 = 32 };

static const struct reg core[] = {
    GPR("rax", RAX, "int64"),
    GPR("rbx", RBX, "int64"),
    GPR("rcx", RCX, "int64"),
    GPR("rdx", RDX, "int64"),
    GPR("rsi", RSI, "int64"),
    GPR("rdi", RDI, "int64"),
    GPR("rbp", RBP, "data_ptr"),
    GPR("rsp", RSP, "data_ptr"),
    GPR("r8", 8, "int64"),
    GPR("r9", 9, "int64"),
    GPR("r10", 10, "int64"),
    GPR("r11", 11, "int64"),
    GPR("r12", 12, "int64"),
    GPR("r13", 13, "int64"),
    GPR("r14", 14, "int64"),
    GPR("r15", 15, "int64"),
    { "rip", 8, R_RIP, 0, "code_ptr", NULL },
    { "eflags", 4, R_EFLAGS, 0, "i386_eflags", NULL },
    SEG("cs", CS),
    SEG("ss", SS),
    SEG("ds", DS),
    SEG("es", ES),
    SEG("fs", FS),
    SEG("gs", GS),
    ST(0),
    ST(1),
    ST(2),
    ST(3),
    ST(4),
    ST(5),
    ST(6),
    ST(7),
    FPU("fctrl", FX_FCW),
    FPU("fstat", FX_FSW),
    { "ftag", 4, R_FTAG, 0, "int", "float" },
    FPU("fiseg", FX_RIP + 4),
    FPU("fioff", FX_RIP),
    FPU("foseg", FX_RDP + 4),
    FPU("fooff", FX_RDP),
    FPU("fop", FX_FOP),
};
static const struct reg sse[] = {
    XMM(0),
    XMM(1),
    XMM(2),
    XMM(3),
    XMM(4),
    XMM(5),
    XMM(6),
    XMM(7),
    XMM(8),
    XMM(9),
    XMM(10),
    XMM(11),
    XMM(12),
    XMM(13),
    XMM(14),
    XMM(15),
    { "mxcsr", 4, R_MXCSR, 0, "i386_mxcsr", "vector" },
};
static const struct reg avx[] = {
    YMMH(0), YMMH(1), YMMH(2),  YMMH(3),  YMMH(4),  YMMH(5),  YMMH(6),  YMMH(7),
    YMMH(8), YMMH(9), YMMH(10), YMMH(11), YMMH(12), YMMH(13), YMMH(14), YMMH(15),
};
static const struct reg segments[] = {
    { "fs_base", 8, R_SEGBASE, FS, "int", NULL },
    { "gs_base", 8, R_SEGBASE, GS, "int", NULL },
};
static const struct reg control[] = {
    { "k_gs_base", 8, R_MEMBER, offsetof(struct x86_cpu, kernel_gs_base), "int64", NULL },
    { "cr0", 8, R_MEMBER, offsetof(struct x86_cpu, cr0), "i386_cr0", NULL },
    { "cr2", 8, R_MEMBER, offsetof(struct x86_cpu, cr2), "int64", NULL },
    { "cr3", 8, R_MEMBER, offsetof(struct x86_cpu, cr3), "int64", NULL },
    { "cr4", 8, R_MEMBER, offsetof(struct x86_cpu, cr4), "int64", NULL },
    { "cr8", 8, R_CR8, 0, "int64", NULL },
    { "efer", 8, R_MEMBER, offsetof(struct x86_cpu, efer), "int64", NULL },
};

/* What stands in front of a feature's registers. */
static const char core_types[] =
    "<flags id=\"i386_eflags\" size=\"4\">"
    "<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
    "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
    "<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
    "<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
    "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
    "<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
    "<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
    "<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"
    "<field name=\"ID\" start=\"21\" end=\"21\"/></flags>";
static const char sse_types[] =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
    "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
    "<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>"
    "<flags id=\"i386_mxcsr\" size=\"4\">"
    "<field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" end=\"1\"/>"
    "<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/>"
    "<field name=\"UE\" start=\"4\" end=\"4\"/><field name=\"PE\" start=\"5\" end=\"5\"/>"
    "<field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" start=\"7\" end=\"7\"/>"
    "<field name=\"DM\" start=\"8\" end=\"8\"/><field name=\"ZM\" start=\"9\" end=\"9\"/>"
    "<field name=\"OM\" start=\"10\" end=\"10\"/><field name=\"UM\" start=\"11\" end=\"11\"/>"
    "<field name=\"PM\" start=\"12\" end=\"12\"/><field name=\"FZ\" start=\"15\" "
    "end=\"15\"/></flags>";
static const char control_types[] =
    "<flags id=\"i386_cr0\" size=\"8\">"
    "<field name=\"PE\" start=\"0\" end=\"0\"/><field name=\"MP\" start=\"1\" end=\"1\"/>"
    "<field name=\"EM\" start=\"2\" end=\"2\"/><field name=\"TS\" start=\"3\" end=\"3\"/>"
    "<field name=\"ET\" start=\"4\" end=\"4\"/><field name=\"NE\" start=\"5\" end=\"5\"/>"
    "<field name=\"WP\" start=\"16\" end=\"16\"/><field name=\"AM\" start=\"18\" end=\"18\"/>"
    "<field name=\"NW\" start=\"29\" end=\"29\"/><field name=\"CD\" start=\"30\" end=\"30\"/>"
    "<field name=\"PG\" start=\"31\" end=\"31\"/></flags>";

static const struct feature {
    const char *name, *types;
    const struct reg *reg;
    unsigned n;
} features[] = {
    { "org.gnu.gdb.i386.core", core_types, core, ARRAY_SIZE(core) },
    { "org.gnu.gdb.i386.sse", sse_types, sse, ARRAY_SIZE(sse) },
    { "org.gnu.gdb.i386.avx", "", avx, ARRAY_SIZE(avx) },
    { "org.gnu.gdb.i386.segments", "", segments, ARRAY_SIZE(segments) },
    { "org.keel.i386.control", control_types, control, ARRAY_SIZE(control) },
};

static const struct reg *find(unsigned n)
{
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        if (n < features[i].n) {
            return &features[i].reg[n];
        }
        n -= features[i].n;
    }
    return NULL;
}

unsigned gdb_reg_count(void)
{
    unsigned n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        n += features[i].n;
    }
    return n;
}

unsigned gdb_reg_bytes(unsigned n)
{
    const struct reg *r = find(n);
    return r ? r->bytes : 0;
}

/* FXSAVE keeps one "valid" bit a register, gdb wants the two bits of FNSTENV (SDM vol. 1, 8.1.7):
 * a full register is reported as what its value makes it, an empty one as 3. */
static uint16_t full_tags(const uint8_t *fx)
{
    uint16_t tags = 0;
    unsigned top = fx[FX_FSW + 1] >> 3 & 7;
    for (unsigned phys = 0; phys < 8; phys++) {
        uint64_t fraction;
        uint16_t exponent;
        const uint8_t *st = fx + FX_ST0 + ((phys - top) & 7) * 16;
        memcpy(&fraction, st, 8);
        memcpy(&exponent, st + 8, 2);
        exponent &= 0x7fff;
        unsigned tag = 3;
        if (fx[FX_FTW] >> phys & 1) {
            bool zero = exponent == 0 && fraction == 0;
            tag = zero ? 1 : exponent == 0 || exponent == 0x7fff || !(fraction >> 63) ? 2 : 0;
        }
        tags |= (uint16_t)(tag << (2 * phys));
    }
    return tags;
}

static void set_tags(uint8_t *fx, uint16_t tags)
{
    fx[FX_FTW] = 0;
    for (unsigned phys = 0; phys < 8; phys++) {
        fx[FX_FTW] |= (uint8_t)(((tags >> (2 * phys) & 3) != 3) << phys);
    }
}

void gdb_reg_read(const struct x86_cpu *c, unsigned n, uint8_t *buf)
{
    const struct reg *r = find(n);
    uint64_t v = 0;
    const void *from = &v;
    switch ((enum reg_kind)r->kind) {
    case R_GPR:
        v = c->tcg.gpr[r->arg];
        break;
    case R_RIP:
        v = c->tcg.pc;
        break;
    case R_EFLAGS:
        v = x86_get_eflags(c);
        break;
    case R_SEG:
        v = c->seg[r->arg].sel;
        break;
    case R_ST:
        from = c->fpu.image + FX_ST0 + 16 * r->arg;
        break;
    case R_FPU:
        v = c->fpu.image[r->arg] | (uint64_t)c->fpu.image[r->arg + 1] << 8;
        break;
    case R_FTAG:
        v = full_tags(c->fpu.image);
        break;
    case R_VEC:
        from = c->tcg.vec[r->arg].b;
        break;
    case R_YMMH:
        from = c->tcg.vec[r->arg].b + 16;
        break;
    case R_MXCSR:
        v = c->tcg.mxcsr;
        break;
    case R_SEGBASE:
        v = c->tcg.seg_base[r->arg];
        break;
    case R_MEMBER:
        from = (const char *)c + r->arg;
        break;
    case R_CR8:
        v = cpu_tpr(c->m, c->index) >> 4;
        break;
    }
    memcpy(buf, from, r->bytes);
}

static void write_member(struct x86_cpu *c, uint32_t offset, uint64_t v)
{
    memcpy((char *)c + offset, &v, sizeof(v));
    x86_mode_changed(c);
    x86_tlb_flush(c, true);
}

void gdb_reg_write(struct x86_cpu *c, unsigned n, const uint8_t *buf)
{
    const struct reg *r = find(n);
    uint64_t v = 0;
    memcpy(&v, buf, r->bytes < 8 ? r->bytes : 8);
    switch ((enum reg_kind)r->kind) {
    case R_GPR:
        c->tcg.gpr[r->arg] = v;
        break;
    case R_RIP:
        c->tcg.pc = v;
        break;
    case R_EFLAGS:
        x86_set_eflags(c, v, 0x3f7fd7);
        x86_mode_changed(c);
        break;
    case R_SEG: /* the selector alone; hidden parts stay, as the manual of QEMU's server says */
        c->seg[r->arg].sel = (uint16_t)v;
        break;
    case R_ST:
        memcpy(c->fpu.image + FX_ST0 + 16 * r->arg, buf, r->bytes);
        break;
    case R_FPU:
        memcpy(c->fpu.image + r->arg, buf, 2);
        break;
    case R_FTAG:
        set_tags(c->fpu.image, (uint16_t)v);
        break;
    case R_VEC:
        memcpy(c->tcg.vec[r->arg].b, buf, r->bytes);
        break;
    case R_YMMH:
        memcpy(c->tcg.vec[r->arg].b + 16, buf, r->bytes);
        break;
    case R_MXCSR:
        c->tcg.mxcsr = (uint32_t)v & 0xffff;
        break;
    case R_SEGBASE:
        c->tcg.seg_base[r->arg] = v;
        x86_mode_changed(c);
        break;
    case R_MEMBER:
        write_member(c, r->arg, v);
        break;
    case R_CR8:
        cpu_set_tpr(c->m, c->index, (uint8_t)(v << 4));
        break;
    }
}

void gdb_reg_describe(struct text *out)
{
    text_add(out, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                  "<target><architecture>i386:x86-64</architecture>");
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        const struct feature *f = &features[i];
        text_add(out, "<feature name=\"%s\">%s", f->name, f->types);
        for (unsigned j = 0; j < f->n; j++) {
            const struct reg *r = &f->reg[j];
            text_add(out, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"%s%s%s/>", r->name,
                     r->bytes * 8u, r->type, r->group ? " group=\"" : "", r->group ? r->group : "",
                     r->group ? "\"" : "");
        }
        text_add(out, "</feature>");
    }
    text_add(out, "</target>");
}
