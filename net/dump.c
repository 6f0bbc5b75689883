/* SPDX-License-Identifier: MIT */
/* net/dump.c - filter-dump: what passes a cable, in a pcap file.
 *
 * Frames are seen as the ends see them: uncut where the other end takes them uncut. Time is the
 * host's. Reference: draft-ietf-opsawg-pcap.
 */
#include "net/net.h"

#include "dm/base/bytes.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINK_ETHERNET = 1 };

struct dump {
    struct nic_filter filter; /* first */
    FILE *file;
    uint32_t maxlen;
};

static bool dump_pass(struct nic_filter *f, bool to_card, const struct nic_frame *frame)
{
    struct dump *d = (struct dump *)f;
    struct timespec now;
    uint8_t head[16];
    uint32_t len = frame->len < d->maxlen ? frame->len : d->maxlen;
    (void)to_card;
    if (!d->file) {
        return true;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    store_le(head, 4, (uint64_t)now.tv_sec);
    store_le(head + 4, 4, (uint64_t)now.tv_nsec / 1000);
    store_le(head + 8, 4, len);
    store_le(head + 12, 4, frame->len);
    if (fwrite(head, sizeof(head), 1, d->file) != 1 ||
        fwrite(frame->data, 1, len, d->file) != len || fflush(d->file) != 0) {
        log_msg(LOG_WARN, "filter-dump", "writing: %s; no more is written", strerror(errno));
        fclose(d->file);
        d->file = NULL;
    }
    return true;
}

static void dump_free(struct nic_filter *f)
{
    struct dump *d = (struct dump *)f;
    if (d->file) {
        fclose(d->file);
    }
    free(d);
}

struct nic_filter *net_dump_new(const char *path, unsigned maxlen, struct err *e)
{
    uint8_t head[24] = { 0 };
    FILE *file = fopen(path, "we");
    store_le(head, 4, 0xa1b2c3d4u);
    store_le(head + 4, 2, 2);
    store_le(head + 6, 2, 4);
    store_le(head + 16, 4, maxlen);
    store_le(head + 20, 4, LINK_ETHERNET);
    if (!file || fwrite(head, sizeof(head), 1, file) != 1 || fflush(file) != 0) {
        err_set(e, -errno, "file=%s: %s", path, strerror(errno));
        if (file) {
            fclose(file);
        }
        return NULL;
    }
    struct dump *d = xcalloc(1, sizeof(*d));
    d->filter = (struct nic_filter){ .pass = dump_pass, .free = dump_free };
    d->file = file;
    d->maxlen = maxlen;
    return &d->filter;
}
