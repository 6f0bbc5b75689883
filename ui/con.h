/* SPDX-License-Identifier: MIT */
/* ui/con.h - a screen between a display device and whoever looks, and input the other way.
 *
 * Pull model: nothing is drawn unless somebody looks. A viewer (VNC, a screenshot) calls
 * con_refresh; the device draws what changed into the surface and reports rectangles with
 * con_damage; viewers get them through their damage callback. All under the machine lock.
 */
#ifndef UI_CON_H
#define UI_CON_H

#include <stdbool.h>
#include <stdint.h>

struct con_screen_ops {
    /* Draw what changed (everything when full) and call con_damage for it. */
    void (*refresh)(void *opaque, bool full);
};

struct con_viewer {
    void (*damage)(void *opaque, unsigned x, unsigned y, unsigned w, unsigned h);
    void (*resized)(void *opaque); /* con->pixels, width and height are new */
    void *opaque;
    struct con_viewer *next;
};

/* Keys are PS/2 scan code set 1 make codes, 0xe0-prefixed ones as 0xe000 | code; pause is 0xe11d,
 * print 0xe037. */
struct con_input_ops {
    void (*key)(void *opaque, uint16_t scancode, bool down);
    /* Relative motion in pixels (dy > 0 is down), wheel clicks (dz > 0 is towards the user), and
     * all buttons as bits: 1 left, 2 right, 4 middle, 8 and 16 side buttons. */
    void (*motion)(void *opaque, int dx, int dy, int dz, unsigned buttons);
};

struct con {
    uint32_t *pixels; /* 0x00RRGGBB, row after row, no padding; never NULL */
    unsigned width, height;
    const struct con_screen_ops *screen; /* NULL: no display device */
    void *screen_opaque;
    const struct con_input_ops *kbd, *mouse;
    void *kbd_opaque, *mouse_opaque;
    const struct con_input_ops *first; /* takes what would go to both; NULL: nobody does */
    void *first_opaque;
    struct con_viewer *viewers;
    unsigned looking; /* viewers that are connected: dirty tracking is worth its price */
    unsigned leds;    /* as the guest set them: 1 scroll, 2 num, 4 caps */
    /* An input recorder may listen in: CON_TAP_KEY (scancode, down) and CON_TAP_MOTION (dx, dy,
     * dz, buttons), before the device sees them; NULL otherwise. */
    void (*tap)(void *opaque, int kind, int a, int b, int c, int d);
    void *tap_opaque;
};
enum { CON_TAP_KEY, CON_TAP_MOTION };
#define CON_MAX_WIDTH 4096
#define CON_MAX_HEIGHT 4096

struct con *con_new(void);
void con_free(struct con *c);

/* Device side. con_resize keeps nothing of the old picture; sizes 1..CON_MAX_*; false (and no
 * change) when out of range or memory. con_damage comes after the rectangle is drawn: a viewer may
 * copy it at once. */
void con_set_screen(struct con *c, const struct con_screen_ops *ops, void *opaque);
bool con_resize(struct con *c, unsigned width, unsigned height);
void con_damage(struct con *c, unsigned x, unsigned y, unsigned w, unsigned h);
void con_set_keyboard(struct con *c, const struct con_input_ops *ops, void *opaque);
void con_set_mouse(struct con *c, const struct con_input_ops *ops, void *opaque);
/* A PV driver in the guest takes keys and motion in their place; ops NULL: no longer. One at a time. */
void con_set_first(struct con *c, const struct con_input_ops *ops, void *opaque);

/* Viewer side. */
void con_add_viewer(struct con *c, struct con_viewer *v);
void con_del_viewer(struct con *c, struct con_viewer *v);
void con_refresh(struct con *c, bool full);
void con_key(struct con *c, uint16_t scancode, bool down);
void con_motion(struct con *c, int dx, int dy, int dz, unsigned buttons);

/* Screenshots of what con_refresh(full) draws. format "ppm" or "png"; 0 or -errno with e. */
struct err;
int con_screendump(struct con *c, const char *filename, const char *format, struct err *e);

#endif
