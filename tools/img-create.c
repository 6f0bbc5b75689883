/* SPDX-License-Identifier: MIT */
/* tools/img-create.c - keel-img create, measure, resize, amend. */
#include "tools/img.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- -o ---- */

static const struct {
    const char *name, *help;
    bool had, raw;
} known_options[] = {
    { "backing_file", "File name of a base image", true, false },
    { "backing_fmt", "Image format of the base image", true, false },
    { "cluster_size", "qcow2 cluster size", true, false },
    { "compat", "Compatibility level (v2 [0.10] or v3 [1.1])", true, false },
    { "compression_type", "Compression method used for image cluster compression", true, false },
    { "data_file", "", false, false },
    { "data_file_raw", "", false, false },
    { "encryption", "", false, false },
    { "extended_l2", "", false, false },
    { "extent_size_hint", "", false, true },
    { "lazy_refcounts", "Postpone refcount updates", true, false },
    { "nocow", "", false, true },
    { "preallocation", "Preallocation mode (allowed values: off, full)", true, true },
    { "refcount_bits", "Width of a reference count entry in bits", true, false },
    { "size", "Virtual disk size", true, true },
};

/* The next "key=value" of a list in which a comma inside a value is written twice. */
static const char *next_option(const char *at, char *buf, size_t len)
{
    size_t n = 0;

    while (*at && !(at[0] == ',' && at[1] != ',')) {
        at += at[0] == ',';
        if (n + 1 < len) {
            buf[n++] = *at;
        }
        at++;
    }
    buf[n] = '\0';
    return *at ? at + 1 : at;
}

char *option_get(const char *options, const char *key)
{
    char buf[1200], *found = NULL;
    size_t len = strlen(key);

    while (options && *options) {
        options = next_option(options, buf, sizeof(buf));
        if (strncmp(buf, key, len) == 0 && buf[len] == '=') {
            free(found);
            found = xstrdup(buf + len + 1);
        }
    }
    return found;
}

static int check_options(const char *filename, const char *options, bool raw)
{
    char buf[1200];

    while (options && *options) {
        bool found = false;
        options = next_option(options, buf, sizeof(buf));
        char *eq = strchr(buf, '=');
        if (eq) {
            *eq = '\0';
        }
        for (size_t i = 0; i < ARRAY_SIZE(known_options); i++) {
            if (strcmp(known_options[i].name, buf) == 0 && (!raw || known_options[i].raw)) {
                found = true;
                if (!known_options[i].had && (!eq || strcmp(eq + 1, "off") != 0)) {
                    return fail("%s: %s: known, but Keel does not have it yet", filename, buf);
                }
            }
        }
        if (!found && strncmp(buf, "encrypt.", 8) == 0) {
            return fail("%s: %s: known, but Keel does not have it yet", filename, buf);
        }
        if (!found || !eq) {
            return fail("%s: Invalid parameter '%s'", filename, buf);
        }
    }
    return 0;
}

static int help_options(bool raw)
{
    printf("Supported options:\n");
    for (size_t i = 0; i < ARRAY_SIZE(known_options); i++) {
        if (known_options[i].had && (!raw || known_options[i].raw)) {
            printf("  %-22s - %s\n", known_options[i].name, known_options[i].help);
        }
    }
    return 0;
}

static int parse_bool(const char *what, const char *s, bool *out)
{
    if (!s) {
        return 0;
    }
    *out = strcmp(s, "on") == 0 || strcmp(s, "yes") == 0 || strcmp(s, "true") == 0;
    if (!*out && strcmp(s, "off") != 0 && strcmp(s, "no") != 0 && strcmp(s, "false") != 0) {
        return fail("Parameter '%s' expects 'on' or 'off'", what);
    }
    return 0;
}

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

