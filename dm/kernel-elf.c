/* SPDX-License-Identifier: MIT */
/* dm/kernel-elf.c - the segments and notes of an ELF kernel, 32- or 64-bit, for x86.
 *
 * Every number in the file may be a lie: sums are done in 64 bits on values of at most 64, and what
 * leaves the file or the RAM below 4 GiB is refused.
 * Reference: System V ABI, chapters 4 and 5; Xen's public/elfnote.h.
 */
#include "dm/kernel-int.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { XEN_PHYS32_ENTRY = 18, MAX_SEGMENTS = 128 };

/* A program header of either class. */
struct segment {
    uint32_t type;
    uint64_t offset, paddr, filesz, memsz;
};

struct file {
    const struct blob *b;
    bool wide;
    uint64_t entry, phoff;
    unsigned phnum, phentsize;
};

bool elf_is(const struct blob *b)
{
    return b->len >= sizeof(Elf32_Ehdr) && memcmp(b->bytes, ELFMAG, SELFMAG) == 0;
}

static bool inside(const struct blob *b, uint64_t off, uint64_t len)
{
    return off <= b->len && len <= b->len - off;
}

static int open_elf(const struct blob *b, struct file *f, struct err *e)
{
    *f = (struct file){ .b = b, .wide = b->bytes[EI_CLASS] == ELFCLASS64 };
    unsigned machine;
    if (f->wide) {
        Elf64_Ehdr h = { 0 };
        memcpy(&h, b->bytes, b->len < sizeof(h) ? 0 : sizeof(h));
        f->entry = h.e_entry;
        f->phoff = h.e_phoff;
        f->phnum = h.e_phnum;
        f->phentsize = h.e_phentsize;
        machine = h.e_machine;
    } else {
        Elf32_Ehdr h;
        memcpy(&h, b->bytes, sizeof(h));
        f->entry = h.e_entry;
        f->phoff = h.e_phoff;
        f->phnum = h.e_phnum;
        f->phentsize = h.e_phentsize;
        machine = h.e_machine;
    }
    size_t want = f->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (machine != EM_386 && machine != EM_X86_64) {
        return err_set(e, -EINVAL, "an ELF file for another processor (machine %u)", machine);
    }
    if (!f->phnum || f->phnum > MAX_SEGMENTS || f->phentsize != want ||
        !inside(b, f->phoff, (uint64_t)f->phnum * want)) {
        return err_set(e, -EINVAL, "an ELF file without valid program headers");
    }
    return 0;
}

static struct segment segment_of(const struct file *f, unsigned i)
{
    const uint8_t *at = f->b->bytes + f->phoff + (uint64_t)i * f->phentsize;
    if (f->wide) {
        Elf64_Phdr p;
        memcpy(&p, at, sizeof(p));
        return (struct segment){ p.p_type, p.p_offset, p.p_paddr, p.p_filesz, p.p_memsz };
    }
    Elf32_Phdr p;
    memcpy(&p, at, sizeof(p));
    return (struct segment){ p.p_type, p.p_offset, p.p_paddr, p.p_filesz, p.p_memsz };
}

static int check_segment(const struct file *f, const struct segment *s, unsigned i,
                         uint64_t below_4g, struct err *e)
{
    if (s->filesz > s->memsz || !inside(f->b, s->offset, s->filesz)) {
        return err_set(e, -EINVAL, "segment %u is not inside the file", i);
    }
    if (s->paddr < KERNEL_HIGH || s->paddr > below_4g || s->memsz > below_4g - s->paddr) {
        return err_set(e, -EINVAL, "segment %u (0x%llx, %llu bytes) is not in memory from 1 MiB on",
                       i, (unsigned long long)s->paddr, (unsigned long long)s->memsz);
    }
    return 0;
}

/* The range that all loaded segments cover. */
static int extent(const struct file *f, uint64_t below_4g, struct loaded *out, struct err *e)
{
    uint64_t first = UINT64_MAX, end = 0;
    for (unsigned i = 0; i < f->phnum; i++) {
        struct segment s = segment_of(f, i);
        if (s.type != PT_LOAD || !s.memsz) {
            continue;
        }
        int ret = check_segment(f, &s, i, below_4g, e);
        if (ret < 0) {
            return ret;
        }
        first = min_u64(first, s.paddr);
        end = max_u64(end, s.paddr + s.memsz);
    }
    if (end == 0) {
        return err_set(e, -EINVAL, "an ELF file that loads nothing");
    }
    out->at = first;
    out->len = end - first;
    return 0;
}

int elf_load(const struct blob *b, uint64_t below_4g, struct loaded *out, struct err *e)
{
    struct file f;
    int ret = open_elf(b, &f, e);
    if (ret == 0) {
        ret = extent(&f, below_4g, out, e);
    }
    if (ret < 0) {
        return ret;
    }
    out->entry = f.entry;
    out->bytes = calloc(1, out->len);
    if (!out->bytes) {
        return err_set(e, -ENOMEM, "no memory for %llu bytes", (unsigned long long)out->len);
    }
    for (unsigned i = 0; i < f.phnum; i++) {
        struct segment s = segment_of(&f, i);
        if (s.type == PT_LOAD && s.memsz) {
            memcpy(out->bytes + (s.paddr - out->at), b->bytes + s.offset, s.filesz);
        }
    }
    return 0;
}

/* ---- notes ---- */

/* One note at *at of [p, p + len); false at the end or at nonsense. */
static bool next_note(const uint8_t *p, uint64_t len, uint64_t *at, Elf32_Nhdr *n,
                      const uint8_t **name, const uint8_t **desc)
{
    if (len - *at < sizeof(*n)) {
        return false;
    }
    memcpy(n, p + *at, sizeof(*n));
    uint64_t names = ((uint64_t)n->n_namesz + 3) & ~3ull,
             descs = ((uint64_t)n->n_descsz + 3) & ~3ull;
    uint64_t left = len - *at - sizeof(*n);
    if (names > left || n->n_descsz > left - names) {
        return false;
    }
    *name = p + *at + sizeof(*n);
    *desc = *name + names;
    *at = min_u64(len, *at + sizeof(*n) + names + descs);
    return true;
}

static bool note_entry(const uint8_t *p, uint64_t len, uint64_t *entry)
{
    Elf32_Nhdr n;
    const uint8_t *name, *desc;
    for (uint64_t at = 0; next_note(p, len, &at, &n, &name, &desc);) {
        bool xen = n.n_namesz == 4 && memcmp(name, "Xen", 4) == 0;
        if (xen && n.n_type == XEN_PHYS32_ENTRY && (n.n_descsz == 4 || n.n_descsz == 8)) {
            *entry = 0;
            memcpy(entry, desc, n.n_descsz);
            return true;
        }
    }
    return false;
}

bool elf_pvh_entry(const struct blob *b, uint64_t *entry)
{
    struct file f;
    struct err ignored;
    if (open_elf(b, &f, &ignored) < 0) {
        return false;
    }
    for (unsigned i = 0; i < f.phnum; i++) {
        struct segment s = segment_of(&f, i);
        if (s.type == PT_NOTE && inside(b, s.offset, s.filesz) &&
            note_entry(b->bytes + s.offset, s.filesz, entry)) {
            return true;
        }
    }
    return false;
}
