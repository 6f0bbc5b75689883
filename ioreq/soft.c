/* SPDX-License-Identifier: MIT */
/* ioreq/soft.c - the host of a machine whose processors Keel runs: see soft.h.
 *
 * What guest-physical memory is to a plain access is kept as two sorted arrays of disjoint
 * segments, one as everybody sees it and one as system management mode does. Both are computed
 * anew on every change, strongest claim first:
 *
 *   opened SMRAM > a device's region > a lent block > 0xa0000..0xfffff as the chipset says
 *                > ROM > RAM
 *
 * and published under a sequence count, so that vCPU threads look pages up without the lock: a
 * reader that raced with a change reads again. What no segment covers goes through the door.
 *
 * Left out: shadow RAM that can be written but not read; stores vanish there as on ROM.
 * Reference: Intel 82441FX data sheet 290549, 3.2.18 (PAM), 3.2.19 (SMRAM).
 */
#include "ioreq/soft.h"

#include "dm/base/ev.h"
#include "ioreq/machine-int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull
#define FOUR_G (1ull << 32)
#define MAX_BELOW_4G 0xe0000000ull
#define MAX_SEGMENTS 1024u
#define MAX_ROMS 16u

enum {
    VGA_BASE = 0xa0000,
    VGA_END = 0xc0000, /* the SMRAM window too */
    SHADOW_BASE = 0xc0000,
    SHADOW_END = 0x100000,
    SHADOW_PAGES = (SHADOW_END - SHADOW_BASE) / 4096,
    SEGMENT_WORDS = 6,
};

/* Six words, so that they can be copied one by one: see publish. */
struct segment {
    uint64_t first, last;
    uint8_t *p;    /* NULL only while the map is built: nothing plain here */
    uint64_t *log; /* changed pages, one bit each, or NULL */
    uint64_t log_page;
    uint64_t flags; /* enum soft_page_flags */
};
_Static_assert(sizeof(struct segment) == SEGMENT_WORDS * 8, "copied as words");

struct map {
    uint64_t n;
    struct segment seg[MAX_SEGMENTS];
};

enum view { VIEW_NORMAL, VIEW_SMM, VIEWS };

struct rom {
    uint64_t gpa, len;
    uint8_t *bytes;
};

/* gmem_block's priv */
struct soft_block {
    uint64_t gpa;
    uint64_t changed[]; /* one bit a page */
};

struct soft_host {
    struct machine *m;
    uint8_t *ram;
    uint64_t below_4g, above_4g;
    struct rom rom[MAX_ROMS];
    unsigned nroms;
    uint8_t shadow[SHADOW_PAGES]; /* SOFT_READ, SOFT_WRITE */
    bool smram_smm, smram_all;

    uint32_t seq; /* odd while map is being replaced */
    struct map map[VIEWS];
    struct map next;

    const struct soft_listener *listener;
    void *listener_o;
    struct irq_route route;

    bool icount;
    int64_t now;      /* icount; atomic */
    int64_t deadline; /* atomic */
    int64_t (*wallclock)(void *o);
    void (*arm)(void *o, int64_t when_ns);
    void *arm_o;
};

/* ---- building a map ---- */

