/* SPDX-License-Identifier: MIT */
/* target/x86/cpuid.c - CPU models and what CPUID says of them.
 *
 * A model is a vendor, a signature and feature words. `-cpu NAME,+x,-y,z=on` starts from the table,
 * changes bits, and drops what the processor underneath cannot run when the generator would emit it
 * as it is. Reference: SDM vol. 2 CPUID; AMD APM vol. 3 appendix E.
 */
#include "target/x86/cpuid.h"

#include "dm/base/err.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

#include <errno.h>
#include <stdlib.h>

/* ---- feature words ---- */

#define B(n) (1u << (n))
/* fpu pse tsc msr cx8 */
#define PENTIUM_1D (B(0) | B(1) | B(2) | B(3) | B(4) | B(5) | B(7) | B(8))
/* + pae apic sep mtrr pge mca cmov pat pse36 */
#define P6_1D (PENTIUM_1D | B(6) | B(9) | B(11) | B(12) | B(13) | B(14) | B(15) | B(16) | B(17))
/* + clflush mmx fxsr sse sse2 */
#define SSE2_1D (P6_1D | B(19) | B(23) | B(24) | B(25) | B(26))
#define HYPERVISOR B(31)
#define V2_1C (B(0) | B(9) | B(13) | B(19) | B(20) | B(23))   /* x86-64-v2 */
#define V3_1C (V2_1C | B(12) | B(22) | B(26) | B(28) | B(29)) /* x86-64-v3 */
#define V3_7B (B(3) | B(5) | B(8))                            /* bmi1 avx2 bmi2 */
#define LONG_81D (B(11) | B(20) | B(29))                      /* syscall nx lm */
#define SYSTEM_7B (B(0) | B(7) | B(9) | B(10))                /* fsgsbase smep erms invpcid */

