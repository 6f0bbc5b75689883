/* SPDX-License-Identifier: MIT */
/* ui/vnc.c - the VNC server's half on the loop: accepting, pictures out, input in; see vnc-int.h.
 *
 * Left out: TLS, SASL and WebSocket transports, audio, exclusive viewers: everybody shares.
 */
#include "ui/vnc-int.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define REFRESH_NS 33333333
#define ACCEPT_AGAIN_NS 500000000ll

/* ---- pictures: loop side, under the machine lock ---- */

static void wake_viewer(struct vnc_viewer *w)
{
    uint64_t one = 1;
    if (write(w->wake, &one, sizeof(one)) < 0) {
        return; /* the counter is full: it is awake already */
    }
}

/* Makes a rectangle dirty for w; when there are too many they become one. */
static void add_dirty(struct vnc_viewer *w, const struct vnc_rect *r)
{
    struct vnc_rect *all = &w->dirty[0];
    if (w->ndirty < VNC_MAX_DIRTY) {
        w->dirty[w->ndirty++] = *r;
        return;
    }
    for (unsigned i = 0; i < VNC_MAX_DIRTY; i++) {
        const struct vnc_rect *d = &w->dirty[i];
        all->x0 = d->x0 < all->x0 ? d->x0 : all->x0;
        all->y0 = d->y0 < all->y0 ? d->y0 : all->y0;
        all->x1 = d->x1 > all->x1 ? d->x1 : all->x1;
        all->y1 = d->y1 > all->y1 ? d->y1 : all->y1;
    }
    w->ndirty = 1;
    add_dirty(w, r);
}

static void on_damage(void *opaque, unsigned x, unsigned y, unsigned w, unsigned h)
{
    struct vnc *v = opaque;
    const struct con *c = v->con;
    struct vnc_rect r = { x, y, x + w, y + h };
    pthread_mutex_lock(&v->lock);
    if (v->shadow && v->width == c->width && v->height == c->height) {
        for (unsigned row = y; row < r.y1; row++) {
            size_t at = (size_t)row * c->width + x;
            memcpy(v->shadow + at, c->pixels + at, w * sizeof(uint32_t));
        }
        for (struct vnc_viewer *i = v->viewers; i; i = i->next) {
            add_dirty(i, &r);
        }
    }
    pthread_mutex_unlock(&v->lock);
}

/* Viewers notice by the size; out of memory they keep what they have until the next change. */
static void on_resized(void *opaque)
{
    struct vnc *v = opaque;
    const struct con *c = v->con;
    size_t n = (size_t)c->width * c->height;
    pthread_mutex_lock(&v->lock);
    free(v->shadow);
    v->shadow = malloc(n * sizeof(uint32_t));
    if (v->shadow) {
        memcpy(v->shadow, c->pixels, n * sizeof(uint32_t));
    }
    v->width = c->width;
    v->height = c->height;
    for (struct vnc_viewer *w = v->viewers; w; w = w->next) {
        w->ndirty = 0; /* those were places of another size */
    }
    pthread_mutex_unlock(&v->lock);
    on_damage(v, 0, 0, c->width, c->height);
}

static void wake_dirty(struct vnc *v)
{
    for (struct vnc_viewer *w = v->viewers; w; w = w->next) {
        bool dirty;
        pthread_mutex_lock(&v->lock);
        dirty = w->ndirty > 0;
        pthread_mutex_unlock(&v->lock);
        if (dirty) {
            wake_viewer(w);
        }
    }
}

static void on_refresh(void *opaque)
{
    struct vnc *v = opaque;
    con_refresh(v->con, false);
    wake_dirty(v);
    ev_timer_arm(v->loop, &v->refresh, ev_now_ns() + REFRESH_NS);
}

/* For the first connection: a picture to take the size from. */
static void prepare(struct vnc *v)
{
    con_add_viewer(v->con, &v->screen);
    on_resized(v);
}

static void unprepare(struct vnc *v)
{
    con_del_viewer(v->con, &v->screen);
    pthread_mutex_lock(&v->lock);
    free(v->shadow);
    v->shadow = NULL;
    pthread_mutex_unlock(&v->lock);
}

/* For the first that was let in: looking costs the guest something, knocking must not. */
static void start_looking(struct vnc *v)
{
    v->con->looking++;
    con_refresh(v->con, true);
    ev_timer_arm(v->loop, &v->refresh, ev_now_ns() + REFRESH_NS);
}

static void stop_looking(struct vnc *v)
{
    v->con->looking--;
    ev_timer_disarm(&v->refresh);
}

