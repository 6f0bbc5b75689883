/* SPDX-License-Identifier: MIT */
/* target/x86/string-int.h - a string instruction under way: shared by string.c and io.c. */
#ifndef TARGET_X86_STRING_INT_H
#define TARGET_X86_STRING_INT_H

#include "dm/base/util.h"
#include "target/x86/x86-int.h"

struct x86_string {
    struct x86_cpu *c;
    unsigned size, addr; /* bytes of an element, of an address */
    unsigned shift;      /* size is 1 << shift */
    unsigned prefix;     /* 0 none, 1 rep or repe, 2 repne */
    unsigned seg;        /* of the source */
    int step;            /* bytes, negative with DF */
    bool checked;        /* segment limits matter: element by element */
    uint64_t next, here; /* RIPs */
    uint64_t src_base, dst_base, lin_mask;
};

void x86_string_begin(struct x86_string *s, struct tcg_cpu *t, uint64_t a, uint64_t next,
                      uint64_t here);
uint64_t x86_string_count(const struct x86_string *s);
uint64_t x86_string_src(const struct x86_string *s); /* linear */
uint64_t x86_string_dst(const struct x86_string *s);
uint64_t x86_string_room(const struct x86_string *s, uint64_t off, uint64_t linear);
void x86_string_advance(const struct x86_string *s, uint64_t n, bool src, bool dst);
/* An exit request waits and the instruction repeats. */
bool x86_string_pause(const struct x86_string *s);
/* Leaves RIP where execution goes on, and returns it. */
uint64_t x86_string_end(const struct x86_string *s, bool more);

#endif