static const struct x86_model models[] = {
    { .name = "486",
      .vendor = "GenuineIntel",
      .brand = "",
      .family = 4,
      .model = 8,
      .stepping = 0,
      .level = 1,
      .word = { [FW_1_EDX] = B(0) | B(1) | B(3) } },
    { .name = "pentium",
      .vendor = "GenuineIntel",
      .brand = "",
      .family = 5,
      .model = 4,
      .stepping = 3,
      .level = 1,
      .word = { [FW_1_EDX] = PENTIUM_1D | B(9) | B(23) } },
    { .name = "pentium2",
      .vendor = "GenuineIntel",
      .brand = "",
      .family = 6,
      .model = 5,
      .stepping = 2,
      .level = 2,
      .word = { [FW_1_EDX] = P6_1D | B(23) | B(24) } },
    { .name = "pentium3",
      .vendor = "GenuineIntel",
      .brand = "",
      .family = 6,
      .model = 8,
      .stepping = 3,
      .level = 3,
      .word = { [FW_1_EDX] = P6_1D | B(23) | B(24) | B(25) } },
    { .name = "qemu32",
      .vendor = "GenuineIntel",
      .brand = "QEMU Virtual CPU version 2.5+",
      .family = 6,
      .model = 6,
      .stepping = 3,
      .level = 4,
      .xlevel = 0x80000004u,
      .word = { [FW_1_EDX] = SSE2_1D, [FW_1_ECX] = B(0) | HYPERVISOR } },
    { .name = "qemu64",
      .vendor = "AuthenticAMD",
      .brand = "QEMU Virtual CPU version 2.5+",
      .family = 15,
      .model = 107,
      .stepping = 1,
      .level = 0xd,
      .xlevel = 0x8000000au,
      .word = { [FW_1_EDX] = SSE2_1D,
                [FW_1_ECX] = B(0) | B(13) | HYPERVISOR,
                [FW_81_EDX] = LONG_81D,
                [FW_81_ECX] = B(0) } },
    { .name = "core2duo",
      .vendor = "GenuineIntel",
      .brand = "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
      .family = 6,
      .model = 15,
      .stepping = 11,
      .level = 10,
      .xlevel = 0x80000008u,
      .word = { [FW_1_EDX] = SSE2_1D | B(27),
                [FW_1_ECX] = B(0) | B(9) | B(13) | HYPERVISOR,
                [FW_81_EDX] = LONG_81D,
                [FW_81_ECX] = B(0) } },
    { .name = "Nehalem",
      .vendor = "GenuineIntel",
      .brand = "Intel Core i7 9xx (Nehalem Class Core i7)",
      .family = 6,
      .model = 26,
      .stepping = 3,
      .level = 11,
      .xlevel = 0x80000008u,
      .word = { [FW_1_EDX] = SSE2_1D,
                [FW_1_ECX] = V2_1C | HYPERVISOR,
                [FW_81_EDX] = LONG_81D,
                [FW_81_ECX] = B(0) } },
    { .name = "Westmere",
      .vendor = "GenuineIntel",
      .brand = "Westmere E56xx/L56xx/X56xx (Nehalem-C)",
      .family = 6,
      .model = 44,
      .stepping = 1,
      .level = 11,
      .xlevel = 0x80000008u,
      .word = { [FW_1_EDX] = SSE2_1D,
                [FW_1_ECX] = V2_1C | B(1) | B(25) | HYPERVISOR,
                [FW_81_EDX] = LONG_81D,
                [FW_81_ECX] = B(0) } },
    { .name = "Haswell",
      .vendor = "GenuineIntel",
      .brand = "Intel Core Processor (Haswell)",
      .family = 6,
      .model = 60,
      .stepping = 4,
      .level = 0xd,
      .xlevel = 0x80000008u,
      .word = { [FW_1_EDX] = SSE2_1D,
                [FW_1_ECX] = V3_1C | B(1) | B(17) | B(21) | B(24) | B(25) | B(30) | HYPERVISOR,
                [FW_7_EBX] = V3_7B | SYSTEM_7B,
                [FW_81_EDX] = LONG_81D | B(27),
                [FW_81_ECX] = B(0) | B(5),
                [FW_D1_EAX] = B(0) } },
    { .name = "max",
      .vendor = "AuthenticAMD",
      .brand = "QEMU TCG CPU version 2.5+",
      .family = 15,
      .model = 107,
      .stepping = 1,
      .level = 0xd,
      .xlevel = 0x8000000au,
      .word = { [FW_1_EDX] = SSE2_1D | B(27),
                [FW_1_ECX] =
                    V3_1C | B(1) | B(3) | B(17) | B(21) | B(24) | B(25) | B(30) | HYPERVISOR,
                [FW_7_EBX] =
                    V3_7B | SYSTEM_7B | B(1) | B(18) | B(19) | B(20) | B(23) | B(24) | B(29),
                [FW_7_ECX] = B(2) | B(22),
                [FW_7_EDX] = B(4),
                [FW_81_EDX] = LONG_81D | B(26) | B(27),
                [FW_81_ECX] = B(0) | B(5) | B(8),
                [FW_D1_EAX] = B(0) | B(1) | B(2) | B(3),
                [FW_88_EBX] = B(9) } },
};
#undef B

/* Features that only mean instructions which the generator hands to the host as they are. */
static const enum x86_feature host_features[] = {
    X86_SSE3,  X86_PCLMULQDQ, X86_SSSE3, X86_FMA,    X86_SSE41, X86_SSE42,
    X86_MOVBE, X86_POPCNT,    X86_AES,   X86_AVX,    X86_F16C,  X86_BMI1,
    X86_AVX2,  X86_BMI2,      X86_ADX,   X86_SHA_NI, X86_ABM,
};

struct regs {
    uint32_t a, b, c, d;
};

/* ---- -cpu ---- */

static const struct {
    const char *name;
    enum x86_feature f;
} features[] = {
#define X(id, word, bit, name) { name, X86_##id },
    X86_FEATURES(X)
#undef X
        { "pni", X86_SSE3 },
    { "sse4_1", X86_SSE41 },
    { "sse4-1", X86_SSE41 },
    { "sse4_2", X86_SSE42 },
    { "sse4-2", X86_SSE42 },
    { "lahf_lm", X86_LAHF_LM },
    { "sha_ni", X86_SHA_NI },
    { "tsc_adjust", X86_TSC_ADJUST },
    { "htt", X86_HTT },
    { "lzcnt", X86_ABM },
};

static bool find_feature(const char *name, size_t len, enum x86_feature *f)
{
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        if (strlen(features[i].name) == len && memcmp(features[i].name, name, len) == 0) {
            *f = features[i].f;
            return true;
        }
    }
    return false;
}

