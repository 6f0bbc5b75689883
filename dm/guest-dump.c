/* SPDX-License-Identifier: MIT */
/* dm/guest-dump.c - the file of `dump-guest-memory`.
 *
 *   ELF header | program headers | notes | RAM below 4 GiB | RAM above
 *
 * Two notes a processor: CORE, what gdb shows as registers, and QEMU, which has the segment and control
 * registers too; crash(8) reads CR3 there to find where a kernel moved itself. The file is of 64 bits
 * when the first processor is in long mode or memory does not fit 32. With paging there is a segment for
 * each run of linear addresses that is one run of RAM; all point into the same data. Reference: ELF-64
 * object file format 1.5; System V ABI, x86-64 and i386 supplements (prstatus as Linux lays it out).
 */
#include "dm/guest-dump.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/node.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "ioreq/soft.h"
#include "target/x86/cpu.h"
#include "target/x86/tables.h"
#include "target/x86/vcpu.h"

enum {
    PAGE = 4096,
    CHUNK = 64 << 10,
    RAMS = 2,           /* below 4 GiB and above */
    MOST_LOADS = 65534, /* what e_phnum counts, one is the notes' */
    NOTE_QEMU = 0,
};

struct load { /* a PT_LOAD */
    uint64_t linear, gpa, len;
};

struct dump {
    struct keel *k;
    bool wide; /* ELFCLASS64 */
    struct load ram[RAMS];
    struct load *loads;
    size_t nloads, room;
    bool too_many;

    int fd;
    bool seekable;
    int error; /* the first failure to write, -errno */
};

/* ---- what lies where ---- */

static void clip(struct load *ram, const struct guest_dump *d)
{
    uint64_t end = d->length ? d->begin + d->length : UINT64_MAX;
    uint64_t from = max_u64(ram->gpa, d->begin), to = min_u64(ram->gpa + ram->len, end);
    *ram = (struct load){ .gpa = from, .len = to > from ? to - from : 0 };
}

static void add_load(struct dump *d, uint64_t linear, uint64_t gpa, uint64_t len)
{
    struct load *last = d->nloads ? &d->loads[d->nloads - 1] : NULL;
    if (last && last->linear + last->len == linear && last->gpa + last->len == gpa) {
        last->len += len;
        return;
    }
    if (d->nloads == MOST_LOADS) {
        d->too_many = true;
        return;
    }
    if (d->nloads == d->room) {
        d->room = d->room ? 2 * d->room : 64;
        d->loads = xrealloc(d->loads, d->room * sizeof(*d->loads));
    }
    d->loads[d->nloads++] = (struct load){ linear, gpa, len };
}

static void add_mapping(void *opaque, const struct x86_mapping *m)
{
    struct dump *d = opaque;
    for (unsigned i = 0; i < RAMS; i++) {
        const struct load *ram = &d->ram[i];
        uint64_t from = max_u64(m->phys, ram->gpa),
                 to = min_u64(m->phys + m->len, ram->gpa + ram->len);
        if (from < to) {
            add_load(d, m->linear + (from - m->phys), from, to - from);
        }
    }
}

/* Processors that look through the same tables need them once. */
static bool seen_before(struct vcpus *v, unsigned cpu)
{
    for (unsigned i = 0; i < cpu; i++) {
        if (vcpus_cpu(v, i)->cr3 == vcpus_cpu(v, cpu)->cr3) {
            return true;
        }
    }
    return false;
}

static int find_loads(struct dump *d, const struct guest_dump *how, struct err *e)
{
    struct vcpus *v = d->k->vcpus;
    for (unsigned i = 0; how->paging && i < vcpus_count(v); i++) {
        if (!seen_before(v, i)) {
            x86_each_mapping(vcpus_cpu(v, i), add_mapping, d);
        }
    }
    for (unsigned i = 0; !how->paging && i < RAMS; i++) {
        if (d->ram[i].len) {
            add_load(d, 0, d->ram[i].gpa, d->ram[i].len);
        }
    }
    return d->too_many
               ? err_set(e, -E2BIG, "the guest's page tables map more than %d ranges", MOST_LOADS)
               : 0;
}

