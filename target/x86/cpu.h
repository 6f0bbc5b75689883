/* SPDX-License-Identifier: MIT */
/* target/x86/cpu.h - the state of an x86-64 processor, and who in target/x86 does what with it.
 *
 * Files: translate*.c decode guest code to IR; helper*.c are the instructions that translated code
 * calls; mmu.c walks page tables and fills the soft TLB; seg.c does segments, gates, tasks and far
 * transfers; excp.c delivers exceptions and interrupts; msr.c, cpuid.c, fpu.c (x87), simd*.c (the C
 * semantics of vector instructions), smm.c; vcpu.c runs the threads.
 * Reference: Intel SDM volumes 2 and 3, AMD APM volume 2.
 */
#ifndef TARGET_X86_CPU_H
#define TARGET_X86_CPU_H

#include "ioreq/soft.h"
#include "target/x86/debug.h"
#include "tcg/tcg.h"

#include <stdbool.h>
#include <stdint.h>

struct machine;
struct soft_host;

enum { CODE_PAGE_WORDS = 512 }; /* of 64 pages each */
enum x86_gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11 };
enum x86_seg { ES, CS, SS, DS, FS, GS };

/* EFLAGS bits that are not arithmetic; x86_cpu.eflags holds these, tcg.flags the other six. */
enum {
    EF_FIXED = 1u << 1,
    EF_TF = 1u << 8,
    EF_IF = 1u << 9,
    EF_DF = 1u << 10,
    EF_IOPL = 3u << 12,
    EF_NT = 1u << 14,
    EF_RF = 1u << 16,
    EF_VM = 1u << 17,
    EF_AC = 1u << 18,
    EF_VIF = 1u << 19,
    EF_VIP = 1u << 20,
    EF_ID = 1u << 21,
};
enum {
    CR0_PE = 1u << 0,
    CR0_MP = 1u << 1,
    CR0_EM = 1u << 2,
    CR0_TS = 1u << 3,
    CR0_ET = 1u << 4,
    CR0_NE = 1u << 5,
    CR0_WP = 1u << 16,
    CR0_AM = 1u << 18,
    CR0_NW = 1u << 29,
    CR0_CD = 1u << 30,
    CR0_PG = 1u << 31,
};
enum {
    CR4_VME = 1u << 0,
    CR4_PVI = 1u << 1,
    CR4_TSD = 1u << 2,
    CR4_DE = 1u << 3,
    CR4_PSE = 1u << 4,
    CR4_PAE = 1u << 5,
    CR4_MCE = 1u << 6,
    CR4_PGE = 1u << 7,
    CR4_PCE = 1u << 8,
    CR4_OSFXSR = 1u << 9,
    CR4_OSXMMEXCPT = 1u << 10,
    CR4_UMIP = 1u << 11,
    CR4_FSGSBASE = 1u << 16,
    CR4_PCIDE = 1u << 17,
    CR4_OSXSAVE = 1u << 18,
    CR4_SMEP = 1u << 20,
    CR4_SMAP = 1u << 21,
};
enum { EFER_SCE = 1u << 0, EFER_LME = 1u << 8, EFER_LMA = 1u << 10, EFER_NXE = 1u << 11 };

enum x86_vector {
    EX_DE,
    EX_DB,
    EX_NMI,
    EX_BP,
    EX_OF,
    EX_BR,
    EX_UD,
    EX_NM,
    EX_DF,
    EX_TS = 10,
    EX_NP,
    EX_SS,
    EX_GP,
    EX_PF,
    EX_MF = 16,
    EX_AC,
    EX_MC,
    EX_XM,
};

/* How an instruction asked for its exception; hardware's own is SOFT_NOT. */
enum x86_soft { SOFT_NOT, SOFT_INT_N, SOFT_INT3, SOFT_INT1 };

/* A segment register with its hidden part; flags are the descriptor's bytes 5 and 6 (type in bits
 * 0..3, S 4, DPL 5..6, P 7, AVL 12, L 13, D/B 14, G 15). The base lives in tcg.seg_base. */
struct x86_segment {
    uint16_t sel;
    uint16_t flags;
    uint32_t limit; /* in bytes, granularity applied */
};
enum { SEG_P = 1 << 7, SEG_L = 1 << 13, SEG_DB = 1 << 14, SEG_G = 1 << 15, SEG_S = 1 << 4 };
struct x86_system_segment { /* LDTR, TR */
    uint16_t sel;
    uint16_t flags;
    uint32_t limit;
    uint64_t base;
};
struct x86_table { /* GDTR, IDTR */
    uint64_t base;
    uint16_t limit;
};

