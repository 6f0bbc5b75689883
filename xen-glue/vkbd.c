/* SPDX-License-Identifier: MIT */
/* xen-glue/vkbd.c - see vkbd.h: events on one shared page.
 *
 * Of the page's two rings only the one to the guest is used; the other way nothing is defined. What does
 * not fit because the guest does not fetch is dropped. Our index is kept here, the page's copy is only
 * written; the guest's index is used for nothing but how much room there is.
 * Left out: absolute positions and touch, which no viewer here can give; the obsolete page-ref.
 */
#include "xen-glue/vkbd.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "ui/con.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xen/io/kbdif.h>

enum {
    IN_CONS = 0, /* words of the page */
    IN_PROD = 1,
    EVENT = XENKBD_IN_EVENT_SIZE,
    ROOM = XENKBD_IN_RING_LEN,
    KEY_MAX_SAME = 0x58, /* up to here Linux's key codes are scan codes */
    BTN_FIRST = 0x110,   /* left, right, middle, side, extra: as ui/con.h's bits */
    BUTTONS = 5,
};

struct vkbd {
    struct pv_backend dev; /* first */
    struct con *con;
    uint8_t *page; /* NULL: not connected */
    uint32_t prod;
    unsigned buttons; /* as last told */
};

/* ---- events ---- */

static void put(struct vkbd *s, const uint8_t *event)
{
    uint32_t *word = (uint32_t *)(void *)s->page;
    uint32_t cons = __atomic_load_n(&word[IN_CONS], __ATOMIC_ACQUIRE);
    if (s->prod - cons >= ROOM) {
        return;
    }
    memcpy(s->page + XENKBD_IN_RING_OFFS + s->prod % ROOM * EVENT, event, EVENT);
    __atomic_store_n(&word[IN_PROD], ++s->prod, __ATOMIC_RELEASE);
    pv_notify(&s->dev);
}

static void put_key(struct vkbd *s, uint32_t code, bool down)
{
    uint8_t event[EVENT] = { XENKBD_TYPE_KEY, down };
    store_le(event + 4, 4, code);
    put(s, event);
}

/* Linux's name for a key, which the protocol uses; 0 when it has none. */
static uint32_t key_of(uint16_t scancode)
{
    static const struct {
        uint16_t scancode, key;
    } others[] = {
        { 0x54, 99 },    { 0x59, 117 },   { 0x70, 93 },    { 0x73, 89 },    { 0x79, 92 },
        { 0x7b, 94 },    { 0x7d, 124 },   { 0x7e, 121 },   { 0xe010, 165 }, { 0xe019, 163 },
        { 0xe01c, 96 },  { 0xe01d, 97 },  { 0xe020, 113 }, { 0xe021, 140 }, { 0xe022, 164 },
        { 0xe024, 166 }, { 0xe02e, 114 }, { 0xe030, 115 }, { 0xe032, 172 }, { 0xe035, 98 },
        { 0xe037, 99 },  { 0xe038, 100 }, { 0xe047, 102 }, { 0xe048, 103 }, { 0xe049, 104 },
        { 0xe04b, 105 }, { 0xe04d, 106 }, { 0xe04f, 107 }, { 0xe050, 108 }, { 0xe051, 109 },
        { 0xe052, 110 }, { 0xe053, 111 }, { 0xe05b, 125 }, { 0xe05c, 126 }, { 0xe05d, 127 },
        { 0xe05e, 116 }, { 0xe05f, 142 }, { 0xe063, 143 }, { 0xe065, 217 }, { 0xe066, 156 },
        { 0xe067, 173 }, { 0xe069, 159 }, { 0xe06a, 158 }, { 0xe06b, 157 }, { 0xe06c, 155 },
        { 0xe06d, 226 }, { 0xe11d, 119 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (others[i].scancode == scancode) {
            return others[i].key;
        }
    }
    return scancode <= KEY_MAX_SAME ? scancode : 0;
}

static void vkbd_key(void *opaque, uint16_t scancode, bool down)
{
    uint32_t key = key_of(scancode);
    if (key) {
        put_key(opaque, key, down);
    }
}

static void vkbd_motion(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    struct vkbd *s = opaque;
    uint8_t event[EVENT] = { XENKBD_TYPE_MOTION };
    store_le(event + 4, 4, (uint32_t)dx);
    store_le(event + 8, 4, (uint32_t)dy);
    store_le(event + 12, 4, (uint32_t)dz);
    if (dx || dy || dz) {
        put(s, event);
    }
    for (unsigned i = 0; i < BUTTONS; i++) {
        if ((buttons ^ s->buttons) >> i & 1) {
            put_key(s, BTN_FIRST + i, buttons >> i & 1);
        }
    }
    s->buttons = buttons;
}

static const struct con_input_ops input = { vkbd_key, vkbd_motion };

/* ---- the handshake ---- */

static void vkbd_disconnect(struct pv_backend *d)
{
    struct vkbd *s = (struct vkbd *)d;
    con_set_first(s->con, NULL, NULL);
    pv_unbind(d);
    pv_unmap_page(d, s->page);
    s->page = NULL;
}

static int vkbd_connect(struct pv_backend *d, struct err *e)
{
    struct vkbd *s = (struct vkbd *)d;
    uint32_t ref, port;
    int ret = pv_read_u32(d, false, XENKBD_FIELD_RING_GREF, UINT32_MAX, &ref);
    if (ret == 0) {
        ret = pv_read_u32(d, false, XENKBD_FIELD_EVT_CHANNEL, UINT32_MAX, &port);
    }
    if (ret < 0) {
        return err_set(e, ret, "%s: page-gref or event-channel: missing or not a number", d->front);
    }
    s->page = pv_map_page(d, ref);
    if (!s->page) {
        return err_set(e, -errno, "%s/page-gref: cannot map the page: %s", d->front,
                       strerror(errno));
    }
    ret = pv_bind(d, port);
    if (ret < 0) {
        pv_unmap_page(d, s->page);
        s->page = NULL;
        return err_set(e, ret, "%s/event-channel: %s", d->front, strerror(-ret));
    }
    s->prod = __atomic_load_n((uint32_t *)(void *)s->page + IN_PROD, __ATOMIC_RELAXED);
    s->buttons = 0;
    con_set_first(s->con, &input, s);
    return 0;
}

static void vkbd_event(struct pv_backend *d)
{
    (void)d; /* the guest has fetched something; whoever writes next sees that */
}

static const struct pv_ops ops = { vkbd_connect, vkbd_disconnect, vkbd_event };

/* ---- life ---- */

struct vkbd *vkbd_new(struct pv_bus *b, struct con *con, struct err *e)
{
    static const struct pv_node features[] = {
        { XENKBD_FIELD_FEAT_ABS_POINTER, "0" },
        { XENKBD_FIELD_FEAT_RAW_POINTER, "0" },
        { "hotplug-status", "connected" },
        { NULL, NULL },
    };
    char *there = pv_read_device(b, "vkbd", "0", "frontend");
    if (!there) {
        err_set(e, -ENOENT, "there is no vkbd");
        return NULL;
    }
    free(there);
    struct vkbd *s = xcalloc(1, sizeof(*s));
    s->con = con;
    s->dev = (struct pv_backend){ .ops = &ops, .type = "vkbd", .name = "vkbd" };
    if (pv_adopt(b, &s->dev, features, e) < 0) {
        free(s);
        return NULL;
    }
    return s;
}

void vkbd_free(struct vkbd *s)
{
    if (s) {
        pv_stop(&s->dev);
        free(s);
    }
}