/* ---- registers ---- */

struct prstatus64 {
    uint8_t signal[32];
    uint32_t pid;
    uint8_t times[76];
    uint64_t reg[27];
    uint64_t fpvalid;
};
struct prstatus32 {
    uint8_t signal[24];
    uint32_t pid;
    uint8_t times[44];
    uint32_t reg[17];
    uint32_t fpvalid;
};
struct qemu_segment {
    uint32_t selector, limit, flags, pad;
    uint64_t base;
};
struct qemu_state {
    uint32_t version, size;
    uint64_t gpr[16], rip, rflags;
    struct qemu_segment seg[10]; /* CS DS ES FS GS SS LDT TR GDT IDT */
    uint64_t cr[5], kernel_gs_base;
};
_Static_assert(sizeof(struct prstatus64) == 336 && sizeof(struct prstatus32) == 144, "Linux's");
_Static_assert(sizeof(struct qemu_state) == 440, "as crash reads it");

static struct prstatus64 prstatus64(const struct x86_cpu *c)
{
    const uint64_t *g = c->tcg.gpr, *base = c->tcg.seg_base;
    return (struct prstatus64){
        .pid = c->index + 1,
        .reg = { g[15],
                 g[14],
                 g[13],
                 g[12],
                 g[RBP],
                 g[RBX],
                 g[11],
                 g[10],
                 g[9],
                 g[8],
                 g[RAX],
                 g[RCX],
                 g[RDX],
                 g[RSI],
                 g[RDI],
                 UINT64_MAX,
                 c->tcg.pc,
                 c->seg[CS].sel,
                 x86_get_eflags(c),
                 g[RSP],
                 c->seg[SS].sel,
                 base[FS],
                 base[GS],
                 c->seg[DS].sel,
                 c->seg[ES].sel,
                 c->seg[FS].sel,
                 c->seg[GS].sel },
    };
}

static struct prstatus32 prstatus32(const struct x86_cpu *c)
{
    const uint64_t *g = c->tcg.gpr;
    const uint64_t reg[17] = { g[RBX],         g[RCX],         g[RDX],
                               g[RSI],         g[RDI],         g[RBP],
                               g[RAX],         c->seg[DS].sel, c->seg[ES].sel,
                               c->seg[FS].sel, c->seg[GS].sel, UINT32_MAX,
                               c->tcg.pc,      c->seg[CS].sel, x86_get_eflags(c),
                               g[RSP],         c->seg[SS].sel };
    struct prstatus32 p = { .pid = c->index + 1 };
    for (unsigned i = 0; i < ARRAY_SIZE(reg); i++) {
        p.reg[i] = (uint32_t)reg[i];
    }
    return p;
}

static struct qemu_segment segment_of(const struct x86_cpu *c, unsigned i)
{
    const struct x86_segment *s = &c->seg[i];
    return (struct qemu_segment){ s->sel, s->limit, (uint32_t)s->flags << 8, 0,
                                  c->tcg.seg_base[i] };
}

static struct qemu_state qemu_state(const struct x86_cpu *c)
{
    static const uint8_t gprs[16] = { RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP,
                                      8,   9,   10,  11,  12,  13,  14,  15 };
    static const uint8_t segs[6] = { CS, DS, ES, FS, GS, SS };
    struct qemu_state s = {
        .version = 1,
        .size = sizeof(s),
        .rip = c->tcg.pc,
        .rflags = x86_get_eflags(c),
        .cr = { c->cr0, 0, c->cr2, c->cr3, c->cr4 },
        .kernel_gs_base = c->kernel_gs_base,
    };
    for (unsigned i = 0; i < 16; i++) {
        s.gpr[i] = c->tcg.gpr[gprs[i]];
    }
    for (unsigned i = 0; i < 6; i++) {
        s.seg[i] = segment_of(c, segs[i]);
    }
    s.seg[6] = (struct qemu_segment){ c->ldt.sel, c->ldt.limit, (uint32_t)c->ldt.flags << 8, 0,
                                      c->ldt.base };
    s.seg[7] =
        (struct qemu_segment){ c->tr.sel, c->tr.limit, (uint32_t)c->tr.flags << 8, 0, c->tr.base };
    s.seg[8] = (struct qemu_segment){ .limit = c->gdt.limit, .base = c->gdt.base };
    s.seg[9] = (struct qemu_segment){ .limit = c->idt.limit, .base = c->idt.base };
    return s;
}

