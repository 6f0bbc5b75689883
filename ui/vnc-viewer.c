/* SPDX-License-Identifier: MIT */
/* ui/vnc-viewer.c - one viewer's thread: LibVNCServer with a single client.
 *
 * The library blocks while it reads the rest of a message or writes an update; here that costs the
 * viewer its own time only. Messages that nobody needs (file transfer, chat, scaling) end the
 * connection before the library sees them. Two of QEMU's extensions (rfbproto, "QEMU Extended Key
 * Event" and "QEMU Pointer Motion Change") are spoken: keys by their place on the keyboard in place
 * of by what is printed on them, and pointer motion as it is, without a screen's edges. VNC
 * authentication is the protocol's own: one 8-byte
 * DES challenge, not more than a lock on a garden gate.
 */
#include "ui/vnc-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <poll.h>
#include <rfb/rfb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_NS 60000000000ll /* long enough to type a password */
#define STALLED_MS 20000           /* in the middle of a message, either way */
#define FAILED_MS 500              /* a wrong password costs that long */
#define MAX_HELD 32                /* keys down at one time */

/* QEMU's extensions to RFB. */
enum { QEMU_POINTER_MOTION = -257, QEMU_KEYS = -258 };
enum { QEMU_MESSAGE = 255, QEMU_KEY_EVENT = 0 };
#define QEMU_NO_MOTION 0x7fff /* a relative pointer event's 0 */

struct session {
    struct vnc_viewer *w;
    rfbScreenInfoPtr screen;
    rfbClientPtr cl;
    uint32_t *fb;
    unsigned width, height;
    int x, y; /* where the pointer was; meaningful once placed */
    bool placed;
    bool relative;                    /* pointer events are motion: x and y are meaningless */
    bool announce_keys, announce_rel; /* the viewer knows an extension: tell it that we do */
    int mask;                         /* RFB's buttons */
    uint16_t held[MAX_HELD];
    unsigned nheld;
    bool admitted;
};

/* ---- input ---- */

static void send_key(struct session *s, uint16_t code, bool down)
{
    struct vnc_input in = { .is_key = true, .scancode = code, .down = down };
    vnc_push_input(s->w, &in);
}

/* Remembers what is down; false when that is more than a hand can do. */
static bool track_key(struct session *s, uint16_t code, bool down)
{
    for (unsigned i = 0; i < s->nheld; i++) {
        if (s->held[i] == code) {
            if (!down) {
                s->held[i] = s->held[--s->nheld];
            }
            return true;
        }
    }
    if (down && s->nheld == MAX_HELD) {
        return false;
    }
    if (down) {
        s->held[s->nheld++] = code;
    }
    return true;
}

static void press(struct session *s, unsigned code, bool down)
{
    if (code && track_key(s, (uint16_t)code, down)) {
        send_key(s, (uint16_t)code, down);
    }
}

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr cl)
{
    struct session *s = cl->screen->screenData;
    press(s, keymap_scancode(s->w->v->keymap, keysym), down);
}

/* The extension's key codes are set 1 in one byte, bit 7 for the prefix 0xe0, and Pause as the
 * code of Break. */
static unsigned scancode_of(uint32_t keycode)
{
    if (keycode == 0xc6) {
        return 0xe11d;
    }
    return keycode > 0xff ? 0 : keycode & 0x80 ? 0xe000 | (keycode & 0x7f) : keycode;
}

/* The rest of a QEMU message; its first byte has been read. */
static rfbBool on_qemu_message(rfbClientPtr cl, void *data, const rfbClientToServerMsg *msg)
{
    struct session *s = cl->screen->screenData;
    uint8_t rest[11]; /* kind, down (16 bits), keysym, key code */
    (void)data;
    if (msg->type != QEMU_MESSAGE) {
        return FALSE;
    }
    if (rfbReadExact(cl, (char *)rest, sizeof(rest)) <= 0 || rest[0] != QEMU_KEY_EVENT) {
        rfbCloseClient(cl);
        return TRUE;
    }
    bool down = load_be16(rest + 1) != 0;
    uint32_t keycode = load_be32(rest + 7);
    press(s, keycode ? scancode_of(keycode) : keymap_scancode(s->w->v->keymap, load_be32(rest + 3)),
          down);
    return TRUE;
}

static rfbBool on_qemu_encoding(rfbClientPtr cl, void **data, int encoding)
{
    struct session *s = cl->screen->screenData;
    (void)data;
    s->announce_keys |= encoding == QEMU_KEYS;
    s->announce_rel |= encoding == QEMU_POINTER_MOTION;
    return encoding == QEMU_KEYS || encoding == QEMU_POINTER_MOTION;
}

static int qemu_encodings[] = { QEMU_KEYS, QEMU_POINTER_MOTION, 0 };
static rfbProtocolExtension qemu_extension = {
    .pseudoEncodings = qemu_encodings,
    .enablePseudoEncoding = on_qemu_encoding,
    .handleMessage = on_qemu_message,
};