/* ---- viewers come and go ---- */

static void name_peer(int sock, struct vnc_client_info *info)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
    if (getpeername(sock, (struct sockaddr *)&ss, &len) == 0 && ss.ss_family != AF_UNIX) {
        getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), service, sizeof(service),
                    NI_NUMERICHOST | NI_NUMERICSERV);
    }
    snprintf(info->host, sizeof(info->host), "%.63s", host);
    snprintf(info->service, sizeof(info->service), "%.15s", service);
}

/* A thread that takes no signals: those are the main thread's. */
static int start_thread(struct vnc_viewer *w, int sock)
{
    struct vnc_start *start = malloc(sizeof(*start));
    sigset_t all, old;
    int ret;
    if (!start) {
        return -ENOMEM;
    }
    *start = (struct vnc_start){ w, sock };
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(&w->thread, NULL, vnc_viewer_run, start);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (ret != 0) {
        free(start);
    }
    return -ret;
}

static void free_viewer(struct vnc_viewer *w)
{
    close(w->sock);
    if (w->wake >= 0) {
        close(w->wake);
    }
    free(w);
}

/* Takes over sock. */
static int add_viewer(struct vnc *v, int sock)
{
    struct vnc_viewer *w = calloc(1, sizeof(*w));
    int own = dup(sock), ret;
    if (!w || own < 0) {
        free(w);
        close(sock);
        return -ENOMEM;
    }
    w->v = v;
    w->sock = sock;
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    name_peer(sock, &w->info);
    if (v->nviewers == 0) {
        prepare(v);
    }
    ret = w->wake < 0 ? -errno : start_thread(w, own);
    if (ret < 0) {
        close(own);
        free_viewer(w);
        if (v->nviewers == 0) {
            unprepare(v);
        }
        return ret;
    }
    pthread_mutex_lock(&v->lock);
    w->next = v->viewers;
    v->viewers = w;
    pthread_mutex_unlock(&v->lock);
    v->nviewers++;
    return 0;
}

/* Out of descriptors, most likely: connections stay in the backlog, and watching on would spin. */
static void pause_listening(struct vnc *v, int err)
{
    log_limited(&v->refused_log, "vnc", "accept: %s: trying again", strerror(err));
    for (unsigned i = 0; i < v->nlisteners; i++) {
        ev_fd_del(&v->listener[i]);
    }
    ev_timer_arm(v->loop, &v->listen_again, ev_now_ns() + ACCEPT_AGAIN_NS);
}

static void on_listen_again(void *opaque)
{
    struct vnc *v = opaque;
    for (unsigned i = 0; i < v->nlisteners; i++) {
        ev_fd_add(v->loop, &v->listener[i]);
    }
}

static void on_accept(void *opaque, unsigned events)
{
    struct vnc *v = opaque;
    (void)events;
    for (unsigned i = 0; i < v->nlisteners; i++) {
        int ret, sock = accept4(v->listener[i].fd, NULL, NULL, SOCK_CLOEXEC);
        if (sock < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            pause_listening(v, errno);
            return;
        }
        if (sock < 0) {
            continue;
        }
        if (v->nviewers >= VNC_MAX_VIEWERS) {
            close(sock);
            continue;
        }
        ret = add_viewer(v, sock);
        if (ret < 0) {
            log_limited(&v->refused_log, "vnc", "viewer refused: %s", strerror(-ret));
        }
    }
}

static void tell(struct vnc *v, struct vnc_viewer *w, bool connected)
{
    if (v->changed) {
        v->changed(v->changed_opaque, connected, &w->info);
    }
}

/* w's thread waits for this in vnc_admitted. */
static void welcome(struct vnc *v, struct vnc_viewer *w)
{
    if (v->nwelcome++ == 0) {
        start_looking(v);
    }
    pthread_mutex_lock(&v->lock);
    w->welcome = true;
    pthread_cond_broadcast(&v->drained);
    pthread_mutex_unlock(&v->lock);
    tell(v, w, true);
}

/* w's thread has finished or is about to. */
static void remove_viewer(struct vnc *v, struct vnc_viewer **at)
{
    struct vnc_viewer *w = *at;
    pthread_join(w->thread, NULL);
    pthread_mutex_lock(&v->lock);
    *at = w->next;
    pthread_mutex_unlock(&v->lock);
    if (w->welcome && --v->nwelcome == 0) {
        stop_looking(v);
    }
    if (--v->nviewers == 0) {
        unprepare(v);
    }
    if (w->welcome) {
        tell(v, w, false);
    }
    free_viewer(w);
}

