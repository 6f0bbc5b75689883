/* SPDX-License-Identifier: MIT */
/* tools/tool.c - cache modes, sizes and --image-opts on the command lines of the image tools. */
#include "tools/tool.h"

#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keyval.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool tool_cache(const char *s, enum blk_cache *out)
{
    static const char *const names[] = { "writeback", "none", "writethrough", "directsync",
                                         "unsafe" };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], s) == 0) {
            *out = (enum blk_cache)i;
            return true;
        }
    }
    *out = BLK_NONE;
    return strcmp(s, "off") == 0;
}

bool tool_bytes(const char *s, uint64_t *out)
{
    static const char units[] = "bkmgtpe";
    char *end;
    double v;

    errno = 0;
    if (s[0] < '0' || s[0] > '9') {
        return false;
    }
    uint64_t whole = strtoull(s, &end, 0);
    v = (double)whole;
    if (*end == '.') {
        v = strtod(s, &end);
    }
    const char *unit = *end ? strchr(units, *end | 0x20) : units;
    if (errno || !unit || (*end && end[1] && strcmp(end + 1, "iB") != 0)) {
        return false;
    }
    unsigned shift = 10 * (unsigned)(unit - units);
    if (v * ldexp(1, (int)shift) >= ldexp(1, 63)) {
        return false;
    }
    *out = v == (double)whole ? whole << shift : (uint64_t)(v * ldexp(1, (int)shift));
    return true;
}

/* ---- --image-opts ---- */

static bool is_protocol(const char *driver)
{
    return strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0 ||
           strcmp(driver, "nbd") == 0;
}

static struct tls_creds *find_tls(void *opaque, const char *id, struct err *e)
{
    (void)opaque;
    return tool_tls(id, false, e);
}

/* The protocol's keys, which begin with prefix. */
static int take_protocol(struct keyval *kv, const char *driver, const char *prefix,
                         struct image_open *o, struct err *e)
{
    static const char *const locking[] = { "auto", "on", "off", NULL };
    char filename[32], lock[32];
    const char *v;

    if (strcmp(driver, "nbd") == 0) {
        o->filename = drive_nbd_address(kv, prefix, e);
        if (!o->filename || drive_nbd_how(kv, prefix, find_tls, NULL, &o->nbd, e) < 0) {
            o->nbd.tls_host = NULL;
            return -EINVAL;
        }
        o->nbd.tls_host = o->nbd.tls_host ? xstrdup(o->nbd.tls_host) : NULL;
        return 0;
    }
    if (!is_protocol(driver)) {
        return err_set(e, -EINVAL, "%sdriver=%s: Keel has file, host_device and nbd", prefix,
                       driver);
    }
    strcat(strcpy(filename, prefix), "filename");
    strcat(strcpy(lock, prefix), "locking");
    v = keyval_get(kv, filename);
    if (!v) {
        return err_set(e, -EINVAL, "%s: missing", filename);
    }
    o->filename = xstrdup(v);
    v = keyval_get(kv, lock);
    o->lock &= !v || strcmp(v, "off") != 0;
    return keyval_only(kv, lock, locking, e);
}

/* What may stand on any node of the two. */
static int take_common(struct keyval *kv, const char *prefix, struct image_open *o, struct err *e)
{
    bool direct = false, no_flush = false, share = false;
    char key[5][48];
    static const char *const names[5] = { "cache.direct", "cache.no-flush", "read-only",
                                          "force-share", "discard" };
    const char *discard;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        strcat(strcpy(key[i], prefix), names[i]);
    }
    if (keyval_bool(kv, key[0], &direct, e) < 0 || keyval_bool(kv, key[1], &no_flush, e) < 0 ||
        keyval_bool(kv, key[2], &o->read_only, e) < 0 || keyval_bool(kv, key[3], &share, e) < 0) {
        return -EINVAL;
    }
    discard = keyval_get(kv, key[4]);
    o->discard |= discard && (strcmp(discard, "unmap") == 0 || strcmp(discard, "on") == 0);
    o->cache = direct ? BLK_NONE : no_flush ? BLK_UNSAFE : o->cache;
    o->lock &= !share;
    return 0;
}

/* Where a qcow2 image's data are. */
static int take_data_file(struct keyval *kv, struct image_open *o, struct err *e)
{
    const char *driver = keyval_get(kv, "data-file.driver");
    const char *name = keyval_get(kv, "data-file.filename");

    if (driver && strcmp(driver, "file") != 0) {
        return err_set(e, -EINVAL, "data-file.driver=%s: Keel has file", driver);
    }
    if (driver && !name) {
        return err_set(e, -EINVAL, "data-file.filename: missing");
    }
    o->data_file = name ? xstrdup(name) : NULL;
    return 0;
}

/* The passphrase of an encrypted image. */
static int take_key(struct keyval *kv, struct image_open *o, struct err *e)
{
    static const char *const formats[] = { "luks", NULL };
    const char *id = keyval_get(kv, "encrypt.key-secret"), *own = keyval_get(kv, "key-secret");

    if (keyval_only(kv, "encrypt.format", formats, e) < 0) {
        return e->code;
    }
    id = id ? id : own;
    o->key = id ? tool_secret(id, e) : o->key;
    return id && !o->key ? e->code : 0;
}

static int take_opts(struct keyval *kv, struct image_open *o, struct err *e)
{
    const char *driver = keyval_get(kv, "driver"), *file = keyval_get(kv, "file.driver");
    bool plain = keyval_get(kv, "file.filename") || file;
    int ret;

    if (!driver && !plain && keyval_get(kv, "filename")) {
        driver = "file"; /* the format is for the header to tell */
    } else if (driver && is_protocol(driver)) {
        o->format = xstrdup("raw");
    } else if (driver) {
        o->format = xstrdup(driver);
    }
    ret = plain || !driver || !is_protocol(driver)
              ? take_protocol(kv, file ? file : "file", "file.", o, e)
              : take_protocol(kv, driver, "", o, e);
    ret = ret < 0 ? ret : take_common(kv, "", o, e);
    ret = ret < 0 ? ret : take_common(kv, "file.", o, e);
    ret = ret < 0 ? ret : take_data_file(kv, o, e);
    ret = ret < 0 ? ret : take_key(kv, o, e);
    return ret < 0 ? ret : keyval_done(kv, e);
}

void tool_image_opts_free(struct image_open *o)
{
    free((char *)o->filename);
    free((char *)o->format);
    free((char *)o->data_file);
    free((char *)o->nbd.tls_host);
    o->filename = o->format = o->data_file = o->nbd.tls_host = NULL;
}

int tool_image_opts(const char *text, struct image_open *o, struct err *e)
{
    struct keyval *kv = keyval_parse(text, NULL);
    int ret;

    o->filename = o->format = NULL;
    ret = take_opts(kv, o, e);
    if (ret < 0) {
        tool_image_opts_free(o);
    }
    keyval_free(kv);
    return ret;
}
