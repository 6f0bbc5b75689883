/* SPDX-License-Identifier: MIT */
/* ui/vnc.h - a VNC server for one screen, on LibVNCServer.
 *
 * RFB 3.3 to 3.8 (RFC 6143). The loop accepts; each viewer is then served by a thread of its own
 * with its own copy of the picture, so that a viewer that stalls, floods or lies harms nobody
 * else. Without viewers there is no thread, no picture copy and no wake-up; with some, the loop
 * draws 30 times a second. Every viewer shares the screen.
 */
#ifndef UI_VNC_H
#define UI_VNC_H

#include <stdbool.h>

struct con;
struct err;
struct ev_loop;
struct vnc;

struct vnc_options {
    const char *host;   /* "" listens everywhere; a dotted address, "localhost", or unix:PATH */
    unsigned display;   /* TCP port 5900 + display */
    unsigned to;        /* last display to try when busy; 0: only `display` */
    bool password;      /* refuse everybody until vnc_set_password */
    const char *keymap; /* -k, "en-us" when NULL */
    const char *name;   /* desktop name */
};
/* NULL with e ("vnc: port 5900 on 127.0.0.1: Address already in use"). */
struct vnc *vnc_new(struct ev_loop *loop, struct con *con, const struct vnc_options *o,
                    struct err *e);
void vnc_free(struct vnc *v);
/* "" or NULL locks everybody out. At most 8 bytes count (RFC 6143 7.2.2). 0, or -EINVAL when the
 * server was started without password. */
int vnc_set_password(struct vnc *v, const char *password, struct err *e);

/* For query-vnc. */
const char *vnc_host(const struct vnc *v);
unsigned vnc_port(const struct vnc *v);
bool vnc_has_password(const struct vnc *v);
struct vnc_client_info {
    char host[64], service[16];
};
/* Copies up to max, returns how many are connected. */
unsigned vnc_clients(const struct vnc *v, struct vnc_client_info *out, unsigned max);

/* A keysym (X11) to a set 1 scan code under keymap, 0 when unknown. */
unsigned keymap_scancode(const char *keymap, unsigned keysym);
/* The names that keymap_known knows, sorted, ending with NULL. */
const char *const *keymap_names(void);

/* Whether "-k name" is known. */
bool keymap_known(const char *name);

/* Optional: told when viewers come and go, for the VNC_* events. */
void vnc_set_listener(struct vnc *v,
                      void (*changed)(void *opaque, bool connected,
                                      const struct vnc_client_info *who),
                      void *opaque);

#endif
