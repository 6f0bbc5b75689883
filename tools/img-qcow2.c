/* SPDX-License-Identifier: MIT */
/* tools/img-qcow2.c - what is qcow2's own in keel-img create and amend. */
#include "tools/img.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_compat(const char *s, unsigned *version)
{
    if (s && (strcmp(s, "0.10") == 0 || strcmp(s, "v2") == 0)) {
        *version = 2;
    } else if (s && strcmp(s, "1.1") != 0 && strcmp(s, "v3") != 0) {
        return fail("Invalid compatibility level '%s'", s);
    }
    return 0;
}

static bool power_of_two(uint64_t v)
{
    return v && !(v & (v - 1));
}

static int parse_shape(const char *filename, const char *cluster, const char *bits,
                       const char *type, struct qcow2_create *c)
{
    uint64_t v = 65536, b = 16;

    if ((cluster && !tool_bytes(cluster, &v)) || !power_of_two(v) || v < 512 || v > 2 << 20) {
        return fail("%s: Cluster size must be a power of two between 512 and 2048k", filename);
    }
    if ((bits && !tool_bytes(bits, &b)) || !power_of_two(b) || b > 64) {
        return fail("%s: Refcount width must be a power of two and may not exceed 64 bits",
                    filename);
    }
    if (type && strcmp(type, "zlib") != 0 && strcmp(type, "zstd") != 0) {
        return fail("%s: compression type '%s': zlib or zstd", filename, type);
    }
    c->cluster_bits = (unsigned)__builtin_ctzll(v);
    c->refcount_bits = (unsigned)b;
    c->zstd = type && strcmp(type, "zstd") == 0;
    return 0;
}

/* What only version 3 has, and what does not go together. */
static int check_qcow2(const char *filename, const struct qcow2_create *c)
{
    const struct {
        bool asked;
        const char *what;
    } newer[] = {
        { c->zstd, "Non-zlib compression type is" },
        { c->lazy_refcounts, "Lazy refcounts are" },
        { c->refcount_bits != 16, "Different refcount widths than 16 bits are" },
        { c->extended_l2, "Extended L2 entries are" },
        { c->data_file, "External data files are" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(newer) && c->version < 3; i++) {
        if (newer[i].asked) {
            return fail("%s: %s only supported with compatibility level 1.1 and above (use "
                        "version=v3 or greater)",
                        filename, newer[i].what);
        }
    }
    if (c->extended_l2 && c->cluster_bits < 14) {
        return fail("%s: Extended L2 entries are only supported with cluster sizes of at least "
                    "16384 bytes",
                    filename);
    }
    if (c->data_file_raw && !c->data_file) {
        return fail("%s: data-file-raw requires data-file", filename);
    }
    return 0;
}

int parse_qcow2(const char *options, struct qcow2_create *c, const char *filename)
{
    char *compat = option_get(options, "compat"), *cluster = option_get(options, "cluster_size"),
         *bits = option_get(options, "refcount_bits"),
         *lazy = option_get(options, "lazy_refcounts"),
         *type = option_get(options, "compression_type"),
         *extended = option_get(options, "extended_l2"),
         *raw = option_get(options, "data_file_raw");
    int rc = parse_compat(compat, &c->version) ||
             option_bool("lazy_refcounts", lazy, &c->lazy_refcounts) ||
             option_bool("extended_l2", extended, &c->extended_l2) ||
             option_bool("data_file_raw", raw, &c->data_file_raw) ||
             parse_shape(filename, cluster, bits, type, c);

    c->data_file = option_get(options, "data_file");
    rc = rc || check_qcow2(filename, c);
    free(compat);
    free(cluster);
    free(bits);
    free(lazy);
    free(type);
    free(extended);
    free(raw);
    return rc;
}

int parse_prealloc(const char *filename, const char *s, bool raw, enum qcow2_prealloc *out)
{
    static const char *const names[] = { "off", "metadata", "falloc", "full" };

    for (int i = 0; s && i < (int)ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], s) == 0 && !(raw && i == QCOW2_PREALLOC_METADATA)) {
            *out = (enum qcow2_prealloc)i;
            return 0;
        }
    }
    return s ? fail("%s: Invalid parameter '%s' for preallocation", filename, s) : 0;
}

/* The data file that the image on `filename` shall have: made new, or the one there if it is not
 * to be. NULL after telling why. */
static struct node *make_data_file(struct img *im, const char *filename, const char *data)
{
    char *path = image_backing_path(filename, data);
    struct file_open f = { .filename = path, .fd = -1, .growable = true, .lock = true };
    struct err e = { 0 };
    struct node *n = NULL;

    if (file_create(path, 0, &e) < 0 || !(n = file_open(im->ctx, &f, &e))) {
        fail("%s: %s", filename, e.msg);
    }
    free(path);
    return n;
}

static int preallocate(struct img *im, const char *filename, struct node *data,
                       enum qcow2_prealloc how)
{
    struct file_open f = { .filename = filename, .fd = -1, .growable = true, .lock = true };
    struct qcow2_open o = { .key = im->target_key };
    struct err e = { 0 };
    struct node *n = file_open(im->ctx, &f, &e);
    int ret;

    n = n ? qcow2_open(n, &o, &e) : NULL;
    if (!n) {
        node_close(data);
        return fail("%s: %s", filename, e.msg);
    }
    if (data) {
        qcow2_set_data(n, data);
    }
    ret = qcow2_preallocate(n, 0, how);
    if (ret < 0) {
        fail("%s: Could not preallocate: %s", filename, strerror(-ret));
    }
    return img_close(n) || ret < 0;
}

