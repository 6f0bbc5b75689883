/* SPDX-License-Identifier: MIT */
/* block/mapped-check.c - reading tables when a format of mapped.h opens, and looking for damage in them. */
#include "block/mapped.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mapped_read(struct node *file, uint64_t at, uint64_t len, const char *what, struct err *e)
{
    uint8_t *buf;
    int ret;

    if (at % NODE_ALIGN || len > file->len || at > file->len - len) {
        err_set(e, -EINVAL, "image '%s': %s lies beyond the file's end", file->filename, what);
        return NULL;
    }
    len = (len + NODE_ALIGN - 1) & ~(uint64_t)(NODE_ALIGN - 1);
    buf = malloc(len + !len);
    ret = buf ? node_read(file, at, buf, len) : -ENOMEM;
    if (ret < 0) {
        err_set(e, ret, "image '%s': %s: %s", file->filename, what, strerror(-ret));
        free(buf);
        return NULL;
    }
    return buf;
}

static int by_place(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void found(struct format_check *out, const char *what, uint64_t v)
{
    char line[160];

    if (++out->corruptions <= 100 && out->say) {
        snprintf(line, sizeof(line), "ERROR: %s %" PRIu64, what, v);
        out->say(out->opaque, line);
    }
}

int mapped_check(struct node *n, struct format_check *out)
{
    struct mapped *m = (struct mapped *)n;
    uint64_t blocks = (n->len + m->block - 1) / m->block, used = 0;
    uint64_t *places = calloc(blocks + 1, sizeof(*places)), least = m->block;
    struct map_run r;

    if (!places) {
        return -ENOMEM;
    }
    out->total_clusters = blocks;
    for (uint64_t i = 0; i < blocks; i++) {
        m->ops->lookup(m, i * m->block, min_u64(m->block, n->len - i * m->block), &r);
        if (r.kind == MAP_BAD) {
            found(out, "no place in the file can be that of block", i);
        } else if ((r.kind == MAP_FILE && r.file == n->file) || r.kind == MAP_PACKED) {
            places[used++] = r.at;
            least = r.kind == MAP_PACKED ? NODE_ALIGN : least;
        }
        out->allocated += r.kind == MAP_FILE || r.kind == MAP_PACKED || r.kind == MAP_ZERO;
    }
    qsort(places, used, sizeof(*places), by_place);
    for (uint64_t i = 1; i < used; i++) {
        if (places[i] - places[i - 1] < least) {
            found(out, "two blocks share bytes of the file from", places[i]);
        }
    }
    out->image_end = max_u64(m->end, used ? places[used - 1] + m->block : 0);
    free(places);
    return 0;
}
