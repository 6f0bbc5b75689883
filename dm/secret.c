/* SPDX-License-Identifier: MIT */
/* dm/secret.c - "secret" objects: passphrases that other options name. */
#include "dm/secret.h"

#include "block/cbc.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/base64.h"
#include "dm/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SECRET = 64 << 10 };

struct secret {
    char *id;
    uint8_t *bytes; /* room for MAX_SECRET and an end */
    struct luks_key key;
    struct secret *next;
};

static void free_secret(struct secret *s)
{
    explicit_bzero(s->bytes, MAX_SECRET + 1);
    free(s->bytes);
    free(s->id);
    free(s);
}

static int read_file(struct secret *s, const char *filename, struct err *e)
{
    int fd = open(filename, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, s->bytes, MAX_SECRET + 1);
    int error = errno;

    if (fd >= 0) {
        close(fd);
    }
    if (n < 0) {
        return err_set(e, -error, "secret '%s': file '%s' cannot be read: %s", s->id, filename,
                       strerror(error));
    }
    if (n > MAX_SECRET) {
        return err_set(e, -EFBIG, "secret '%s': file '%s' is longer than %d bytes", s->id, filename,
                       MAX_SECRET);
    }
    s->key.len = (size_t)n;
    return 0;
}

static int load(struct secret *s, struct keyval *kv, struct err *e)
{
    const char *data = keyval_get(kv, "data"), *file = keyval_get(kv, "file");

    if (!data == !file) {
        return err_set(e, -EINVAL, "secret '%s': either data=TEXT or file=FILE", s->id);
    }
    if (file) {
        return read_file(s, file, e);
    }
    s->key.len = strlen(data);
    if (s->key.len > MAX_SECRET) {
        return err_set(e, -EFBIG, "secret '%s': longer than %d bytes", s->id, MAX_SECRET);
    }
    memcpy(s->bytes, data, s->key.len);
    return 0;
}

/* In place; lines may be broken. */
static int from_base64(struct secret *s, struct err *e)
{
    char *text = (char *)s->bytes;
    size_t n = 0;

    for (size_t i = 0; i < s->key.len; i++) {
        if (!strchr("\r\n", text[i])) {
            text[n++] = text[i];
        }
    }
    text[n] = '\0';
    long len = base64_decode(text, s->bytes, MAX_SECRET);
    if (len < 0) {
        return err_set(e, -EINVAL, "secret '%s': it is not base64", s->id);
    }
    s->key.len = (size_t)len;
    return 0;
}

/* What another secret encrypts; the last byte says how many were added to fill the last block. */
static int decrypt(struct secret *s, const struct luks_key *master, const char *iv_text,
                   struct err *e)
{
    uint8_t iv[CBC_BLOCK], *b = s->bytes;
    size_t len = s->key.len;

    if (master->len != CBC_KEY) {
        return err_set(e, -EINVAL,
                       "secret '%s': the secret that keyid= names has %zu bytes, not "
                       "32 bytes",
                       s->id, master->len);
    }
    if (!iv_text || base64_decode(iv_text, iv, sizeof(iv)) != sizeof(iv)) {
        return err_set(e, -EINVAL, "secret '%s': iv=: 16 bytes in base64 go with keyid=", s->id);
    }
    if (len == 0 || len % CBC_BLOCK) {
        return err_set(e, -EINVAL, "secret '%s': it is not whole blocks of 16 bytes", s->id);
    }
    aes_cbc_decrypt(master->bytes, iv, b, len);
    if (b[len - 1] == 0 || b[len - 1] > CBC_BLOCK) {
        return err_set(e, -EINVAL, "secret '%s': keyid= names a secret that does not open it",
                       s->id);
    }
    s->key.len = len - b[len - 1];
    return 0;
}

static int take(const struct secret *list, struct secret *s, struct keyval *kv, struct err *e)
{
    static const char *const formats[] = { "raw", "base64", NULL };
    const char *format = keyval_get(kv, "format"), *keyid = keyval_get(kv, "keyid");
    const char *iv = keyval_get(kv, "iv");
    const struct luks_key *master = keyid ? secret_find(list, keyid, e) : NULL;
    int ret = keyid && !master ? e->code : keyval_only(kv, "format", formats, e);

    if (ret == 0 && iv && !keyid) {
        ret = err_set(e, -EINVAL, "secret '%s': iv= goes with keyid=", s->id);
    }
    ret = ret < 0 ? ret : load(s, kv, e);
    if (ret == 0 && format && strcmp(format, "base64") == 0) {
        ret = from_base64(s, e);
    }
    if (ret == 0 && master) {
        ret = decrypt(s, master, iv, e);
    }
    return ret < 0 ? ret : keyval_done(kv, e);
}

static struct secret *lookup(struct secret *list, const char *id)
{
    while (list && strcmp(list->id, id) != 0) {
        list = list->next;
    }
    return list;
}

int secret_add(struct secret **list, struct keyval *kv, struct err *e)
{
    const char *id = keyval_get(kv, "id");
    struct secret *s;

    keyval_get(kv, "qom-type");
    if (!id || !*id) {
        return err_set(e, -EINVAL, "Parameter 'id' is missing");
    }
    if (lookup(*list, id)) {
        return err_set(e, -EEXIST, "object '%s' is there already", id);
    }
    s = xcalloc(1, sizeof(*s));
    s->id = xstrdup(id);
    s->bytes = xcalloc(1, MAX_SECRET + 1);
    int ret = take(*list, s, kv, e);
    if (ret < 0) {
        free_secret(s);
        return ret;
    }
    s->key.bytes = s->bytes;
    s->key.name = s->id;
    s->next = *list;
    *list = s;
    return 0;
}

const struct luks_key *secret_find(const struct secret *list, const char *id, struct err *e)
{
    const struct secret *s = lookup((struct secret *)list, id);

    if (!s) {
        err_set(e, -ENOENT, "No secret with id '%.60s'", id);
    }
    return s ? &s->key : NULL;
}

bool secret_del(struct secret **list, const char *id)
{
    struct secret *s = lookup(*list, id);

    if (!s) {
        return false;
    }
    while (*list != s) {
        list = &(*list)->next;
    }
    *list = s->next;
    free_secret(s);
    return true;
}

void secret_free_all(struct secret **list)
{
    while (*list) {
        secret_del(list, (*list)->id);
    }
}