/* A picture update of one rectangle that holds no pixels. */
static void send_pseudo_rect(struct session *s, int32_t encoding)
{
    uint8_t m[16] = { rfbFramebufferUpdate, 0, 0, 1 };
    store_be16(m + 8, (uint16_t)s->width);
    store_be16(m + 10, (uint16_t)s->height);
    store_be32(m + 12, (uint32_t)encoding);
    if (rfbWriteExact(s->cl, (const char *)m, sizeof(m)) <= 0) {
        rfbCloseClient(s->cl);
    }
}

/* The rectangle of a motion change has x == 0 for relative motion: ours is a mouse. */
static void announce_extensions(struct session *s)
{
    if (s->announce_keys && s->cl->sock >= 0) {
        send_pseudo_rect(s, QEMU_KEYS);
    }
    if (s->announce_rel && s->cl->sock >= 0) {
        send_pseudo_rect(s, QEMU_POINTER_MOTION);
        s->relative = true;
    }
    s->announce_keys = s->announce_rel = false;
}

static unsigned buttons_of(int mask)
{
    return (mask & 1 ? 1u : 0) | (mask & 2 ? 4u : 0) | (mask & 4 ? 2u : 0);
}

/* RFB's pointer is absolute, the PS/2 mouse relative: the first event only says where it is. With
 * the extension each event is a motion. */
static void on_pointer(int mask, int x, int y, rfbClientPtr cl)
{
    struct session *s = cl->screen->screenData;
    int pressed = mask & ~s->mask;
    if (s->relative) {
        s->x = s->y = QEMU_NO_MOTION;
        s->placed = true;
    }
    struct vnc_input in = { .dx = s->placed ? x - s->x : 0,
                            .dy = s->placed ? y - s->y : 0,
                            .dz = (pressed & 16 ? 1 : 0) - (pressed & 8 ? 1 : 0),
                            .buttons = buttons_of(mask) };
    bool news = in.dx || in.dy || in.dz || buttons_of(mask) != buttons_of(s->mask);
    s->x = x;
    s->y = y;
    s->mask = mask;
    s->placed = true;
    if (news) {
        vnc_push_input(s->w, &in);
    }
}

/* The viewer left with keys down: the guest must not think they still are. */
static void release_all(struct session *s)
{
    struct vnc_input up = { .buttons = 0 };
    while (s->nheld > 0) {
        send_key(s, s->held[--s->nheld], false);
    }
    if (buttons_of(s->mask)) {
        vnc_push_input(s->w, &up);
    }
}

/* ---- the library, once ---- */

/* Every screen is a copy of this one: rfbGetScreen initialises the library's own locks anew each
 * time, under the feet of threads that hold them. Constant once made. */
static rfbScreenInfoPtr template;

static void make_template(void)
{
    rfbLogEnable(0);
    rfbRegisterProtocolExtension(&qemu_extension);
    template = rfbGetScreen(NULL, NULL, 16, 16, 8, 3, 4);
}

void vnc_viewer_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_template);
}

/* ---- authentication ---- */

static rfbBool check_password(rfbClientPtr cl, const char *response, int len)
{
    struct session *s = cl->screen->screenData;
    struct pollfd wait = { .fd = s->w->wake };
    unsigned char want[CHALLENGESIZE], differ = 0;
    char password[9];
    memcpy(want, cl->authChallenge, CHALLENGESIZE);
    if (len == CHALLENGESIZE && vnc_get_password(s->w->v, password)) {
        rfbEncryptBytes(want, password);
        for (int i = 0; i < CHALLENGESIZE; i++) {
            differ |= (unsigned char)(want[i] ^ (unsigned char)response[i]);
        }
        if (!differ) {
            return TRUE;
        }
    }
    poll(&wait, 1, FAILED_MS);
    return FALSE;
}

/* ---- pictures ---- */

/* LibVNCServer's own idea of 32 bits has red lowest; ours has it highest. */
static void set_format(rfbScreenInfoPtr screen)
{
    screen->serverFormat.redShift = 16;
    screen->serverFormat.greenShift = 8;
    screen->serverFormat.blueShift = 0;
}

static bool show_picture(struct session *s)
{
    struct vnc_rect rects[VNC_MAX_DIRTY];
    bool resized;
    int n = vnc_take_picture(s->w, &s->fb, &s->width, &s->height, &resized, rects);
    if (n < 0) {
        return false;
    }
    if (resized) {
        rfbNewFramebuffer(s->screen, (char *)s->fb, (int)s->width, (int)s->height, 8, 3, 4);
        set_format(s->screen);
        s->screen->setTranslateFunction(s->cl);
    }
    for (int i = 0; i < n; i++) {
        rfbMarkRectAsModified(s->screen, (int)rects[i].x0, (int)rects[i].y0, (int)rects[i].x1,
                              (int)rects[i].y1);
    }
    return true;
}

/* ---- the connection ---- */

