/* SPDX-License-Identifier: MIT */
/* target/x86/glance.h - what can be told of an instruction at a glance: its length, what it does with the six
 * flags, where it leads.
 *
 * For the look at the code behind a block's exits (translate.c), which asks for nothing else and asks often.
 * The first instruction of a kind is decoded by Zydis, those after it by what it said. One struct glances
 * serves a machine, under the translator's lock.
 */
#ifndef TARGET_X86_GLANCE_H
#define TARGET_X86_GLANCE_H

#include <Zydis/Zydis.h>
#include <stdbool.h>

enum glance_flow {
    GLANCE_NEXT,
    GLANCE_BRANCH, /* on or to rel behind the end */
    GLANCE_JUMP,   /* to rel behind the end: calls, too */
    GLANCE_LOST,   /* nobody knows */
};
struct glance {
    uint16_t tested, killed; /* of the six flags: read; surely written */
    uint8_t length, flow;
    int64_t rel;
};

struct glances *glances_new(void);
void glances_free(struct glances *t);

/* The instruction at bytes, of which avail can be read. False: it is none, or one that looks at flags in ways the
 * decoder does not tell. */
bool glance(struct glances *t, const ZydisDecoder *d, const uint8_t *bytes, unsigned avail,
            struct glance *g);
/* The same by Zydis alone. */
bool glance_properly(const ZydisDecoder *d, const uint8_t *bytes, unsigned avail, struct glance *g);

#endif