static void set_feature(struct x86_model *m, enum x86_feature f, bool on)
{
    uint32_t bit = 1u << (f & 31), *w = &m->word[(unsigned)f >> 5];
    *w = on ? *w | bit : *w & ~bit;
}

/* One of "+x", "-x", "x", "x=on", "x=off". */
static int apply(struct x86_model *m, const char *text, size_t len, struct err *e)
{
    const char *name = text, *eq = memchr(text, '=', len);
    size_t n = eq ? (size_t)(eq - text) : len;
    bool on = true;
    enum x86_feature f;
    if (len && (*text == '+' || *text == '-') && !eq) {
        on = *text == '+';
        name++;
        n--;
    } else if (eq) {
        size_t vlen = len - n - 1;
        on = vlen == 2 && memcmp(eq + 1, "on", 2) == 0;
        if (!on && !(vlen == 3 && memcmp(eq + 1, "off", 3) == 0)) {
            return err_set(e, -EINVAL, "-cpu: %.*s is on or off", (int)n, text);
        }
    }
    if (!find_feature(name, n, &f)) {
        return err_set(e, -EINVAL, "-cpu: unknown feature '%.*s'", (int)n, name);
    }
    set_feature(m, f, on);
    return 0;
}

/* The feature words of the processor underneath; all 0 where that is no x86. */
#ifdef __x86_64__
static struct regs host_leaf(uint32_t leaf)
{
    struct regs r = { 0 }, top;
    __asm__("cpuid"
            : "=a"(top.a), "=b"(top.b), "=c"(top.c), "=d"(top.d)
            : "a"(leaf & 1u << 31), "c"(0));
    if (leaf <= top.a) {
        __asm__("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(0));
    }
    return r;
}
#else
static struct regs host_leaf(uint32_t leaf)
{
    (void)leaf;
    return (struct regs){ 0 };
}
#endif

static void host_words(uint32_t word[FW_COUNT])
{
    struct regs l1 = host_leaf(1), l7 = host_leaf(7), l81 = host_leaf(0x80000001u);
    memset(word, 0, FW_COUNT * sizeof(word[0]));
    word[FW_1_EDX] = l1.d;
    word[FW_1_ECX] = l1.c;
    word[FW_7_EBX] = l7.b;
    word[FW_7_ECX] = l7.c;
    word[FW_81_EDX] = l81.d;
    word[FW_81_ECX] = l81.c;
}

static void cut_to_host(struct x86_model *m)
{
    uint32_t host[FW_COUNT];
    host_words(host);
    for (size_t i = 0; i < sizeof(host_features) / sizeof(host_features[0]); i++) {
        enum x86_feature f = host_features[i];
        if (!(host[(unsigned)f >> 5] >> ((unsigned)f & 31) & 1)) {
            set_feature(m, f, false);
        }
    }
}

/* Features that mean nothing without another. */
static void cut_dependants(struct x86_model *m)
{
    if (!x86_model_has(m, X86_XSAVE)) {
        static const enum x86_feature need[] = { X86_AVX, X86_XSAVEOPT, X86_XSAVEC, X86_XGETBV1,
                                                 X86_XSAVES };
        for (size_t i = 0; i < sizeof(need) / sizeof(need[0]); i++) {
            set_feature(m, need[i], false);
        }
    }
    if (!x86_model_has(m, X86_AVX)) {
        static const enum x86_feature need[] = { X86_AVX2, X86_FMA, X86_F16C };
        for (size_t i = 0; i < sizeof(need) / sizeof(need[0]); i++) {
            set_feature(m, need[i], false);
        }
    }
}

struct x86_model *x86_model_new(const char *spec, bool native, struct err *e)
{
    size_t len = strcspn(spec, ",");
    struct x86_model *m = malloc(sizeof(*m));
    if (!m) {
        err_set(e, -ENOMEM, "-cpu: out of memory");
        return NULL;
    }
    m->name = NULL;
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        if (strlen(models[i].name) == len && memcmp(models[i].name, spec, len) == 0) {
            *m = models[i];
        }
    }
    if (!m->name) {
        err_set(e, -EINVAL, "-cpu: unknown CPU model '%.*s'", (int)len, spec);
        free(m);
        return NULL;
    }
    for (const char *p = spec + len; *p; p += len) {
        len = strcspn(++p, ",");
        if (apply(m, p, len, e) < 0) {
            free(m);
            return NULL;
        }
    }
    if (native) {
        cut_to_host(m);
    }
    cut_dependants(m);
    return m;
}