static int parse_qcow2(const char *options, struct qcow2_create *c, const char *filename)
{
    char *compat = option_get(options, "compat"), *cluster = option_get(options, "cluster_size");
    char *bits = option_get(options, "refcount_bits"),
         *type = option_get(options, "compression_type"),
         *lazy = option_get(options, "lazy_refcounts");
    uint64_t v = 65536, b = 16;
    int rc = parse_compat(compat, &c->version);

    if (rc == 0) {
        rc = parse_bool("lazy_refcounts", lazy, &c->lazy_refcounts);
    }
    if (rc == 0 &&
        ((cluster && !parse_bytes(cluster, &v)) || !power_of_two(v) || v < 512 || v > 2 << 20)) {
        rc = fail("%s: Cluster size must be a power of two between 512 and 2048k", filename);
    }
    if (rc == 0 && ((bits && !parse_bytes(bits, &b)) || !power_of_two(b) || b > 64)) {
        rc = fail("%s: Refcount width must be a power of two and may not exceed 64 bits", filename);
    }
    if (rc == 0 && type && strcmp(type, "zlib") != 0 && strcmp(type, "zstd") != 0) {
        rc = fail("%s: compression type '%s': zlib or zstd", filename, type);
    }
    c->cluster_bits = (unsigned)__builtin_ctzll(v);
    c->refcount_bits = (unsigned)b;
    c->zstd = type && strcmp(type, "zstd") == 0;
    if (rc == 0 && c->version < 3 && (c->lazy_refcounts || b != 16 || c->zstd)) {
        rc = fail("%s: %s only supported with compatibility level 1.1 and above (use version=v3 "
                  "or greater)",
                  filename,
                  c->zstd ? "Non-zlib compression type is"
                          : "lazy refcounts and other refcount "
                            "widths are");
    }
    free(compat);
    free(cluster);
    free(bits);
    free(type);
    free(lazy);
    return rc;
}

/* ---- create ---- */

struct make {
    struct img *im;
    const char *filename;
    bool raw, full;
    char *backing, *backing_format;
    uint64_t size;
    struct qcow2_create c;
};

static int backing_size(struct make *m, bool no_check)
{
    struct node *n;
    char *path;

    if (!m->backing) {
        return 0;
    }
    if (m->raw) {
        return fail("%s: Backing file not supported for file format 'raw'", m->filename);
    }
    if (!m->backing_format) {
        return fail("%s: Backing file specified without backing format (-F)", m->filename);
    }
    if (!image_format_known(m->backing_format)) {
        return fail("%s: Unknown backing format '%s'", m->filename, m->backing_format);
    }
    if (no_check && m->size != UINT64_MAX) {
        return 0;
    }
    path = image_backing_path(m->filename, m->backing);
    n = img_open(m->im, path, m->backing_format, false, 0);
    free(path);
    if (!n) {
        return 1;
    }
    m->size = m->size == UINT64_MAX ? n->len : m->size;
    return img_close(n);
}

static int write_all_zeros(struct make *m)
{
    struct node *n =
        img_open(m->im, m->filename, m->raw ? "raw" : "qcow2", true, OPEN_NO_BACKING | OPEN_TARGET);
    void *zeros = xcalloc(1, 1 << 20);
    int ret = n ? 0 : -EIO;

    for (uint64_t at = 0; n && at < n->len && ret == 0; at += 1 << 20) {
        ret = node_write(n, at, zeros, min_u64(n->len - at, 1 << 20));
    }
    free(zeros);
    if (n && ret < 0) {
        fail("%s: %s", m->filename, strerror(-ret));
    }
    return n ? img_close(n) || ret < 0 : 1;
}

static int make_qcow2(struct make *m)
{
    struct file_open f = { .filename = m->filename, .fd = -1, .growable = true, .lock = true };
    struct err e = { 0 };
    struct node *n;
    int ret;

    if (file_create(m->filename, 0, &e) < 0 || !(n = file_open(m->im->ctx, &f, &e))) {
        return fail("%s: %s", m->filename, e.msg);
    }
    m->c.size = m->size;
    m->c.backing_file = m->backing;
    m->c.backing_format = m->backing_format;
    ret = qcow2_create(n, &m->c, &e);
    if (ret < 0) {
        fail("%s: %s", m->filename, e.msg);
    }
    return img_close(n) || ret < 0;
}

static void announce(const struct make *m)
{
    if (m->im->quiet) {
        return;
    }
    printf("Formatting '%s', fmt=%s", m->filename, m->raw ? "raw" : "qcow2");
    if (!m->raw) {
        printf(" cluster_size=%u extended_l2=off compression_type=%s", 1u << m->c.cluster_bits,
               m->c.zstd ? "zstd" : "zlib");
    }
    printf(" size=%" PRIu64, m->size);
    if (m->backing) {
        printf(" backing_file=%s backing_fmt=%s", m->backing, m->backing_format);
    }
    if (!m->raw) {
        printf(" lazy_refcounts=%s refcount_bits=%u", m->c.lazy_refcounts ? "on" : "off",
               m->c.refcount_bits);
    }
    putchar('\n');
}

