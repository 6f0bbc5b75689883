/* SPDX-License-Identifier: MIT */
/* ui/con.c - the screen's surface, and who is told about it; see con.h. */
#include "ui/con.h"

#include "dm/base/util.h"

#include <stdlib.h>

#define START_WIDTH 640
#define START_HEIGHT 480

struct con *con_new(void)
{
    struct con *c = xcalloc(1, sizeof(*c));
    c->width = START_WIDTH;
    c->height = START_HEIGHT;
    c->pixels = xcalloc(START_WIDTH * START_HEIGHT, sizeof(c->pixels[0]));
    return c;
}

void con_free(struct con *c)
{
    if (c) {
        free(c->pixels);
        free(c);
    }
}

void con_set_screen(struct con *c, const struct con_screen_ops *ops, void *opaque)
{
    c->screen = ops;
    c->screen_opaque = opaque;
}

bool con_resize(struct con *c, unsigned width, unsigned height)
{
    uint32_t *pixels;
    if (width < 1 || width > CON_MAX_WIDTH || height < 1 || height > CON_MAX_HEIGHT) {
        return false;
    }
    if (width == c->width && height == c->height) {
        return true;
    }
    pixels = calloc((size_t)width * height, sizeof(pixels[0]));
    if (!pixels) {
        return false;
    }
    free(c->pixels);
    c->pixels = pixels;
    c->width = width;
    c->height = height;
    for (struct con_viewer *v = c->viewers; v; v = v->next) {
        if (v->resized) {
            v->resized(v->opaque);
        }
    }
    return true;
}

void con_damage(struct con *c, unsigned x, unsigned y, unsigned w, unsigned h)
{
    if (x >= c->width || y >= c->height) {
        return;
    }
    w = w < c->width - x ? w : c->width - x;
    h = h < c->height - y ? h : c->height - y;
    if (w == 0 || h == 0) {
        return;
    }
    for (struct con_viewer *v = c->viewers; v; v = v->next) {
        if (v->damage) {
            v->damage(v->opaque, x, y, w, h);
        }
    }
}

void con_set_keyboard(struct con *c, const struct con_input_ops *ops, void *opaque)
{
    c->kbd = ops;
    c->kbd_opaque = opaque;
}

void con_set_mouse(struct con *c, const struct con_input_ops *ops, void *opaque)
{
    c->mouse = ops;
    c->mouse_opaque = opaque;
}

void con_set_first(struct con *c, const struct con_input_ops *ops, void *opaque)
{
    c->first = ops;
    c->first_opaque = opaque;
}

void con_add_viewer(struct con *c, struct con_viewer *v)
{
    v->next = c->viewers;
    c->viewers = v;
}

void con_del_viewer(struct con *c, struct con_viewer *v)
{
    for (struct con_viewer **p = &c->viewers; *p; p = &(*p)->next) {
        if (*p == v) {
            *p = v->next;
            return;
        }
    }
}

void con_refresh(struct con *c, bool full)
{
    if (c->screen && c->screen->refresh) {
        c->screen->refresh(c->screen_opaque, full);
    }
}

void con_key(struct con *c, uint16_t scancode, bool down)
{
    if (c->tap) {
        c->tap(c->tap_opaque, CON_TAP_KEY, scancode, down, 0, 0);
    }
    if (c->first) {
        c->first->key(c->first_opaque, scancode, down);
    } else if (c->kbd && c->kbd->key) {
        c->kbd->key(c->kbd_opaque, scancode, down);
    }
}

void con_motion(struct con *c, int dx, int dy, int dz, unsigned buttons)
{
    if (c->tap) {
        c->tap(c->tap_opaque, CON_TAP_MOTION, dx, dy, dz, (int)buttons);
    }
    if (c->first) {
        c->first->motion(c->first_opaque, dx, dy, dz, buttons);
    } else if (c->mouse && c->mouse->motion) {
        c->mouse->motion(c->mouse_opaque, dx, dy, dz, buttons);
    }
}
