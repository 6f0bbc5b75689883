/* SPDX-License-Identifier: MIT */
/* ui/vnc-int.h - between the server (on the loop) and a viewer's thread.
 *
 *   loop, under the machine lock           viewer's thread
 *     con_refresh -> damage                  its own LibVNCServer screen, client and picture
 *       copies rectangles into shadow          vnc_take_picture copies what is dirty from shadow
 *       and notes them for every viewer        keys, pointer -> vnc_push_input (a bounded queue)
 *     drain: con_key, con_motion             finished -> vnc_finished
 *     join
 *
 * Everything the two share is guarded by vnc.lock, which is never held over a call into
 * LibVNCServer or a device. A thread that finds the queue full waits for the loop; nobody else
 * does.
 */
#ifndef UI_VNC_INT_H
#define UI_VNC_INT_H

#include "dm/base/ev.h"
#include "dm/base/log.h"
#include "ui/con.h"
#include "ui/vnc.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define VNC_MAX_VIEWERS 16
#define VNC_MAX_INPUT 256
#define VNC_MAX_DIRTY 32
#define VNC_MAX_LISTEN 2

struct vnc_rect {
    unsigned x0, y0, x1, y1; /* x1, y1 are outside */
};

struct vnc_input {
    bool is_key, down;
    uint16_t scancode;
    int dx, dy, dz;
    unsigned buttons;
};

struct vnc_viewer {
    struct vnc *v;
    struct vnc_viewer *next;
    pthread_t thread;
    int sock; /* the loop's own descriptor of the connection, to shut it down with */
    int wake; /* eventfd: look at what follows */
    struct vnc_client_info info;
    /* under vnc.lock */
    struct vnc_rect dirty[VNC_MAX_DIRTY];
    unsigned ndirty;
    bool quit, finished;
    bool admitted; /* past the handshake */
    bool welcome;  /* and the loop knows; only the loop writes it */
};

struct vnc {
    struct ev_loop *loop;
    struct con *con;
    struct con_viewer screen;
    struct ev_timer refresh;
    struct ev_post post;
    struct ev_fd listener[VNC_MAX_LISTEN];
    unsigned nlisteners;
    struct ev_timer listen_again; /* armed while accept has nothing to put a connection in */
    struct log_limit refused_log;
    char *host, *unlink;
    unsigned port;
    char keymap[16], name[64];
    void (*changed)(void *opaque, bool connected, const struct vnc_client_info *who);
    void *changed_opaque;
    struct vnc_viewer *viewers; /* loop only */
    unsigned nviewers, nwelcome;

    pthread_mutex_t lock;
    pthread_cond_t drained; /* the loop took the input, or welcomed a viewer */
    uint32_t *shadow;       /* NULL: nobody looks, or no memory */
    unsigned width, height;
    bool need_password;
    char password[9];
    struct vnc_input input[VNC_MAX_INPUT];
    unsigned ninput;
};

struct vnc_start {
    struct vnc_viewer *w;
    int sock; /* the thread's own descriptor */
};
/* The thread. Frees start and closes its socket. */
void *vnc_viewer_run(void *start);
/* Once, before the first thread: LibVNCServer logs what a peer can provoke, without a limit. */
void vnc_viewer_setup(void);

/* For the thread. Copies what changed into *fb (reallocated when the size changed, then *resized),
 * and the rectangles into out (VNC_MAX_DIRTY of them); returns how many, or -1 to end. */
int vnc_take_picture(struct vnc_viewer *w, uint32_t **fb, unsigned *width, unsigned *height,
                     bool *resized, struct vnc_rect *out);
void vnc_push_input(struct vnc_viewer *w, const struct vnc_input *in);
/* Past the handshake: returns when the loop looks, and the picture is fresh. */
void vnc_admitted(struct vnc_viewer *w);
void vnc_finished(struct vnc_viewer *w);
/* A copy of the password; false when nobody may come in. */
bool vnc_get_password(struct vnc *v, char out[9]);

/* ui/vnc-listen.c: opens the sockets. 0 or -errno with e. */
int vnc_listen(struct vnc *v, const struct vnc_options *o, struct err *e);

#endif