/* Mode bits: part of every block's key (tb_key.flags), kept up to date by x86_mode_changed. */
enum x86_mode {
    MODE_CS64 = 1 << 0,
    MODE_CS32 = 1 << 1, /* CS.D, or CS64 */
    MODE_SS32 = 1 << 2, /* SS.B: stack pointer is ESP */
    MODE_PE = 1 << 3,
    MODE_VM86 = 1 << 4,
    MODE_LMA = 1 << 5,  /* long mode active (compatibility mode without CS64) */
    MODE_CPL_SHIFT = 6, /* two bits */
    MODE_CPL = 3 << 6,
    MODE_IOPL_SHIFT = 8,
    MODE_IOPL = 3 << 8,
    MODE_ZERO_BASES = 1 << 10, /* ES, SS and DS bases are 0 (CS too): no adding */
    MODE_TF = 1 << 11,
    MODE_SMM = 1 << 12,
    MODE_FPU = 1 << 14,       /* CR0: no EM, no TS: x87 may run */
    MODE_SSE = 1 << 15,       /* OSFXSR, no EM, no TS */
    MODE_AVX = 1 << 16,       /* OSXSAVE and XCR0 has SSE and AVX, no TS */
    MODE_SEGLIMITS = 1 << 17, /* some data/stack segment of 16/32-bit code is not flat to 4 GiB, or
                               * not writable/readable: accesses are checked by helper */
    MODE_UMIP = 1 << 18,
    MODE_FSGSBASE = 1 << 19,
    MODE_MP_TS = 1 << 20, /* WAIT gives #NM */
    MODE_RF_DR = 1 << 21, /* debug registers are armed for instructions: check each */
    MODE_PG = 1 << 22,
    MODE_OSXSAVE = 1 << 23,
    MODE_VME = 1 << 24,
    MODE_PVI = 1 << 25,
    MODE_AC = 1 << 26, /* CR0.AM and EFLAGS.AC and CPL 3: alignment checks */
    MODE_TSD = 1 << 27,
    MODE_NE = 1 << 28,
    MODE_FSGS_LIMITS = 1 << 29, /* the same as SEGLIMITS of FS or GS, for accesses through them */
};

struct x86_fpu {                                     /* x87 when tcg.x87_live is false */
    uint8_t image[512] __attribute__((aligned(64))); /* FXSAVE64 layout: st/mm registers, control
                                                      * words; its XMM part is not used */
};

/* What the CPU model offers: cpuid.c fills it from -cpu. */
struct x86_cpuid_leaf {
    uint32_t leaf, sub, eax, ebx, ecx, edx;
};
struct x86_model; /* cpuid.h */

/* A page table that a walk ended at; tag 0: none. */
struct x86_kept_table {
    uint64_t tag, table;
};
enum { X86_KEPT_TABLES = 64 };

/* Slots of a soft TLB, so that emptying costs what filling did. */
struct x86_slots {
    unsigned n; /* or more than fit */
    uint16_t slot[1024];
};

#define DB_WATCHED (1ull << 32)
struct x86_cpu {
    struct tcg_cpu tcg; /* first: general registers, RIP, flags, vectors, MXCSR, TLBs */

    uint32_t eflags;      /* all but the six arithmetic flags; EF_FIXED is set */
    uint32_t mode;        /* enum x86_mode */
    uint32_t mode_system; /* of these, the bits that control and debug registers make */
    struct x86_segment seg[6];
    struct x86_system_segment ldt, tr;
    struct x86_table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, xcr0, efer;
    uint64_t dr[8];
    struct x86_fpu fpu;

    /* MSRs */
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux, pat, misc_enable;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t mtrr_def, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    uint64_t smbase, tsc_offset, mcg_status, debugctl;

    /* What tcg_raise carries to the loop. */
    int raised;          /* vector, or -1 */
    uint8_t raised_soft; /* enum x86_soft: return address is the next instruction */
    bool raised_has_code;
    uint32_t raised_code;
    uint64_t raised_next; /* RIP behind the instruction, for soft ones */
    sigjmp_buf *outside;  /* set while the loop delivers: raising goes there, not to tcg_run */
    uint64_t retried_pc;  /* of an instruction that runs once more by itself for its debug trap */
    bool ends_block;      /* the helper that runs is its block's last operation */
    /* With DB_WATCHED, of Keel's own, when a watchpoint of the gdb server was hit. */
    uint64_t db_pending; /* DR6 bits of a debug trap that is due behind this instruction */

