/* SPDX-License-Identifier: MIT */
/* tcg/pass-flags.c - flags that nobody reads need not be made.
 *
 * Backwards from what is live at the exits. Flags that are overwritten further on count as dead even
 * when something in between may fault: a handler would see older ones.
 */
#include "tcg/pass.h"

void pass_deadflags(struct ir_block *b)
{
    uint16_t live = ir_live_at_end(b);
    for (unsigned i = b->n; i-- > 0;) {
        struct ir_op *o = &b->op[i];
        uint16_t written = ir_flags_written(o);
        o->fneed = written & live;
        live = (uint16_t)((live & ~written) | ir_flags_read(o));
    }
}
