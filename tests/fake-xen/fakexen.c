/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/fakexen.c - the functions of Xen's libraries that Keel uses, without Xen.
 *
 * Built as one shared object that is installed under every library's name; the process under test
 * finds it by LD_LIBRARY_PATH. Argument checks follow Xen 4.17 where a wrong call would fail
 * there: claims that overlap, releases of what is not claimed, event channels that do not exist,
 * memory beyond the domain's limit, and anything outside dm_op, foreign memory and event channels
 * once restricted. $FAKE_XEN_FAIL ("function=errno,function=errno@N") makes calls fail, always or
 * the Nth time.
 */
#include "tests/fake-xen/fakexen-pv.h"
#include "tests/fake-xen/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <xen/hvm/ioreq.h>
#include <xenctrl.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xenstore.h>
#include <xentoolcore.h>

static struct fake_domain *dom;
static uint8_t *shared; /* the buffered and the synchronous page */
static int memory_fd = -1, calls_fd = -1, evtchn_fd = -1, notify_fd = -1;
static bool restricted;

static const char *dir(void)
{
    const char *d = getenv("FAKE_XEN_DIR");
    return d ? d : "/nonexistent";
}

static int open_in_dir(const char *name, int flags)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir(), name);
    return open(path, flags | O_CLOEXEC, 0666);
}

int fake_open_in_dir(const char *name, int flags)
{
    return open_in_dir(name, flags);
}

int fake_memory_fd(void)
{
    return memory_fd;
}

bool fake_page_of(uint64_t gfn, uint64_t *page)
{
    return fake_lookup(dom, gfn, page);
}

/* Every handle opens the domain; the first one maps it. */
static void *open_handle(void)
{
    if (dom) {
        return dom;
    }
    int fd = open_in_dir("control", O_RDWR);
    if (fd < 0) {
        return NULL;
    }
    void *p = mmap(NULL, sizeof(*dom), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    memory_fd = open_in_dir("memory", O_RDWR);
    calls_fd = open_in_dir("calls", O_WRONLY | O_APPEND | O_CREAT);
    if (p == MAP_FAILED || memory_fd < 0 || calls_fd < 0) {
        return NULL;
    }
    shared = mmap(NULL, 2 * FAKE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    if (shared == MAP_FAILED) {
        return NULL;
    }
    dom = p;
    return dom;
}

static void lock(void)
{
    while (__atomic_exchange_n(&dom->lock, 1, __ATOMIC_ACQUIRE)) {
    }
}

static void unlock(void)
{
    __atomic_store_n(&dom->lock, 0, __ATOMIC_RELEASE);
}

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    (void)!write(calls_fd, line, (size_t)n);
}

static int fail(int err)
{
    errno = err;
    return -1;
}

/* How often the call at this place of $FAKE_XEN_FAIL was made, this time included. */
static unsigned calls_so_far(const char *list, const char *at)
{
    static unsigned made[512];
    size_t place = (size_t)(at - list);
    return place < 512 ? __atomic_add_fetch(&made[place], 1, __ATOMIC_RELAXED) : 0;
}

/* Whether $FAKE_XEN_FAIL wants this function to fail, always or ("=errno@N") only the Nth time;
 * sets errno. */
static bool told_to_fail(const char *function)
{
    const char *list = getenv("FAKE_XEN_FAIL");
    const char *at = list ? strstr(list, function) : NULL;
    char *end;
    if (!at || at[strlen(function)] != '=') {
        return false;
    }
    int err = (int)strtol(at + strlen(function) + 1, &end, 10);
    if (*end == '@' && calls_so_far(list, at) != strtoul(end + 1, NULL, 10)) {
        return false;
    }
    errno = err;
    return true;
}

#define CHECK_FAIL()                                                                               \
    do {                                                                                           \
        if (told_to_fail(__func__)) {                                                              \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)
#define CHECK_DOMAIN(domid)                                                                        \
    do {                                                                                           \
        CHECK_FAIL();                                                                              \
        if ((domid) != dom->domid) {                                                               \
            return fail(ESRCH);                                                                    \
        }                                                                                          \
    } while (0)
#define CHECK_UNRESTRICTED()                                                                       \
    do {                                                                                           \
        if (restricted) {                                                                          \
            note("refused %s: restricted", __func__);                                              \
            return fail(EPERM);                                                                    \
        }                                                                                          \
    } while (0)

/* ---- libxentoolcore ---- */

int xentoolcore_restrict_all(domid_t domid)
{
    CHECK_DOMAIN(domid);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC); /* as the real one puts over some handles */
    if (null < 0) {
        return -1;
    }
    close(null);
    restricted = true;
    note("restrict %u", domid);
    return 0;
}

/* ---- libxenctrl ---- */

xc_interface *xc_interface_open(xentoollog_logger *l, xentoollog_logger *b, unsigned flags)
{
    (void)l, (void)b, (void)flags;
    return told_to_fail(__func__) ? NULL : open_handle();
}

int xc_interface_close(xc_interface *xch)
{
    (void)xch;
    return 0;
}

static uint64_t guest_pages(void)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < dom->extents; i++) {
        n += dom->extent[i].n;
    }
    return n;
}

