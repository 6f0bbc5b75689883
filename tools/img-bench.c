/* SPDX-License-Identifier: MIT */
/* tools/img-bench.c - keel-img bench: how long many requests take. Lines are qemu-img's. */
#include "dm/base/ev.h"
#include "tools/img.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
    struct img *im;
    struct img img; /* what the options say; copied to *im */
    struct node *n;
    uint64_t count, depth, size, step, offset, flush_every, pattern;
    bool write, no_drain;

    uint64_t left, in_flight, since_flush;
    bool flush_due; /* a flush waits until nothing is in flight */
    int ret;
};

struct slot {
    struct node_req r;
    struct iovec iov;
    struct bench *b;
    bool busy;
};

static void slot_done(struct node_req *r, int ret)
{
    struct slot *s = container_of(r, struct slot, r);
    struct bench *b = s->b;

    s->busy = false;
    b->in_flight--;
    b->ret = ret < 0 && b->ret == 0 ? ret : b->ret;
}

static void submit(struct bench *b, struct slot *s, enum node_op op)
{
    bool flush = op == NODE_FLUSH;

    s->busy = true;
    s->r = (struct node_req){ .op = op,
                              .offset = flush ? 0 : b->offset,
                              .len = flush ? 0 : b->size,
                              .iov = flush ? NULL : &s->iov,
                              .iovcnt = !flush,
                              .done = slot_done };
    b->in_flight++;
    node_submit(b->n, &s->r);
}

static void next_request(struct bench *b, struct slot *s)
{
    submit(b, s, b->write ? NODE_WRITE : NODE_READ);
    b->left--;
    b->offset += b->step;
    if (b->offset + b->size > b->n->len) {
        b->offset = b->n->len <= b->step ? 0 : b->offset % b->n->len;
        b->offset = b->offset + b->size > b->n->len ? 0 : b->offset;
    }
    if (b->flush_every && ++b->since_flush == b->flush_every) {
        b->since_flush = 0;
        b->flush_due = true;
    }
}

static void run(struct bench *b, struct slot *slots)
{
    while ((b->left || b->in_flight || b->flush_due) && b->ret == 0) {
        for (uint64_t i = 0; i < b->depth && (b->left || b->flush_due); i++) {
            if (slots[i].busy) {
                continue;
            }
            if (b->flush_due && !b->no_drain && b->in_flight) {
                break;
            }
            if (b->flush_due) {
                b->flush_due = false;
                submit(b, &slots[i], NODE_FLUSH);
                if (!b->no_drain) {
                    break;
                }
            } else {
                next_request(b, &slots[i]);
            }
        }
        node_ctx_poll(b->im->ctx, true);
    }
    node_drain(b->n);
}

static int measure(struct bench *b)
{
    struct slot *slots = xcalloc(b->depth, sizeof(*slots));
    uint8_t *buf;
    int64_t began;

    /* One for all, like qemu-img: what they read is not looked at, and what they write is the same. */
    if (posix_memalign((void **)&buf, 4096, b->size)) {
        free(slots);
        return fail("no memory for %" PRIu64 " requests", b->depth);
    }
    memset(buf, (int)b->pattern, b->size);
    for (uint64_t i = 0; i < b->depth; i++) {
        slots[i] = (struct slot){ .b = b, .iov = { buf, b->size } };
    }
    if (!b->im->quiet) {
        printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
               " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n",
               b->count, b->write ? "write" : "read", b->size, b->depth, b->offset, b->step);
        if (b->flush_every) {
            printf("Sending flush every %" PRIu64 " %srequests\n", b->flush_every,
                   b->no_drain ? "in-flight " : "");
        }
    }
    b->left = b->count;
    began = ev_now_ns();
    run(b, slots);
    if (b->ret == 0 && !b->im->quiet) {
        printf("Run completed in %3.3f seconds.\n", (double)(ev_now_ns() - began) / 1e9);
    }
    free(buf);
    free(slots);
    return b->ret < 0 ? fail("Failed request: %s", strerror(-b->ret)) : 0;
}

static bool number(const char *s, uint64_t least, uint64_t most, uint64_t *out)
{
    return tool_bytes(s, out) && *out >= least && *out <= most;
}

static int take_count(void *to, const char *arg)
{
    return number(arg, 0, INT32_MAX, &((struct bench *)to)->count)
               ? 0
               : fail("Invalid request count specified");
}

static int take_depth(void *to, const char *arg)
{
    return number(arg, 1, 65536, &((struct bench *)to)->depth)
               ? 0
               : fail("Invalid queue depth specified");
}

