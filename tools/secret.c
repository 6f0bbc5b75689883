/* SPDX-License-Identifier: MIT */
/* tools/secret.c - --object secret: passphrases that other options name. */
#include "block/luks.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keyval.h"
#include "tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/base64.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SECRETS = 16, MAX_SECRET = 64 << 10 };

static struct {
    char *id;
    uint8_t *bytes;
    struct luks_key key;
} secrets[MAX_SECRETS];

static int read_secret(const char *filename, uint8_t *out, size_t *len, struct err *e)
{
    int fd = open(filename, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, MAX_SECRET + 1);
    int error = errno;

    if (fd >= 0) {
        close(fd);
    }
    if (n < 0) {
        return err_set(e, -error, "secret file '%s' cannot be read: %s", filename, strerror(error));
    }
    if (n > MAX_SECRET) {
        return err_set(e, -EFBIG, "secret file '%s' is longer than %d bytes", filename, MAX_SECRET);
    }
    *len = (size_t)n;
    return 0;
}

/* In place. */
static int decode(uint8_t *b, size_t *len, struct err *e)
{
    struct base64_decode_ctx ctx;
    uint8_t *out = xcalloc(1, BASE64_DECODE_LENGTH(*len) + 1);
    size_t n = BASE64_DECODE_LENGTH(*len);
    bool good;

    base64_decode_init(&ctx);
    good = base64_decode_update(&ctx, &n, out, *len, (char *)b) && base64_decode_final(&ctx);
    if (good) {
        memcpy(b, out, n);
        *len = n;
    }
    explicit_bzero(out, n);
    free(out);
    return good ? 0 : err_set(e, -EINVAL, "secret: it is not base64");
}

static int take_secret(struct keyval *kv, struct err *e)
{
    static const char *const formats[] = { "raw", "base64", NULL };
    const char *id = keyval_get(kv, "id"), *data = keyval_get(kv, "data");
    const char *file = keyval_get(kv, "file"), *format = keyval_get(kv, "format");
    size_t i = 0, len = data ? strlen(data) : 0;
    int ret = 0;

    while (i < MAX_SECRETS && secrets[i].id) {
        if (id && strcmp(secrets[i].id, id) == 0) {
            return err_set(e, -EEXIST, "object '%s' is there already", id);
        }
        i++;
    }
    if (!id || !data == !file || len > MAX_SECRET || i == MAX_SECRETS) {
        return err_set(e, -EINVAL, "secret: id=ID and either data=TEXT or file=FILE, at most %d",
                       MAX_SECRETS);
    }
    if (keyval_only(kv, "format", formats, e) < 0) {
        return e->code;
    }
    secrets[i].bytes = xcalloc(1, MAX_SECRET + 1);
    if (data) {
        memcpy(secrets[i].bytes, data, len);
    } else {
        ret = read_secret(file, secrets[i].bytes, &len, e);
    }
    if (ret == 0 && format && strcmp(format, "base64") == 0) {
        ret = decode(secrets[i].bytes, &len, e);
    }
    if (ret < 0) {
        free(secrets[i].bytes);
        return ret;
    }
    secrets[i].id = xstrdup(id);
    secrets[i].key = (struct luks_key){ secrets[i].bytes, len };
    return keyval_done(kv, e);
}

int tool_object(const char *text, struct err *e)
{
    struct keyval *kv = keyval_parse(text, "qom-type");
    const char *type = keyval_get(kv, "qom-type");
    int ret = type && strcmp(type, "secret") == 0
                  ? take_secret(kv, e)
                  : err_set(e, -ENOTSUP, "--object %s: Keel has secret", type ? type : "");

    keyval_free(kv);
    return ret;
}

const struct luks_key *tool_secret(const char *id, struct err *e)
{
    for (size_t i = 0; i < MAX_SECRETS && secrets[i].id; i++) {
        if (strcmp(secrets[i].id, id) == 0) {
            return &secrets[i].key;
        }
    }
    err_set(e, -ENOENT, "No secret with id '%.60s'", id);
    return NULL;
}