#ifndef FAKE_XEN_WITHOUT_GETINFO /* as since Xen 4.18 */
int xc_domain_getinfo(xc_interface *xch, uint32_t first, unsigned max, xc_dominfo_t *info)
{
    (void)xch;
    CHECK_FAIL();
    CHECK_UNRESTRICTED();
    if (first > dom->domid || max < 1) {
        return 0;
    }
    memset(info, 0, sizeof(*info)); /* like Xen: the first domain from `first` on */
    info->domid = dom->domid;
    info->hvm = dom->hvm & 1;
    info->paused = 1;
    info->max_vcpu_id = dom->vcpus - 1;
    info->nr_online_vcpus = 1;
    info->max_memkb = dom->max_memkb;
    info->nr_pages = guest_pages();
    return 1;
}
#endif

int xc_domain_setmaxmem(xc_interface *xch, uint32_t domid, uint64_t max_memkb)
{
    (void)xch;
    CHECK_DOMAIN(domid);
    CHECK_UNRESTRICTED();
    note("setmaxmem %llu", (unsigned long long)max_memkb);
    dom->max_memkb = max_memkb;
    return 0;
}

/* Adds one frame to the p2m, growing the extent it continues if there is one. */
static int p2m_add(uint64_t gfn, uint64_t page)
{
    for (uint32_t i = 0; i < dom->extents; i++) {
        struct fake_extent *x = &dom->extent[i];
        if (x->gfn + x->n == gfn && x->page + x->n == page) {
            x->n++;
            return 0;
        }
    }
    if (dom->extents == FAKE_MAX_EXTENTS) {
        return fail(ENOSPC);
    }
    dom->extent[dom->extents++] = (struct fake_extent){ gfn, page, 1 };
    return 0;
}

/* Takes one frame out of extent x; it is split if the frame lies inside. */
static void extent_remove(struct fake_extent *x, uint64_t gfn)
{
    uint64_t before = gfn - x->gfn, after = x->n - before - 1;
    if (before && after && dom->extents < FAKE_MAX_EXTENTS) {
        dom->extent[dom->extents++] = (struct fake_extent){ gfn + 1, x->page + before + 1, after };
    }
    if (before) {
        x->n = before;
    } else if (after) {
        *x = (struct fake_extent){ gfn + 1, x->page + 1, after };
    } else {
        *x = dom->extent[--dom->extents];
    }
}

static void p2m_remove(uint64_t gfn)
{
    for (uint32_t i = 0; i < dom->extents; i++) {
        if (gfn - dom->extent[i].gfn < dom->extent[i].n) {
            extent_remove(&dom->extent[i], gfn);
            return;
        }
    }
}

