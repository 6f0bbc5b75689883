/* SPDX-License-Identifier: MIT */
/* dm/kernel-multiboot.c - multiboot 1 images with modules, and PVH.
 *
 * Both are an image at its physical addresses, modules behind one another at the end of memory, and
 * an information structure at KERNEL_SETUP whose memory map the boot ROM fills in:
 *
 *   0x0000 structure   0x0100 module list   0x1000 strings   BOOT_ROM_MAP memory map
 *
 * -initrd "FILE ARGUMENTS,FILE ARGUMENTS": the modules; a comma in a name is written twice.
 * Reference: Multiboot specification 0.6.96; Xen's public/arch-x86/hvm/start_info.h.
 */
#include "dm/kernel-int.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/options.h"
#include "hw/nvram/fw-cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_WITHIN = 8192,
    HEADER_MAGIC = 0x1badb002,
    WANTS_ALIGNED = 1,
    WANTS_MEMORY = 2,
    WANTS_VIDEO = 4,
    MANDATORY = 0xffff,
    HAS_ADDRESSES = 1 << 16,

    INFO_MEMORY = 1 << 0,
    INFO_CMDLINE = 1 << 2,
    INFO_MODULES = 1 << 3,
    INFO_MAP = 1 << 6,
    INFO_LOADER = 1 << 9,

    MODULES_AT = 0x100,
    MODULES_MAX = (0x1000 - MODULES_AT) / 32,
    STRINGS_AT = 0x1000,
    STRINGS_END = BOOT_ROM_MAP,
    INFO_LEN = BOOT_ROM_MAP,
    PAGE = 4096,

    START_MAGIC = 0x336ec578,
};

struct module {
    char *args; /* owned: file name and arguments */
    uint64_t at, len;
};
struct modules {
    struct module m[MODULES_MAX];
    unsigned n;
};

/* ---- modules ---- */

/* Takes what lies before the next single comma of *at (owned by the caller), doubled ones halved. */
static char *next_word(const char **at)
{
    char *word = xcalloc(1, strlen(*at) + 1), *to = word;
    const char *from = *at;
    while (*from && (*from != ',' || from[1] == ',')) {
        from += *from == ',';
        *to++ = *from++;
    }
    *at = *from ? from + 1 : from;
    return word;
}

static int add_module(struct kernel *k, struct modules *ms, char *args)
{
    struct module *m = &ms->m[ms->n];
    struct blob b;
    char *file = xstrdup(args);
    file[strcspn(file, " ")] = '\0';
    int ret = blob_read(&b, file, 1u << 30, k->e);
    free(file);
    if (ret < 0) {
        free(args);
        return err_prefix(k->e, "-initrd");
    }
    size_t at = (k->initrd.len + PAGE - 1) & ~(size_t)(PAGE - 1);
    uint8_t *all = realloc(k->initrd.bytes, at + b.len);
    if (!all) {
        free(b.bytes);
        free(args);
        return err_set(k->e, -ENOMEM, "-initrd: no memory for %zu bytes", at + b.len);
    }
    memset(all + k->initrd.len, 0, at - k->initrd.len);
    memcpy(all + at, b.bytes, b.len);
    k->initrd = (struct blob){ all, at + b.len };
    *m = (struct module){ .args = args, .at = at, .len = b.len };
    ms->n++;
    free(b.bytes);
    return 0;
}

