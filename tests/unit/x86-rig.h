/* SPDX-License-Identifier: MIT */
/* tests/unit/x86-rig.h - a processor with memory and nothing else: state is set from outside, helpers
 * and callbacks are called as translated code would, and what they raise is caught.
 */
#ifndef X86_RIG_H
#define X86_RIG_H

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "ioreq/machine.h"
#include "ioreq/soft.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { RIG_RAM = 16 << 20, RIG_OK = -1 };

struct rig {
    struct soft_host *soft;
    struct machine *m;
    struct vcpus *v;
    struct x86_cpu *c;
    uint8_t *ram;
};

static inline void rig_arm(void *o, int64_t when)
{
    (void)o, (void)when;
}

static inline struct rig rig_new(const char *model)
{
    struct err e = { 0 };
    struct soft_options so = { .ram_bytes = RIG_RAM };
    struct rig r = { .soft = soft_new(&so, &e) };
    assert_non_null(r.soft);
    r.m = machine_new("pc", &soft_host_ops, r.soft);
    soft_attach(r.soft, r.m, rig_arm, NULL);
    struct vcpu_options vo = { .cpus = 1,
                               .model = model,
                               .icount_shift = -1,
                               .tcg = { .engine = TCG_INTERP, .passes = PASS_ALL } };
    r.v = vcpus_new(r.m, r.soft, &vo, &e);
    assert_non_null(r.v);
    r.c = vcpus_cpu(r.v, 0);
    r.ram = soft_ram(r.soft, 0, 0xa0000);
    assert_non_null(r.ram);
    return r;
}

static inline void rig_free(struct rig *r)
{
    vcpus_free(r->v);
    machine_free(r->m);
    soft_free(r->soft);
}

static inline uint8_t *rig_at(struct rig *r, uint64_t gpa)
{
    return r->ram + gpa;
}

static inline void rig_put(struct rig *r, uint64_t gpa, unsigned size, uint64_t v)
{
    store_le(r->ram + gpa, size, v);
}

static inline uint64_t rig_get(struct rig *r, uint64_t gpa, unsigned size)
{
    return load_le(r->ram + gpa, size);
}

/* Does `code` and gives what it raised, or RIG_OK. The vector stays in c->raised_code's company. */
#define RIG_CATCH(r, code)                                                                         \
    ({                                                                                             \
        sigjmp_buf jb_;                                                                            \
        struct x86_cpu *volatile c_ = (r)->c;                                                      \
        c_->outside = &jb_;                                                                        \
        c_->raised = RAISED_NONE;                                                                  \
        if (!sigsetjmp(jb_, 0)) {                                                                  \
            code;                                                                                  \
        }                                                                                          \
        c_->outside = NULL;                                                                        \
        c_->raised;                                                                                \
    })

/* ---- modes ---- */

/* Flat segments at privilege cpl; code of `bits`. Selectors 0x08 code, 0x10 data, 0x18/0x20 user. */
static inline void rig_flat(struct rig *r, unsigned bits, unsigned cpl)
{
    struct x86_cpu *c = r->c;
    unsigned cs = cpl == 3 ? 0x1b : 0x08, ds = cpl == 3 ? 0x23 : 0x10;
    unsigned dpl = cpl << 5;
    unsigned d = bits == 64 ? SEG_L : bits == 32 ? SEG_DB : 0;
    x86_set_segment(c, CS, (uint16_t)cs, 0, UINT32_MAX, (uint16_t)(0x809b | dpl | d));
    static const uint8_t data[] = { ES, SS, DS, FS, GS };
    for (unsigned i = 0; i < 5; i++) {
        x86_set_segment(c, data[i], (uint16_t)ds, 0, UINT32_MAX, (uint16_t)(0xc093 | dpl));
    }
    c->cr0 |= CR0_PE;
    x86_mode_changed(c);
}

static inline void rig_paging(struct rig *r, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
    struct x86_cpu *c = r->c;
    c->cr3 = cr3;
    c->cr4 = cr4;
    c->efer = efer;
    c->cr0 |= CR0_PE | CR0_PG;
    x86_tlb_flush(c, true);
    x86_mode_changed(c);
}

enum { RIG_PML4 = 0x10000, RIG_PDPT = 0x11000, RIG_PD = 0x12000, RIG_PT = 0x13000 };

/* Long mode, the first 2 MiB mapped one to one by 4 KiB pages that everybody may use. */
static inline void rig_long(struct rig *r, unsigned cpl)
{
    rig_put(r, RIG_PML4, 8, RIG_PDPT | 7);
    rig_put(r, RIG_PDPT, 8, RIG_PD | 7);
    rig_put(r, RIG_PD, 8, RIG_PT | 7);
    for (unsigned i = 0; i < 160; i++) {
        rig_put(r, RIG_PT + 8 * i, 8, i << 12 | 7u);
    }
    rig_paging(r, RIG_PML4, CR4_PAE, EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE);
    rig_flat(r, 64, cpl);
}

#endif