int xc_domain_populate_physmap_exact(xc_interface *xch, uint32_t domid, unsigned long n,
                                     unsigned int order, unsigned int flags, xen_pfn_t *list)
{
    (void)xch, (void)flags;
    CHECK_DOMAIN(domid);
    CHECK_UNRESTRICTED();
    note("populate 0x%llx %lu", (unsigned long long)list[0], n);
    if (order || (guest_pages() + n) * 4 > dom->max_memkb) {
        return fail(ENOMEM);
    }
    lock();
    off_t need = (off_t)((dom->pages + n) * FAKE_PAGE);
    int r = lseek(memory_fd, 0, SEEK_END) < need ? ftruncate(memory_fd, need) : 0;
    for (unsigned long i = 0; i < n && r == 0; i++) {
        r = p2m_add(list[i], dom->pages++);
    }
    unlock();
    return r;
}

int xc_hvm_param_set(xc_interface *xch, uint32_t domid, uint32_t param, uint64_t value)
{
    (void)xch;
    CHECK_DOMAIN(domid);
    CHECK_UNRESTRICTED();
    note("hvm_param %u %llu", param, (unsigned long long)value);
    dom->s_state = (uint32_t)value;
    return 0;
}

/* ---- libxenforeignmemory ---- */

xenforeignmemory_handle *xenforeignmemory_open(struct xentoollog_logger *l, unsigned flags)
{
    (void)l, (void)flags;
    return told_to_fail(__func__) ? NULL : open_handle();
}

int xenforeignmemory_close(xenforeignmemory_handle *h)
{
    (void)h;
    return 0;
}

/* Maps the run of frames from list[i] on whose machine pages follow each other. */
static size_t map_run(uint8_t *at, int prot, const xen_pfn_t *list, size_t i, size_t n)
{
    uint64_t page, next;
    if (!fake_lookup(dom, list[i], &page)) {
        return 0;
    }
    size_t run = 1;
    while (i + run < n && fake_lookup(dom, list[i + run], &next) && next == page + run) {
        run++;
    }
    void *p = mmap(at + i * FAKE_PAGE, run * FAKE_PAGE, prot, MAP_SHARED | MAP_FIXED, memory_fd,
                   (off_t)(page * FAKE_PAGE));
    return p == MAP_FAILED ? 0 : run;
}