/* Index of the first segment that ends at or after addr. */
static unsigned lower_bound(const struct map *map, uint64_t addr)
{
    unsigned lo = 0, hi = (unsigned)map->n;
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;
        if (map->seg[mid].last < addr) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/* The part of s from first to last; false when the map is full. */
static bool insert(struct map *map, unsigned at, const struct segment *s, uint64_t first,
                   uint64_t last)
{
    if (map->n == MAX_SEGMENTS) {
        return false;
    }
    memmove(&map->seg[at + 1], &map->seg[at], (map->n - at) * sizeof(*s));
    map->n++;
    map->seg[at] = *s;
    map->seg[at].first = first;
    map->seg[at].last = last;
    if (s->p) {
        map->seg[at].p = s->p + (first - s->first);
        map->seg[at].log_page = s->log_page + (first - s->first) / PAGE;
    }
    return true;
}

/* Adds s where nothing stronger is. */
static void add(struct map *map, const struct segment *s)
{
    uint64_t first = s->first;
    bool ok = true;
    for (unsigned i = lower_bound(map, first); ok; i++) {
        if (i == map->n || map->seg[i].first > s->last) {
            ok = insert(map, i, s, first, s->last);
            break;
        }
        if (map->seg[i].first > first) {
            ok = insert(map, i, s, first, map->seg[i].first - 1);
            i++;
        }
        if (map->seg[i].last >= s->last) {
            break;
        }
        first = map->seg[i].last + 1;
    }
    if (!ok) {
        log_msg(LOG_ERROR, "memory", "map: more than %u pieces", MAX_SEGMENTS);
    }
}

static void add_plain(struct map *map, uint64_t first, uint64_t len, uint8_t *p, unsigned flags)
{
    if (len) {
        struct segment s = { .first = first, .last = first + len - 1, .p = p, .flags = flags };
        add(map, &s);
    }
}

/* Whole pages: a page that a device answers in part goes through the door. */
static void add_regions(struct map *map, struct machine *m)
{
    size_t n;
    const struct region_span *span = region_spans(m, IO_MMIO, &n);
    for (size_t i = 0; i < n; i++) {
        struct segment s = { .first = span[i].first & ~(PAGE - 1),
                             .last = span[i].last | (PAGE - 1) };
        add(map, &s);
    }
}

static void add_blocks(struct map *map, struct machine *m)
{
    for (struct gmem_block *b = m->blocks; b; b = b->next) {
        struct soft_block *sb = b->priv;
        if (sb && sb->gpa != GMEM_NOWHERE) {
            struct segment s = { .first = sb->gpa,
                                 .last = sb->gpa + b->len - 1,
                                 .p = b->host,
                                 .log = sb->changed,
                                 .flags = SOFT_READ | SOFT_WRITE | SOFT_LOG };
            add(map, &s);
        }
    }
}

/* 0xc0000..0xfffff: RAM as far as it is shadowed; the rest is left to ROM or to nobody. */
static void add_shadow(const struct soft_host *s, struct map *map)
{
    for (unsigned i = 0; i < SHADOW_PAGES; i++) {
        uint64_t gpa = SHADOW_BASE + i * PAGE;
        if (s->shadow[i] & SOFT_READ) {
            bool write = s->shadow[i] & SOFT_WRITE;
            add_plain(map, gpa, PAGE, s->ram + gpa, SOFT_READ | (write ? SOFT_WRITE : SOFT_IGNORE));
        }
    }
}

static void add_ram(const struct soft_host *s, struct map *map)
{
    static const struct segment hole = { .first = VGA_BASE, .last = SHADOW_END - 1 };
    add(map, &hole);
    add_plain(map, 0, s->below_4g, s->ram, SOFT_READ | SOFT_WRITE);
    add_plain(map, FOUR_G, s->above_4g, s->ram + s->below_4g, SOFT_READ | SOFT_WRITE);
}

static bool continues(const struct segment *a, const struct segment *b)
{
    return b->first == a->last + 1 && b->p == a->p + (b->first - a->first) && b->log == a->log &&
           b->flags == a->flags;
}

/* Drops what is not plain and joins what belongs together. */
static void compact(struct map *map)
{
    unsigned n = 0;
    for (unsigned i = 0; i < map->n; i++) {
        if (!map->seg[i].p) {
            continue;
        }
        if (n && continues(&map->seg[n - 1], &map->seg[i])) {
            map->seg[n - 1].last = map->seg[i].last;
        } else {
            map->seg[n++] = map->seg[i];
        }
    }
    map->n = n;
}

static void build(struct soft_host *s, enum view view, struct map *map)
{
    map->n = 0;
    if (s->smram_all || (view == VIEW_SMM && s->smram_smm)) {
        add_plain(map, VGA_BASE, VGA_END - VGA_BASE, s->ram + VGA_BASE, SOFT_READ | SOFT_WRITE);
    }
    if (s->m) {
        add_regions(map, s->m);
        add_blocks(map, s->m);
    }
    add_shadow(s, map);
    for (unsigned i = 0; i < s->nroms; i++) {
        add_plain(map, s->rom[i].gpa, s->rom[i].len, s->rom[i].bytes, SOFT_READ | SOFT_IGNORE);
    }
    add_ram(s, map);
    compact(map);
}

/* ---- publishing it ---- */

static void copy_words(void *to, const void *from, size_t words)
{
    uint64_t *t = to;
    const uint64_t *f = from;
    for (size_t i = 0; i < words; i++) {
        __atomic_store_n(&t[i], f[i], __ATOMIC_RELAXED);
    }
}

static bool same(const struct map *a, const struct map *b)
{
    return a->n == b->n && memcmp(a->seg, b->seg, a->n * sizeof(a->seg[0])) == 0;
}

static void publish(struct soft_host *s, enum view view)
{
    __atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    copy_words(&s->map[view], &s->next, 1 + s->next.n * SEGMENT_WORDS);
    __atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELEASE);
}

