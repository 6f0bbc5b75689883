/* SPDX-License-Identifier: MIT */
/* dm/base/err.c - errors that explain themselves; see err.h. */
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (!e) {
        return code;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    make_printable(e->msg);
    e->code = code;
    return code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    if (!e) {
        return 0;
    }
    char old[sizeof(e->msg)];
    memcpy(old, e->msg, sizeof(old));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(e->msg)) {
        snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", old);
    }
    make_printable(e->msg);
    return e->code;
}

int err_not_yet(struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "%s: known, but Keel does not have it yet", what);
}