    /* Beside the soft TLBs: the guest-physical page of each entry (bit 0: it is global), and how often
     * other threads emptied them. */
    uint64_t tlb_phys[TLB_MODES][TLB_SIZE];
    struct x86_kept_table kept_table[X86_KEPT_TABLES]; /* walk.c */
    uint64_t kept_gen;                                 /* counts flushes, from 1 */
    struct soft_span span;                             /* what soft_page said last, */
    uint32_t span_gen;                                 /* at that tlb_gen */
    bool span_smm;
    uint64_t large_lo[2], large_hi[2]; /* linear span of entries from 1 GiB pages, a half each */
    uint64_t large_pages[8]; /* filter of 4 MiB regions with entries from 2 or 4 MiB pages */
    /* Filter of linear pages whose blocks may be in a jump cache: large programs run thousands of them. */
    uint64_t code_pages[CODE_PAGE_WORDS];
    uint32_t tlb_gen;                                     /* atomic */
    struct x86_slots local[TLB_MODES], global[TLB_MODES]; /* slots that got such pages */
    bool local_code[TLB_MODES];                           /* code on such a page ran */
    uint32_t jc_mode[TLB_MODES]; /* mode and CS base that the jump caches were filled in */
    uint64_t jc_cs_base[TLB_MODES];

    /* Pins; set by other threads with atomic operations, read by this one. */
    uint32_t pending; /* PEND_* */
    uint8_t sipi_vector;
    bool intr_level;
    bool halted, wait_sipi, smm, nmi_blocked;
    bool inhibit; /* no interrupt while RIP is inhibit_pc: behind STI, MOV SS */
    uint64_t inhibit_pc;
    bool stopped_by_debugger;

    unsigned index;
    uint32_t apic_id;
    unsigned cores, threads; /* a socket's cores, a core's threads */
    struct machine *m;
    struct soft_host *soft;
    struct vcpus *all;
    const struct x86_model *model;
    uint64_t phys_mask; /* of physical addresses the CPU has, 40 bits by default */
    uint64_t a20_mask;  /* ANDed to every physical address */
    uint8_t *ram;       /* host memory of [1 MiB, 1 MiB + ram_len): page tables are mostly there */
    uint64_t ram_len;
    struct x86_debug *debug; /* breakpoints and watchpoints, target/x86/debug.c */
    uint64_t watch_addr;     /* of the watchpoint that DB_WATCHED in db_pending is about */
    enum x86_watch watch_how;
};
enum {
    PEND_INTR = 1,
    PEND_NMI = 2,
    PEND_SMI = 4,
    PEND_INIT = 8,
    PEND_SIPI = 16,
    PEND_RESET = 32,
    PEND_FLUSH = 64, /* drop the soft TLB before the next instruction */
    PEND_STOP = 128, /* leave the loop: pause, debugger */
    PEND_WORK = 256, /* run what other threads queued */
};

static inline struct x86_cpu *x86_of(struct tcg_cpu *c)
{
    return (struct x86_cpu *)c;
}
static inline unsigned x86_cpl(const struct x86_cpu *c)
{
    return (c->mode & MODE_CPL) >> MODE_CPL_SHIFT;
}

/* ---- translate.c: the engine's callbacks for code ---- */

void x86_translate(struct tcg_cpu *cpu, const struct tb_key *key, struct ir_block *b, uint16_t *len,
                   uint64_t *phys2);

/* ---- vcpu-run.c ---- */

/* Several processors share one thread. */
bool x86_takes_turns(const struct x86_cpu *c);

/* ---- excp.c ---- */

/* Raises a fault at the current instruction; from helpers and callbacks only. */
void x86_raise(struct x86_cpu *c, enum x86_vector v) __attribute__((noreturn));
void x86_raise_code(struct x86_cpu *c, enum x86_vector v, uint32_t code) __attribute__((noreturn));
/* INT n and friends: a trap whose return address is next. */
void x86_raise_soft(struct x86_cpu *c, uint8_t vector, uint64_t next) __attribute__((noreturn));
/* Delivers what was raised, or an external interrupt; not inside tcg_run. Nested faults become double
 * and triple faults; false: triple fault, the machine resets. */
bool x86_deliver_raised(struct x86_cpu *c);
bool x86_deliver_interrupt(struct x86_cpu *c, uint8_t vector);
bool x86_deliver_nmi(struct x86_cpu *c);

/* ---- mode and registers ---- */