static void rebuild(struct soft_host *s)
{
    bool changed = false;
    for (enum view v = VIEW_NORMAL; v < VIEWS; v++) {
        build(s, v, &s->next);
        if (!same(&s->map[v], &s->next)) {
            publish(s, v);
            changed = true;
        }
    }
    if (changed && s->listener) {
        s->listener->changed(s->listener_o);
    }
}

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

/* The segment at gpa, copied into *out; false when there is none. */
static bool find(const struct map *map, uint64_t gpa, struct segment *out)
{
    uint64_t lo = 0, hi = LOAD(map->n);
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (LOAD(map->seg[mid].last) < gpa) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo >= LOAD(map->n) || LOAD(map->seg[lo].first) > gpa) {
        return false;
    }
    const uint64_t *from = (const uint64_t *)&map->seg[lo];
    uint64_t words[SEGMENT_WORDS];
    for (unsigned i = 0; i < SEGMENT_WORDS; i++) {
        words[i] = LOAD(from[i]);
    }
    memcpy(out, words, sizeof(*out));
    return true;
}

static bool find_consistent(struct soft_host *s, enum view view, uint64_t gpa, struct segment *out)
{
    for (;;) {
        uint32_t before = __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE);
        bool found = !(before & 1) && find(&s->map[view], gpa, out);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && LOAD(s->seq) == before) {
            return found;
        }
    }
}

struct soft_span soft_span(struct soft_host *s, uint64_t gpa, bool smm)
{
    struct segment seg;
    uint64_t page = gpa & ~(PAGE - 1);
    if (!find_consistent(s, smm ? VIEW_SMM : VIEW_NORMAL, page, &seg)) {
        return (struct soft_span){ .first = page, .last = page + PAGE - 1 };
    }
    return (struct soft_span){ seg.first, seg.last, seg.p, (unsigned)seg.flags };
}

uint8_t *soft_page(struct soft_host *s, uint64_t gpa, bool smm, unsigned *flags)
{
    struct soft_span p = soft_span(s, gpa, smm);
    *flags = p.flags;
    return p.host ? p.host + ((gpa & ~(PAGE - 1)) - p.first) : NULL;
}

void soft_mark_dirty(struct soft_host *s, uint64_t gpa)
{
    struct segment seg;
    if (find_consistent(s, VIEW_NORMAL, gpa, &seg) && seg.log) {
        uint64_t page = seg.log_page + (gpa - seg.first) / PAGE;
        __atomic_fetch_or(&seg.log[page / 64], 1ull << page % 64, __ATOMIC_RELAXED);
    }
}

/* ---- memory, for devices ---- */

static void *map_if(struct soft_host *s, uint64_t gpa, size_t *len, unsigned flag)
{
    struct segment seg;
    if (!find(&s->map[VIEW_NORMAL], gpa, &seg) || !(seg.flags & flag)) {
        return NULL;
    }
    *len = (size_t)min_u64(*len, seg.last - gpa + 1);
    return seg.p + (gpa - seg.first);
}

static void *soft_map(void *h, uint64_t gpa, size_t *len, bool pin)
{
    (void)pin; /* RAM never moves */
    return map_if(h, gpa, len, SOFT_WRITE);
}

static const void *soft_map_rom(void *h, uint64_t gpa, size_t *len)
{
    return map_if(h, gpa, len, SOFT_READ);
}

static void soft_dirtied(void *h, uint64_t gpa, size_t len)
{
    struct soft_host *s = h;
    if (s->listener) {
        s->listener->wrote(s->listener_o, gpa, len);
    }
}

static void soft_claim(void *h, enum io_space space, uint64_t first, uint64_t last)
{
    (void)first, (void)last;
    if (space == IO_MMIO) {
        rebuild(h);
    }
}

/* Other bytes are there now: code made from the old ones is stale. */
static void other_bytes(struct soft_host *s, uint64_t gpa, uint64_t len)
{
    if (s->listener && gpa != GMEM_NOWHERE) {
        s->listener->wrote(s->listener_o, gpa, len);
    }
}

static void soft_shadow(void *h, uint64_t gpa, uint64_t len, bool read, bool write)
{
    struct soft_host *s = h;
    uint8_t to = (uint8_t)((read ? SOFT_READ : 0) | (write ? SOFT_WRITE : 0));
    bool changed = false;
    for (uint64_t at = gpa; at < gpa + len; at += PAGE) {
        assert(at >= SHADOW_BASE && at < SHADOW_END);
        uint8_t *page = &s->shadow[(at - SHADOW_BASE) / PAGE];
        changed |= *page != to;
        *page = to;
    }
    if (changed) {
        rebuild(s);
        other_bytes(s, gpa, len);
    }
}