int make_qcow2(struct img *im, const char *filename, const struct qcow2_create *c,
               enum qcow2_prealloc how)
{
    struct file_open f = { .filename = filename, .fd = -1, .growable = true, .lock = true };
    struct err e = { 0 };
    struct node *n, *data = NULL;
    int ret;

    im->target_key = c->key;
    if (c->data_file_raw && c->backing_file) {
        return fail("%s: Backing file and data-file-raw cannot be used at the same time", filename);
    }
    if (how != QCOW2_PREALLOC_OFF && c->backing_file && !c->extended_l2) {
        return fail("%s: Backing file and preallocation can only be used at the same time if "
                    "extended_l2 is enabled",
                    filename);
    }
    if (c->data_file && !(data = make_data_file(im, filename, c->data_file))) {
        return 1;
    }
    if (file_create(filename, 0, &e) < 0 || !(n = file_open(im->ctx, &f, &e))) {
        node_close(data);
        return fail("%s: %s", filename, e.msg);
    }
    ret = qcow2_create(n, c, &e);
    if (ret < 0) {
        fail("%s: %s", filename, e.msg);
    }
    if (img_close(n) || ret < 0) {
        node_close(data);
        return 1;
    }
    /* Whoever reads the data file by itself and whoever reads the image shall see the same, so its
     * tables name all of it. */
    how = how == QCOW2_PREALLOC_OFF && c->data_file_raw ? QCOW2_PREALLOC_METADATA : how;
    return how != QCOW2_PREALLOC_OFF ? preallocate(im, filename, data, how) : img_close(data);
}

/* ---- amend ---- */

/* Only what can still be changed. */
/* What can be changed later: of an encrypted image, with prefix, its key slots too. */
static int check_amend(const char *filename, const char *options, bool qcow2, const char *prefix)
{
    static const char *const later[] = { "compat", "lazy_refcounts", "refcount_bits", "size" };
    static const char *const slots[] = { "state", "new-secret", "old-secret", "keyslot",
                                         "iter-time" };
    static const char *const first[] = { "cluster_size",  "compression_type", "data_file",
                                         "data_file_raw", "encryption",       "extended_l2",
                                         "preallocation", "backing_file",     "backing_fmt" };
    size_t skip = prefix ? strlen(prefix) : 0;

    for (const char *at = options; at && *at; at += strcspn(at, ","), at += *at == ',') {
        size_t n = strcspn(at, "=,");
        bool slot = prefix && n > skip && strncmp(at, prefix, skip) == 0, found = false;
        for (size_t i = 0; qcow2 && i < ARRAY_SIZE(later); i++) {
            found |= strlen(later[i]) == n && strncmp(at, later[i], n) == 0;
        }
        for (size_t i = 0; slot && i < ARRAY_SIZE(slots); i++) {
            found |= strlen(slots[i]) == n - skip && strncmp(at + skip, slots[i], n - skip) == 0;
        }
        for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
            if (strlen(first[i]) == n && strncmp(at, first[i], n) == 0) {
                return fail("%s: Invalid parameter '%s': This option is only supported for image "
                            "creation",
                            filename, first[i]);
            }
        }
        if (!found) {
            return fail("%s: Invalid parameter '%.*s'", filename, (int)n, at);
        }
    }
    return 0;
}

static int amend(struct node *n, const char *options)
{
    char *compat = option_get(options, "compat"), *bits = option_get(options, "refcount_bits"),
         *lazy = option_get(options, "lazy_refcounts"), *size = option_get(options, "size");
    unsigned version = 0;
    uint64_t b = 0, v;
    bool on = false;
    struct err e = { 0 };
    int rc = parse_compat(compat, &version) || option_bool("lazy_refcounts", lazy, &on);

    version = compat && version == 0 ? 3 : version;
    if (rc == 0 && bits && (!tool_bytes(bits, &b) || !power_of_two(b) || b > 64)) {
        rc = fail("Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (rc == 0 && (compat || bits || lazy) &&
        qcow2_amend(n, version, (unsigned)b, lazy ? on : -1, &e) < 0) {
        rc = fail("%s", e.msg);
    }
    if (rc == 0 && size && (!tool_bytes(size, &v) || node_resize(n, v, &e) < 0)) {
        rc = fail("%s", e.code ? e.msg : "Invalid size");
    }
    free(compat);
    free(bits);
    free(lazy);
    free(size);
    return rc;
}

/* Key slots are told apart from the rest by encrypt. */
static int amend_any(struct img *im, struct node *n, bool force)
{
    const char *prefix = !image_encrypted(n) ? NULL : qcow2_is(n) ? "encrypt." : "";
    int rc = check_amend(im->arg[0], im->options, qcow2_is(n), prefix);

    if (rc) {
        return rc;
    }
    rc = prefix && (!*prefix || strstr(im->options, prefix)) ? amend_luks(im, n, prefix, force) : 0;
    return rc || !qcow2_is(n) ? rc : amend(n, im->options);
}

int img_amend(struct img *im, bool force)
{
    struct node *n;
    int rc;

    if (im->args != 1 || !im->options) {
        return fail("amend: expecting -o OPTIONS and a file name");
    }
    n = img_open(im, im->arg[0], im->format, true, OPEN_NO_BACKING | OPEN_NO_DATA);
    if (!n) {
        return 1;
    }
    rc = qcow2_is(n) || image_encrypted(n)
             ? amend_any(im, n, force)
             : fail("Format driver '%s' does not support option amendment", image_format(n));
    return img_close(n) || rc;
}
