/* SPDX-License-Identifier: MIT */
/* tools/nbd-list.c - keel-nbd -L: what a server exports, in qemu-nbd's words. */
#include "tools/nbd-list.h"

#include "block/nbd-proto.h"
#include "block/nbd.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <stdio.h>

static void print_count(unsigned n)
{
    printf("exports available: %u\n", n);
}

static void print_flags(unsigned flags)
{
    static const char *const names[] = { NULL,         "readonly", "flush",  "fua",
                                         "rotational", "trim",     "zeroes", "df",
                                         "multi",      "resize",   "cache",  "fast-zero" };

    printf("  flags: 0x%x (", flags);
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i] && flags >> i & 1) {
            printf(" %s", names[i]);
        }
    }
    printf(" )\n");
}

static void print_export(const struct nbd_export_info *x)
{
    printf(" export: '%s'\n", x->name);
    if (x->description) {
        printf("  description: %s\n", x->description);
    }
    if (x->flags & NBD_HAS_FLAGS) {
        printf("  size:  %" PRIu64 "\n", x->size);
        print_flags(x->flags);
    }
    if (x->max_block) {
        printf("  min block: %u\n  opt block: %u\n  max block: %u\n", x->min_block, x->opt_block,
               x->max_block);
    }
    if (x->ncontexts) {
        printf("  available meta contexts: %u\n", x->ncontexts);
        for (unsigned i = 0; i < x->ncontexts; i++) {
            printf("   %s\n", x->contexts[i]);
        }
    }
}

int nbd_print_list(const char *address, const struct nbd_how *how)
{
    struct err e = { 0 };

    return nbd_list(address, how, print_count, print_export, &e) < 0 ? fail("%s", e.msg) : 0;
}
