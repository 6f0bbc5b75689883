/* SPDX-License-Identifier: MIT */
/* dm/base/err.h - errors that explain themselves.
 *
 * Set-up functions take a struct err and return a negative errno; the message is one sentence that
 * names the option, file or field at fault. Whoever reports an error does not also return it.
 */
#ifndef DM_BASE_ERR_H
#define DM_BASE_ERR_H

struct err {
    int code;      /* negative errno, 0 when nothing happened */
    char msg[400]; /* one sentence, no newline */
};

/* Fills e (which may be NULL) and returns code, so that `return err_set(e, -EINVAL, ...)` reads. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts a prefix in front of the message, "prefix: message"; returns e->code. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "WHAT: known, but Keel does not have it yet", for what QEMU's users may type; -EINVAL. */
int err_not_yet(struct err *e, const char *what);

#endif
