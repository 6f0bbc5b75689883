/* SPDX-License-Identifier: MIT */
/* tests/functional/wrong-register.c - replays a trace on a machine with one bad bit.
 *
 *   wrong-register FILE pio|mmio ADDRESS BIT
 *
 * As soon as some device answers at ADDRESS, reads of exactly that register get BIT flipped.
 * Prints what the player says. Exit status as keel-trace: 0 nothing noticed, 1 noticed, 2 trouble.
 */
#include "dm/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const struct region_ops *ops;
    uint64_t off, flip;
} bad;

static uint64_t bad_read(struct device *d, uint64_t off, unsigned size)
{
    return bad.ops->read(d, off, size) ^ (off == bad.off ? bad.flip : 0);
}

static struct region *answers(const struct machine *m, enum io_space space, uint64_t addr)
{
    size_t n;
    const struct region_span *s = region_spans(m, space, &n);

    for (size_t i = 0; i < n; i++) {
        if (addr >= s[i].first && addr <= s[i].last && s[i].r->ops->read) {
            return s[i].r;
        }
    }
    return NULL;
}

static void answer_with(struct region *r, const struct region_ops *ops)
{
    uint64_t base = r->base;
    region_unmap(r);
    r->ops = ops;
    region_map(r, base);
}

static int run(struct trace_play *p, struct machine *m, enum io_space space, uint64_t addr)
{
    struct trace_diff diff;
    struct err e = { 0 };
    struct region_ops ops;
    struct region *r = NULL;
    int ret = 0;

    for (uint64_t until = 1; ret == 0 && !r && trace_stats(p)->events < until; until += 16) {
        ret = trace_run(p, m, until, &diff, &e);
        r = answers(m, space, addr);
    }
    if (ret == 0 && r) {
        bad.ops = r->ops;
        bad.off = addr - r->base;
        ops = *r->ops;
        ops.read = bad_read;
        answer_with(r, &ops);
        ret = trace_run(p, m, 0, &diff, &e);
        answer_with(r, bad.ops);
    }
    puts(ret < 0 ? e.msg : ret ? diff.text : r ? "nothing noticed" : "nobody answers there");
    return ret < 0 ? 2 : ret;
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    struct trace_play *p = argc == 5 ? trace_open(argv[1], &e) : NULL;
    struct replay *r = p ? replay_new(p, &e) : NULL;
    int ret = 2;

    if (r) {
        bad.flip = 1ull << strtoul(argv[4], NULL, 0);
        ret = run(p, replay_machine(r), strcmp(argv[2], "mmio") == 0 ? IO_MMIO : IO_PIO,
                  strtoull(argv[3], NULL, 0));
    } else {
        puts(argc == 5 ? e.msg : "usage: wrong-register FILE pio|mmio ADDRESS BIT");
    }
    replay_free(r);
    trace_close(p);
    return ret;
}