static int take_size(void *to, const char *arg)
{
    return number(arg, 512, 1 << 30, &((struct bench *)to)->size) &&
                   ((struct bench *)to)->size % 512 == 0
               ? 0
               : fail("Invalid buffer size specified");
}

static int take_step(void *to, const char *arg)
{
    return number(arg, 0, INT32_MAX, &((struct bench *)to)->step) &&
                   ((struct bench *)to)->step % 512 == 0
               ? 0
               : fail("Invalid step size specified");
}

static int take_offset(void *to, const char *arg)
{
    return number(arg, 0, INT64_MAX, &((struct bench *)to)->offset) &&
                   ((struct bench *)to)->offset % 512 == 0
               ? 0
               : fail("Invalid offset specified");
}

static int take_flush(void *to, const char *arg)
{
    return number(arg, 0, INT32_MAX, &((struct bench *)to)->flush_every)
               ? 0
               : fail("Invalid flush interval specified");
}

static int take_pattern(void *to, const char *arg)
{
    return number(arg, 0, 255, &((struct bench *)to)->pattern)
               ? 0
               : fail("Invalid pattern byte specified");
}

static int take_aio(void *to, const char *arg)
{
    return blk_aio_named(arg, &((struct bench *)to)->img.aio) ? 0
                                                              : fail("Invalid aio option: %s", arg);
}

static int do_nocache(void *to, const char *arg)
{
    (void)arg;
    ((struct bench *)to)->img.cache = "none";
    return 0;
}

#define AT(member) .at = offsetof(struct bench, member)
static const struct tool_opt options[] = {
    { "aio", 'i', TOOL_TAKE, .take = take_aio },
    { NULL, 'c', TOOL_TAKE, .take = take_count },
    { NULL, 'd', TOOL_TAKE, .take = take_depth },
    { NULL, 'f', TOOL_TEXT, AT(img.format) },
    { "flush-interval", 0, TOOL_TAKE, .take = take_flush },
    { "force-share", 'U', TOOL_FLAG, AT(img.share) },
    { "help", 'h', TOOL_DO, .take = tool_help },
    { "image-opts", 0, TOOL_FLAG, AT(img.image_opts) },
    { NULL, 'n', TOOL_DO, .take = do_nocache },
    { "no-drain", 0, TOOL_FLAG, AT(no_drain) },
    { NULL, 'o', TOOL_TAKE, .take = take_offset },
    { "object", 0, TOOL_TAKE, .take = tool_take_object },
    { "pattern", 0, TOOL_TAKE, .take = take_pattern },
    { NULL, 'q', TOOL_FLAG, AT(img.quiet) },
    { NULL, 'S', TOOL_TAKE, .take = take_step },
    { NULL, 's', TOOL_TAKE, .take = take_size },
    { NULL, 't', TOOL_TEXT, AT(img.cache) },
    { NULL, 'w', TOOL_FLAG, AT(write) },
};
#undef AT

int img_bench(struct img *im, int argc, char **argv)
{
    struct bench b = { .im = im, .img = *im, .count = 75000, .depth = 64, .size = 4096 };
    int rc = tool_options(options, ARRAY_SIZE(options), "", false, &b, argc, argv);

    if (rc) {
        return rc == TOOL_END ? 0 : 1;
    }
    *im = b.img;
    if (argc - optind != 1) {
        rc = fail("Expecting one image file name");
    }
    if (rc == 0 && b.flush_every && !b.write) {
        rc = fail("--flush-interval is only available in write tests");
    }
    if (rc == 0 && b.flush_every && b.flush_every < b.depth && !b.no_drain) {
        rc = fail("Flush interval can't be smaller than depth");
    }
    if (rc == 0 && b.size * b.depth > 4ull << 30) {
        rc = fail("more than 4 GiB of buffers");
    }
    if (rc) {
        return rc;
    }
    b.step = b.step ? b.step : b.size;
    im->arg = argv + optind;
    im->args = 1;
    im->ctx = node_ctx_new(NULL);
    b.n = img_open(im, im->arg[0], im->format, b.write, 0);
    rc = !b.n;
    if (b.n && (b.n->len < b.size || b.offset > b.n->len - b.size)) {
        rc = fail("the image is smaller than what shall be read from it");
    }
    rc = rc ? rc : measure(&b);
    if (b.n) {
        rc |= img_close(b.n);
    }
    node_ctx_free(im->ctx);
    return rc;
}