static int read_modules(struct kernel *k, struct modules *ms)
{
    for (const char *at = k->o->initrd; at && *at;) {
        if (ms->n == MODULES_MAX) {
            return err_set(k->e, -EINVAL, "-initrd: more than %u modules", MODULES_MAX);
        }
        int ret = add_module(k, ms, next_word(&at));
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static void free_modules(struct modules *ms)
{
    for (unsigned i = 0; i < ms->n; i++) {
        free(ms->m[i].args);
    }
}

/* ---- the information structure ---- */

struct info {
    uint8_t bytes[INFO_LEN];
    uint32_t strings; /* offset of the next one */
    bool full;
};

/* Returns where text will be, guest-physical. */
static uint32_t add_string(struct info *in, const char *text)
{
    size_t len = strlen(text) + 1;
    if (len > STRINGS_END - in->strings) {
        in->full = true;
        return 0;
    }
    uint32_t at = in->strings;
    memcpy(in->bytes + at, text, len);
    in->strings += (uint32_t)len;
    return KERNEL_SETUP + at;
}

static void put(struct info *in, unsigned off, uint32_t v)
{
    store_le(in->bytes + off, 4, v);
}

static int finish(struct kernel *k, const struct info *in, const struct loaded *l,
                  enum boot_rom_mode mode)
{
    if (in->full) {
        return err_set(k->e, -EINVAL, "-append and -initrd: more than %u bytes of arguments",
                       STRINGS_END - STRINGS_AT);
    }
    kernel_part(k, FW_CFG_SETUP_ADDR, KERNEL_SETUP, in->bytes, sizeof(in->bytes));
    kernel_part(k, FW_CFG_KERNEL_ADDR, l->at, l->bytes, l->len);
    kernel_part(k, FW_CFG_CMDLINE_ADDR, KERNEL_CMDLINE, NULL, 0);
    kernel_part(k, FW_CFG_INITRD_ADDR, k->initrd_at, k->initrd.bytes, k->initrd.len);
    fw_cfg_add_u32(k->fw_cfg, FW_CFG_KERNEL_ENTRY, (uint32_t)l->entry);
    return kernel_rom(k, mode);
}

/* Modules, placed behind the image, and the structure, filled in by describe. */
static int assemble(struct kernel *k, const struct loaded *l, enum boot_rom_mode mode,
                    void (*describe)(struct kernel *k, struct info *in, struct modules *ms))
{
    struct modules ms = { 0 };
    struct info *in = xcalloc(1, sizeof(*in));
    in->strings = STRINGS_AT;
    int ret = read_modules(k, &ms);
    if (ret == 0 && k->initrd.len) {
        ret = kernel_place_initrd(k, k->initrd.len, l->at + l->len, UINT32_MAX);
    }
    if (ret == 0) {
        describe(k, in, &ms);
        ret = finish(k, in, l, mode);
    }
    free_modules(&ms);
    free(in);
    return ret;
}

/* ---- multiboot ---- */

int64_t multiboot_header(const struct blob *b)
{
    for (uint64_t at = 0; at + 12 <= b->len && at + 12 <= HEADER_WITHIN; at += 4) {
        uint32_t magic = load_le32(b->bytes + at), flags = load_le32(b->bytes + at + 4);
        if (magic == HEADER_MAGIC && magic + flags + load_le32(b->bytes + at + 8) == 0) {
            return (int64_t)at;
        }
    }
    return -1;
}

/* The image as its header's address fields have it. */
static int load_flat(struct kernel *k, uint64_t header, struct loaded *l)
{
    const uint8_t *h = k->image.bytes + header;
    if (header + 32 > k->image.len) {
        return err_set(k->e, -EINVAL, "the multiboot header is cut off");
    }
    uint64_t header_addr = load_le32(h + 12), load = load_le32(h + 16), end = load_le32(h + 20);
    uint64_t bss_end = load_le32(h + 24), back = header_addr - load;
    if (load > header_addr || back > header || load < KERNEL_HIGH) {
        return err_set(k->e, -EINVAL, "the multiboot header's addresses make no sense");
    }
    uint64_t from = header - back;
    end = end ? end : load + (k->image.len - from);
    bss_end = bss_end ? bss_end : end;
    if (end < load || bss_end < end || end - load > k->image.len - from || bss_end > k->below_4g) {
        return err_set(k->e, -EINVAL, "the multiboot header's addresses make no sense");
    }
    *l = (struct loaded){ calloc(1, bss_end - load + 1), load, bss_end - load, load_le32(h + 28) };
    if (!l->bytes) {
        return err_set(k->e, -ENOMEM, "no memory for %llu bytes", (unsigned long long)l->len);
    }
    memcpy(l->bytes, k->image.bytes + from, end - load);
    return 0;
}

static void describe_multiboot(struct kernel *k, struct info *in, struct modules *ms)
{
    char *line = xasprintf("%s%s%s", k->o->kernel, k->o->append ? " " : "",
                           k->o->append ? k->o->append : "");
    put(in, 0, INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER);
    put(in, 16, add_string(in, line));
    put(in, 20, ms->n);
    put(in, 24, KERNEL_SETUP + MODULES_AT);
    put(in, 48, KERNEL_SETUP + BOOT_ROM_MAP);
    put(in, 64, add_string(in, "Keel"));
    for (unsigned i = 0; i < ms->n; i++) {
        unsigned at = MODULES_AT + 16 * i;
        put(in, at, (uint32_t)(k->initrd_at + ms->m[i].at));
        put(in, at + 4, (uint32_t)(k->initrd_at + ms->m[i].at + ms->m[i].len));
        put(in, at + 8, add_string(in, ms->m[i].args));
    }
    free(line);
}

int kernel_multiboot(struct kernel *k, uint64_t header)
{
    uint32_t flags = load_le32(k->image.bytes + header + 4);
    struct loaded l = { 0 };
    if (flags & MANDATORY & ~(uint32_t)(WANTS_ALIGNED | WANTS_MEMORY | WANTS_VIDEO)) {
        return err_set(k->e, -EINVAL, "multiboot flags 0x%x ask for something unknown", flags);
    }
    int ret;
    if (flags & HAS_ADDRESSES) {
        ret = load_flat(k, header, &l);
    } else if (elf_is(&k->image)) {
        ret = elf_load(&k->image, k->below_4g, &l, k->e);
    } else {
        ret = err_set(k->e, -EINVAL, "a multiboot image that is not ELF and names no addresses");
    }
    if (ret == 0) {
        ret = assemble(k, &l, BOOT_ROM_MULTIBOOT, describe_multiboot);
    }
    free(l.bytes);
    return ret;
}

/* ---- PVH ---- */

static void describe_pvh(struct kernel *k, struct info *in, struct modules *ms)
{
    put(in, 0, START_MAGIC);
    put(in, 4, 1); /* version with a memory map */
    put(in, 12, ms->n);
    put(in, 16, ms->n ? KERNEL_SETUP + MODULES_AT : 0);
    put(in, 24, add_string(in, k->o->append ? k->o->append : ""));
    put(in, 40, KERNEL_SETUP + BOOT_ROM_MAP);
    for (unsigned i = 0; i < ms->n; i++) {
        unsigned at = MODULES_AT + 32 * i;
        const char *args = strchr(ms->m[i].args, ' ');
        put(in, at, (uint32_t)(k->initrd_at + ms->m[i].at));
        put(in, at + 8, (uint32_t)ms->m[i].len);
        put(in, at + 16, args ? add_string(in, args + 1) : 0);
    }
}

int kernel_pvh(struct kernel *k, uint64_t entry)
{
    struct loaded l = { 0 };
    int ret = elf_load(&k->image, k->below_4g, &l, k->e);
    if (ret == 0 && entry - l.at >= l.len) {
        ret = err_set(k->e, -EINVAL, "the PVH entry 0x%llx is outside the image",
                      (unsigned long long)entry);
    }
    l.entry = entry;
    if (ret == 0) {
        ret = assemble(k, &l, BOOT_ROM_PVH, describe_pvh);
    }
    free(l.bytes);
    return ret;
}
