/* SPDX-License-Identifier: MIT */
/* block/vmdk-desc.c - VMDK's descriptor text, read and written, and new images. */
#include "block/vmdk-int.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { GRAIN = 128, DESC_AT = 1, DESC_LEN = 20, TWO_GB = 4 << 20 /* sectors */ };

/* ---- reading ---- */

/* key="value" or key=value at the start of a line; malloc'd, NULL if not there. */
static char *text_get(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *at = text; (at = strstr(at, key)); at += n) {
        const char *v = at + n;
        if (at != text && at[-1] != '\n') {
            continue;
        }
        v += strspn(v, " \t");
        if (*v != '=') {
            continue;
        }
        v++;
        v += strspn(v, " \t");
        return *v == '"' ? xasprintf("%.*s", (int)strcspn(v + 1, "\"\r\n"), v + 1)
                         : xasprintf("%.*s", (int)strcspn(v, " \t\r\n"), v);
    }
    return NULL;
}

/* RW 4192256 SPARSE "name" [sector]. 1: an extent; 0: another line. */
static int parse_extent(struct vmdk_extent *x, const char *line)
{
    char access[16], type[16], name[1024] = "";
    unsigned long long sectors, at = 0;
    int n;

    *x = (struct vmdk_extent){ 0 };
    n = sscanf(line, "%15s %llu %15s \"%1023[^\"\r\n]\" %llu", access, &sectors, type, name, &at);
    if (n < 3 || (strcmp(access, "RW") != 0 && strcmp(access, "RDONLY") != 0)) {
        return 0;
    }
    if (sectors == 0 || sectors > 1ull << 42 || at > 1ull << 42) {
        return -EINVAL;
    }
    bool known = strcmp(type, "SPARSE") == 0 || strcmp(type, "FLAT") == 0 ||
                 strcmp(type, "VMFS") == 0 || strcmp(type, "ZERO") == 0;
    if (!known || (strcmp(type, "ZERO") != 0 && !name[0])) {
        return -ENOTSUP;
    }
    x->len = sectors * 512;
    x->at = at * 512;
    x->type = xstrdup(type);
    x->name = xstrdup(name);
    return 1;
}