void *xenforeignmemory_map2(xenforeignmemory_handle *h, uint32_t domid, void *addr, int prot,
                            int flags, size_t n, const xen_pfn_t list[], int err[])
{
    (void)h;
    if (domid != dom->domid) {
        errno = ESRCH;
        return NULL;
    }
    if (told_to_fail("xenforeignmemory_map2")) {
        return NULL;
    }
    uint8_t *at = mmap(addr, n * FAKE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (at == MAP_FAILED) {
        return NULL;
    }
    lock();
    bool holes = false;
    for (size_t i = 0, run; i < n; i += run ? run : 1) {
        run = map_run(at, prot, list, i, n);
        holes |= !run;
        for (size_t k = 0; err && k < (run ? run : 1); k++) {
            err[i + k] = run ? 0 : -EINVAL;
        }
    }
    dom->map_calls++;
    dom->mapped_pages += n;
    unlock();
    if (holes && !err) {
        xenforeignmemory_unmap(h, at, n);
        errno = EINVAL;
        return NULL;
    }
    return at;
}

void *xenforeignmemory_map(xenforeignmemory_handle *h, uint32_t domid, int prot, size_t n,
                           const xen_pfn_t list[], int err[])
{
    return xenforeignmemory_map2(h, domid, NULL, prot, 0, n, list, err);
}

int xenforeignmemory_unmap(xenforeignmemory_handle *h, void *addr, size_t n)
{
    (void)h;
    __atomic_fetch_sub(&dom->mapped_pages, n, __ATOMIC_RELAXED);
    return munmap(addr, n * FAKE_PAGE);
}

xenforeignmemory_resource_handle *xenforeignmemory_map_resource(xenforeignmemory_handle *h,
                                                                domid_t domid, unsigned type,
                                                                unsigned id, unsigned long frame,
                                                                unsigned long n, void **addr,
                                                                int prot, int flags)
{
    (void)h, (void)flags;
    if (told_to_fail(__func__)) {
        return NULL;
    }
    if (domid != dom->domid || type != XENMEM_resource_ioreq_server || id || frame || n != 2 ||
        !dom->server_exists) {
        errno = EINVAL;
        return NULL;
    }
    void *p = mmap(*addr, n * FAKE_PAGE, prot, MAP_SHARED, memory_fd, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    *addr = p;
    return p;
}

int xenforeignmemory_unmap_resource(xenforeignmemory_handle *h, xenforeignmemory_resource_handle *r)
{
    (void)h;
    return munmap(r, 2 * FAKE_PAGE);
}

/* ---- libxenevtchn ---- */

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *l, unsigned flags)
{
    (void)l, (void)flags;
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    if (told_to_fail(__func__) || !open_handle()) {
        return NULL;
    }
    if (evtchn_fd >= 0) {
        return fake_pv_evtchn_open();
    }
    memset(dom->port_bound, 0, sizeof(dom->port_bound)); /* an earlier process's */
    dom->enabled = 0;
    snprintf(a.sun_path, sizeof(a.sun_path), "%.90s/evtchn.sock", dir());
    evtchn_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    notify_fd = open_in_dir("notify", O_WRONLY);
    if (notify_fd < 0 || connect(evtchn_fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        return NULL;
    }
    return (xenevtchn_handle *)dom;
}

int xenevtchn_close(xenevtchn_handle *h)
{
    if (fake_pv_is(h)) {
        return close(fake_pv_fd());
    }
    close(notify_fd);
    return close(evtchn_fd);
}

int xenevtchn_fd(xenevtchn_handle *h)
{
    return fake_pv_is(h) ? fake_pv_fd() : evtchn_fd;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *h, uint32_t domid,
                                                     evtchn_port_t remote)
{
    CHECK_DOMAIN(domid);
    if (fake_pv_is(h)) {
        return fake_pv_bind(remote);
    }
    evtchn_port_t local = FAKE_LOCAL_PORT(remote);
    if (remote < FAKE_BUFFERED_PORT || remote >= FAKE_FIRST_VCPU_PORT + dom->vcpus ||
        dom->port_bound[local] || !dom->enabled) {
        return fail(EINVAL);
    }
    __atomic_store_n(&dom->port_bound[local], 1, __ATOMIC_RELEASE);
    return (int)local;
}

/* As cheap as an event is for real: no system call where the other side does not sleep. */
int xenevtchn_notify(xenevtchn_handle *h, evtchn_port_t port)
{
    if (fake_pv_is(h)) {
        return fake_pv_notify(port);
    }
    if (port >= FAKE_LOCAL_PORTS || !dom->port_bound[port]) {
        return fail(ENOTCONN);
    }
    __atomic_fetch_add(&dom->notifies, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&dom->driver_sleeps, __ATOMIC_SEQ_CST)) {
        return write(notify_fd, "", 1) == 1 ? 0 : -1;
    }
    return 0;
}

/* ---- libxendevicemodel: the server ---- */

xendevicemodel_handle *xendevicemodel_open(struct xentoollog_logger *l, unsigned flags)
{
    (void)l, (void)flags;
    return told_to_fail(__func__) ? NULL : open_handle();
}

int xendevicemodel_close(xendevicemodel_handle *h)
{
    (void)h;
    return 0;
}

int xendevicemodel_nr_vcpus(xendevicemodel_handle *h, domid_t domid, unsigned *vcpus)
{
    (void)h;
    CHECK_DOMAIN(domid);
    *vcpus = dom->vcpus;
    return 0;
}

int xendevicemodel_create_ioreq_server(xendevicemodel_handle *h, domid_t domid, int bufioreq,
                                       ioservid_t *id)
{
    (void)h;
    CHECK_DOMAIN(domid);
    if (bufioreq != HVM_IOREQSRV_BUFIOREQ_ATOMIC) {
        return fail(EINVAL);
    }
    memset(dom->pio, 0, sizeof(dom->pio));
    memset(dom->pci, 0, sizeof(dom->pci));
    memset(dom->port_bound, 0, sizeof(dom->port_bound));
    memset(shared, 0, 2 * FAKE_PAGE);
    dom->mmio_ranges = 0;
    dom->enabled = 0;
    dom->server_exists = 1;
    *id = 0;
    return 0;
}

int xendevicemodel_destroy_ioreq_server(xendevicemodel_handle *h, domid_t domid, ioservid_t id)
{
    (void)h, (void)id;
    CHECK_DOMAIN(domid);
    dom->server_exists = dom->enabled = 0;
    note("destroy_server");
    return 0;
}

int xendevicemodel_get_ioreq_server_info(xendevicemodel_handle *h, domid_t domid, ioservid_t id,
                                         xen_pfn_t *sync, xen_pfn_t *buffered, evtchn_port_t *port)
{
    (void)h, (void)id;
    CHECK_DOMAIN(domid);
    if (sync) {
        *sync = FAKE_SYNC_GFN;
        *buffered = FAKE_BUFFERED_GFN;
        note("ioreq pages by frame number");
    }
    *port = FAKE_BUFFERED_PORT;
    return 0;
}

int xendevicemodel_set_ioreq_server_state(xendevicemodel_handle *h, domid_t domid, ioservid_t id,
                                          int enabled)
{
    (void)h, (void)id;
    CHECK_DOMAIN(domid);
    struct ioreq *slots = (struct ioreq *)(void *)(shared + FAKE_PAGE);
    for (uint32_t i = 0; i < dom->vcpus; i++) {
        slots[i].vp_eport = FAKE_FIRST_VCPU_PORT + i;
    }
    __atomic_store_n(&dom->enabled, (uint32_t)enabled, __ATOMIC_RELEASE);
    return 0;
}

static bool all_bits(const uint8_t *bits, uint64_t first, uint64_t last, bool value)
{
    for (uint64_t i = first; i <= last; i++) {
        if ((bits[i / 8] >> i % 8 & 1) != value) {
            return false;
        }
    }
    return true;
}

static void set_bits(uint8_t *bits, uint64_t first, uint64_t last, bool value)
{
    for (uint64_t i = first; i <= last; i++) {
        bits[i / 8] = (uint8_t)((bits[i / 8] & ~(1u << i % 8)) | (unsigned)value << i % 8);
    }
}

/* Index of the range that holds (or touches) [first, last], -1 if none. */
static int find_range(uint64_t first, uint64_t last, bool holds)
{
    for (uint32_t i = 0; i < dom->mmio_ranges; i++) {
        const struct fake_range *r = &dom->mmio[i];
        if (holds ? r->first <= first && last <= r->last : r->first <= last && first <= r->last) {
            return (int)i;
        }
    }
    return -1;
}

static int mmio_claim(uint64_t first, uint64_t last)
{
    if (find_range(first, last, false) >= 0) {
        return fail(EEXIST);
    }
    if (dom->mmio_ranges == FAKE_MAX_RANGES) {
        return fail(ENOSPC);
    }
    dom->mmio[dom->mmio_ranges++] = (struct fake_range){ first, last };
    return 0;
}

static int mmio_release(uint64_t first, uint64_t last)
{
    int i = find_range(first, last, true);
    if (i < 0) {
        return fail(ENOENT);
    }
    struct fake_range was = dom->mmio[i];
    dom->mmio[i] = dom->mmio[--dom->mmio_ranges];
    int r = was.first < first ? mmio_claim(was.first, first - 1) : 0;
    return r == 0 && last < was.last ? mmio_claim(last + 1, was.last) : r;
}

static int pio_change(bool claim, uint64_t first, uint64_t last)
{
    if (last > 0xffff || !all_bits(dom->pio, first, last, !claim)) {
        return fail(claim ? EEXIST : ENOENT);
    }
    set_bits(dom->pio, first, last, claim);
    dom->pio_claims += claim;
    return 0;
}

int xendevicemodel_map_io_range_to_ioreq_server(xendevicemodel_handle *h, domid_t domid,
                                                ioservid_t id, int mmio, uint64_t first,
                                                uint64_t last)
{
    (void)h, (void)id;
    CHECK_DOMAIN(domid);
    note("claim %s 0x%llx 0x%llx", mmio ? "mmio" : "pio", (unsigned long long)first,
         (unsigned long long)last);
    return first > last ? fail(EINVAL)
           : mmio       ? mmio_claim(first, last)
                        : pio_change(true, first, last);
}

int xendevicemodel_unmap_io_range_from_ioreq_server(xendevicemodel_handle *h, domid_t domid,
                                                    ioservid_t id, int mmio, uint64_t first,
                                                    uint64_t last)
{
    (void)h, (void)id;
    CHECK_DOMAIN(domid);
    note("release %s 0x%llx 0x%llx", mmio ? "mmio" : "pio", (unsigned long long)first,
         (unsigned long long)last);
    return first > last ? fail(EINVAL)
           : mmio       ? mmio_release(first, last)
                        : pio_change(false, first, last);
}

static int pci_change(bool claim, uint16_t segment, uint8_t bus, uint8_t dev, uint8_t fn)
{
    unsigned bdf = (unsigned)bus << 8 | (unsigned)dev << 3 | fn;
    note("%s pci %02x:%02x.%x", claim ? "claim" : "release", bus, dev, fn);
    if (segment || dev > 31 || fn > 7 || !all_bits(dom->pci, bdf, bdf, !claim)) {
        return fail(claim ? EEXIST : ENOENT);
    }
    set_bits(dom->pci, bdf, bdf, claim);
    return 0;
}

int xendevicemodel_map_pcidev_to_ioreq_server(xendevicemodel_handle *h, domid_t domid,
                                              ioservid_t id, uint16_t segment, uint8_t bus,
                                              uint8_t device, uint8_t function)
{
    (void)h, (void)id;
    CHECK_DOMAIN(domid);
    return pci_change(true, segment, bus, device, function);
}

int xendevicemodel_unmap_pcidev_from_ioreq_server(xendevicemodel_handle *h, domid_t domid,
                                                  ioservid_t id, uint16_t segment, uint8_t bus,
                                                  uint8_t device, uint8_t function)
{
    (void)h, (void)id;
    CHECK_DOMAIN(domid);
    return pci_change(false, segment, bus, device, function);
}

/* ---- libxendevicemodel: lines ---- */

int xendevicemodel_set_isa_irq_level(xendevicemodel_handle *h, domid_t domid, uint8_t irq,
                                     unsigned level)
{
    (void)h;
    CHECK_DOMAIN(domid);
    if (irq > 15 || level > 1) {
        return fail(EINVAL);
    }
    dom->isa_level[irq] = (uint8_t)level;
    dom->isa_calls++;
    return 0;
}

int xendevicemodel_set_pci_intx_level(xendevicemodel_handle *h, domid_t domid, uint16_t segment,
                                      uint8_t bus, uint8_t device, uint8_t intx, unsigned level)
{
    (void)h;
    CHECK_DOMAIN(domid);
    if (segment || bus || device > 31 || intx > 3 || level > 1) {
        return fail(EINVAL);
    }
    dom->intx[device][intx] = (uint8_t)level;
    return 0;
}

int xendevicemodel_set_pci_link_route(xendevicemodel_handle *h, domid_t domid, uint8_t link,
                                      uint8_t irq)
{
    (void)h;
    CHECK_DOMAIN(domid);
    if (link > 3 || irq > 15) {
        return fail(EINVAL);
    }
    dom->link[link] = irq;
    return 0;
}

int xendevicemodel_inject_msi(xendevicemodel_handle *h, domid_t domid, uint64_t addr, uint32_t data)
{
    (void)h;
    CHECK_DOMAIN(domid);
    dom->msi_addr = addr;
    dom->msi_data = data;
    dom->msi_count++;
    return 0;
}

int xendevicemodel_shutdown(xendevicemodel_handle *h, domid_t domid, unsigned reason)
{
    (void)h;
    CHECK_DOMAIN(domid);
    note("shutdown %u", reason);
    dom->shutdown_reason = reason;
    dom->shutdowns++;
    return 0;
}

/* ---- libxendevicemodel: memory ---- */

int xendevicemodel_track_dirty_vram(xendevicemodel_handle *h, domid_t domid, uint64_t first,
                                    uint32_t n, unsigned long *bitmap)
{
    (void)h;
    CHECK_DOMAIN(domid);
    if (n > FAKE_TRACK_MAX) {
        return fail(EINVAL);
    }
    lock();
    if (n && first == dom->track_first && n == dom->track_n) {
        memcpy(bitmap, dom->track_dirty, (n + 7) / 8);
    } else if (n) {
        memset(bitmap, 0xff, (n + 7) / 8);
    }
    memset(dom->track_dirty, 0, sizeof(dom->track_dirty));
    dom->track_first = first;
    dom->track_n = n;
    dom->track_calls++;
    unlock();
    if (!n) {
        note("track off");
    }
    return 0;
}

int xendevicemodel_modified_memory(xendevicemodel_handle *h, domid_t domid, uint64_t first,
                                   uint32_t n)
{
    (void)h;
    CHECK_DOMAIN(domid);
    note("modified 0x%llx %u", (unsigned long long)first, n);
    dom->modified_calls++;
    dom->modified_pages += n;
    return 0;
}

int xendevicemodel_relocate_memory(xendevicemodel_handle *h, domid_t domid, uint32_t n,
                                   uint64_t from, uint64_t to)
{
    (void)h;
    CHECK_DOMAIN(domid);
    note("relocate 0x%llx 0x%llx %u", (unsigned long long)from, (unsigned long long)to, n);
    int r = 0;
    lock();
    for (uint32_t i = 0; i < n && r == 0; i++) {
        uint64_t page;
        if (!fake_lookup(dom, from + i, &page)) {
            r = fail(EINVAL);
            break;
        }
        p2m_remove(from + i);
        p2m_remove(to + i); /* what was there is gone */
        r = p2m_add(to + i, page);
    }
    unlock();
    return r;
}

int xendevicemodel_pin_memory_cacheattr(xendevicemodel_handle *h, domid_t domid, uint64_t start,
                                        uint64_t end, uint32_t type)
{
    (void)h;
    CHECK_DOMAIN(domid);
    if (type == XEN_DMOP_DELETE_MEM_CACHEATTR && !dom->cache_ranges) {
        return fail(ENOENT);
    }
    dom->cache_ranges += type == XEN_DMOP_DELETE_MEM_CACHEATTR ? UINT32_MAX : 1;
    note("cache 0x%llx 0x%llx %u", (unsigned long long)start, (unsigned long long)end, type);
    return 0;
}

/* ---- libxenstore ---- */

struct xs_handle *xs_open(unsigned long flags)
{
    (void)flags;
    return told_to_fail(__func__) ? NULL : open_handle();
}

void xs_close(struct xs_handle *h)
{
    (void)h;
}

void fake_node_path(char *out, unsigned long size, const char *path)
{
    int n = snprintf(out, size, "%s/xenstore/", dir());
    snprintf(out + n, size - (size_t)n, "%s%s", path[0] == '/' ? "" : "/local/domain/0/", path);
    for (char *p = out + n; *p; p++) {
        *p = *p == '/' ? '!' : *p;
    }
}

void *xs_read(struct xs_handle *h, xs_transaction_t t, const char *path, unsigned *len)
{
    (void)h, (void)t;
    char file[1024];
    fake_node_path(file, sizeof(file), path);
    int fd = restricted ? -1 : open(file, O_RDONLY | O_CLOEXEC);
    char *buf = fd < 0 ? NULL : calloc(1, 4097);
    if (buf) {
        ssize_t n = read(fd, buf, 4096);
        *len = n < 0 ? 0 : (unsigned)n;
    }
    if (fd >= 0) {
        close(fd);
    }
    return buf;
}

bool xs_write(struct xs_handle *h, xs_transaction_t t, const char *path, const void *data,
              unsigned len)
{
    (void)h, (void)t;
    char file[1024];
    if (told_to_fail(__func__)) {
        return false;
    }
    if (restricted) {
        note("refused xs_write: restricted");
        errno = EBADF;
        return false;
    }
    fake_node_path(file, sizeof(file), path);
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool ok = fd >= 0 && write(fd, data, len) == (ssize_t)len;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}
