/* SPDX-License-Identifier: MIT */
/* ioreq/gmem.c - the memory door: copies, pins and device RAM.
 *
 * What is RAM: a block where it is lent now, whatever the host says about that address; else what
 * the host's map() answers. Blocks come first for every host, since their bytes are at hand and a
 * host may not even know them. Where two blocks are lent at one address the one made first wins.
 */
#include "ioreq/machine-int.h"
#include "ioreq/trace.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define PIN_MAX (128u << 10)

static struct gmem_block *block_at(const struct machine *m, uint64_t gpa)
{
    for (struct gmem_block *b = m->blocks; b; b = b->next) {
        if (b->gpa != GMEM_NOWHERE && gpa - b->gpa < b->len) {
            return b;
        }
    }
    return NULL;
}

/* Cuts len so that [gpa, gpa + len) runs into no lent block. */
static size_t before_blocks(const struct machine *m, uint64_t gpa, size_t len)
{
    for (const struct gmem_block *b = m->blocks; b; b = b->next) {
        if (b->gpa != GMEM_NOWHERE && b->gpa > gpa) {
            len = (size_t)min_u64(len, b->gpa - gpa);
        }
    }
    return len;
}

/* A pointer to guest RAM at gpa, with *len cut to what is contiguous there; NULL for a hole. */
static uint8_t *ram_at(struct machine *m, uint64_t gpa, size_t *len, bool pin)
{
    const struct gmem_block *b = block_at(m, gpa);
    if (b) {
        *len = (size_t)min_u64(*len, b->len - (gpa - b->gpa));
        return b->host + (gpa - b->gpa);
    }
    *len = before_blocks(m, gpa, *len);
    uint8_t *p = m->host->map ? m->host->map(m->h, gpa, len, pin) : NULL;
    return p && *len ? p : NULL;
}

static void wrote(struct machine *m, uint64_t gpa, size_t len)
{
    struct gmem_block *b = block_at(m, gpa);
    if (b) {
        gmem_block_wrote(m, b, gpa - b->gpa, len);
    } else if (m->host->dirtied) {
        m->host->dirtied(m->h, gpa, len);
    }
}

/* ---- copies ---- */

static bool all_ram(struct machine *m, uint64_t gpa, size_t len)
{
    if (len && len - 1 > UINT64_MAX - gpa) {
        return false;
    }
    for (size_t n; len; gpa += n, len -= n) {
        n = len;
        if (!ram_at(m, gpa, &n, false)) {
            return false;
        }
    }
    return true;
}

/* A read of what is no RAM but may be looked at. */
static int copy_rom(struct machine *m, uint64_t gpa, uint8_t *buf, size_t len)
{
    for (size_t n; len; gpa += n, buf += n, len -= n) {
        n = len;
        const uint8_t *p = ram_at(m, gpa, &n, false);
        if (!p) {
            p = m->host->map_rom ? m->host->map_rom(m->h, gpa, &n) : NULL;
        }
        if (!p) {
            return -EFAULT;
        }
        memcpy(buf, p, n);
    }
    return 0;
}

static int copy(struct machine *m, uint64_t gpa, uint8_t *buf, size_t len, bool to_guest)
{
    for (size_t n; len; gpa += n, buf += n, len -= n) {
        n = len;
        uint8_t *p = ram_at(m, gpa, &n, false);
        if (!p) {
            return -EFAULT;
        }
        if (to_guest) {
            memcpy(p, buf, n);
            wrote(m, gpa, n);
        } else {
            memcpy(buf, p, n);
        }
    }
    return 0;
}

/* The usual copy lies in one piece: one look-up, no check ahead. */
static bool copy_one(struct machine *m, uint64_t gpa, uint8_t *buf, size_t len, bool to_guest)
{
    size_t n = len;
    uint8_t *p = len && len - 1 <= UINT64_MAX - gpa ? ram_at(m, gpa, &n, false) : NULL;
    if (!p || n < len) {
        return false;
    }
    if (to_guest) {
        memcpy(p, buf, len);
        wrote(m, gpa, len);
    } else {
        memcpy(buf, p, len);
    }
    return true;
}

