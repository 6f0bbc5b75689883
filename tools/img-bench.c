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

    if (posix_memalign((void **)&buf, 4096, b->size * b->depth)) {
        free(slots);
        return fail("no memory for %" PRIu64 " requests", b->depth);
    }
    memset(buf, (int)b->pattern, b->size * b->depth);
    for (uint64_t i = 0; i < b->depth; i++) {
        slots[i] = (struct slot){ .b = b, .iov = { buf + i * b->size, b->size } };
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

enum { OPT_FLUSH = 256, OPT_NO_DRAIN, OPT_PATTERN, OPT_IMAGE_OPTS };

static const struct option long_options[] = {
    { "flush-interval", required_argument, NULL, OPT_FLUSH },
    { "no-drain", no_argument, NULL, OPT_NO_DRAIN },
    { "pattern", required_argument, NULL, OPT_PATTERN },
    { "image-opts", no_argument, NULL, OPT_IMAGE_OPTS },
    { "force-share", no_argument, NULL, 'U' },
    { "help", no_argument, NULL, 'h' },
    { 0 },
};

/* 0, or the exit status after telling why. */
static int take(struct bench *b, int c)
{
    struct img *im = b->im;

    switch (c) {
    case 'c':
        return number(optarg, 0, INT32_MAX, &b->count) ? 0
                                                       : fail("Invalid request count specified");
    case 'd':
        return number(optarg, 1, 65536, &b->depth) ? 0 : fail("Invalid queue depth specified");
    case 's':
        return number(optarg, 512, 1 << 30, &b->size) && b->size % 512 == 0
                   ? 0
                   : fail("Invalid buffer size specified");
    case 'S':
        return number(optarg, 0, INT32_MAX, &b->step) && b->step % 512 == 0
                   ? 0
                   : fail("Invalid step size specified");
    case 'o':
        return tool_bytes(optarg, &b->offset) && b->offset % 512 == 0
                   ? 0
                   : fail("Invalid offset specified");
    case OPT_FLUSH:
        return number(optarg, 0, INT32_MAX, &b->flush_every)
                   ? 0
                   : fail("Invalid flush interval specified");
    case OPT_PATTERN:
        return number(optarg, 0, 255, &b->pattern) ? 0 : fail("Invalid pattern byte specified");
    case 'f':
        im->format = optarg;
        return 0;
    case 't':
        im->cache = optarg;
        return 0;
    case 'n':
        im->cache = "none";
        return 0;
    case 'i':
        return blk_aio_named(optarg, &im->aio) ? 0 : fail("Invalid aio option: %s", optarg);
    case 'q':
        im->quiet = true;
        return 0;
    case 'w':
        b->write = true;
        return 0;
    case 'U':
        im->share = true;
        return 0;
    case OPT_NO_DRAIN:
        b->no_drain = true;
        return 0;
    case OPT_IMAGE_OPTS:
        im->image_opts = true;
        return 0;
    default:
        return 1;
    }
}

int img_bench(struct img *im, int argc, char **argv)
{
    struct bench b = { .im = im, .count = 75000, .depth = 64, .size = 4096 };
    int c, rc = 0;

    while (rc == 0 &&
           (c = getopt_long(argc, argv, "c:d:f:hi:no:qs:S:t:wU", long_options, NULL)) != -1) {
        if (c == 'h') {
            return img_usage(stdout);
        }
        rc = take(&b, c);
    }
    if (rc == 0 && argc - optind != 1) {
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
