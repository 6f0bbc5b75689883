/* SPDX-License-Identifier: MIT */
/* target/x86/cpuid.h - what a CPU model offers: the feature words of CPUID by name.
 *
 * The front end refuses (#UD) what the model does not have, so that a model is what it says.
 * Reference: Intel SDM volume 2, CPUID; AMD APM volume 3 appendix E.
 */
#ifndef TARGET_X86_CPUID_H
#define TARGET_X86_CPUID_H

#include "target/x86/cpu.h"

/* The registers that hold feature bits. */
enum x86_feature_word {
    FW_1_EDX,
    FW_1_ECX,
    FW_7_EBX,
    FW_7_ECX,
    FW_7_EDX,
    FW_81_EDX, /* leaf 80000001 */
    FW_81_ECX,
    FW_D1_EAX, /* leaf 0xd, sub-leaf 1 */
    FW_87_EDX, /* leaf 80000007 */
    FW_88_EBX, /* leaf 80000008 */
    FW_COUNT,
};

/* enumerator, word, bit, name as -cpu spells it */
#define X86_FEATURES(X)                                                                            \
    X(FPU, FW_1_EDX, 0, "fpu")                                                                     \
    X(VME, FW_1_EDX, 1, "vme")                                                                     \
    X(DE, FW_1_EDX, 2, "de")                                                                       \
    X(PSE, FW_1_EDX, 3, "pse")                                                                     \
    X(TSC, FW_1_EDX, 4, "tsc")                                                                     \
    X(MSR, FW_1_EDX, 5, "msr")                                                                     \
    X(PAE, FW_1_EDX, 6, "pae")                                                                     \
    X(MCE, FW_1_EDX, 7, "mce")                                                                     \
    X(CX8, FW_1_EDX, 8, "cx8")                                                                     \
    X(APIC, FW_1_EDX, 9, "apic")                                                                   \
    X(SEP, FW_1_EDX, 11, "sep")                                                                    \
    X(MTRR, FW_1_EDX, 12, "mtrr")                                                                  \
    X(PGE, FW_1_EDX, 13, "pge")                                                                    \
    X(MCA, FW_1_EDX, 14, "mca")                                                                    \
    X(CMOV, FW_1_EDX, 15, "cmov")                                                                  \
    X(PAT, FW_1_EDX, 16, "pat")                                                                    \
    X(PSE36, FW_1_EDX, 17, "pse36")                                                                \
    X(CLFLUSH, FW_1_EDX, 19, "clflush")                                                            \
    X(MMX, FW_1_EDX, 23, "mmx")                                                                    \
    X(FXSR, FW_1_EDX, 24, "fxsr")                                                                  \
    X(SSE, FW_1_EDX, 25, "sse")                                                                    \
    X(SSE2, FW_1_EDX, 26, "sse2")                                                                  \
    X(SS, FW_1_EDX, 27, "ss")                                                                      \
    X(HTT, FW_1_EDX, 28, "ht")                                                                     \
    X(SSE3, FW_1_ECX, 0, "sse3")                                                                   \
    X(PCLMULQDQ, FW_1_ECX, 1, "pclmulqdq")                                                         \
    X(MONITOR, FW_1_ECX, 3, "monitor")                                                             \
    X(SSSE3, FW_1_ECX, 9, "ssse3")                                                                 \
    X(FMA, FW_1_ECX, 12, "fma")                                                                    \
    X(CX16, FW_1_ECX, 13, "cx16")                                                                  \
    X(PCID, FW_1_ECX, 17, "pcid")                                                                  \
    X(SSE41, FW_1_ECX, 19, "sse4.1")                                                               \
    X(SSE42, FW_1_ECX, 20, "sse4.2")                                                               \
    X(X2APIC, FW_1_ECX, 21, "x2apic")                                                              \
    X(MOVBE, FW_1_ECX, 22, "movbe")                                                                \
    X(POPCNT, FW_1_ECX, 23, "popcnt")                                                              \
    X(TSC_DEADLINE, FW_1_ECX, 24, "tsc-deadline")                                                  \
    X(AES, FW_1_ECX, 25, "aes")                                                                    \
    X(XSAVE, FW_1_ECX, 26, "xsave")                                                                \
    X(AVX, FW_1_ECX, 28, "avx")                                                                    \
    X(F16C, FW_1_ECX, 29, "f16c")                                                                  \
    X(RDRAND, FW_1_ECX, 30, "rdrand")                                                              \
    X(HYPERVISOR, FW_1_ECX, 31, "hypervisor")                                                      \
    X(FSGSBASE, FW_7_EBX, 0, "fsgsbase")                                                           \
    X(TSC_ADJUST, FW_7_EBX, 1, "tsc-adjust")                                                       \
    X(BMI1, FW_7_EBX, 3, "bmi1")                                                                   \
    X(AVX2, FW_7_EBX, 5, "avx2")                                                                   \
    X(SMEP, FW_7_EBX, 7, "smep")                                                                   \
    X(BMI2, FW_7_EBX, 8, "bmi2")                                                                   \
    X(ERMS, FW_7_EBX, 9, "erms")                                                                   \
    X(INVPCID, FW_7_EBX, 10, "invpcid")                                                            \
    X(RDSEED, FW_7_EBX, 18, "rdseed")                                                              \
    X(ADX, FW_7_EBX, 19, "adx")                                                                    \
    X(SMAP, FW_7_EBX, 20, "smap")                                                                  \
    X(CLFLUSHOPT, FW_7_EBX, 23, "clflushopt")                                                      \
    X(CLWB, FW_7_EBX, 24, "clwb")                                                                  \
    X(SHA_NI, FW_7_EBX, 29, "sha-ni")                                                              \
    X(UMIP, FW_7_ECX, 2, "umip")                                                                   \
    X(RDPID, FW_7_ECX, 22, "rdpid")                                                                \
    X(FSRM, FW_7_EDX, 4, "fsrm")                                                                   \
    X(SYSCALL, FW_81_EDX, 11, "syscall")                                                           \
    X(NX, FW_81_EDX, 20, "nx")                                                                     \
    X(PDPE1GB, FW_81_EDX, 26, "pdpe1gb")                                                           \
    X(RDTSCP, FW_81_EDX, 27, "rdtscp")                                                             \
    X(LM, FW_81_EDX, 29, "lm")                                                                     \
    X(LAHF_LM, FW_81_ECX, 0, "lahf-lm")                                                            \
    X(CMP_LEGACY, FW_81_ECX, 1, "cmp-legacy")                                                      \
    X(ABM, FW_81_ECX, 5, "abm")                                                                    \
    X(PREFETCHW, FW_81_ECX, 8, "3dnowprefetch")                                                    \
    X(XSAVEOPT, FW_D1_EAX, 0, "xsaveopt")                                                          \
    X(XSAVEC, FW_D1_EAX, 1, "xsavec")                                                              \
    X(XGETBV1, FW_D1_EAX, 2, "xgetbv1")                                                            \
    X(XSAVES, FW_D1_EAX, 3, "xsaves")                                                              \
    X(INVTSC, FW_87_EDX, 8, "invtsc")                                                              \
    X(WBNOINVD, FW_88_EBX, 9, "wbnoinvd")