/* ---- writing ---- */

static void put(struct dump *d, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len && !d->error) {
        ssize_t n = write(d->fd, p, len);
        if (n < 0 && errno != EINTR) {
            d->error = -errno;
        } else if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}

static void put_memory(struct dump *d, const uint8_t *p, uint64_t len)
{
    for (uint64_t n; len && !d->error; p += n, len -= n) {
        n = min_u64(len, CHUNK);
        if (d->seekable && node_is_zero(p, n)) {
            d->error = lseek(d->fd, (off_t)n, SEEK_CUR) < 0 ? -errno : 0;
        } else {
            put(d, p, n);
        }
    }
}

enum { NAME_ROOM = 8 }; /* "CORE" and "QEMU" with their NUL, to the next word */

static void put_note(struct dump *d, const char *name, uint32_t type, const void *desc, size_t len)
{
    const Elf64_Nhdr h = { .n_namesz = 5, .n_descsz = (uint32_t)len, .n_type = type };
    char text[NAME_ROOM] = "";
    memcpy(text, name, 4);
    put(d, &h, sizeof(h));
    put(d, text, sizeof(text));
    put(d, desc, len);
}

static size_t notes_size(const struct dump *d)
{
    size_t status = d->wide ? sizeof(struct prstatus64) : sizeof(struct prstatus32);
    return vcpus_count(d->k->vcpus) *
           (2 * (sizeof(Elf64_Nhdr) + NAME_ROOM) + status + sizeof(struct qemu_state));
}

static void put_notes(struct dump *d)
{
    struct vcpus *v = d->k->vcpus;
    for (unsigned i = 0; i < vcpus_count(v); i++) {
        const struct x86_cpu *c = vcpus_cpu(v, i);
        if (d->wide) {
            struct prstatus64 s = prstatus64(c);
            put_note(d, "CORE", NT_PRSTATUS, &s, sizeof(s));
        } else {
            struct prstatus32 s = prstatus32(c);
            put_note(d, "CORE", NT_PRSTATUS, &s, sizeof(s));
        }
    }
    for (unsigned i = 0; i < vcpus_count(v); i++) {
        struct qemu_state s = qemu_state(vcpus_cpu(v, i));
        put_note(d, "QEMU", NOTE_QEMU, &s, sizeof(s));
    }
}

/* Headers are made in 64 bits and cut to 32 where the file is narrow: there everything fits. */
static void put_ehdr(struct dump *d, size_t phnum, bool long_mode)
{
    Elf64_Ehdr h = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
                                  d->wide ? ELFCLASS64 : ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
                     .e_type = ET_CORE,
                     .e_machine = long_mode ? EM_X86_64 : EM_386,
                     .e_version = EV_CURRENT,
                     .e_phoff = sizeof(h),
                     .e_ehsize = sizeof(h),
                     .e_phentsize = sizeof(Elf64_Phdr),
                     .e_phnum = (uint16_t)phnum };
    Elf32_Ehdr n = { .e_type = h.e_type,
                     .e_machine = h.e_machine,
                     .e_version = h.e_version,
                     .e_phoff = sizeof(n),
                     .e_ehsize = sizeof(n),
                     .e_phentsize = sizeof(Elf32_Phdr),
                     .e_phnum = h.e_phnum };
    memcpy(n.e_ident, h.e_ident, sizeof(n.e_ident));
    put(d, d->wide ? (void *)&h : &n, d->wide ? sizeof(h) : sizeof(n));
}