void x86_model_list(void (*put)(void *o, const char *name, const char *brand), void *o)
{
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        put(o, models[i].name, models[i].brand);
    }
}

void x86_model_features(const struct x86_model *m, void (*put)(void *o, const char *name, bool on),
                        void *o)
{
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        put(o, features[i].name, x86_model_has(m, features[i].f));
    }
}

uint32_t cpuid_signature(const struct x86_model *m)
{
    uint32_t family = m->family < 15 ? m->family : 15u;
    uint32_t ext_family = m->family < 15 ? 0 : m->family - 15u;
    return m->stepping | (m->model & 0xfu) << 4 | family << 8 | (m->model >> 4u) << 16 |
           ext_family << 20;
}

/* ---- CPUID ---- */

static void text(struct regs *r, const char *s12)
{
    memcpy(&r->b, s12, 4);
    memcpy(&r->c, s12 + 4, 4);
    memcpy(&r->d, s12 + 8, 4);
}

static unsigned bits_for(unsigned n)
{
    unsigned b = 0;
    while (1u << b < n) {
        b++;
    }
    return b;
}

static void leaf_0(const struct x86_model *m, struct regs *r, uint32_t top)
{
    char v[12] = { 0 };
    memcpy(v, m->vendor, 12);
    r->a = top;
    memcpy(&r->b, v, 4);
    memcpy(&r->d, v + 4, 4);
    memcpy(&r->c, v + 8, 4);
}

static void leaf_1(const struct x86_cpu *c, struct regs *r)
{
    const struct x86_model *m = c->model;
    unsigned logical = c->threads * c->cores;
    r->a = cpuid_signature(m);
    r->b = c->apic_id << 24 | (x86_has(c, X86_CLFLUSH) ? 8u << 8 : 0);
    r->c = m->word[FW_1_ECX] | (c->cr4 & CR4_OSXSAVE ? 1u << 27 : 0);
    r->d = m->word[FW_1_EDX];
    if (logical > 1) {
        r->b |= logical << 16;
        r->d |= 1u << 28;
    }
}

/* Deterministic cache parameters: 32 KiB L1, 4 MiB L2, 16 MiB L3. */
static void leaf_4(const struct x86_cpu *c, uint32_t sub, struct regs *r)
{
    static const struct {
        uint8_t type, level;
        uint16_t ways, sets;
    } caches[] = { { 1, 1, 8, 64 }, { 2, 1, 8, 64 }, { 3, 2, 16, 4096 }, { 3, 3, 16, 16384 } };
    if (sub >= sizeof(caches) / sizeof(caches[0])) {
        return;
    }
    unsigned sharing = caches[sub].level == 3 ? c->threads * c->cores : c->threads;
    r->a = caches[sub].type | (uint32_t)caches[sub].level << 5 | 1u << 8 | (sharing - 1) << 14 |
           (c->cores - 1u) << 26;
    r->b = 63 | (caches[sub].ways - 1u) << 22;
    r->c = caches[sub].sets - 1u;
    r->d = 1;
}

static void leaf_b(const struct x86_cpu *c, uint32_t sub, struct regs *r)
{
    unsigned smt = bits_for(c->threads), core = smt + bits_for(c->cores);
    r->c = sub & 0xff;
    r->d = c->apic_id;
    if (sub == 0) {
        r->a = smt;
        r->b = c->threads;
        r->c |= 1u << 8;
    } else if (sub == 1) {
        r->a = core;
        r->b = c->threads * c->cores;
        r->c |= 2u << 8;
    }
}

/* XSAVE's areas: 512 + 64 bytes of legacy and header, 256 of upper YMM halves. */
static void leaf_d(const struct x86_cpu *c, uint32_t sub, struct regs *r)
{
    bool avx = x86_has(c, X86_AVX);
    if (!x86_has(c, X86_XSAVE)) {
        return;
    }
    if (sub == 0) {
        r->a = avx ? 7 : 3;
        r->b = c->xcr0 & 4 ? 832 : 576;
        r->c = avx ? 832 : 576;
    } else if (sub == 1) {
        r->a = c->model->word[FW_D1_EAX];
        r->b = c->xcr0 & 4 ? 832 : 576;
    } else if (sub == 2 && avx) {
        r->a = 256;
        r->b = 576;
    }
}

