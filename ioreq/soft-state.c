/* SPDX-License-Identifier: MIT */
/* ioreq/soft-state.c - guest RAM as devices of their own, so that it travels with the machine's state.
 *
 * A record of the stream is shorter than 4 GiB, so RAM is cut into pieces.
 */
#include "ioreq/machine.h"
#include "ioreq/soft.h"

#include <stdio.h>

#define PIECE (1ull << 30)
#define FOUR_G (1ull << 32)

struct ram {
    struct device dev; /* first */
    struct state_pages bytes;
};

static const struct state_field state[] = {
    FIELD_PAGES(struct ram, bytes),
    FIELD_END,
};

static const struct dev_class ram_class = {
    .name = "ram",
    .desc = "a piece of guest memory",
    .size = sizeof(struct ram),
    .state = state,
    .state_version = 1,
    .outside = true,
};

static int add_pieces(struct soft_host *s, struct machine *m, uint64_t gpa, uint64_t len,
                      struct err *e)
{
    int ret = 0;
    for (uint64_t at = 0; ret == 0 && at < len; at += PIECE) {
        char id[32];
        uint64_t n = min_u64(len - at, PIECE);
        snprintf(id, sizeof(id), "ram@%llx", (unsigned long long)(gpa + at));
        struct ram *r = (struct ram *)dev_new(m, &ram_class, id);
        r->bytes = (struct state_pages){ soft_ram(s, gpa + at, n), n };
        ret = dev_init(&r->dev, e);
    }
    return ret;
}

int soft_add_state(struct soft_host *s, struct machine *m, struct err *e)
{
    int ret = add_pieces(s, m, 0, soft_ram_below_4g(s), e);
    return ret < 0 ? ret : add_pieces(s, m, FOUR_G, soft_ram_above_4g(s), e);
}