static void put_phdr(struct dump *d, const Elf64_Phdr *h)
{
    const Elf32_Phdr n = { .p_type = h->p_type,
                           .p_offset = (uint32_t)h->p_offset,
                           .p_vaddr = (uint32_t)h->p_vaddr,
                           .p_paddr = (uint32_t)h->p_paddr,
                           .p_filesz = (uint32_t)h->p_filesz,
                           .p_memsz = (uint32_t)h->p_memsz };
    put(d, d->wide ? (const void *)h : &n, d->wide ? sizeof(*h) : sizeof(n));
}

/* Where in the file the byte at gpa lies, RAM beginning at data. */
static uint64_t offset_of(const struct dump *d, uint64_t data, uint64_t gpa)
{
    bool low = gpa - d->ram[0].gpa < d->ram[0].len;
    return low ? data + (gpa - d->ram[0].gpa) : data + d->ram[0].len + (gpa - d->ram[1].gpa);
}

/* Up to the RAM, which begins at a page of the file, so that holes fit. */
static void put_headers(struct dump *d, bool long_mode)
{
    static const uint8_t nothing[PAGE];
    size_t phnum = d->nloads + 1, ehdr = d->wide ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr),
           phdr = d->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    uint64_t notes = ehdr + phnum * phdr, end = notes + notes_size(d);
    uint64_t data = (end + PAGE - 1) / PAGE * PAGE;
    put_ehdr(d, phnum, long_mode);
    put_phdr(d, &(Elf64_Phdr){ .p_type = PT_NOTE,
                               .p_offset = notes,
                               .p_filesz = end - notes,
                               .p_memsz = end - notes });
    for (size_t i = 0; i < d->nloads; i++) {
        const struct load *l = &d->loads[i];
        put_phdr(d, &(Elf64_Phdr){ .p_type = PT_LOAD,
                                   .p_offset = offset_of(d, data, l->gpa),
                                   .p_vaddr = l->linear,
                                   .p_paddr = l->gpa,
                                   .p_filesz = l->len,
                                   .p_memsz = l->len });
    }
    put_notes(d);
    put(d, nothing, data - end);
}

static void put_ram(struct dump *d)
{
    for (unsigned i = 0; i < RAMS; i++) {
        if (d->ram[i].len) {
            put_memory(d, soft_ram(d->k->soft, d->ram[i].gpa, d->ram[i].len), d->ram[i].len);
        }
    }
    if (d->seekable && !d->error) { /* the last pages may be a hole */
        off_t end = lseek(d->fd, 0, SEEK_CUR);
        d->error = end < 0 || ftruncate(d->fd, end) < 0 ? -errno : 0;
    }
}

int guest_dump_write(struct keel *k, int fd, const struct guest_dump *how, uint64_t *total,
                     struct err *e)
{
    struct stat st;
    if (!k->vcpus) {
        return err_set(e, -ENOTSUP, "memory and processors are not Keel's");
    }
    struct dump d = { .k = k,
                      .fd = fd,
                      .seekable = fstat(fd, &st) == 0 && S_ISREG(st.st_mode),
                      .ram = { { .gpa = 0, .len = soft_ram_below_4g(k->soft) },
                               { .gpa = 1ull << 32, .len = soft_ram_above_4g(k->soft) } } };
    bool long_mode = vcpus_cpu(k->vcpus, 0)->efer & EFER_LMA;
    d.wide = long_mode || d.ram[1].len;
    for (unsigned i = 0; i < RAMS; i++) {
        clip(&d.ram[i], how);
    }
    *total = d.ram[0].len + d.ram[1].len;
    if (!*total) {
        return err_set(e, -EINVAL, "no guest memory from 0x%llx on, %llu bytes",
                       (unsigned long long)how->begin, (unsigned long long)how->length);
    }
    int ret = find_loads(&d, how, e);
    if (ret == 0) {
        put_headers(&d, long_mode);
        put_ram(&d);
        ret = d.error ? err_set(e, d.error, "%s", strerror(-d.error)) : 0;
    }
    free(d.loads);
    return ret;
}
