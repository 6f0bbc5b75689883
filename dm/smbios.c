/* SPDX-License-Identifier: MIT */
/* dm/smbios.c - the SMBIOS 2.8 tables.
 *
 * Types 1, 3, 4, 16, 17, 19, 32 and 127 always; 0, 2 and 11 when -smbios asks for them (SeaBIOS
 * supplies a type 0 of its own). -smbios file= adds raw structures, which are checked to end where
 * they say.
 * Reference: DMTF DSP0134 2.8.
 */
#include "dm/smbios.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/firmware.h"
#include "dm/options.h"
#include "hw/nvram/fw-cfg.h"
#include "ioreq/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GIB (1ull << 30)
#define DIMM_BYTES (16 * GIB)
#define FOUR_G (1ull << 32)

enum { UNKNOWN = 2, OTHER = 1, ANCHOR_LEN = 31, TABLES_MAX = 0xffff };

struct smbios {
    struct state_buf t;
    size_t at;       /* the structure being made */
    uint8_t strings; /* it has so far */
    unsigned n;      /* structures */
    size_t longest;
    uint16_t handle;
};

/* ---- structures ---- */

static void begin(struct smbios *s, uint8_t type, uint8_t len, uint16_t handle)
{
    static const uint8_t zeros[256];
    s->at = s->t.len;
    s->strings = 0;
    state_put(&s->t, zeros, len);
    s->t.p[s->at] = type;
    s->t.p[s->at + 1] = len;
    store_le(s->t.p + s->at + 2, 2, handle);
}

static void field(struct smbios *s, unsigned off, unsigned size, uint64_t v)
{
    store_le(s->t.p + s->at + off, size, v);
}

/* A string, and its number in the byte at off; nothing for NULL or "". */
static void text(struct smbios *s, unsigned off, const char *str)
{
    if (str && *str) {
        state_put(&s->t, str, strlen(str) + 1);
        s->t.p[s->at + off] = ++s->strings;
    }
}

static void finish(struct smbios *s)
{
    state_put(&s->t, "\0", s->strings ? 1 : 2);
    s->n++;
    s->longest = s->t.len - s->at > s->longest ? s->t.len - s->at : s->longest;
}

/* ---- what the user says ---- */

/* The last -smbios type=N, or NULL. */
static struct keyval *option(const struct options *o, unsigned type)
{
    struct keyval *found = NULL;
    for (size_t i = 0; i < o->smbioses.n; i++) {
        const char *t = keyval_get(o->smbioses.kv[i], "type");
        uint64_t n;
        if (t && parse_u64(t, 255, &n) == 0 && n == type) {
            found = o->smbioses.kv[i];
        }
    }
    return found;
}

static const char *say(struct keyval *kv, const char *key, const char *otherwise)
{
    const char *v = kv ? keyval_get(kv, key) : NULL;
    return v ? v : otherwise;
}

static void bios(struct smbios *s, const struct options *o)
{
    struct keyval *kv = option(o, 0);
    if (!kv) {
        return;
    }
    const char *release = say(kv, "release", "0.0"), *dot = strchr(release, '.');
    bool uefi = strcmp(say(kv, "uefi", "off"), "on") == 0;
    begin(s, 0, 0x18, 0);
    field(s, 6, 2, 0xe800);                 /* segment */
    field(s, 10, 8, 1 << 3);                /* characteristics: not told */
    field(s, 19, 1, 0x14 | (uefi ? 8 : 0)); /* virtual machine, targeted content */
    field(s, 20, 1, strtoul(release, NULL, 10));
    field(s, 21, 1, dot ? strtoul(dot + 1, NULL, 10) : 0);
    field(s, 22, 2, 0xffff); /* no embedded controller */
    text(s, 4, say(kv, "vendor", "Keel"));
    text(s, 5, say(kv, "version", KEEL_VERSION));
    text(s, 8, say(kv, "date", "01/01/2026"));
    finish(s);
}