static int move(struct machine *m, uint64_t gpa, uint8_t *buf, size_t len, bool to_guest)
{
    if (copy_one(m, gpa, buf, len, to_guest)) {
        return 0;
    }
    if (all_ram(m, gpa, len)) {
        return copy(m, gpa, buf, len, to_guest);
    }
    return !to_guest && m->host->map_rom && len - 1 <= UINT64_MAX - gpa ? copy_rom(m, gpa, buf, len)
                                                                        : -EFAULT;
}

int gmem_peek(struct machine *m, uint64_t gpa, void *buf, size_t len)
{
    return move(m, gpa, buf, len, false);
}

int gmem_poke(struct machine *m, uint64_t gpa, const void *buf, size_t len)
{
    return move(m, gpa, (uint8_t *)buf, len, true);
}

int gmem_read(struct machine *m, uint64_t gpa, void *buf, size_t len)
{
    if (m->play) {
        return trace_play_read(m, gpa, buf, len);
    }
    int rc = gmem_peek(m, gpa, buf, len);
    if (m->rec) {
        trace_dma_read(m, gpa, buf, len, rc);
    }
    return rc;
}

int gmem_write(struct machine *m, uint64_t gpa, const void *buf, size_t len)
{
    if (m->play) {
        return trace_play_write(m, gpa, buf, len);
    }
    int rc = gmem_poke(m, gpa, buf, len);
    if (m->rec) {
        trace_dma_write(m, gpa, buf, len, rc);
    }
    return rc;
}

/* ---- attributes ---- */

void gmem_shadow(struct machine *m, uint64_t gpa, uint64_t len, bool read, bool write)
{
    if (m->host->shadow) {
        m->host->shadow(m->h, gpa, len, read, write);
    }
}

void gmem_smram(struct machine *m, bool smm, bool all)
{
    if (m->host->smram) {
        m->host->smram(m->h, smm, all);
    }
}

/* ---- pins ---- */

/* Whether a pinned piece came from a block, which needs no letting go. */
static bool in_block(const struct machine *m, const uint8_t *p)
{
    for (const struct gmem_block *b = m->blocks; b; b = b->next) {
        if (p >= b->host && p < b->host + b->len) {
            return true;
        }
    }
    return false;
}

static void unmap_all(struct machine *m, const struct gmem_pin *p)
{
    for (int i = 0; i < p->iovcnt && m->host->unmap; i++) {
        if (!in_block(m, p->iov[i].iov_base)) {
            m->host->unmap(m->h, p->iov[i].iov_base, p->iov[i].iov_len);
        }
    }
}

static int pin(struct machine *m, struct gmem_pin *p, uint64_t gpa, size_t len, bool to_guest)
{
    p->iovcnt = 0;
    p->gpa = gpa;
    p->len = len;
    p->to_guest = to_guest;
    if (!len || len > PIN_MAX || len - 1 > UINT64_MAX - gpa) {
        return -EFAULT;
    }
    for (size_t n; len; gpa += n, len -= n) {
        n = len;
        uint8_t *at = p->iovcnt < GMEM_PIN_MAX_IOV ? ram_at(m, gpa, &n, true) : NULL;
        if (!at) {
            unmap_all(m, p);
            p->iovcnt = 0;
            return -EFAULT;
        }
        p->iov[p->iovcnt++] = (struct iovec){ at, n };
    }
    return 0;
}

int gmem_pin(struct machine *m, struct gmem_pin *p, uint64_t gpa, size_t len, bool to_guest)
{
    if (m->play) {
        return trace_play_pin(m, p, gpa, len, to_guest);
    }
    int rc = pin(m, p, gpa, len, to_guest);
    if (m->rec) {
        trace_dma_pin(m, gpa, len, to_guest, rc);
    }
    return rc;
}

/* A piece of a block is marked by where it lies in the block: the block may have moved since. */
static void pin_wrote(struct machine *m, const uint8_t *at, uint64_t gpa, size_t n)
{
    for (struct gmem_block *b = m->blocks; b; b = b->next) {
        if (at >= b->host && at < b->host + b->len) {
            gmem_block_wrote(m, b, (uint64_t)(at - b->host), n);
            return;
        }
    }
    if (m->host->dirtied) {
        m->host->dirtied(m->h, gpa, n);
    }
}