static void soft_smram(void *h, bool smm, bool all)
{
    struct soft_host *s = h;
    if (s->smram_smm != smm || s->smram_all != all) {
        s->smram_smm = smm;
        s->smram_all = all;
        rebuild(s);
        other_bytes(s, VGA_BASE, VGA_END - VGA_BASE);
    }
}

/* ---- lent blocks ---- */

static void *anonymous(uint64_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    madvise(p, len, MADV_HUGEPAGE); /* fewer TLB misses; a kernel without it does no harm */
    return p;
}

static int soft_block_new(void *h, struct gmem_block *b, struct err *e)
{
    (void)h;
    uint64_t words = (b->len / PAGE + 63) / 64;
    struct soft_block *sb = calloc(1, sizeof(*sb) + words * sizeof(sb->changed[0]));
    b->host = sb ? anonymous(b->len) : NULL;
    if (!b->host) {
        free(sb);
        return err_set(e, -ENOMEM, "%s: no memory for %llu bytes of device RAM", b->name,
                       (unsigned long long)b->len);
    }
    sb->gpa = GMEM_NOWHERE;
    b->priv = sb;
    return 0;
}

static void soft_block_free(void *h, struct gmem_block *b)
{
    (void)h;
    munmap(b->host, b->len);
    free(b->priv);
    b->priv = NULL;
}

static bool soft_block_lend(void *h, struct gmem_block *b, uint64_t gpa)
{
    struct soft_block *sb = b->priv;
    uint64_t before = sb->gpa;
    sb->gpa = gpa;
    rebuild(h);
    other_bytes(h, before, b->len);
    other_bytes(h, gpa, b->len);
    return true;
}

static void soft_block_dirty(void *h, struct gmem_block *b, uint64_t off, uint64_t len,
                             uint64_t *bitmap)
{
    struct soft_host *s = h;
    struct soft_block *sb = b->priv;
    uint64_t pages = (len + PAGE - 1) / PAGE;
    bool any = false;
    memset(bitmap, 0, (size_t)((pages + 63) / 64) * sizeof(*bitmap));
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t page = off / PAGE + i, bit = 1ull << page % 64, *word = &sb->changed[page / 64];
        if ((LOAD(*word) & bit) && (__atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED) & bit)) {
            bitmap[i / 64] |= 1ull << i % 64;
            any = true;
        }
    }
    /* What is stored after this point must be marked again. */
    if (any && sb->gpa != GMEM_NOWHERE && s->listener) {
        s->listener->unlogged(s->listener_o, sb->gpa + off, len);
    }
}

static void soft_block_wrote(void *h, struct gmem_block *b, uint64_t off, uint64_t len)
{
    struct soft_host *s = h;
    struct soft_block *sb = b->priv;
    for (uint64_t page = off / PAGE; len && page <= (off + len - 1) / PAGE; page++) {
        __atomic_fetch_or(&sb->changed[page / 64], 1ull << page % 64, __ATOMIC_RELAXED);
    }
    if (len && sb->gpa != GMEM_NOWHERE && s->listener) {
        s->listener->wrote(s->listener_o, sb->gpa + off, len);
    }
}

/* ---- lines ---- */

static void soft_isa_irq(void *h, unsigned irq, bool level)
{
    irq_route_isa(&((struct soft_host *)h)->route, irq, level);
}

static void soft_pci_intx(void *h, unsigned devfn, unsigned pin, bool level)
{
    irq_route_intx(&((struct soft_host *)h)->route, devfn, pin, level);
}

static void soft_pci_link(void *h, unsigned link, unsigned isa_irq)
{
    irq_route_link(&((struct soft_host *)h)->route, link, isa_irq);
}

static void soft_msi(void *h, uint64_t addr, uint32_t data)
{
    irq_route_msi(&((struct soft_host *)h)->route, addr, data);
}

uint64_t soft_irq_count(const struct soft_host *s, unsigned irq)
{
    return s->route.rises[irq & 15];
}

void soft_set_sink(struct soft_host *s, const struct soft_sink *sink, void *o)
{
    s->route.sink = sink;
    s->route.sink_o = o;
}

/* ---- clock ---- */

static int64_t soft_now(void *h)
{
    const struct soft_host *s = h;
    return s->icount ? LOAD(s->now) : ev_now_ns();
}