/* The first three fields of a UUID are little-endian here. */
static void uuid(struct smbios *s, unsigned off, const char *str)
{
    static const uint8_t place[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    for (unsigned i = 0; str && i < 16; i++) {
        char hex[3] = { str[0], str[1], '\0' };
        field(s, off + place[i], 1, strtoul(hex, NULL, 16));
        str += 2 + (str[2] == '-');
    }
}

static void system_info(struct smbios *s, const struct options *o)
{
    struct keyval *kv = option(o, 1);
    begin(s, 1, 0x1b, 0x100);
    uuid(s, 8, say(kv, "uuid", o->uuid));
    field(s, 24, 1, 6); /* wake-up: power switch */
    text(s, 4, say(kv, "manufacturer", "QEMU"));
    text(s, 5, say(kv, "product", "Standard PC (i440FX + PIIX, 1996)"));
    text(s, 6, say(kv, "version", "pc-i440fx"));
    text(s, 7, say(kv, "serial", NULL));
    text(s, 25, say(kv, "sku", NULL));
    text(s, 26, say(kv, "family", NULL));
    finish(s);
}

static void baseboard(struct smbios *s, const struct options *o)
{
    struct keyval *kv = option(o, 2);
    if (!kv) {
        return;
    }
    begin(s, 2, 0x0f, 0x200);
    field(s, 9, 1, 1); /* hosting board */
    field(s, 11, 2, 0x300);
    field(s, 13, 1, 0x0a); /* motherboard */
    text(s, 4, say(kv, "manufacturer", "QEMU"));
    text(s, 5, say(kv, "product", "Standard PC (i440FX + PIIX, 1996)"));
    text(s, 6, say(kv, "version", "pc-i440fx"));
    text(s, 7, say(kv, "serial", NULL));
    text(s, 8, say(kv, "asset", NULL));
    text(s, 10, say(kv, "location", NULL));
    finish(s);
}

static void chassis(struct smbios *s, const struct options *o)
{
    struct keyval *kv = option(o, 3);
    begin(s, 3, 0x16, 0x300);
    field(s, 5, 1, OTHER);
    field(s, 9, 4, 0x03030303); /* states: safe; security: none */
    text(s, 4, say(kv, "manufacturer", "QEMU"));
    text(s, 6, say(kv, "version", "pc-i440fx"));
    text(s, 7, say(kv, "serial", NULL));
    text(s, 8, say(kv, "asset", NULL));
    text(s, 21, say(kv, "sku", NULL));
    finish(s);
}

static void processor(struct smbios *s, const struct options *o, unsigned n, unsigned cores,
                      unsigned threads)
{
    struct keyval *kv = option(o, 4);
    char *socket = xasprintf("%s %u", say(kv, "sock_pfx", "CPU"), n);
    begin(s, 4, 0x2a, (uint16_t)(0x400 + n));
    field(s, 5, 1, 3); /* central processor */
    field(s, 6, 1, OTHER);
    field(s, 20, 2, strtoul(say(kv, "max-speed", "2000"), NULL, 10));
    field(s, 22, 2, strtoul(say(kv, "current-speed", "2000"), NULL, 10));
    field(s, 24, 1, 0x41); /* populated, enabled */
    field(s, 25, 1, OTHER);
    field(s, 26, 2, 0xffff); /* no cache structures */
    field(s, 28, 2, 0xffff);
    field(s, 30, 2, 0xffff);
    field(s, 35, 1, min_u64(cores, 255));
    field(s, 36, 1, min_u64(cores, 255));
    field(s, 37, 1, min_u64((uint64_t)cores * threads, 255));
    field(s, 38, 2, UNKNOWN);
    field(s, 40, 2, OTHER);
    text(s, 4, socket);
    text(s, 7, say(kv, "manufacturer", "QEMU"));
    text(s, 16, say(kv, "version", "pc-i440fx"));
    text(s, 32, say(kv, "serial", NULL));
    text(s, 33, say(kv, "asset", NULL));
    text(s, 34, say(kv, "part", NULL));
    finish(s);
    free(socket);
}

static void processors(struct smbios *s, const struct options *o)
{
    unsigned cores = o->cores ? o->cores : 1, threads = o->threads ? o->threads : 1;
    unsigned sockets = o->sockets ? o->sockets : o->cpus / (cores * threads);
    for (unsigned n = 0; n < sockets || n == 0; n++) {
        processor(s, o, n, cores, threads);
    }
}

static void oem_strings(struct smbios *s, const struct options *o)
{
    struct keyval *kv = option(o, 11);
    if (!kv) {
        return;
    }
    begin(s, 11, 5, 0xe00);
    for (size_t i = 0; i < kv->n; i++) {
        if (strcmp(kv->pair[i].key, "value") == 0 && s->strings < 255) {
            text(s, 4, kv->pair[i].value); /* the byte ends up as their number */
        }
    }
    finish(s);
}

/* ---- memory ---- */

static void memory_array(struct smbios *s, const struct options *o, unsigned dimms)
{
    uint64_t kib = o->ram_bytes >> 10;
    begin(s, 16, 0x17, 0x1000);
    field(s, 4, 1, OTHER); /* place */
    field(s, 5, 1, 3);     /* system memory */
    field(s, 6, 1, 6);     /* multi-bit ECC */
    field(s, 7, 4, kib < 0x80000000 ? kib : 0x80000000);
    field(s, 11, 2, 0xfffe);
    field(s, 13, 2, dimms);
    field(s, 15, 8, kib < 0x80000000 ? 0 : o->ram_bytes);
    finish(s);
}

static void dimm(struct smbios *s, const struct options *o, unsigned n, uint64_t bytes)
{
    struct keyval *kv = option(o, 17);
    char *place = xasprintf("%s %u", say(kv, "loc_pfx", "DIMM"), n);
    uint64_t mib = bytes >> 20;
    begin(s, 17, 0x28, (uint16_t)(0x1100 + n));
    field(s, 4, 2, 0x1000);
    field(s, 6, 2, 0xfffe);
    field(s, 8, 2, 0xffff);
    field(s, 10, 2, 0xffff);
    field(s, 12, 2, mib < 0x7fff ? mib : 0x7fff);
    field(s, 14, 1, 9); /* DIMM */
    field(s, 18, 1, 7); /* RAM */
    field(s, 19, 2, OTHER << 1);
    field(s, 21, 2, strtoul(say(kv, "speed", "0"), NULL, 10));
    field(s, 28, 4, mib < 0x7fff ? 0 : mib);
    text(s, 16, place);
    text(s, 17, say(kv, "bank", NULL));
    text(s, 23, say(kv, "manufacturer", "QEMU"));
    text(s, 24, say(kv, "serial", NULL));
    text(s, 25, say(kv, "asset", NULL));
    text(s, 26, say(kv, "part", NULL));
    finish(s);
    free(place);
}

static void mapped(struct smbios *s, unsigned n, uint64_t first, uint64_t bytes)
{
    uint64_t last = first + bytes - 1;
    if (!bytes) {
        return;
    }
    begin(s, 19, 0x1f, (uint16_t)(0x1300 + n));
    field(s, 4, 4, last >> 10 < 0xffffffff ? first >> 10 : 0xffffffff);
    field(s, 8, 4, last >> 10 < 0xffffffff ? last >> 10 : 0xffffffff);
    field(s, 12, 2, 0x1000);
    field(s, 14, 1, 1);
    field(s, 15, 8, last >> 10 < 0xffffffff ? 0 : first);
    field(s, 23, 8, last >> 10 < 0xffffffff ? 0 : last);
    finish(s);
}

static void memory(struct smbios *s, const struct options *o, uint64_t below_4g)
{
    unsigned dimms = (unsigned)((o->ram_bytes + DIMM_BYTES - 1) / DIMM_BYTES);
    memory_array(s, o, dimms);
    for (unsigned n = 0; n < dimms; n++) {
        dimm(s, o, n, min_u64(DIMM_BYTES, o->ram_bytes - n * DIMM_BYTES));
    }
    mapped(s, 0, 0, below_4g);
    mapped(s, 1, FOUR_G, o->ram_bytes - below_4g);
}

/* ---- files ---- */

/* Length of the structure at p with its strings, 0 when it does not end within len. */
static size_t structure_len(const uint8_t *p, size_t len)
{
    size_t at = len >= 4 ? p[1] : 0;
    if (at < 4) {
        return 0;
    }
    for (; at + 2 <= len; at++) {
        if (!p[at] && !p[at + 1]) {
            return at + 2;
        }
    }
    return 0;
}

static int add_file(struct smbios *s, const char *path, struct err *e)
{
    struct blob b;
    int ret = blob_read(&b, path, TABLES_MAX, e);
    for (size_t at = 0, n; ret == 0 && at < b.len; at += n) {
        n = structure_len(b.bytes + at, b.len - at);
        if (!n) {
            ret = err_set(e, -EINVAL, "'%s': no valid structure at byte %zu", path, at);
            break;
        }
        state_put(&s->t, b.bytes + at, n);
        s->n++;
        s->longest = n > s->longest ? n : s->longest;
    }
    free(b.bytes);
    return ret;
}

static int add_files(struct smbios *s, const struct options *o, struct err *e)
{
    for (size_t i = 0; i < o->smbioses.n; i++) {
        const char *file = keyval_get(o->smbioses.kv[i], "file");
        if (file && add_file(s, file, e) < 0) {
            return err_prefix(e, "-smbios %s", o->smbioses.kv[i]->text);
        }
    }
    return 0;
}

static bool known_type(uint64_t type)
{
    return type <= 4 || type == 11 || type == 17;
}

/* Keys that no structure asked for. */
static int check_keys(const struct options *o, struct err *e)
{
    for (size_t i = 0; i < o->smbioses.n; i++) {
        struct keyval *kv = o->smbioses.kv[i];
        const char *t = keyval_get(kv, "type");
        uint64_t n = 0;
        if (t && (parse_u64(t, 255, &n) < 0 || !known_type(n))) {
            err_set(e, -EINVAL, "type=%s: expected 0, 1, 2, 3, 4, 11 or 17", t);
            return err_prefix(e, "-smbios %s", kv->text);
        }
        keyval_get(kv, "file");
        if (t && strcmp(t, "11") == 0) {
            keyval_get(kv, "value");
        }
        for (size_t k = 0; k < kv->n; k++) { /* an earlier one that a later one replaced */
            kv->pair[k].used |= t && option(o, (unsigned)n) != kv;
            kv->pair[k].used |= t && strcmp(kv->pair[k].key, "value") == 0 && n == 11;
        }
        if (keyval_done(kv, e) < 0) {
            return err_prefix(e, "-smbios %s", kv->text);
        }
    }
    return 0;
}

/* ---- the whole ---- */

static void anchor(const struct smbios *s, uint8_t *a)
{
    memset(a, 0, ANCHOR_LEN);
    memcpy(a, "_SM_", 4);
    a[5] = ANCHOR_LEN;
    a[6] = 2;
    a[7] = 8;
    store_le(a + 8, 2, s->longest);
    memcpy(a + 16, "_DMI_", 5);
    store_le(a + 22, 2, s->t.len);
    store_le(a + 28, 2, s->n);
    a[30] = 0x28; /* address and checksums are the firmware's */
}

int smbios_add(struct device *fw_cfg, const struct options *o, uint64_t below_4g, struct err *e)
{
    struct smbios s = { 0 };
    uint8_t a[ANCHOR_LEN];
    bios(&s, o);
    system_info(&s, o);
    baseboard(&s, o);
    chassis(&s, o);
    processors(&s, o);
    oem_strings(&s, o);
    memory(&s, o, below_4g);
    begin(&s, 32, 0x0b, 0x2000); /* booted without error */
    finish(&s);
    int ret = add_files(&s, o, e);
    begin(&s, 127, 4, 0x7f00);
    finish(&s);
    if (ret == 0) {
        ret = check_keys(o, e);
    }
    if (ret == 0 && s.t.len > TABLES_MAX) {
        ret = err_set(e, -EINVAL, "-smbios: tables of more than %u bytes", TABLES_MAX);
    }
    if (ret == 0) {
        anchor(&s, a);
        ret = fw_cfg_add_file(fw_cfg, "etc/smbios/smbios-tables", s.t.p, (uint32_t)s.t.len, e);
    }
    if (ret == 0) {
        ret = fw_cfg_add_file(fw_cfg, "etc/smbios/smbios-anchor", a, sizeof(a), e);
    }
    free(s.t.p);
    return ret;
}
