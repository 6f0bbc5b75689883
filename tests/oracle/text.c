/* SPDX-License-Identifier: MIT */
/* tests/oracle/text.c - a test as one line: what differs from an empty state, word by word.
 *
 *   code=4801d8@40 rax=1 flags=1 mxcsr=1f80 v3=... x87=... [10]=... # add rax, rbx
 * Values are hexadecimal; vectors, x87 images and memory are bytes in memory order; [N]= are bytes from
 * offset N of the random part of the data pages. A # begins a comment.
 */
#include "tests/oracle/oracle.h"

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const gpr_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

void test_default(struct test *t)
{
    static const uint16_t fcw = 0x37f;
    memset(t, 0, sizeof(*t));
    t->in.gpr[4] = DATA_BASE + 0x1000;
    t->in.mxcsr = 0x1f80;
    memcpy(t->in.x87, &fcw, 2);
    t->in.rip = CODE_BASE;
}

struct line {
    char *at;
    size_t left;
};

static void put(struct line *l, const char *s)
{
    size_t n = strlen(s);
    if (n < l->left) {
        memcpy(l->at, s, n + 1);
        l->at += n;
        l->left -= n;
    }
}

static void put_bytes(struct line *l, const char *name, const uint8_t *b, size_t n)
{
    char hex[3];
    put(l, name);
    for (size_t i = 0; i < n; i++) {
        snprintf(hex, sizeof(hex), "%02x", b[i]);
        put(l, hex);
    }
}

static void put_number(struct line *l, const char *name, uint64_t v)
{
    char text[64];
    snprintf(text, sizeof(text), " %s=%llx", name, (unsigned long long)v);
    put(l, text);
}

static void put_patch(struct line *l, const struct test *t)
{
    static const uint8_t zero[8];
    char name[16];
    for (unsigned i = 0; i < PATCH_SIZE; i += 8) {
        unsigned n = 0;
        while (i + n < PATCH_SIZE && memcmp(t->patch + i + n, zero, 8)) {
            n += 8;
        }
        if (n) {
            snprintf(name, sizeof(name), " [%x]=", i);
            put_bytes(l, name, t->patch + i, n);
            i += n;
        }
    }
}

void test_print(const struct test *t, char *line, size_t len)
{
    struct line l = { line, len };
    struct test d;
    char name[16];
    test_default(&d);
    put_bytes(&l, "code=", t->code, t->code_len);
    snprintf(name, sizeof(name), "@%x", t->code_at);
    put(&l, name);
    for (unsigned i = 0; i < 16; i++) {
        if (t->in.gpr[i] != d.in.gpr[i]) {
            put_number(&l, gpr_names[i], t->in.gpr[i]);
        }
    }
    if (t->in.flags) {
        put_number(&l, "flags", t->in.flags);
    }
    if (t->in.mxcsr != d.in.mxcsr) {
        put_number(&l, "mxcsr", t->in.mxcsr);
    }
    if (memcmp(t->in.x87, d.in.x87, X87_SIZE)) {
        put_bytes(&l, " x87=", t->in.x87, X87_SIZE);
    }
    for (unsigned i = 0; i < VEC_COUNT; i++) {
        if (memcmp(t->in.vec[i], d.in.vec[i], 32)) {
            snprintf(name, sizeof(name), " v%u=", i);
            put_bytes(&l, name, (const uint8_t *)t->in.vec[i], 32);
        }
    }
    put_patch(&l, t);
}

static unsigned get_bytes(const char *s, uint8_t *b, unsigned room)
{
    unsigned n = 0, v;
    while (n < room && sscanf(s + 2 * n, "%2x", &v) == 1 && s[2 * n + 1]) {
        b[n++] = (uint8_t)v;
    }
    return n;
}

static bool parse_word(struct test *t, char *word)
{
    char *value = strchr(word, '=');
    if (!value) {
        return false;
    }
    *value++ = 0;
    for (unsigned i = 0; i < 16; i++) {
        if (!strcmp(word, gpr_names[i])) {
            t->in.gpr[i] = strtoull(value, NULL, 16);
            return true;
        }
    }
    if (!strcmp(word, "code")) {
        char *at = strchr(value, '@');
        t->code_at = at ? (uint16_t)(strtoul(at + 1, NULL, 16) & 0x1fff) : 0;
        if (at) {
            *at = 0;
        }
        t->code_len = (uint16_t)get_bytes(value, t->code, MAX_CODE - 16);
        t->in.rip = CODE_BASE + t->code_at;
        return t->code_len && t->code_at + t->code_len < (int)CODE_SIZE;
    }
    if (!strcmp(word, "flags")) {
        t->in.flags = strtoull(value, NULL, 16);
    } else if (!strcmp(word, "mxcsr")) {
        t->in.mxcsr = (uint32_t)strtoul(value, NULL, 16);
    } else if (!strcmp(word, "x87")) {
        return get_bytes(value, t->in.x87, X87_SIZE);
    } else if (word[0] == 'v') {
        unsigned i = (unsigned)strtoul(word + 1, NULL, 10);
        return i < VEC_COUNT && get_bytes(value, (uint8_t *)t->in.vec[i], 32) == 32;
    } else if (word[0] == '[') {
        unsigned i = (unsigned)strtoul(word + 1, NULL, 16);
        return i < PATCH_SIZE && get_bytes(value, t->patch + i, PATCH_SIZE - i);
    } else {
        return false;
    }
    return true;
}

bool test_parse(const char *line, struct test *t)
{
    char *copy = strdup(line), *save = NULL;
    bool ok = true;
    copy[strcspn(copy, "#\n")] = 0;
    test_default(t);
    for (char *w = strtok_r(copy, " \t", &save); w && ok; w = strtok_r(NULL, " \t", &save)) {
        ok = parse_word(t, w);
    }
    free(copy);
    return ok && t->code_len && decode_test(t);
}

void disassemble(const struct test *t, char *text, size_t len)
{
    struct line l = { text, len };
    ZydisDisassembledInstruction in;
    *text = 0;
    for (unsigned i = 0; i < t->insns; i++) {
        ZyanU64 at = t->in.rip + t->start[i];
        size_t n = (size_t)t->start[i + 1] - t->start[i];
        if (ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, at,
                                               t->code + t->start[i], n, &in))) {
            put(&l, i ? "; " : "");
            put(&l, in.text);
        }
    }
}