static void soft_timer(void *h, int64_t when_ns)
{
    struct soft_host *s = h;
    __atomic_store_n(&s->deadline, when_ns, __ATOMIC_SEQ_CST);
    if (s->arm) {
        s->arm(s->arm_o, when_ns);
    }
}

static int64_t soft_wallclock(void *h)
{
    struct soft_host *s = h;
    return s->wallclock ? s->wallclock(s->arm_o) : 0;
}

void soft_set_time(struct soft_host *s, int64_t ns)
{
    if (ns > s->now) {
        __atomic_store_n(&s->now, ns, __ATOMIC_RELAXED);
    }
}

int64_t soft_deadline(const struct soft_host *s)
{
    return __atomic_load_n(&s->deadline, __ATOMIC_SEQ_CST);
}

const struct machine_host soft_host_ops = {
    .name = "soft",
    .claim = soft_claim,
    .release = soft_claim,
    .isa_irq = soft_isa_irq,
    .pci_intx = soft_pci_intx,
    .pci_link = soft_pci_link,
    .msi = soft_msi,
    .map = soft_map,
    .map_rom = soft_map_rom,
    .dirtied = soft_dirtied,
    .shadow = soft_shadow,
    .smram = soft_smram,
    .block_new = soft_block_new,
    .block_free = soft_block_free,
    .block_lend = soft_block_lend,
    .block_dirty = soft_block_dirty,
    .block_wrote = soft_block_wrote,
    .now = soft_now,
    .timer = soft_timer,
    .wallclock = soft_wallclock,
};

/* ---- life ---- */

struct soft_host *soft_new(const struct soft_options *o, struct err *e)
{
    struct soft_host *s = xcalloc(1, sizeof(*s));
    uint64_t most = o->below_4g ? o->below_4g : MAX_BELOW_4G;
    s->icount = o->icount;
    s->deadline = -1;
    s->wallclock = o->wallclock;
    s->below_4g = min_u64(o->ram_bytes, most);
    s->above_4g = o->ram_bytes - s->below_4g;
    /* Where 0xa0000..0xfffff may be shadowed there must be something, even with less RAM. */
    uint64_t len = o->ram_bytes > SHADOW_END ? o->ram_bytes : SHADOW_END;
    s->ram = anonymous(len);
    if (s->ram && o->no_core_dump) {
        madvise(s->ram, len, MADV_DONTDUMP);
    }
    if (!s->ram) {
        err_set(e, -ENOMEM, "cannot have %llu bytes of guest memory: %s",
                (unsigned long long)o->ram_bytes, strerror(errno));
        free(s);
        return NULL;
    }
    rebuild(s);
    return s;
}

void soft_free(struct soft_host *s)
{
    if (!s) {
        return;
    }
    for (unsigned i = 0; i < s->nroms; i++) {
        munmap(s->rom[i].bytes, s->rom[i].len);
    }
    uint64_t len = s->below_4g + s->above_4g;
    munmap(s->ram, len > SHADOW_END ? len : SHADOW_END);
    free(s);
}

void soft_attach(struct soft_host *s, struct machine *m, void (*arm)(void *o, int64_t when_ns),
                 void *o)
{
    s->m = m;
    s->arm = arm;
    s->arm_o = o;
}

void soft_set_listener(struct soft_host *s, const struct soft_listener *l, void *o)
{
    s->listener = l;
    s->listener_o = o;
}

int soft_add_rom(struct soft_host *s, uint64_t gpa, const void *data, uint64_t len, struct err *e)
{
    assert(len && len % PAGE == 0 && gpa % PAGE == 0);
    void *p = s->nroms < MAX_ROMS ? anonymous(len) : NULL;
    if (!p) {
        return err_set(e, -ENOMEM, "no memory for %llu bytes of ROM", (unsigned long long)len);
    }
    memcpy(p, data, len);
    s->rom[s->nroms++] = (struct rom){ gpa, len, p };
    rebuild(s);
    return 0;
}

uint8_t *soft_ram(struct soft_host *s, uint64_t gpa, uint64_t len)
{
    if (gpa < s->below_4g && len <= s->below_4g - gpa) {
        return s->ram + gpa;
    }
    if (gpa >= FOUR_G && gpa - FOUR_G < s->above_4g && len <= s->above_4g - (gpa - FOUR_G)) {
        return s->ram + s->below_4g + (gpa - FOUR_G);
    }
    return NULL;
}

uint64_t soft_ram_below_4g(const struct soft_host *s)
{
    return s->below_4g;
}

uint64_t soft_ram_above_4g(const struct soft_host *s)
{
    return s->above_4g;
}