void gmem_unpin(struct machine *m, struct gmem_pin *p, size_t done)
{
    if (machine_traced(m)) {
        trace_dma_unpin(m, p, done);
    }
    if (m->play) {
        return; /* the trace's memory, not the host's */
    }
    uint64_t gpa = p->gpa;
    for (int i = 0; i < p->iovcnt && done; i++) {
        size_t n = (size_t)min_u64(done, p->iov[i].iov_len);
        if (p->to_guest) {
            pin_wrote(m, p->iov[i].iov_base, gpa, n);
        }
        gpa += n;
        done -= n;
    }
    unmap_all(m, p);
    p->iovcnt = 0;
}

/* ---- device RAM ---- */

static int block_alloc(struct machine *m, struct gmem_block *b, struct err *e)
{
    if (m->host->block_new) {
        return m->host->block_new(m->h, b, e);
    }
    void *p = mmap(NULL, b->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return err_set(e, -ENOMEM, "%s: no memory for %llu bytes of device RAM", b->name,
                       (unsigned long long)b->len);
    }
    b->host = p;
    return 0;
}

int gmem_block_new(struct machine *m, struct gmem_block *b, struct err *e)
{
    assert(b->name && b->len && b->len % PAGE == 0);
    b->gpa = GMEM_NOWHERE;
    b->priv = NULL;
    b->next = NULL;
    struct gmem_block **at = &m->blocks;
    for (; *at; at = &(*at)->next) {
        if (!strcmp((*at)->name, b->name)) {
            return err_set(e, -EEXIST, "device RAM \"%s\" exists twice", b->name);
        }
    }
    int rc = block_alloc(m, b, e);
    if (rc == 0) {
        *at = b;
    }
    return rc;
}

void gmem_block_free(struct machine *m, struct gmem_block *b)
{
    if (!b->host) {
        return;
    }
    (void)gmem_block_lend(m, b, GMEM_NOWHERE);
    for (struct gmem_block **at = &m->blocks; *at; at = &(*at)->next) {
        if (*at == b) {
            *at = b->next;
            break;
        }
    }
    if (m->host->block_new) {
        if (m->host->block_free) {
            m->host->block_free(m->h, b);
        }
    } else {
        munmap(b->host, b->len);
    }
    b->host = NULL;
}

/* A recorder must see every access, and a replay was recorded without lending. */
static bool may_lend(const struct machine *m, const struct gmem_block *b, uint64_t gpa)
{
    return m->host->block_lend && !machine_traced(m) && gpa % PAGE == 0 &&
           gpa <= UINT64_MAX - b->len;
}

bool gmem_block_lend(struct machine *m, struct gmem_block *b, uint64_t gpa)
{
    if (gpa != GMEM_NOWHERE && gpa == b->gpa) {
        return true;
    }
    if (gpa != GMEM_NOWHERE && may_lend(m, b, gpa) && m->host->block_lend(m->h, b, gpa)) {
        b->gpa = gpa;
        return true;
    }
    if (b->gpa != GMEM_NOWHERE) {
        (void)m->host->block_lend(m->h, b, GMEM_NOWHERE);
        b->gpa = GMEM_NOWHERE;
    }
    return false;
}

void gmem_block_dirty(struct machine *m, struct gmem_block *b, uint64_t off, uint64_t len,
                      uint64_t *bitmap)
{
    assert(off % PAGE == 0 && off <= b->len && len <= b->len - off);
    uint64_t pages = (len + PAGE - 1) / PAGE;
    if (m->host->block_dirty) {
        m->host->block_dirty(m->h, b, off, len, bitmap);
        return;
    }
    memset(bitmap, 0, (size_t)((pages + 63) / 64) * sizeof(*bitmap));
    for (uint64_t i = 0; i < pages; i++) {
        bitmap[i / 64] |= 1ull << i % 64;
    }
}

void gmem_block_wrote(struct machine *m, struct gmem_block *b, uint64_t off, uint64_t len)
{
    if (m->host->block_wrote) {
        m->host->block_wrote(m->h, b, off, len);
    } else if (m->host->dirtied && b->gpa != GMEM_NOWHERE) {
        m->host->dirtied(m->h, b->gpa + off, (size_t)len);
    }
}