static rfbScreenInfoPtr make_screen(struct session *s)
{
    rfbScreenInfoPtr screen = template ? malloc(sizeof(*screen)) : NULL;
    if (!screen) {
        return NULL;
    }
    *screen = *template;
    pthread_mutex_init(&screen->cursorMutex, NULL);
    rfbNewFramebuffer(screen, (char *)s->fb, (int)s->width, (int)s->height, 8, 3, 4);
    set_format(screen);
    screen->screenData = s;
    screen->desktopName = s->w->v->name;
    screen->alwaysShared = TRUE;
    screen->kbdAddEvent = on_key;
    screen->ptrAddEvent = on_pointer;
    screen->deferUpdateTime = 0;
    screen->deferPtrUpdateTime = 0;
    screen->maxClientWait = STALLED_MS;
    screen->cursor = NULL;
    if (s->w->v->need_password) {
        screen->authPasswdData = s;
        screen->passwordCheck = check_password;
    }
    return screen;
}

static bool open_client(struct session *s, int sock)
{
    bool resized;
    struct vnc_rect none[VNC_MAX_DIRTY];
    if (vnc_take_picture(s->w, &s->fb, &s->width, &s->height, &resized, none) >= 0) {
        s->screen = make_screen(s);
    }
    if (!s->screen) {
        close(sock);
        return false;
    }
    s->cl = rfbNewClient(s->screen, sock);
    return s->cl && !s->cl->wsctx;
}

/* Whether the next message is one that a viewer of ours has reason to send. */
static bool wanted(const struct session *s)
{
    uint8_t type;
    ssize_t n = recv(s->cl->sock, &type, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n <= 0 || s->cl->state != RFB_NORMAL) {
        return n != 0;
    }
    switch (type) {
    case rfbSetPixelFormat:
    case rfbSetEncodings:
    case rfbFramebufferUpdateRequest:
    case rfbKeyEvent:
    case rfbPointerEvent:
    case rfbClientCutText:
    case rfbXvp:
    case QEMU_MESSAGE:
    case rfbSetDesktopSize:
        return true;
    default:
        return false;
    }
}

/* RFC 6143 7.4: pixels have 8, 16 or 32 bits, and a true colour has room for each part. */
static bool sane_format(const rfbPixelFormat *f)
{
    if (f->bitsPerPixel != 8 && f->bitsPerPixel != 16 && f->bitsPerPixel != 32) {
        return false;
    }
    return !f->trueColour ||
           (f->redMax && f->greenMax && f->blueMax && f->redShift < f->bitsPerPixel &&
            f->greenShift < f->bitsPerPixel && f->blueShift < f->bitsPerPixel);
}

/* One message, or part of the handshake. */
static void process(struct session *s)
{
    if (!wanted(s)) {
        rfbCloseClient(s->cl);
        return;
    }
    rfbProcessClientMessage(s->cl);
    announce_extensions(s);
    if (s->cl->sock >= 0 && !sane_format(&s->cl->format)) {
        rfbCloseClient(s->cl);
    }
    /* Before the answer to ClientInit tells the size, which may be new: a viewer that has not yet
     * said that it follows sizes would keep the old one for good. */
    if (!s->admitted && s->cl->state >= RFB_INITIALISATION) {
        s->admitted = true;
        vnc_admitted(s->w);
    }
}

/* Sleeps until the viewer says something or the picture changed; false when it took too long. */
static bool await(struct session *s, int64_t deadline, bool *readable)
{
    struct pollfd pfd[2] = { { .fd = s->cl->sock, .events = POLLIN },
                             { .fd = s->w->wake, .events = POLLIN } };
    int64_t left_ms = (deadline - ev_now_ns()) / 1000000;
    uint64_t count;
    if (s->cl->state == RFB_INITIALISATION_SHARED) { /* it counts as said */
        *readable = true;
        return true;
    }
    if (s->cl->state != RFB_NORMAL && left_ms <= 0) {
        return false;
    }
    if (poll(pfd, 2, s->cl->state == RFB_NORMAL ? -1 : (int)left_ms) < 0) {
        return errno == EINTR;
    }
    if ((pfd[1].revents & POLLIN) && read(s->w->wake, &count, sizeof(count)) < 0) {
        return false;
    }
    *readable = pfd[0].revents != 0;
    return true;
}

static void serve(struct session *s)
{
    int64_t deadline = ev_now_ns() + HANDSHAKE_NS;
    bool readable = false;
    while (s->cl->sock >= 0 && show_picture(s)) {
        rfbUpdateClient(s->cl);
        if (s->cl->sock < 0 || !await(s, deadline, &readable)) {
            return;
        }
        if (readable) {
            process(s);
        }
    }
}

/* The library forgets to. */
static void free_extensions(rfbClientPtr cl)
{
    for (rfbExtensionData *e = cl->extensions, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    cl->extensions = NULL;
}

void *vnc_viewer_run(void *arg)
{
    struct vnc_start start = *(struct vnc_start *)arg;
    struct session s = { .w = start.w };
    free(arg);
    if (open_client(&s, start.sock)) {
        serve(&s);
        release_all(&s);
    }
    if (s.cl) {
        rfbCloseClient(s.cl);
        free_extensions(s.cl);
        rfbClientConnectionGone(s.cl);
    }
    if (s.screen) {
        rfbScreenCleanup(s.screen);
    }
    free(s.fb);
    vnc_finished(s.w);
    return NULL;
}
