/* SPDX-License-Identifier: MIT */
/* dm/hmp-expr.c - expressions of the monitor.
 *
 *   sum   = bits { ("+" | "-") bits }
 *   bits  = prod { ("&" | "|" | "^") prod }
 *   prod  = unary { ("*" | "/" | "%") unary }
 *   unary = ("+" | "-" | "~") unary | "(" sum ")" | "'" character "'" | "$" register | number
 *
 * The order of precedence is QEMU's, in which "&" binds closer than "+".
 */
#include "dm/hmp-expr.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "dm/base/err.h"
#include "dm/hmp-cpu.h"

enum { DEEPEST = 64 };

struct expr {
    struct keel *k;
    const char *at;
    unsigned depth;
    struct err *e; /* e->code: the first failure, after which every value is 0 */
};

static uint64_t fail(struct expr *x, const char *what)
{
    if (x->e->code == 0) {
        err_set(x->e, -EINVAL, "%s at '%.40s'", what, x->at);
    }
    return 0;
}

/* The next character that is no blank; it stays. */
static char peek(struct expr *x)
{
    x->at += strspn(x->at, " \t");
    return *x->at;
}

static bool take(struct expr *x, const char *any, char *which)
{
    char c = peek(x);
    if (!c || !strchr(any, c)) {
        return false;
    }
    *which = c;
    x->at++;
    return true;
}

static uint64_t number(struct expr *x)
{
    char *end;
    errno = 0;
    uint64_t v = isdigit((unsigned char)peek(x)) ? strtoull(x->at, &end, 0) : 0;
    if (!isdigit((unsigned char)*x->at) || errno || isalnum((unsigned char)*end)) {
        return fail(x, "invalid number");
    }
    x->at = end;
    return v;
}

static uint64_t reg(struct expr *x)
{
    char name[16] = "";
    size_t len = 0;
    while (isalnum((unsigned char)x->at[len]) || x->at[len] == '.') {
        len++;
    }
    uint64_t v = 0;
    if (len >= sizeof(name)) {
        return fail(x, "unknown register");
    }
    memcpy(name, x->at, len);
    if (!hmp_cpu_register(x->k, name, &v)) {
        return fail(x, "unknown register");
    }
    x->at += len;
    return v;
}

static uint64_t character(struct expr *x)
{
    if (!x->at[0] || x->at[1] != '\'') {
        return fail(x, "a character and ' expected");
    }
    x->at += 2;
    return (unsigned char)x->at[-2];
}

static uint64_t sum(struct expr *x);

static uint64_t inner(struct expr *x)
{
    char c;
    uint64_t v = sum(x);
    return take(x, ")", &c) ? v : fail(x, "')' expected");
}

static uint64_t unary(struct expr *x)
{
    char c;
    uint64_t v;
    if (!take(x, "+-~('$", &c)) {
        return number(x);
    }
    if (++x->depth > DEEPEST) {
        return fail(x, "too deep");
    }
    switch (c) {
    case '(':
        v = inner(x);
        break;
    case '\'':
        v = character(x);
        break;
    case '$':
        v = reg(x);
        break;
    case '+':
        v = unary(x);
        break;
    case '-':
        v = -unary(x);
        break;
    default:
        v = ~unary(x);
    }
    x->depth--;
    return v;
}

static uint64_t product(struct expr *x)
{
    char c;
    uint64_t v = unary(x);
    while (x->e->code == 0 && take(x, "*/%", &c)) {
        uint64_t by = unary(x);
        if (c != '*' && by == 0) {
            return fail(x, "division by zero");
        }
        v = c == '*' ? v * by : c == '/' ? v / by : v % by;
    }
    return v;
}

static uint64_t bits(struct expr *x)
{
    char c;
    uint64_t v = product(x);
    while (x->e->code == 0 && take(x, "&|^", &c)) {
        uint64_t with = product(x);
        v = c == '&' ? v & with : c == '|' ? v | with : v ^ with;
    }
    return v;
}

static uint64_t sum(struct expr *x)
{
    char c;
    uint64_t v = bits(x);
    while (x->e->code == 0 && take(x, "+-", &c)) {
        uint64_t with = bits(x);
        v = c == '+' ? v + with : v - with;
    }
    return v;
}

int hmp_expr(struct keel *k, const char *text, uint64_t *value, struct err *e)
{
    struct expr x = { .k = k, .at = text, .e = e };
    *e = (struct err){ 0 };
    *value = sum(&x);
    if (e->code == 0 && peek(&x)) {
        fail(&x, "end of the expression expected");
    }
    return e->code;
}