static void look_after_viewers(struct vnc *v)
{
    struct vnc_viewer **at = &v->viewers;
    while (*at) {
        bool finished, admitted;
        pthread_mutex_lock(&v->lock);
        finished = (*at)->finished;
        admitted = (*at)->admitted;
        pthread_mutex_unlock(&v->lock);
        if (admitted && !(*at)->welcome) {
            welcome(v, *at);
        }
        if (finished) {
            remove_viewer(v, at);
        } else {
            at = &(*at)->next;
        }
    }
}

/* ---- input: from the threads to the devices ---- */

static void on_post(void *opaque)
{
    struct vnc *v = opaque;
    struct vnc_input input[VNC_MAX_INPUT];
    unsigned n;
    pthread_mutex_lock(&v->lock);
    n = v->ninput;
    memcpy(input, v->input, n * sizeof(input[0]));
    v->ninput = 0;
    pthread_cond_broadcast(&v->drained);
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < n; i++) {
        const struct vnc_input *in = &input[i];
        if (in->is_key) {
            con_key(v->con, in->scancode, in->down);
        } else {
            con_motion(v->con, in->dx, in->dy, in->dz, in->buttons);
        }
    }
    look_after_viewers(v);
}

/* Motion joins the motion before it; true when it did. */
static bool merge_motion(struct vnc *v, const struct vnc_input *in)
{
    struct vnc_input *last = v->ninput ? &v->input[v->ninput - 1] : NULL;
    if (!last || last->is_key || in->is_key || last->dz || in->dz || last->buttons != in->buttons) {
        return false;
    }
    last->dx += in->dx; /* screens are small and the loop drains: far from overflow */
    last->dy += in->dy;
    return true;
}

void vnc_push_input(struct vnc_viewer *w, const struct vnc_input *in)
{
    struct vnc *v = w->v;
    pthread_mutex_lock(&v->lock);
    while (v->ninput == VNC_MAX_INPUT && !w->quit) {
        pthread_cond_wait(&v->drained, &v->lock);
    }
    if (v->ninput < VNC_MAX_INPUT && !merge_motion(v, in)) {
        v->input[v->ninput++] = *in;
    }
    pthread_mutex_unlock(&v->lock);
    ev_post(v->loop, &v->post);
}

/* ---- what else the threads ask for ---- */

static bool fit_picture(struct vnc *v, uint32_t **fb, unsigned *width, unsigned *height)
{
    uint32_t *bigger = realloc(*fb, (size_t)v->width * v->height * sizeof(uint32_t));
    if (!bigger) {
        return false;
    }
    *fb = bigger;
    *width = v->width;
    *height = v->height;
    memcpy(bigger, v->shadow, (size_t)v->width * v->height * sizeof(uint32_t));
    return true;
}

static void copy_rect(const struct vnc *v, uint32_t *fb, const struct vnc_rect *r)
{
    for (unsigned y = r->y0; y < r->y1; y++) {
        size_t at = (size_t)y * v->width + r->x0;
        memcpy(fb + at, v->shadow + at, (r->x1 - r->x0) * sizeof(uint32_t));
    }
}

int vnc_take_picture(struct vnc_viewer *w, uint32_t **fb, unsigned *width, unsigned *height,
                     bool *resized, struct vnc_rect *out)
{
    struct vnc *v = w->v;
    int n = 0;
    pthread_mutex_lock(&v->lock);
    *resized = v->shadow && (!*fb || *width != v->width || *height != v->height);
    if (w->quit || (*resized && !fit_picture(v, fb, width, height)) || !*fb) {
        n = -1;
    } else if (v->shadow) {
        for (; !*resized && n < (int)w->ndirty; n++) {
            out[n] = w->dirty[n];
            copy_rect(v, *fb, &out[n]);
        }
        w->ndirty = 0;
    }
    pthread_mutex_unlock(&v->lock);
    return n;
}

void vnc_admitted(struct vnc_viewer *w)
{
    struct vnc *v = w->v;
    pthread_mutex_lock(&v->lock);
    w->admitted = true;
    pthread_mutex_unlock(&v->lock);
    ev_post(v->loop, &v->post);
    pthread_mutex_lock(&v->lock);
    while (!w->welcome && !w->quit) {
        pthread_cond_wait(&v->drained, &v->lock);
    }
    pthread_mutex_unlock(&v->lock);
}