static int parse_extents(struct vmdk *v, const struct node *file, const char *text, struct err *e)
{
    v->extent = NULL;
    for (const char *line = text; line && *line;) {
        struct vmdk_extent x;
        char one[1200];
        snprintf(one, sizeof(one), "%.*s", (int)min_u64(strcspn(line, "\n"), 1199), line);
        int ret = parse_extent(&x, one);
        if (ret < 0) {
            return err_set(e, ret, "image '%s': VMDK: extent '%.80s': Keel cannot have it",
                           file->filename, one);
        }
        if (ret && v->extents == VMDK_MAX_EXTENTS) {
            free(x.name);
            free(x.type);
            return vmdk_bad(file, e, "too many extents");
        }
        if (ret) {
            v->extent = xrealloc(v->extent, (v->extents + 1) * sizeof(x));
            v->extent[v->extents++] = x;
        }
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return 0;
}

int vmdk_parse(struct vmdk *v, const struct node *file, const char *text, struct err *e)
{
    char *cid = text_get(text, "CID"), *parent = text_get(text, "parentCID");
    int ret = 0;

    if (strncmp(text, "# Disk DescriptorFile", 21) != 0) {
        ret = vmdk_bad(file, e, "it has no descriptor");
    }
    v->cid = cid ? (uint32_t)strtoul(cid, NULL, 16) : 0;
    v->parent_cid = parent ? (uint32_t)strtoul(parent, NULL, 16) : UINT32_MAX;
    v->create_type = text_get(text, "createType");
    v->parent = text_get(text, "parentFileNameHint");
    free(cid);
    free(parent);
    return ret < 0 ? ret : parse_extents(v, file, text, e);
}

/* ---- writing ---- */

void vmdk_build_header(uint8_t *b, const struct vmdk_header *h)
{
    memset(b, 0, 512);
    memcpy(b, "KDMV", 4);
    store_le(b + 4, 4, h->version);
    store_le(b + 8, 4, h->flags);
    store_le(b + 12, 8, h->capacity);
    store_le(b + 20, 8, h->grain);
    store_le(b + 28, 8, h->desc_at);
    store_le(b + 36, 8, h->desc_len);
    store_le(b + 44, 4, VMDK_GTES);
    store_le(b + 48, 8, h->rgd_at);
    store_le(b + 56, 8, h->gd_at);
    store_le(b + 64, 8, h->overhead);
    memcpy(b + 73, "\n \r\n", 4);
    store_le(b + 77, 2, h->compression);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* extents: their lines. malloc'd. */
static char *build_text(const struct format_create *c, const char *type, const char *extents)
{
    uint64_t sectors = c->size / 512;
    bool ide = !c->adapter_type || strcmp(c->adapter_type, "ide") == 0;
    uint64_t heads = ide ? 16 : 255, cylinders = sectors / heads / 63;
    uint32_t cid = 1;
    char *parent = c->backing_file ? xasprintf("parentFileNameHint=\"%s\"\n", c->backing_file)
                                   : xstrdup(""),
         *text;

    if (getrandom(&cid, sizeof(cid), 0) != sizeof(cid) || cid == UINT32_MAX) {
        cid = 0x4b65656c;
    }
    text = xasprintf("# Disk DescriptorFile\n"
                     "version=1\n"
                     "CID=%08x\n"
                     "parentCID=%08x\n"
                     "createType=\"%s\"\n"
                     "%s\n"
                     "# Extent description\n"
                     "%s\n"
                     "# The Disk Data Base\n"
                     "#DDB\n\n"
                     "ddb.virtualHWVersion = \"%s\"\n"
                     "ddb.geometry.cylinders = \"%llu\"\n"
                     "ddb.geometry.heads = \"%llu\"\n"
                     "ddb.geometry.sectors = \"63\"\n"
                     "ddb.adapterType = \"%s\"\n"
                     "ddb.toolsVersion = \"%s\"\n",
                     cid, c->backing_file ? c->parent_cid : UINT32_MAX, type, parent, extents,
                     c->hwversion ? c->hwversion
                     : c->compat6 ? "6"
                                  : "4",
                     (unsigned long long)cylinders, (unsigned long long)heads,
                     c->adapter_type ? c->adapter_type : "ide",
                     c->toolsversion ? c->toolsversion : "2147483647");
    free(parent);
    return text;
}

/* Header, descriptor, and, where it is not a stream, both sets of grain tables. */
static int create_sparse(struct node *file, const struct format_create *c, bool stream,
                         struct err *e)
{
    uint64_t sectors = c->size / 512, grains = (sectors + GRAIN - 1) / GRAIN;
    uint64_t ngt = (grains + VMDK_GTES - 1) / VMDK_GTES, gd = (ngt * 4 + 511) / 512;
    uint64_t tables = gd + ngt * (VMDK_GT_BYTES / 512), rgd_at = DESC_AT + DESC_LEN;
    struct vmdk_header h = { .version = stream ? 3 : 1,
                             .flags = stream ? 1u | VMDK_COMPRESSED | VMDK_MARKERS : 3u,
                             .capacity = sectors,
                             .grain = GRAIN,
                             .desc_at = DESC_AT,
                             .desc_len = DESC_LEN,
                             .rgd_at = stream ? 0 : rgd_at,
                             .gd_at = stream ? VMDK_AT_END : rgd_at + tables,
                             .compression = stream };
    uint64_t used = stream ? rgd_at : rgd_at + 2 * tables;
    char *extents = xasprintf("RW %llu SPARSE \"%s\"\n", (unsigned long long)sectors,
                              base_name(file->filename));
    char *text = build_text(c, stream ? "streamOptimized" : "monolithicSparse", extents);
    uint8_t *all;
    int ret;

    free(extents);
    if (ngt * VMDK_GT_BYTES > VMDK_MAX_TABLES || strlen(text) > DESC_LEN * 512) {
        free(text);
        return err_set(e, -EFBIG, "too large for VMDK (2 TiB), or too long a name");
    }
    if (!stream && c->zeroed_grain) {
        h.version = 2;
        h.flags |= VMDK_ZEROED;
    }
    h.overhead = (used + GRAIN - 1) & ~(uint64_t)(GRAIN - 1);
    all = xcalloc(h.overhead, 512);
    vmdk_build_header(all, &h);
    memcpy(all + DESC_AT * 512, text, strlen(text));
    for (uint64_t copy = 0; !stream && copy < 2; copy++) {
        uint64_t at = rgd_at + copy * tables;
        for (uint64_t i = 0; i < ngt; i++) {
            store_le(all + at * 512 + i * 4, 4, at + gd + i * (VMDK_GT_BYTES / 512));
        }
    }
    ret = node_write(file, 0, all, h.overhead * 512);
    free(all);
    free(text);
    return ret;
}

/* The descriptor is all that is in `file`; the data are beside it. */
static int create_flat(struct node *file, const struct format_create *c, bool split, struct err *e)
{
    uint64_t left = c->size / 512, max = split ? TWO_GB : left;
    const char *dot = strrchr(base_name(file->filename), '.');
    int stem = (int)(dot ? dot - file->filename : (long)strlen(file->filename)), ret = 0;
    char *extents = xstrdup("");

    for (unsigned i = 1; left && ret == 0; i++) {
        uint64_t n = min_u64(left, max);
        char *path = split ? xasprintf("%.*s-f%03u%s", stem, file->filename, i, dot ? dot : "")
                           : xasprintf("%.*s-flat%s", stem, file->filename, dot ? dot : "");
        char *more =
            xasprintf("%sRW %llu FLAT \"%s\" 0\n", extents, (unsigned long long)n, base_name(path));
        ret = file_create(path, n * 512, e);
        free(path);
        free(extents);
        extents = more;
        left -= n;
    }
    char *text = build_text(c, split ? "twoGbMaxExtentFlat" : "monolithicFlat", extents);
    uint64_t len = strlen(text), whole = (len + 511) & ~511ull;
    char *padded = xcalloc(1, whole);
    memset(padded, '\n', whole);
    memcpy(padded, text, len);
    ret = ret < 0 ? ret : node_write(file, 0, padded, whole);
    free(padded);
    free(text);
    free(extents);
    return ret;
}

int vmdk_create(struct node *file, const struct format_create *c, struct err *e)
{
    static const char *const adapters[] = { "ide", "lsilogic", "buslogic", "legacyESX" };
    const char *type = c->subformat ? c->subformat : "monolithicSparse";
    bool known = !c->adapter_type;
    int ret;

    for (size_t i = 0; c->adapter_type && i < ARRAY_SIZE(adapters); i++) {
        known |= strcmp(adapters[i], c->adapter_type) == 0;
    }
    if (!known) {
        return err_set(e, -EINVAL, "Unknown adapter type: '%s'", c->adapter_type);
    }
    if (strpbrk(base_name(file->filename), "\"\n") ||
        (c->backing_file && strpbrk(c->backing_file, "\"\n"))) {
        return err_set(e, -EINVAL, "a name with quotes does not fit into a VMDK descriptor");
    }
    if (strcmp(type, "monolithicSparse") == 0 || strcmp(type, "streamOptimized") == 0) {
        ret = create_sparse(file, c, type[0] == 's', e);
    } else if (c->backing_file) {
        return err_set(e, -ENOTSUP, "Flat image can't have backing file");
    } else if (strcmp(type, "monolithicFlat") == 0 || strcmp(type, "twoGbMaxExtentFlat") == 0) {
        ret = create_flat(file, c, type[0] == 't', e);
    } else {
        return err_set(e, -ENOTSUP, "subformat '%s': %s", type,
                       strcmp(type, "twoGbMaxExtentSparse") == 0 ? "Keel reads it but makes none"
                                                                 : "unknown");
    }
    return ret < 0 && !(e && e->code) ? err_set(e, ret, "%s", strerror(-ret)) : ret;
}
