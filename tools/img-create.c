/* SPDX-License-Identifier: MIT */
/* tools/img-create.c - keel-img create, measure, resize, amend. */
#include "block/format.h"
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
    { "data_file", "File name of an external data file", true, false },
    { "data_file_raw", "The external data file must stay valid as a raw image", true, false },
    { "encrypt.cipher-alg", "aes-128 or aes-256 (default)", true, false },
    { "encrypt.cipher-mode", "xts", true, false },
    { "encrypt.format", "Encrypt the image: luks", true, false },
    { "encrypt.hash-alg", "sha1, sha256 (default) or sha512", true, false },
    { "encrypt.ivgen-alg", "plain64", true, false },
    { "encrypt.iter-time", "Time to spend on a passphrase in milliseconds (2000)", true, false },
    { "encrypt.key-secret", "ID of the secret with the passphrase", true, false },
    { "encryption", "", true, false },
    { "extended_l2", "Extended L2 tables", true, false },
    { "extent_size_hint", "", false, true },
    { "lazy_refcounts", "Postpone refcount updates", true, false },
    { "nocow", "", false, true },
    { "preallocation", "Preallocation mode (allowed values: off, metadata, falloc, full)", true,
      true },
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

int check_options(const char *filename, const char *options, bool raw)
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

int option_bool(const char *what, const char *s, bool *out)
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

/* ---- create ---- */