enum x86_feature {
#define X(id, word, bit, name) X86_##id = (word) << 5 | (bit),
    X86_FEATURES(X)
#undef X
};

struct err;

struct x86_model {
    const char *name;
    const char *vendor; /* twelve characters */
    const char *brand;  /* up to 48 */
    uint8_t family, model, stepping;
    uint32_t level, xlevel; /* highest leaf, highest extended leaf */
    uint32_t word[FW_COUNT];
};

static inline bool x86_model_has(const struct x86_model *m, enum x86_feature f)
{
    return m->word[(unsigned)f >> 5] >> ((unsigned)f & 31) & 1;
}
static inline bool x86_has(const struct x86_cpu *c, enum x86_feature f)
{
    return x86_model_has(c->model, f);
}

/* "NAME,+x,-y,z=on": a copy to free(); NULL with e naming what is unknown. native: without what the
 * processor underneath does not have. */
struct x86_model *x86_model_new(const char *spec, bool native, struct err *e);
/* What there is, for `-cpu help`. */
void x86_model_list(void (*put)(void *o, const char *name, const char *brand), void *o);
/* Every feature, and whether m has it. */
void x86_model_features(const struct x86_model *m, void (*put)(void *o, const char *name, bool on),
                        void *o);
/* Leaf 1's EAX. */
uint32_t cpuid_signature(const struct x86_model *m);
/* EAX, EBX, ECX, EDX. */
void x86_cpuid(const struct x86_cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);

#endif