void vnc_finished(struct vnc_viewer *w)
{
    struct vnc *v = w->v;
    pthread_mutex_lock(&v->lock);
    w->finished = true;
    pthread_mutex_unlock(&v->lock);
    ev_post(v->loop, &v->post); /* v stays until this thread is joined */
}

bool vnc_get_password(struct vnc *v, char out[9])
{
    pthread_mutex_lock(&v->lock);
    memcpy(out, v->password, sizeof(v->password));
    pthread_mutex_unlock(&v->lock);
    return out[0] != 0;
}

/* ---- the public face ---- */

static int watch(struct vnc *v, struct err *e)
{
    for (unsigned i = 0; i < v->nlisteners; i++) {
        struct ev_fd *f = &v->listener[i];
        int ret;
        *f = (struct ev_fd){ .fd = f->fd, .events = EV_READ, .cb = on_accept, .opaque = v };
        ret = ev_fd_add(v->loop, f);
        if (ret < 0) {
            return err_set(e, ret, "vnc: %s", strerror(-ret));
        }
    }
    return 0;
}

struct vnc *vnc_new(struct ev_loop *loop, struct con *con, const struct vnc_options *o,
                    struct err *e)
{
    const char *keymap = o->keymap ? o->keymap : "en-us";
    struct vnc *v;
    if (!keymap_known(keymap)) {
        err_set(e, -EINVAL, "keymap '%s' is unknown", keymap);
        return NULL;
    }
    vnc_viewer_setup();
    v = xcalloc(1, sizeof(*v));
    v->loop = loop;
    v->con = con;
    v->screen = (struct con_viewer){ .damage = on_damage, .resized = on_resized, .opaque = v };
    v->refresh = (struct ev_timer){ .cb = on_refresh, .opaque = v };
    v->listen_again = (struct ev_timer){ .cb = on_listen_again, .opaque = v };
    v->post = (struct ev_post){ .cb = on_post, .opaque = v };
    v->need_password = o->password;
    snprintf(v->keymap, sizeof(v->keymap), "%s", keymap);
    snprintf(v->name, sizeof(v->name), "%s", o->name ? o->name : "Keel");
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->drained, NULL);
    if (vnc_listen(v, o, e) < 0 || watch(v, e) < 0) {
        vnc_free(v);
        return NULL;
    }
    return v;
}

void vnc_free(struct vnc *v)
{
    if (!v) {
        return;
    }
    ev_timer_disarm(&v->listen_again);
    for (unsigned i = 0; i < v->nlisteners; i++) {
        ev_fd_del(&v->listener[i]);
        close(v->listener[i].fd);
    }
    pthread_mutex_lock(&v->lock);
    for (struct vnc_viewer *w = v->viewers; w; w = w->next) {
        w->quit = true;
        shutdown(w->sock, SHUT_RDWR); /* whatever it waits for ends */
        wake_viewer(w);
    }
    pthread_cond_broadcast(&v->drained);
    pthread_mutex_unlock(&v->lock);
    while (v->viewers) {
        remove_viewer(v, &v->viewers);
    }
    ev_post_cancel(v->loop, &v->post);
    if (v->unlink) {
        unlink(v->unlink);
    }
    pthread_mutex_destroy(&v->lock);
    pthread_cond_destroy(&v->drained);
    free(v->unlink);
    free(v->host);
    free(v);
}

int vnc_set_password(struct vnc *v, const char *password, struct err *e)
{
    if (!v->need_password) {
        return err_set(e, -EINVAL, "vnc: the server was started without password=on");
    }
    pthread_mutex_lock(&v->lock);
    memset(v->password, 0, sizeof(v->password));
    strncpy(v->password, password ? password : "", sizeof(v->password) - 1);
    pthread_mutex_unlock(&v->lock);
    return 0;
}

const char *vnc_host(const struct vnc *v)
{
    return v->host;
}

unsigned vnc_port(const struct vnc *v)
{
    return v->port;
}

bool vnc_has_password(const struct vnc *v)
{
    return v->need_password;
}

unsigned vnc_clients(const struct vnc *v, struct vnc_client_info *out, unsigned max)
{
    unsigned n = 0;
    for (const struct vnc_viewer *w = v->viewers; w; w = w->next) {
        if (w->welcome) {
            if (n < max) {
                out[n] = w->info;
            }
            n++;
        }
    }
    return n;
}

void vnc_set_listener(struct vnc *v,
                      void (*changed)(void *opaque, bool connected,
                                      const struct vnc_client_info *who),
                      void *opaque)
{
    v->changed = changed;
    v->changed_opaque = opaque;
}
