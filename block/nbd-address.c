/* SPDX-License-Identifier: MIT */
/* block/nbd-address.c - the names by which an NBD server's exports are known: block/nbd.h. */
#include "block/nbd-hello-int.h"

#include "block/nbd-proto.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool nbd_is_address(const char *name)
{
    static const char *const starts[] = { "nbd:", "nbd+unix:", "nbds:", "nbds+unix:" };

    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) {
            return true;
        }
    }
    return false;
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* len bytes of s with %XX undone; malloc'd. */
static char *unescape(const char *s, size_t len)
{
    char *out = xcalloc(1, len + 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '%' && i + 2 < len && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
            out[n++] = (char)(hex(s[i + 1]) << 4 | hex(s[i + 2]));
            i += 2;
        } else {
            out[n++] = s[i];
        }
    }
    return out;
}

/* HOST[:PORT] with brackets around an IPv6 address. */
static void take_host(struct nbd_address *a, const char *s, size_t len)
{
    const char *end = s + len, *colon = NULL;

    if (len && s[0] == '[') {
        const char *close = memchr(s, ']', len);
        if (close) {
            a->host = unescape(s + 1, (size_t)(close - s - 1));
            colon = close + 1 < end && close[1] == ':' ? close + 1 : NULL;
        }
    } else {
        colon = memchr(s, ':', len);
    }
    if (!a->host) {
        a->host = unescape(s, colon ? (size_t)(colon - s) : len);
    }
    a->port = colon ? unescape(colon + 1, (size_t)(end - colon - 1)) : xasprintf("%d", NBD_PORT);
}

static int parse_uri(struct nbd_address *a, const char *name, struct err *e)
{
    bool local = strncmp(name, "nbd+unix://", 11) == 0;
    const char *s = name + (local ? 11 : 6), *query = strchr(s, '?');
    const char *end = query ? query : s + strlen(s), *slash = memchr(s, '/', (size_t)(end - s));

    if (!local) {
        take_host(a, s, (size_t)((slash ? slash : end) - s));
    }
    a->export = slash ? unescape(slash + 1, (size_t)(end - slash - 1)) : xstrdup("");
    if (query && strncmp(query, "?socket=", 8) == 0 && local) {
        a->socket = unescape(query + 8, strcspn(query + 8, "&"));
    } else if (query) {
        return err_set(e, -EINVAL, "'%s': only nbd+unix has a parameter, socket=PATH", name);
    }
    return local && !a->socket ? err_set(e, -EINVAL, "'%s': ?socket=PATH is missing", name) : 0;
}

/* nbd:HOST:PORT[:exportname=E], nbd:unix:PATH[:exportname=E] */
static int parse_old(struct nbd_address *a, const char *name, struct err *e)
{
    const char *s = name + 4, *export = strstr(s, ":exportname=");
    size_t len = export ? (size_t)(export - s) : strlen(s);

    a->export = xstrdup(export ? export + 12 : "");
    if (strncmp(s, "unix:", 5) == 0) {
        a->socket = xasprintf("%.*s", (int)(len - 5), s + 5);
        return a->socket[0] ? 0 : err_set(e, -EINVAL, "'%s': the socket's path is missing", name);
    }
    take_host(a, s, len);
    return a->host[0] ? 0 : err_set(e, -EINVAL, "'%s': the host is missing", name);
}

int nbd_address_parse(struct nbd_address *a, const char *name, struct err *e)
{
    int ret;

    if (strncmp(name, "nbds", 4) == 0) {
        return err_set(e, -ENOTSUP, "'%s': TLS is asked for by tls-creds=ID, not by the address",
                       name);
    }
    if (strncmp(name, "nbd://", 6) == 0 || strncmp(name, "nbd+unix://", 11) == 0) {
        ret = parse_uri(a, name, e);
    } else {
        ret = strncmp(name, "nbd:", 4) == 0
                  ? parse_old(a, name, e)
                  : err_set(e, -EINVAL, "'%s': expected nbd+unix:///EXPORT?socket=PATH", name);
    }
    if (ret == 0 && strlen(a->export) > NBD_MAX_NAME) {
        ret = err_set(e, -EINVAL, "'%.40s...': the export's name is too long", name);
    }
    return ret;
}

void nbd_address_free(struct nbd_address *a)
{
    free(a->host);
    free(a->port);
    free(a->socket);
    free(a->export);
}