static int make_it(struct make *m)
{
    struct err e = { 0 };
    int rc;

    m->size = (m->size + 511) & ~511ull;
    announce(m);
    if (m->raw) {
        rc = file_create(m->filename, m->size, &e) < 0 ? fail("%s: %s", m->filename, e.msg) : 0;
    } else {
        rc = make_qcow2(m);
    }
    return rc == 0 && m->full ? write_all_zeros(m) : rc;
}

static int parse_make(struct make *m, const char *format, const char *options)
{
    char *prealloc = option_get(options, "preallocation"), *size = option_get(options, "size");
    int rc = 0;

    m->raw = strcmp(format, "raw") == 0;
    if (!m->raw && strcmp(format, "qcow2") != 0) {
        rc =
            image_format_known(format)
                ? fail("%s: format '%s': known, but Keel does not have it yet", m->filename, format)
                : fail("%s: Unknown file format '%s'", m->filename, format);
    }
    rc = rc ? rc : check_options(m->filename, options, m->raw);
    rc = rc || m->raw ? rc : parse_qcow2(options, &m->c, m->filename);
    if (!rc && prealloc && strcmp(prealloc, "off") != 0) {
        m->full = strcmp(prealloc, "full") == 0;
        rc = m->full ? 0
                     : fail("%s: preallocation=%s: known, but Keel does not have it yet",
                            m->filename, prealloc);
    }
    if (!rc && m->size == UINT64_MAX && size && !parse_bytes(size, &m->size)) {
        rc = fail("Invalid image size specified.");
    }
    m->backing = m->backing ? m->backing : option_get(options, "backing_file");
    m->backing_format = m->backing_format ? m->backing_format : option_get(options, "backing_fmt");
    free(prealloc);
    free(size);
    return rc;
}

int img_make(struct img *im, const char *filename, const char *format, uint64_t size,
             const char *options, bool no_check)
{
    struct make m = { .im = im,
                      .filename = filename,
                      .size = size,
                      .c = { .version = 3 },
                      .backing = im->backing ? xstrdup(im->backing) : NULL,
                      .backing_format = im->backing_format ? xstrdup(im->backing_format) : NULL };
    int rc = parse_make(&m, format, options);

    rc = rc ? rc : backing_size(&m, no_check);
    if (rc == 0 && m.size == UINT64_MAX) {
        rc = fail("%s: Image creation needs a size parameter", filename);
    }
    rc = rc ? rc : make_it(&m);
    free(m.backing);
    free(m.backing_format);
    return rc;
}

int img_create(struct img *im)
{
    const char *format = im->format ? im->format : "raw";
    uint64_t size = UINT64_MAX;

    if (im->options && strcmp(im->options, "help") == 0) {
        return help_options(strcmp(format, "raw") == 0);
    }
    if (im->args < 1 || im->args > 2) {
        return fail("create: expecting a file name and perhaps a size");
    }
    if (im->args == 2 && !parse_bytes(im->arg[1], &size)) {
        return fail("Invalid image size specified. You may use k, M, G, T, P or E suffixes for "
                    "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
    }
    return img_make(im, im->arg[0], format, size, im->options, im->share);
}

/* ---- measure ---- */

static int count_clusters(struct img *im, struct node *n, uint64_t cluster, uint64_t *count)
{
    uint64_t last = UINT64_MAX;

    (void)im;
    for (uint64_t at = 0; at < n->len;) {
        struct node_status st;
        int ret = img_status(n, at, n->len - at, &st, NULL, NULL);
        if (ret < 0) {
            return fail("%s: %s", n->filename, strerror(-ret));
        }
        if (st.flags & NODE_HAS_DATA) {
            uint64_t first = at / cluster, to = (at + st.len - 1) / cluster;
            *count += to - first + (first != last);
            last = to;
        }
        at += st.len;
    }
    return 0;
}

int img_measure(struct img *im, uint64_t size)
{
    const char *format = im->out_format ? im->out_format : "raw";
    struct qcow2_create c = { .version = 3 };
    uint64_t clusters = 0, required, full;
    bool raw = strcmp(format, "raw") == 0;

    if (!raw && strcmp(format, "qcow2") != 0) {
        return fail("measure: format '%s' is not had", format);
    }
    if ((im->args != 0) == (size != UINT64_MAX)) {
        return fail("Either --size N or one filename must be specified.");
    }
    if (check_options("measure", im->options, raw) || parse_qcow2(im->options, &c, "measure")) {
        return 1;
    }
    if (im->args) {
        struct node *n = img_open(im, im->arg[0], im->format, false, 0);
        int rc = n ? count_clusters(im, n, 1ull << c.cluster_bits, &clusters) : 1;
        size = n ? n->len : 0;
        if (!n || img_close(n) || rc) {
            return 1;
        }
    }
    size = (size + 511) & ~511ull;
    c.size = size;
    uint64_t cluster = 1ull << c.cluster_bits, all = (size + cluster - 1) / cluster;
    full = raw ? size : qcow2_measure(&c, all);
    /* As the peer reckons: all of the disk's metadata, and the data there are. */
    required = raw ? size : full - (all - clusters) * cluster;
    if (im->json) {
        printf("{\n    \"required\": %" PRIu64 ",\n    \"fully-allocated\": %" PRIu64 "\n}\n",
               required, full);
    } else {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required, full);
    }
    return 0;
}

