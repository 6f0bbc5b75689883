/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/fakexen-pv.c - what PV back ends use of Xen: grants, event channels, watches.
 *
 * In the domain's directory:
 *   grants      eight bytes for each grant: the guest frame << 2, bit 0 granted, bit 1 read only
 *   pv-events   FIFO: a local port (4 bytes) that rings for the back end
 *   pv-notify   FIFO: a local port that the back end has rung
 */
#include "tests/fake-xen/fakexen-pv.h"
#include "tests/fake-xen/shared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xen/grant_table.h>
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>

enum { PV_FIRST_PORT = 64, PV_PORTS = 64, GRANTS = 4096, WATCHES = 16 };

static int pv_handle; /* its address is the handle */
static int events_fd = -1, pv_notify_fd = -1, grants_fd = -1, inotify_fd = -1;
static bool bound[PV_PORTS];
static char *watched[WATCHES];

static int refuse(int err)
{
    errno = err;
    return -1;
}

/* ---- event channels ---- */

void *fake_pv_evtchn_open(void)
{
    events_fd = fake_open_in_dir("pv-events", O_RDWR | O_NONBLOCK);
    pv_notify_fd = fake_open_in_dir("pv-notify", O_RDWR | O_NONBLOCK);
    return events_fd < 0 || pv_notify_fd < 0 ? NULL : &pv_handle;
}

bool fake_pv_is(const void *h)
{
    return h == &pv_handle;
}

int fake_pv_fd(void)
{
    return events_fd;
}

int fake_pv_bind(uint32_t remote)
{
    if (remote < PV_FIRST_PORT || remote >= PV_FIRST_PORT + PV_PORTS ||
        bound[remote - PV_FIRST_PORT]) {
        return refuse(EINVAL);
    }
    bound[remote - PV_FIRST_PORT] = true;
    return (int)FAKE_LOCAL_PORT(remote);
}

static bool is_bound(uint32_t port)
{
    uint32_t i = port - FAKE_LOCAL_PORT(PV_FIRST_PORT);
    return i < PV_PORTS && bound[i];
}

int fake_pv_notify(uint32_t port)
{
    if (!is_bound(port)) {
        return refuse(ENOTCONN);
    }
    (void)!write(pv_notify_fd, &port, sizeof(port));
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *h)
{
    uint32_t port;
    (void)h;
    return read(events_fd, &port, sizeof(port)) == sizeof(port) ? (int)port : -1;
}

int xenevtchn_unmask(xenevtchn_handle *h, evtchn_port_t port)
{
    (void)h;
    return is_bound(port) ? 0 : refuse(EINVAL);
}

int xenevtchn_unbind(xenevtchn_handle *h, evtchn_port_t port)
{
    (void)h;
    if (!is_bound(port)) {
        return refuse(EINVAL);
    }
    bound[port - FAKE_LOCAL_PORT(PV_FIRST_PORT)] = false;
    return 0;
}

/* ---- grants ---- */

xengnttab_handle *xengnttab_open(struct xentoollog_logger *l, unsigned flags)
{
    (void)l, (void)flags;
    grants_fd = fake_open_in_dir("grants", O_RDONLY);
    return grants_fd < 0 ? NULL : (xengnttab_handle *)&pv_handle;
}

int xengnttab_close(xengnttab_handle *h)
{
    (void)h;
    return close(grants_fd);
}

/* Where in the memory file the granted page is; -1 when it is not granted, or not so. */
static off_t granted(uint32_t ref, bool write)
{
    uint64_t g, page;
    if (ref >= GRANTS || pread(grants_fd, &g, sizeof(g), ref * 8) != sizeof(g) || !(g & 1) ||
        (write && g & 2) || !fake_page_of(g >> 2, &page)) {
        return -1;
    }
    return (off_t)(page * FAKE_PAGE);
}

void *xengnttab_map_domain_grant_refs(xengnttab_handle *h, uint32_t n, uint32_t domid,
                                      uint32_t *refs, int prot)
{
    (void)h, (void)domid;
    uint8_t *p = mmap(NULL, n * FAKE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint32_t i = 0; p != MAP_FAILED && i < n; i++) {
        off_t at = granted(refs[i], prot & PROT_WRITE);
        if (at < 0 || mmap(p + i * FAKE_PAGE, FAKE_PAGE, prot, MAP_SHARED | MAP_FIXED,
                           fake_memory_fd(), at) == MAP_FAILED) {
            munmap(p, n * FAKE_PAGE);
            errno = EINVAL;
            return NULL;
        }
    }
    return p == MAP_FAILED ? NULL : p;
}

int xengnttab_unmap(xengnttab_handle *h, void *p, uint32_t n)
{
    (void)h;
    return munmap(p, n * FAKE_PAGE);
}