static void brand(const struct x86_model *m, unsigned part, struct regs *r)
{
    char v[48] = { 0 };
    size_t n = strlen(m->brand);
    memcpy(v, m->brand, n < sizeof(v) ? n : sizeof(v));
    memcpy(r, v + 16 * part, 16);
}

static void extended(const struct x86_cpu *c, uint32_t leaf, struct regs *r)
{
    const struct x86_model *m = c->model;
    unsigned logical = c->threads * c->cores;
    bool amd = memcmp(m->vendor, "AuthenticAMD", 12) == 0;
    switch (leaf & 0xff) {
    case 0:
        leaf_0(m, r, m->xlevel);
        if (!amd) {
            r->b = r->c = r->d = 0;
        }
        break;
    case 1:
        r->a = cpuid_signature(m);
        r->c = m->word[FW_81_ECX];
        r->d = m->word[FW_81_EDX];
        if (amd) { /* these words repeat leaf 1 */
            r->d |= m->word[FW_1_EDX] & 0x0183f3ffu;
            r->c |= logical > 1 ? 2 : 0;
        }
        break;
    case 2:
    case 3:
    case 4:
        brand(m, (leaf & 0xff) - 2, r);
        break;
    case 5:
        r->a = r->b = 0x01ff01ffu;
        r->c = r->d = 0x20080140u;
        break;
    case 6:
        r->b = 0x42004200u;
        r->c = 0x02008140u;
        break;
    case 7:
        r->d = m->word[FW_87_EDX];
        break;
    case 8:
        r->a = x86_has(c, X86_LM) ? 48u << 8 : 32u << 8;
        r->a |= 64u - (unsigned)__builtin_clzll(c->phys_mask);
        r->b = m->word[FW_88_EBX];
        r->c = logical > 1 ? (logical - 1) | (amd ? bits_for(logical) << 12 : 0) : 0;
        break;
    default:
        break;
    }
}

static void basic(const struct x86_cpu *c, uint32_t leaf, uint32_t sub, struct regs *r)
{
    const struct x86_model *m = c->model;
    switch (leaf) {
    case 0:
        leaf_0(m, r, m->level);
        break;
    case 1:
        leaf_1(c, r);
        break;
    case 2:
        *r = (struct regs){ .a = 1, .d = 0x2c307d };
        break;
    case 4:
        leaf_4(c, sub, r);
        break;
    case 5:
        *r = (struct regs){ .c = 3 };
        break;
    case 6:
        r->a = 4; /* the local APIC's timer runs in every state */
        break;
    case 7:
        if (sub == 0) {
            *r = (struct regs){ .b = m->word[FW_7_EBX],
                                .c = m->word[FW_7_ECX],
                                .d = m->word[FW_7_EDX] };
        }
        break;
    case 0xb:
        if (m->level >= 0xb) {
            leaf_b(c, sub, r);
        }
        break;
    case 0xd:
        leaf_d(c, sub, r);
        break;
    default:
        break;
    }
}

void x86_cpuid(const struct x86_cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const struct x86_model *m = c->model;
    struct regs r = { 0 };
    if (leaf >> 16 == 0x4000) {
        if (x86_has(c, X86_HYPERVISOR) && leaf == 0x40000000u) {
            text(&r, "TCGTCGTCGTCG"); /* as QEMU's, so that guests treat both alike */
            r.a = 0x40000001u;
        }
    } else if (leaf >> 31) {
        if (m->xlevel && leaf <= m->xlevel) {
            extended(c, leaf, &r);
        } else if (m->level >= 2) { /* beyond the last: as the highest basic leaf */
            basic(c, m->level, sub, &r);
        }
    } else {
        basic(c, leaf <= m->level ? leaf : m->level, sub, &r);
    }
    memcpy(out, &r, sizeof(r));
}

X86_HELPER(cpuid, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    (void)a, (void)b, (void)cc;
    uint32_t r[4];
    x86_cpuid(x86_of(t), (uint32_t)t->gpr[RAX], (uint32_t)t->gpr[RCX], r);
    t->gpr[RAX] = r[0];
    t->gpr[RBX] = r[1];
    t->gpr[RCX] = r[2];
    t->gpr[RDX] = r[3];
    return 0;
}