/* ---- resize ---- */

int img_resize(struct img *im, bool shrink)
{
    struct err e = { 0 };
    uint64_t v, to;
    struct node *n;
    int rc = 0;

    if (im->args != 2) {
        return fail("Expecting image file name and size");
    }
    char sign = im->arg[1][0];
    bool relative = sign == '+' || sign == '-';
    if (!parse_bytes(im->arg[1] + relative, &v)) {
        return fail("Invalid size: %s", im->arg[1]);
    }
    n = img_open(im, im->arg[0], im->format, true, 0);
    if (!n) {
        return 1;
    }
    to = sign == '+' ? n->len + v : sign == '-' ? n->len - min_u64(v, n->len) : v;
    to = (to + 511) & ~511ull;
    if (sign == '-' && v >= n->len) {
        rc = fail("New image size must be positive");
    } else if (to < n->len && !shrink) {
        rc = fail("Use the --shrink option to perform a shrink operation.");
    } else if (node_resize(n, to, &e) < 0) {
        rc = fail("%s", e.msg);
    }
    rc |= img_close(n);
    if (rc == 0 && !im->quiet) {
        printf("Image resized.\n");
    }
    return rc;
}

/* ---- amend ---- */

int img_amend(struct img *im)
{
    struct err e = { 0 };
    struct node *n;
    unsigned version = 0;
    uint64_t bits = 0;
    bool lazy = false;
    int rc;

    if (im->args != 1 || !im->options) {
        return fail("amend: expecting -o OPTIONS and a file name");
    }
    if (check_options(im->arg[0], im->options, false)) {
        return 1;
    }
    char *compat = option_get(im->options, "compat"),
         *rb = option_get(im->options, "refcount_bits");
    char *lz = option_get(im->options, "lazy_refcounts"), *size = option_get(im->options, "size");
    char *fixed = option_get(im->options, "cluster_size");
    rc = parse_compat(compat, &version) || parse_bool("lazy_refcounts", lz, &lazy);
    version = compat && version == 0 ? 3 : version;
    if (rc == 0 && rb && (!parse_bytes(rb, &bits) || !power_of_two(bits) || bits > 64)) {
        rc = fail("Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (rc == 0 && fixed) {
        rc = fail("Changing the cluster size is not supported");
    }
    n = rc ? NULL : img_open(im, im->arg[0], im->format, true, OPEN_NO_BACKING);
    rc = n ? 0 : 1;
    if (n && !qcow2_is(n)) {
        rc = fail("Format driver '%s' does not support option amendment", image_format(n));
    }
    if (rc == 0 && (compat || rb || lz) &&
        qcow2_amend(n, version, (unsigned)bits, lz ? lazy : -1, &e) < 0) {
        rc = fail("%s", e.msg);
    }
    uint64_t v;
    if (rc == 0 && size && (!parse_bytes(size, &v) || node_resize(n, v, &e) < 0)) {
        rc = fail("%s", e.code ? e.msg : "Invalid size");
    }
    rc |= n ? img_close(n) : 0;
    free(compat);
    free(rb);
    free(lz);
    free(size);
    free(fixed);
    return rc;
}