int xengnttab_grant_copy(xengnttab_handle *h, uint32_t n, xengnttab_grant_copy_segment_t *seg)
{
    (void)h;
    for (uint32_t i = 0; i < n; i++) {
        bool to_guest = seg[i].flags & GNTCOPY_dest_gref;
        union xengnttab_copy_ptr *g = to_guest ? &seg[i].dest : &seg[i].source;
        off_t at = granted(g->foreign.ref, to_guest);
        ssize_t done = -1;
        if (at >= 0 && g->foreign.offset + seg[i].len <= FAKE_PAGE) {
            at += g->foreign.offset;
            done = to_guest ? pwrite(fake_memory_fd(), seg[i].source.virt, seg[i].len, at)
                            : pread(fake_memory_fd(), seg[i].dest.virt, seg[i].len, at);
        }
        seg[i].status = done == seg[i].len ? GNTST_okay : GNTST_bad_gntref;
    }
    return 0;
}

/* ---- xenstore ---- */

/* The names right below path: one block of pointers and text. */
char **xs_directory(struct xs_handle *h, xs_transaction_t t, const char *path, unsigned *num)
{
    enum { MOST = 64, ROOM = 32 };
    char dir[1024];
    (void)h, (void)t;
    fake_node_path(dir, sizeof(dir), path);
    char *name = strrchr(dir, '/');
    *name++ = '\0';
    size_t n = strlen(name);
    char **out = calloc(MOST, sizeof(*out) + ROOM), *at = (char *)(out + MOST);
    DIR *d = opendir(dir);
    *num = 0;
    for (struct dirent *e; d && *num < MOST && (e = readdir(d));) {
        if (strncmp(e->d_name, name, n) == 0 && e->d_name[n] == '!') {
            snprintf(at, ROOM, "%.*s", (int)strcspn(e->d_name + n + 1, "!"), e->d_name + n + 1);
            bool twice = false;
            for (unsigned i = 0; i < *num; i++) {
                twice |= strcmp(out[i], at) == 0;
            }
            out[*num] = at;
            *num += !twice;
            at += twice ? 0 : ROOM;
        }
    }
    if (d) {
        closedir(d);
    }
    return out;
}

bool xs_rm(struct xs_handle *h, xs_transaction_t t, const char *path)
{
    char dir[1024];
    (void)h, (void)t;
    fake_node_path(dir, sizeof(dir), path);
    char *name = strrchr(dir, '/');
    *name++ = '\0';
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t n = strlen(name);
        if (strncmp(e->d_name, name, n) == 0 && (!e->d_name[n] || e->d_name[n] == '!')) {
            unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    return d && closedir(d) == 0;
}

bool xs_set_permissions(struct xs_handle *h, xs_transaction_t t, const char *path,
                        struct xs_permissions *p, unsigned n)
{
    (void)h, (void)t, (void)path, (void)p, (void)n;
    return true;
}

int xs_fileno(struct xs_handle *h)
{
    (void)h;
    if (inotify_fd < 0) {
        char dir[1024];
        fake_node_path(dir, sizeof(dir), "/");
        *strrchr(dir, '!') = '\0';
        inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        inotify_add_watch(inotify_fd, dir, IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE);
    }
    return inotify_fd;
}

bool xs_watch(struct xs_handle *h, const char *path, const char *token)
{
    char file[1024];
    (void)token;
    xs_fileno(h);
    fake_node_path(file, sizeof(file), path);
    for (int i = 0; i < WATCHES; i++) {
        if (!watched[i]) {
            watched[i] = strdup(strrchr(file, '/') + 1);
            return true;
        }
    }
    return false;
}

bool xs_unwatch(struct xs_handle *h, const char *path, const char *token)
{
    char file[1024];
    (void)h, (void)token;
    fake_node_path(file, sizeof(file), path);
    for (int i = 0; i < WATCHES; i++) {
        if (watched[i] && strcmp(watched[i], strrchr(file, '/') + 1) == 0) {
            free(watched[i]);
            watched[i] = NULL;
            return true;
        }
    }
    return false;
}

/* Every change that was read, as one event: its user looks at all it watches. */
char **xs_check_watch(struct xs_handle *h)
{
    _Alignas(struct inotify_event) char buf[4096];
    bool hit = false;
    ssize_t n;
    (void)h;
    while ((n = read(inotify_fd, buf, sizeof(buf))) > 0) {
        for (char *p = buf; p < buf + n;) {
            struct inotify_event *e = (struct inotify_event *)(void *)p;
            for (int i = 0; i < WATCHES; i++) {
                hit = hit || (e->len && watched[i] &&
                              strncmp(watched[i], e->name, strlen(watched[i])) == 0);
            }
            p += sizeof(*e) + e->len;
        }
    }
    errno = EAGAIN;
    return hit ? calloc(2, sizeof(char *)) : NULL;
}
