/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/guest.c - plays Xen and the guest towards a device model.
 *
 * Event channels behave as under Linux: a sent event is delivered once (the port's number can be
 * read) and the port stays masked until the number is written back; an event sent meanwhile is
 * delivered then, and costs no system call before.
 */
#include "tests/fake-xen/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LEGACY_GFN 0xa0u /* the VGA window is no RAM */
#define LEGACY_END_GFN 0xc0u
#define SPINS 2000          /* looks at a slot before sleeping for its answer */
#define SPINS_PER_UNMASK 64 /* looks at the slot for each look for unmasks */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int file_in(const char *dir, const char *name, uint64_t bytes)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    return fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 ? fd : -1;
}

static int make_domain(struct fake_guest *g, const char *dir)
{
    int fd = file_in(dir, "control", sizeof(*g->dom));
    void *p = mmap(NULL, sizeof(*g->dom), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    g->dom = p;
    return p == MAP_FAILED ? -1 : 0;
}

static int make_channels(struct fake_guest *g, const char *dir)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    char path[512];
    snprintf(path, sizeof(path), "%s/xenstore", dir);
    mkdir(path, 0777);
    snprintf(path, sizeof(path), "%s/notify", dir);
    if (mkfifo(path, 0666) < 0 && errno != EEXIST) {
        return -1;
    }
    g->notify_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(a.sun_path, sizeof(a.sun_path), "%.90s/evtchn.sock", dir);
    unlink(a.sun_path);
    g->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (g->notify_fd < 0 || bind(g->listen_fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        return -1;
    }
    return listen(g->listen_fd, 128);
}

int fake_guest_init(struct fake_guest *g, const char *dir, unsigned domid, unsigned vcpus,
                    uint64_t ram_bytes, uint64_t max_memkb)
{
    uint64_t pages = ram_bytes / FAKE_PAGE;
    memset(g, 0, sizeof(*g));
    g->evtchn_fd = -1;
    /* A device model adds pages, and may not be allowed to write files as long as this. */
    g->memory_fd = file_in(dir, "memory", (pages + 2 + FAKE_SPARE_PAGES) * FAKE_PAGE);
    if (g->memory_fd < 0 || make_domain(g, dir) < 0 || make_channels(g, dir) < 0) {
        return -1;
    }
    g->memory_bytes = (pages + 2) * FAKE_PAGE;
    g->memory = mmap(NULL, g->memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, g->memory_fd, 0);
    g->buffered = (void *)(g->memory + FAKE_BUFFERED_PAGE * FAKE_PAGE);
    g->slots = (void *)(g->memory + FAKE_SYNC_PAGE * FAKE_PAGE);
    *g->dom = (struct fake_domain){ .magic = FAKE_MAGIC,
                                    .domid = domid,
                                    .vcpus = vcpus,
                                    .hvm = 1,
                                    .max_memkb = max_memkb + 8,
                                    .pages = pages + 2,
                                    .extents = 3 };
    g->dom->extent[0] = (struct fake_extent){ FAKE_BUFFERED_GFN, 0, 2 };
    g->dom->extent[1] = (struct fake_extent){ 0, 2, LEGACY_GFN };
    g->dom->extent[2] =
        (struct fake_extent){ LEGACY_END_GFN, 2 + LEGACY_END_GFN, pages - LEGACY_END_GFN };
    return 0;
}

/* ---- event channels ---- */

static void accept_model(struct fake_guest *g)
{
    int fd = accept4(g->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (g->evtchn_fd >= 0) {
        close(g->evtchn_fd);
    }
    g->evtchn_fd = fd;
    memset(g->masked, 0, sizeof(g->masked));
    memset(g->pending, 0, sizeof(g->pending));
}

static void deliver(struct fake_guest *g, uint32_t local)
{
    if (g->evtchn_fd < 0 || g->masked[local]) {
        g->pending[local] = true;
        return;
    }
    g->pending[local] = false;
    g->masked[local] = true;
    if (send(g->evtchn_fd, &local, sizeof(local), MSG_NOSIGNAL) < 0) {
        close(g->evtchn_fd);
        g->evtchn_fd = -1;
    }
}

/* A model that dies with an event unread resets the connection. */
static void read_unmasks(struct fake_guest *g)
{
    uint32_t ports[64];
    ssize_t n;
    while (g->evtchn_fd >= 0) {
        n = recv(g->evtchn_fd, ports, sizeof(ports), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            close(g->evtchn_fd);
            g->evtchn_fd = -1;
        }
        for (ssize_t i = 0; i < n / 4; i++) {
            uint32_t p = ports[i] % FAKE_LOCAL_PORTS;
            g->masked[p] = false;
            if (g->pending[p]) {
                deliver(g, p);
            }
        }
    }
}

static void read_wakes(struct fake_guest *g)
{
    char buf[64];
    while (read(g->notify_fd, buf, sizeof(buf)) > 0) {
    }
}

static void pump(struct fake_guest *g)
{
    accept_model(g);
    read_unmasks(g);
    read_wakes(g);
}

void fake_guest_send(struct fake_guest *g, unsigned remote_port)
{
    deliver(g, FAKE_LOCAL_PORT(remote_port) % FAKE_LOCAL_PORTS);
}

void fake_guest_hang_up(struct fake_guest *g)
{
    pump(g);
    if (g->evtchn_fd >= 0) {
        close(g->evtchn_fd);
        g->evtchn_fd = -1;
    }
}

static uint32_t notifies(struct fake_guest *g)
{
    return __atomic_load_n(&g->dom->notifies, __ATOMIC_SEQ_CST);
}

/* Sleeps until something arrives, at most ms. Not at all when there was a notify since `seen`. */
static void sleep_for_events(struct fake_guest *g, uint32_t seen, int ms)
{
    struct pollfd p[3] = { { g->listen_fd, POLLIN, 0 },
                           { g->notify_fd, POLLIN, 0 },
                           { g->evtchn_fd, POLLIN, 0 } };
    __atomic_store_n(&g->dom->driver_sleeps, 1, __ATOMIC_SEQ_CST);
    poll(p, 3, notifies(g) == seen ? ms : 0);
    __atomic_store_n(&g->dom->driver_sleeps, 0, __ATOMIC_SEQ_CST);
    pump(g);
}

int fake_guest_wait_ready(struct fake_guest *g, int ms)
{
    unsigned last = FAKE_LOCAL_PORT(FAKE_FIRST_VCPU_PORT + g->dom->vcpus - 1);
    pump(g);
    for (int64_t end = now_ms() + ms; now_ms() < end; sleep_for_events(g, notifies(g), 1)) {
        bool all = __atomic_load_n(&g->dom->enabled, __ATOMIC_ACQUIRE) && g->evtchn_fd >= 0;
        for (unsigned p = FAKE_LOCAL_PORT(FAKE_BUFFERED_PORT); p <= last && all; p++) {
            all = __atomic_load_n(&g->dom->port_bound[p], __ATOMIC_ACQUIRE);
        }
        if (all) {
            return 0;
        }
    }
    return -1;
}

/* ---- requests ---- */

static uint8_t *state_byte(struct ioreq *s)
{
    return (uint8_t *)s + 30;
}

static bool answered(struct ioreq *s)
{
    return (__atomic_load_n(state_byte(s), __ATOMIC_ACQUIRE) & 15) == STATE_IORESP_READY;
}

static bool answered_soon(struct fake_guest *g, struct ioreq *slot)
{
    for (int i = 1; i < SPINS; i++) {
        if (answered(slot)) {
            return true;
        }
        __builtin_ia32_pause();
        if (i % SPINS_PER_UNMASK == 0) {
            read_unmasks(g);
        }
    }
    return false;
}

static int wait_for_answer(struct fake_guest *g, struct ioreq *slot, int ms)
{
    if (answered_soon(g, slot)) {
        return 0;
    }
    for (int64_t end = now_ms() + ms; now_ms() < end;) {
        uint32_t seen = notifies(g);
        if (answered(slot)) {
            return 0;
        }
        sleep_for_events(g, seen, 10);
    }
    return answered(slot) ? 0 : -1;
}

int fake_guest_request(struct fake_guest *g, struct ioreq *s, int ms)
{
    struct ioreq *slot = &g->slots[g->vcpu];
    s->state = STATE_IOREQ_NONE;
    s->vp_eport = slot->vp_eport;
    *slot = *s;
    __atomic_fetch_or(state_byte(slot), STATE_IOREQ_READY, __ATOMIC_RELEASE);
    fake_guest_send(g, FAKE_FIRST_VCPU_PORT + g->vcpu);
    int r = wait_for_answer(g, slot, ms);
    *s = *slot;
    slot->state = STATE_IOREQ_NONE;
    return r;
}

/* Xen's producer: wraps both indexes down once the read index has passed a whole ring. */
int fake_guest_buffered(struct fake_guest *g, uint8_t type, uint64_t addr, unsigned size,
                        uint64_t val)
{
    struct buffered_iopage *p = g->buffered;
    uint32_t rd = __atomic_load_n(&p->read_pointer, __ATOMIC_ACQUIRE), wr = p->write_pointer;
    uint32_t need = size == 8 ? 2 : 1;
    if (wr - rd > IOREQ_BUFFER_SLOT_NUM - need) {
        return -1;
    }
    for (uint32_t i = 0; i < need; i++) {
        p->buf_ioreq[(wr + i) % IOREQ_BUFFER_SLOT_NUM] =
            (struct buf_ioreq){ .type = type,
                                .dir = IOREQ_WRITE,
                                .size = size == 8   ? 3
                                        : size == 4 ? 2
                                        : size == 2 ? 1
                                                    : 0,
                                .addr = addr & 0xfffff,
                                .data = (uint32_t)(val >> 32 * i) };
    }
    __atomic_store_n(&p->write_pointer, wr + need, __ATOMIC_RELEASE);
    uint64_t *both = (uint64_t *)(void *)p;
    for (uint64_t v = *both; (uint32_t)v >= IOREQ_BUFFER_SLOT_NUM;) {
        uint64_t down = v - (IOREQ_BUFFER_SLOT_NUM | (uint64_t)IOREQ_BUFFER_SLOT_NUM << 32);
        if (__atomic_compare_exchange_n(both, &v, down, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            break;
        }
    }
    return 0;
}

int fake_guest_drained(struct fake_guest *g, int ms)
{
    for (int64_t end = now_ms() + ms; now_ms() < end; sleep_for_events(g, notifies(g), 1)) {
        uint64_t both = __atomic_load_n((uint64_t *)(void *)g->buffered, __ATOMIC_ACQUIRE);
        if ((uint32_t)both == (uint32_t)(both >> 32)) {
            return 0;
        }
    }
    return -1;
}

/* ---- accesses ---- */

static int access_ring(struct fake_guest *g, uint8_t type, bool write, uint64_t addr, unsigned size,
                       uint64_t *val)
{
    struct ioreq s = { .addr = addr,
                       .data = write ? *val : 0,
                       .count = 1,
                       .size = size,
                       .dir = !write,
                       .type = type };
    if (fake_guest_request(g, &s, 5000) < 0) {
        return -1;
    }
    *val = s.data;
    return 0;
}

static uint64_t ones(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
}

static bool all_set(const uint8_t *bits, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        if (i > 0xffff || !(bits[i / 8] >> i % 8 & 1)) {
            return false;
        }
    }
    return true;
}

bool fake_guest_claimed_pio(const struct fake_guest *g, uint16_t port, unsigned size)
{
    return all_set(g->dom->pio, port, size);
}

bool fake_guest_claimed_pci(const struct fake_guest *g, uint16_t bdf)
{
    return all_set(g->dom->pci, bdf, 1);
}

/* Claims that touch count as one, as in Xen's range sets. */
bool fake_guest_claimed_mmio(const struct fake_guest *g, uint64_t first, uint64_t last)
{
    for (uint32_t i = 0; i < g->dom->mmio_ranges; i++) {
        const struct fake_range *r = &g->dom->mmio[i];
        if (first >= r->first && first <= r->last) {
            return last <= r->last || fake_guest_claimed_mmio(g, r->last + 1, last);
        }
    }
    return false;
}

static int masked(int r, unsigned size, uint64_t *val)
{
    *val &= ones(size);
    return r;
}

int fake_guest_pio(struct fake_guest *g, bool write, uint16_t port, unsigned size, uint64_t *val)
{
    if (fake_guest_claimed_pio(g, port, size)) {
        return masked(access_ring(g, IOREQ_TYPE_PIO, write, port, size, val), size, val);
    }
    *val = ones(size);
    return 0;
}

int fake_guest_config(struct fake_guest *g, bool write, uint16_t bdf, unsigned reg, unsigned size,
                      uint64_t *val)
{
    if (fake_guest_claimed_pci(g, bdf)) {
        uint64_t addr = (uint64_t)bdf << 32 | reg;
        return masked(access_ring(g, IOREQ_TYPE_PCI_CONFIG, write, addr, size, val), size, val);
    }
    *val = ones(size);
    return 0;
}

int fake_guest_mem(struct fake_guest *g, bool write, uint64_t gpa, unsigned size, uint64_t *val)
{
    if (!write) {
        *val = 0;
    }
    if (fake_guest_copy(g, write, gpa, val, size) == 0) {
        return 0;
    }
    if (fake_guest_claimed_mmio(g, gpa, gpa + size - 1)) {
        return masked(access_ring(g, IOREQ_TYPE_COPY, write, gpa, size, val), size, val);
    }
    *val = ones(size);
    return 0;
}

/* ---- memory ---- */

static void track(struct fake_guest *g, uint64_t gfn)
{
    uint64_t i = gfn - g->dom->track_first;
    if (i < g->dom->track_n) {
        __atomic_fetch_or(&g->dom->track_dirty[i / 8], (uint8_t)(1u << i % 8), __ATOMIC_RELAXED);
    }
}

/* A pointer to a guest frame's page; the device model may have made the file longer. */
static uint8_t *page_of(struct fake_guest *g, uint64_t gfn)
{
    uint64_t page, bytes = g->dom->pages * FAKE_PAGE;
    if (!fake_lookup(g->dom, gfn, &page)) {
        return NULL;
    }
    if (bytes > g->memory_bytes) {
        g->memory = mremap(g->memory, g->memory_bytes, bytes, MREMAP_MAYMOVE);
        g->memory_bytes = bytes;
        g->buffered = (void *)(g->memory + FAKE_BUFFERED_PAGE * FAKE_PAGE);
        g->slots = (void *)(g->memory + FAKE_SYNC_PAGE * FAKE_PAGE);
    }
    return g->memory + page * FAKE_PAGE;
}

int fake_guest_copy(struct fake_guest *g, bool write, uint64_t gpa, void *buf, size_t len)
{
    for (uint64_t at = gpa & ~(uint64_t)(FAKE_PAGE - 1); at < gpa + len; at += FAKE_PAGE) {
        if (!page_of(g, at / FAKE_PAGE)) {
            return -1;
        }
    }
    for (size_t done = 0, n; done < len; done += n) {
        uint64_t here = gpa + done;
        n = FAKE_PAGE - here % FAKE_PAGE;
        n = n < len - done ? n : len - done;
        uint8_t *p = page_of(g, here / FAKE_PAGE) + here % FAKE_PAGE;
        if (write) {
            memcpy(p, (uint8_t *)buf + done, n);
            track(g, here / FAKE_PAGE);
        } else {
            memcpy((uint8_t *)buf + done, p, n);
        }
    }
    return 0;
}