struct make {
    struct img *im;
    const char *filename;
    bool raw;
    enum qcow2_prealloc prealloc;
    struct luks_options luks;
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

/* A raw image gets its room, or zeros, from byte `at` on. */
static int preallocate_raw(struct node *n, uint64_t at, enum qcow2_prealloc how)
{
    bool full = how == QCOW2_PREALLOC_FULL;
    void *zeros = xcalloc(1, 1 << 20);
    int ret = 0;

    for (uint64_t len; at < n->len && how != QCOW2_PREALLOC_OFF && ret == 0; at += len) {
        len = min_u64(n->len - at, full ? 1 << 20 : 1 << 30);
        ret = full ? node_write(n, at, zeros, len) : node_rw(n, NODE_ZERO, at, NULL, len, 0);
    }
    free(zeros);
    return ret;
}

static int fill_raw(struct make *m)
{
    struct node *n = img_open(m->im, m->filename, "raw", true, OPEN_NO_BACKING | OPEN_TARGET);
    int ret = n ? preallocate_raw(n, 0, m->prealloc) : -EIO;

    if (n && ret < 0) {
        fail("%s: %s", m->filename, strerror(-ret));
    }
    return n ? img_close(n) || ret < 0 : 1;
}

static const char *const prealloc_names[] = { "off", "metadata", "falloc", "full" };

static void announce(const struct make *m)
{
    if (m->im->quiet) {
        return;
    }
    printf("Formatting '%s', fmt=%s", m->filename, m->raw ? "raw" : "qcow2");
    if (m->luks.on) {
        printf(" encrypt.format=luks");
    }
    if (!m->raw) {
        printf(" cluster_size=%u extended_l2=%s", 1u << m->c.cluster_bits,
               m->c.extended_l2 ? "on" : "off");
    }
    if (m->prealloc != QCOW2_PREALLOC_OFF) {
        printf(" preallocation=%s", prealloc_names[m->prealloc]);
    }
    if (!m->raw) {
        printf(" compression_type=%s", m->c.zstd ? "zstd" : "zlib");
    }
    printf(" size=%" PRIu64, m->size);
    if (m->backing) {
        printf(" backing_file=%s backing_fmt=%s", m->backing, m->backing_format);
    }
    if (m->c.data_file) {
        printf(" data_file=%s%s", m->c.data_file, m->c.data_file_raw ? " data_file_raw=on" : "");
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
        return rc == 0 && m->prealloc != QCOW2_PREALLOC_OFF ? fill_raw(m) : rc;
    }
    m->c.size = m->size;
    m->c.backing_file = m->backing;
    m->c.backing_format = m->backing_format;
    return make_qcow2(m->im, m->filename, &m->c, m->prealloc);
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
    rc = rc || m->raw ? rc : parse_encrypt(m->filename, options, &m->luks);
    if (!rc && m->luks.on) {
        m->c.luks = &m->luks.create;
        m->c.key = m->luks.key;
    }
    rc = rc || parse_prealloc(m->filename, prealloc, m->raw, &m->prealloc);
    if (!rc && m->size == UINT64_MAX && size && !tool_bytes(size, &m->size)) {
        rc = fail("Invalid image size specified.");
    }
    m->backing = m->backing ? m->backing : option_get(options, "backing_file");
    m->backing_format = m->backing_format ? m->backing_format : option_get(options, "backing_fmt");
    free(prealloc);
    free(size);
    return rc;
}

/* A format that tools/img-formats.c makes; NULL for raw, qcow2 and what is not known. */
static const struct format *other_format(const char *format)
{
    return strcmp(format, "qcow2") == 0 ? NULL : format_find(format);
}

int img_make(struct img *im, const char *filename, const char *format, uint64_t size,
             const char *options, bool no_check)
{
    if (strcmp(format, "luks") == 0) {
        return make_luks(im, filename, size, options);
    }
    if (other_format(format)) {
        return other_make(im, other_format(format), filename, size, options);
    }
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
    free((char *)m.c.data_file);
    return rc;
}

int img_create(struct img *im)
{
    const char *format = im->format ? im->format : "raw";
    uint64_t size = UINT64_MAX;

    if (im->options && strcmp(im->options, "help") == 0) {
        if (other_format(format)) {
            return other_help(format);
        }
        return help_options(strcmp(format, "raw") == 0);
    }
    if (im->args < 1 || im->args > 2) {
        return fail("create: expecting a file name and perhaps a size");
    }
    if (im->args == 2 && !tool_bytes(im->arg[1], &size)) {
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

int img_measure(struct img *im, uint64_t size, const char *snapshot)
{
    const char *format = im->out_format ? im->out_format : "raw";
    struct qcow2_create c = { .version = 3 };
    uint64_t clusters = 0, required, full, bitmaps = 0;
    bool keeps = false, qcow2 = strcmp(format, "qcow2") == 0, raw = !qcow2;
    struct luks_options l = { .on = strcmp(format, "luks") == 0 };

    if (!qcow2 && !l.on && strcmp(format, "raw") != 0) {
        return fail("Format driver '%s' does not support size measurement", format);
    }
    if (snapshot && !im->args) {
        return fail("--image-opts, -f, and -l can only be used with a filename argument.");
    }
    if ((im->args != 0) == (size != UINT64_MAX)) {
        return fail("Either --size N or one filename must be specified.");
    }
    if (l.on ? take_luks(&l, im->options, "")
             : check_options("measure", im->options, raw) ||
                   parse_qcow2(im->options, &c, "measure") ||
                   parse_encrypt("measure", im->options, &l)) {
        return 1;
    }
    if (im->args) {
        struct node *n = img_open(im, im->arg[0], im->format, false, 0);
        if (n && snapshot && img_view_snapshot(n, snapshot)) {
            return img_close(n) || 1;
        }
        int rc = n ? count_clusters(im, n, 1ull << c.cluster_bits, &clusters) : 1;
        size = n ? n->len : 0;
        keeps = n && qcow2_keeps_bitmaps(n) && !raw;
        bitmaps = keeps ? qcow2_bitmaps_measure(n, 1ull << c.cluster_bits) : 0;
        if (!n || img_close(n) || rc) {
            return 1;
        }
    }
    size = (size + 511) & ~511ull;
    c.size = size;
    uint64_t cluster = 1ull << c.cluster_bits, all = (size + cluster - 1) / cluster;
    uint64_t header = l.on ? luks_header_bytes(l.create.key_bits) : 0;
    header = raw ? header : (header + cluster - 1) / cluster * cluster;
    full = (raw ? size : qcow2_measure(&c, all)) + header;
    /* As the peer reckons: all of the disk's metadata, and the data there are. */
    required = raw ? full : full - (all - clusters) * cluster;
    if (im->json) {
        printf("{\n");
        if (keeps) {
            printf("    \"bitmaps\": %" PRIu64 ",\n", bitmaps);
        }
        printf("    \"required\": %" PRIu64 ",\n    \"fully-allocated\": %" PRIu64 "\n}\n",
               required, full);
    } else {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", required, full);
        if (bitmaps) {
            printf("bitmaps size: %" PRIu64 "\n", bitmaps);
        }
    }
    return 0;
}

/* ---- resize ---- */

int img_resize(struct img *im, bool shrink)
{
    enum qcow2_prealloc how = QCOW2_PREALLOC_OFF;
    struct err e = { 0 };
    uint64_t v, to, old;
    struct node *n;
    int rc = 0, ret = 0;

    if (im->args != 2) {
        return fail("Expecting image file name and size");
    }
    if (parse_prealloc(im->arg[0], im->prealloc, false, &how)) {
        return 1;
    }
    char sign = im->arg[1][0];
    bool relative = sign == '+' || sign == '-';
    if (!tool_bytes(im->arg[1] + relative, &v)) {
        return fail("Invalid size: %s", im->arg[1]);
    }
    n = img_open(im, im->arg[0], im->format, true, 0);
    if (!n) {
        return 1;
    }
    old = n->len;
    to = sign == '+' ? n->len + v : sign == '-' ? n->len - min_u64(v, n->len) : v;
    to = (to + 511) & ~511ull;
    if (sign == '-' && v >= n->len) {
        rc = fail("New image size must be positive");
    } else if (to < n->len && !shrink) {
        rc = fail("Use the --shrink option to perform a shrink operation.");
    } else if (to <= old && how != QCOW2_PREALLOC_OFF) {
        rc = fail("Preallocation can only be used for growing images");
    } else if (n->backing && how != QCOW2_PREALLOC_OFF) {
        rc = fail("Preallocation cannot be used with a backing file");
    } else if (node_resize(n, to, &e) < 0) {
        rc = fail("%s", e.msg);
    } else {
        ret = qcow2_is(n) ? qcow2_preallocate(n, old, how) : preallocate_raw(n, old, how);
    }
    if (ret < 0) {
        rc = fail("%s: Could not preallocate: %s", im->arg[0], strerror(-ret));
    }
    rc |= img_close(n);
    if (rc == 0 && !im->quiet) {
        printf("Image resized.\n");
    }
    return rc;
}