/* Something that MODE_* depends on changed: recomputes c->mode, switches tcg.tlb/jc, empties the jump
 * cache when it must be. */
void x86_mode_changed(struct x86_cpu *c);
/* The same when only segments, privilege and EFLAGS did. */
void x86_code_changed(struct x86_cpu *c);
uint64_t x86_get_eflags(const struct x86_cpu *c);
/* mask: bits that may change. */
void x86_set_eflags(struct x86_cpu *c, uint64_t val, uint64_t mask);
/* INIT (keeps FPU, caches) or power-on. */
void x86_reset(struct x86_cpu *c, bool power_on);
/* Loads a segment register with every check; #GP, #NP, #SS are raised. */
void x86_load_segment(struct x86_cpu *c, enum x86_seg s, uint16_t sel);
/* The hidden part as given, for loaders and the debugger. */
void x86_set_segment(struct x86_cpu *c, enum x86_seg s, uint16_t sel, uint64_t base, uint32_t limit,
                     uint16_t flags);

/* ---- mmu.c ---- */

enum x86_access { ACC_READ, ACC_WRITE, ACC_EXEC };
/* The engine's memory callbacks. */
uint64_t x86_mmu_load(struct tcg_cpu *cpu, uint64_t linear, unsigned size);
void x86_mmu_store(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t val);
void x86_mmu_load_bytes(struct tcg_cpu *cpu, uint64_t linear, void *buf, unsigned size);
void x86_mmu_store_bytes(struct tcg_cpu *cpu, uint64_t linear, const void *buf, unsigned size);
void x86_mmu_probe_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size);
void *x86_mmu_plain(struct tcg_cpu *cpu, uint64_t linear, unsigned size, bool write);
void *x86_mmu_host_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size);
/* For helpers: the same with the present CPL's rights, or as the supervisor (descriptor tables, TSS,
 * exception frames). Fault: #PF raised. */
uint64_t x86_ld(struct x86_cpu *c, uint64_t linear, unsigned size);
void x86_st(struct x86_cpu *c, uint64_t linear, unsigned size, uint64_t val);
uint64_t x86_ld_kernel(struct x86_cpu *c, uint64_t linear, unsigned size);
void x86_st_kernel(struct x86_cpu *c, uint64_t linear, unsigned size, uint64_t val);
/* For rep string instructions: host memory of [linear, end of its page) for that access with the
 * present rights, filling the TLB and raising #PF; NULL when it is not plain. */
void *x86_host_page(struct x86_cpu *c, uint64_t linear, enum x86_access how);
/* Guest-physical address of code at linear, for the block key: raises a fetch fault. */
uint64_t x86_fetch_phys(struct x86_cpu *c, uint64_t linear);
/* Host pointer to the bytes of code at linear, and how many until the end of the page; NULL: not
 * plain memory (then fetch byte by byte with x86_fetch_byte). Fault: *fault true, nothing raised. */
const uint8_t *x86_fetch(struct x86_cpu *c, uint64_t linear, unsigned *avail, bool *fault);
/* One byte of code where x86_fetch gave NULL: devices answer no fetches, they read as 0xff. */
bool x86_fetch_byte(struct x86_cpu *c, uint64_t linear, uint8_t *byte);
void x86_unaligned(struct tcg_cpu *cpu, uint64_t linear) __attribute__((noreturn));
/* Debugger's view: physical address of linear without side effects; false: not mapped. */
bool x86_debug_translate(struct x86_cpu *c, uint64_t linear, uint64_t *phys);
/* CR writes, INVLPG, INVPCID, A20. */
void x86_tlb_flush(struct x86_cpu *c, bool global_too);
void x86_tlb_flush_page(struct x86_cpu *c, uint64_t linear);

/* ---- fpu.c, simd*.c ---- */

/* The C meaning of a vector, x87 or MMX instruction that the front end made a NATIVE of, or NULL when
 * it is not one of those (then the front end raises #UD or uses a helper). Looked up by Zydis
 * mnemonic; the front end fills in the rest of struct ir_native. */
typedef void (*x86_sem_fn)(struct tcg_cpu *cpu, const struct ir_native *n, void *mem);
x86_sem_fn x86_simd_semantics(unsigned zydis_mnemonic, const struct ir_native *n);
x86_sem_fn x86_fpu_semantics(unsigned zydis_mnemonic, const struct ir_native *n);
void x86_x87_sync(struct tcg_cpu *cpu, bool to_processor);
void x86_fpu_reset(struct x86_cpu *c);

#endif
