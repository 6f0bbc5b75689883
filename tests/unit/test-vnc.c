/* SPDX-License-Identifier: MIT */
/* tests/unit/test-vnc.c - the VNC server against a small RFB client that can also misbehave. */
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"
#include "ui/con.h"
#include "ui/vnc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <rfb/rfb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS 20000000000ll

/* The machine's side: a screen of one colour, and what came in. */
struct bed {
    struct ev_loop *loop;
    struct con *con;
    struct vnc *v;
    uint32_t colour;
    unsigned refreshes;
    char keys[4096]; /* "1e+ 1e- " */
    int dx, dy, dz, motions;
    unsigned buttons;
    unsigned came, went;
    unsigned fill_x, fill_w; /* what the next refresh paints */
};

static void paint(void *opaque, bool full)
{
    struct bed *b = opaque;
    struct con *c = b->con;
    unsigned x0 = full ? 0 : b->fill_x, x1 = full ? c->width : b->fill_x + b->fill_w;
    b->refreshes++;
    if (x0 == x1) {
        return;
    }
    for (unsigned y = 0; y < c->height; y++) {
        for (unsigned x = x0; x < x1; x++) {
            c->pixels[y * c->width + x] = b->colour + x;
        }
    }
    con_damage(c, x0, 0, x1 - x0, c->height);
    b->fill_w = 0;
}

static void on_key_in(void *opaque, uint16_t code, bool down)
{
    struct bed *b = opaque;
    size_t n = strlen(b->keys);
    snprintf(b->keys + n, sizeof(b->keys) - n, "%x%c ", code, down ? '+' : '-');
}

static void on_motion_in(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    struct bed *b = opaque;
    b->dx += dx;
    b->dy += dy;
    b->dz += dz;
    b->buttons = buttons;
    b->motions++;
}

static void on_change(void *opaque, bool connected, const struct vnc_client_info *who)
{
    struct bed *b = opaque;
    b->came += connected;
    b->went += !connected;
    assert_string_equal(who->host, "127.0.0.1");
}

static const struct con_screen_ops screen_ops = { .refresh = paint };
static const struct con_input_ops input_ops = { .key = on_key_in, .motion = on_motion_in };

static struct bed *bed_new(bool password)
{
    struct bed *b = xcalloc(1, sizeof(*b));
    struct vnc_options o = { .host = "127.0.0.1",
                             .display = 700 + (unsigned)getpid() % 5000,
                             .password = password,
                             .name = "test" };
    struct err e = { 0 };
    o.to = o.display + 200;
    b->loop = ev_loop_new(NULL, NULL, NULL);
    b->con = con_new();
    b->colour = 0x00204060;
    assert_true(con_resize(b->con, 64, 32));
    con_set_screen(b->con, &screen_ops, b);
    con_set_keyboard(b->con, &input_ops, b);
    con_set_mouse(b->con, &input_ops, b);
    b->v = vnc_new(b->loop, b->con, &o, &e);
    if (!b->v) {
        fail_msg("%s", e.msg);
    }
    return b;
}

static void bed_free(struct bed *b)
{
    vnc_free(b->v);
    assert_int_equal(b->con->looking, 0);
    con_free(b->con);
    ev_loop_free(b->loop);
    free(b);
}

#define TURN_UNTIL(b, cond)                                                                        \
    do {                                                                                           \
        int64_t end_ = ev_now_ns() + PATIENCE_NS;                                                  \
        while (!(cond) && ev_now_ns() < end_) {                                                    \
            ev_loop_turn((b)->loop, 5);                                                            \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

/* ---- the client ---- */

static int dial(struct bed *b)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)vnc_port(b->v)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Reads n bytes while the server's loop runs; returns how many came before the end. */
static size_t take(struct bed *b, int fd, void *buf, size_t n)
{
    int64_t end = ev_now_ns() + PATIENCE_NS;
    size_t got = 0;
    while (got < n) {
        ssize_t k = recv(fd, (char *)buf + got, n - got, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN)) {
            return got;
        }
        got += k > 0 ? (size_t)k : 0;
        assert_true(ev_now_ns() < end);
        if (k < 0) {
            ev_loop_turn(b->loop, 1);
        }
    }
    return got;
}

static void must_take(struct bed *b, int fd, void *buf, size_t n)
{
    assert_int_equal(take(b, fd, buf, n), n);
}

static bool closed(struct bed *b, int fd)
{
    char c[512];
    while (take(b, fd, c, sizeof(c)) == sizeof(c)) {
    }
    return true;
}

static void give(int fd, const void *buf, size_t n)
{
    assert_int_equal(send(fd, buf, n, MSG_NOSIGNAL), n);
}

/* Up to the security result; returns it (0: welcome). */
static uint32_t greet(struct bed *b, int fd, uint8_t type, const char *password)
{
    uint8_t buf[64], challenge[16];
    char pw[9] = "";
    must_take(b, fd, buf, 12);
    assert_memory_equal(buf, "RFB 003.008\n", 12);
    give(fd, "RFB 003.008\n", 12);
    must_take(b, fd, buf, 1);
    assert_int_equal(buf[0], 1); /* exactly one way in */
    must_take(b, fd, buf, 1);
    assert_int_equal(buf[0], type);
    give(fd, &type, 1);
    if (type == 2) {
        must_take(b, fd, challenge, 16);
        strncpy(pw, password, 8);
        rfbEncryptBytes(challenge, pw);
        give(fd, challenge, 16);
    }
    must_take(b, fd, buf, 4);
    return ntohl((uint32_t)load_le(buf, 4));
}

static void start(struct bed *b, int fd, unsigned width, unsigned height)
{
    static const uint8_t raw[] = { 2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21 };
    uint8_t buf[24 + 4];
    give(fd, "\1", 1);
    must_take(b, fd, buf, 24);
    assert_int_equal(load_be16(buf), width);
    assert_int_equal(load_be16(buf + 2), height);
    assert_int_equal(buf[4], 32);
    assert_int_equal(load_be16(buf + 8), 255);
    assert_int_equal(buf[14], 16); /* red, green and blue are where we keep them */
    assert_int_equal(buf[15], 8);
    assert_int_equal(buf[16], 0);
    must_take(b, fd, buf, buf[23]);
    give(fd, raw, sizeof(raw)); /* Raw, and DesktopSize */
}

static int join(struct bed *b)
{
    int fd = dial(b);
    assert_int_equal(greet(b, fd, 1, NULL), 0);
    start(b, fd, b->con->width, b->con->height);
    TURN_UNTIL(b, b->con->looking == 1);
    return fd;
}

static void ask(int fd, bool incremental, unsigned w, unsigned h)
{
    uint8_t m[10] = { 3, incremental };
    store_be16(m + 6, (uint16_t)w);
    store_be16(m + 8, (uint16_t)h);
    give(fd, m, sizeof(m));
}

struct rect {
    unsigned x, y, w, h;
    int32_t encoding;
    uint32_t pixels[256 * 256];
};

/* One FramebufferUpdate; the last of its rectangles. */
static void update(struct bed *b, int fd, struct rect *r)
{
    uint8_t head[12];
    unsigned n;
    must_take(b, fd, head, 4);
    assert_int_equal(head[0], 0);
    n = load_be16(head + 2);
    assert_true(n > 0);
    while (n-- > 0) {
        must_take(b, fd, head, 12);
        r->x = load_be16(head);
        r->y = load_be16(head + 2);
        r->w = load_be16(head + 4);
        r->h = load_be16(head + 6);
        r->encoding = (int32_t)ntohl((uint32_t)load_le(head + 8, 4));
        if (r->encoding == 0) {
            assert_true(r->w * r->h <= ARRAY_SIZE(r->pixels));
            must_take(b, fd, r->pixels, r->w * r->h * 4);
        }
    }
}

/* Asks until the whole picture came; an answer to an older question may come first. */
static void check_picture(struct bed *b, int fd)
{
    struct rect *r = xcalloc(1, sizeof(*r));
    for (int tries = 0; r->w != b->con->width || r->h != b->con->height; tries++) {
        assert_true(tries < 10);
        ask(fd, false, b->con->width, b->con->height);
        update(b, fd, r);
    }
    assert_int_equal(r->encoding, 0);
    assert_int_equal(r->pixels[0], b->colour);
    assert_int_equal(r->pixels[r->w * r->h - 1], b->colour + r->w - 1);
    free(r);
}

static void key(int fd, uint32_t keysym, bool down)
{
    uint8_t m[8] = { 4, down };
    keysym = htonl(keysym);
    memcpy(m + 4, &keysym, 4);
    give(fd, m, sizeof(m));
}

static void pointer(int fd, uint8_t mask, unsigned x, unsigned y)
{
    uint8_t m[6] = { 5, mask };
    store_be16(m + 2, (uint16_t)x);
    store_be16(m + 4, (uint16_t)y);
    give(fd, m, sizeof(m));
}

/* ---- tests ---- */

static void test_vnc_sends_the_picture_and_what_changes(void **state)
{
    struct bed *b = bed_new(false);
    struct rect *r = xcalloc(1, sizeof(*r));
    int fd = join(b);
    (void)state;
    assert_int_equal(b->con->looking, 1);
    check_picture(b, fd);
    ask(fd, true, 64, 32);
    b->colour = 0x00800000;
    b->fill_x = 10;
    b->fill_w = 5;
    update(b, fd, r);
    assert_int_equal(r->x, 10);
    assert_int_equal(r->w, 5);
    assert_int_equal(r->h, 32);
    assert_int_equal(r->pixels[0], 0x0080000a);
    close(fd);
    TURN_UNTIL(b, b->con->looking == 0);
    free(r);
    bed_free(b);
}

/* One update of one rectangle without pixels. */
static void must_announce(struct bed *b, int fd, int32_t encoding)
{
    uint8_t m[16];
    must_take(b, fd, m, sizeof(m));
    assert_int_equal(m[0], 0);
    assert_int_equal(load_be16(m + 2), 1);
    assert_int_equal(load_be16(m + 4), 0); /* for motion: relative */
    assert_int_equal((int32_t)load_be32(m + 12), encoding);
}

static void qemu_key(int fd, bool down, uint32_t keysym, uint32_t keycode)
{
    uint8_t m[12] = { 255, 0, 0, down };
    store_be32(m + 4, keysym);
    store_be32(m + 8, keycode);
    give(fd, m, sizeof(m));
}

static void test_vnc_extended_keys_go_by_their_place(void **state)
{
    static const uint8_t encodings[] = { 2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xfe, 0xfe };
    struct bed *b = bed_new(false);
    int fd = join(b);
    (void)state;
    give(fd, encodings, sizeof(encodings));
    must_announce(b, fd, -258);
    qemu_key(fd, true, 'a', 0x10); /* an A on the Q of an American keyboard */
    qemu_key(fd, false, 'a', 0x10);
    qemu_key(fd, true, 0xffe4, 0x9d); /* the right Ctrl key */
    qemu_key(fd, true, 0xff13, 0xc6); /* Pause */
    qemu_key(fd, false, 0xff13, 0xc6);
    qemu_key(fd, true, 'b', 0);       /* a viewer that does not know the place */
    qemu_key(fd, true, 'c', 0x12345); /* no such place */
    key(fd, 'd', true);               /* the plain message still counts */
    TURN_UNTIL(b, strstr(b->keys, "20+"));
    assert_string_equal(b->keys, "10+ 10- e01d+ e11d+ e11d- 30+ 20+ ");
    close(fd);
    TURN_UNTIL(b, b->con->looking == 0);
    assert_non_null(strstr(b->keys, "e01d- ")); /* what was down is up */
    bed_free(b);
}

static void test_vnc_other_qemu_messages_end_the_connection(void **state)
{
    static const uint8_t encodings[] = { 2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xfe, 0xfe };
    static const uint8_t audio[12] = { 255, 1 };
    struct bed *b = bed_new(false);
    int fd = join(b);
    (void)state;
    qemu_key(fd, true, 'a', 0x1e); /* without having asked for the extension */
    assert_true(closed(b, fd));
    close(fd);
    TURN_UNTIL(b, b->con->looking == 0);
    fd = join(b);
    give(fd, encodings, sizeof(encodings));
    must_announce(b, fd, -258);
    give(fd, audio, sizeof(audio));
    assert_true(closed(b, fd));
    close(fd);
    TURN_UNTIL(b, b->con->looking == 0);
    assert_string_equal(b->keys, "");
    bed_free(b);
}

static void test_vnc_relative_pointer_has_no_edges(void **state)
{
    static const uint8_t encodings[] = { 2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xfe, 0xff };
    struct bed *b = bed_new(false);
    int fd = join(b);
    (void)state;
    give(fd, encodings, sizeof(encodings));
    must_announce(b, fd, -257);
    for (int i = 0; i < 3; i++) {
        pointer(fd, 0, 0x7fff + 100, 0x7fff - 7);
    }
    pointer(fd, 1, 0x7fff, 0x7fff);
    TURN_UNTIL(b, b->buttons == 1);
    assert_int_equal(b->dx, 300);
    assert_int_equal(b->dy, -21);
    close(fd);
    TURN_UNTIL(b, b->con->looking == 0);
    bed_free(b);
}

/* The connection waits in the backlog until there is a descriptor for it. */
static void test_vnc_out_of_descriptors_accepts_later(void **state)
{
    struct bed *b = bed_new(false);
    struct rlimit was, none;
    int fd = dial(b), next = dup(fd);
    uint8_t greeting[12];
    (void)state;
    close(next);
    getrlimit(RLIMIT_NOFILE, &was);
    none = was;
    none.rlim_cur = (rlim_t)next;
    setrlimit(RLIMIT_NOFILE, &none);
    uint64_t before = ev_wakeups(b->loop);
    for (int64_t end = ev_now_ns() + 300000000; ev_now_ns() < end;) {
        ev_loop_turn(b->loop, 50);
    }
    assert_true(ev_wakeups(b->loop) - before < 30); /* no spinning */
    setrlimit(RLIMIT_NOFILE, &was);
    must_take(b, fd, greeting, sizeof(greeting));
    close(fd);
    TURN_UNTIL(b, b->con->viewers == NULL);
    bed_free(b);
}

static void test_vnc_without_viewers_draws_nothing(void **state)
{
    struct bed *b = bed_new(false);
    uint64_t before = ev_wakeups(b->loop);
    int fd;
    (void)state;
    ev_loop_turn(b->loop, 300);
    assert_true(ev_wakeups(b->loop) - before <= 1);
    assert_int_equal(b->refreshes, 0);
    fd = join(b);
    close(fd);
    TURN_UNTIL(b, b->con->looking == 0);
    before = b->refreshes;
    ev_loop_turn(b->loop, 300);
    assert_int_equal(b->refreshes, before);
    bed_free(b);
}

static void test_vnc_knocking_costs_the_guest_nothing(void **state)
{
    struct bed *b = bed_new(true);
    uint8_t buf[12];
    int fd = dial(b), liar = dial(b);
    (void)state;
    must_take(b, fd, buf, sizeof(buf));
    assert_int_not_equal(greet(b, liar, 2, "wrong"), 0);
    assert_int_equal(b->con->looking, 0);
    assert_int_equal(b->refreshes, 0);
    assert_int_equal(vnc_clients(b->v, NULL, 0), 0);
    close(fd);
    close(liar);
    bed_free(b);
}

static void test_vnc_keys_become_scan_codes(void **state)
{
    struct bed *b = bed_new(false);
    int fd = join(b);
    (void)state;
    key(fd, 'a', true);
    key(fd, 'a', false);
    key(fd, 0xffe1, true);
    key(fd, 'A', true);
    key(fd, 'A', false);
    key(fd, 0xffe1, false);
    key(fd, 0xff52, true);
    key(fd, 0xff52, false);
    key(fd, 0xdeadbeef, true); /* no such key */
    key(fd, 0xff0d, true);
    TURN_UNTIL(b, strstr(b->keys, "1c+"));
    close(fd); /* with Return still down: it must come up */
    TURN_UNTIL(b, strstr(b->keys, "1c-"));
    assert_string_equal(b->keys, "1e+ 1e- 2a+ 1e+ 1e- 2a- e048+ e048- 1c+ 1c- ");
    bed_free(b);
}

static void test_vnc_pointer_becomes_relative_motion(void **state)
{
    struct bed *b = bed_new(false);
    int fd = join(b);
    (void)state;
    pointer(fd, 0, 30, 20); /* where it is */
    pointer(fd, 0, 35, 18);
    pointer(fd, 0, 40, 10);
    pointer(fd, 1, 40, 10); /* left */
    usleep(100000);         /* the loop is busy elsewhere: motion adds up */
    TURN_UNTIL(b, b->buttons == 1);
    assert_int_equal(b->dx, 10);
    assert_int_equal(b->dy, -10);
    pointer(fd, 6, 40, 10); /* middle and right */
    TURN_UNTIL(b, b->buttons == 6);
    pointer(fd, 0, 40, 10);
    pointer(fd, 8, 40, 10); /* wheel up, twice, and down, once */
    pointer(fd, 0, 40, 10);
    pointer(fd, 8, 40, 10);
    pointer(fd, 0, 40, 10);
    TURN_UNTIL(b, b->dz == -2);
    pointer(fd, 16, 40, 10);
    pointer(fd, 2, 40, 10);
    TURN_UNTIL(b, b->buttons == 4);
    assert_int_equal(b->dz, -1);
    close(fd); /* with a button down */
    TURN_UNTIL(b, b->buttons == 0);
    bed_free(b);
}

static void test_vnc_password_decides(void **state)
{
    struct bed *b = bed_new(true);
    struct err e = { 0 };
    int fd = dial(b);
    (void)state;
    assert_true(vnc_has_password(b->v));
    assert_int_not_equal(greet(b, fd, 2, ""), 0); /* none set: nobody */
    close(fd);
    assert_int_equal(vnc_set_password(b->v, "sesame88-ignored", &e), 0);
    fd = dial(b);
    assert_int_not_equal(greet(b, fd, 2, "wrong"), 0);
    assert_true(closed(b, fd));
    close(fd);
    fd = dial(b);
    assert_int_equal(greet(b, fd, 2, "sesame88"), 0);
    start(b, fd, 64, 32);
    check_picture(b, fd);
    close(fd);
    vnc_set_password(b->v, NULL, NULL);
    fd = dial(b);
    assert_int_not_equal(greet(b, fd, 2, "sesame88"), 0);
    close(fd);
    bed_free(b);
    b = bed_new(false);
    assert_int_equal(vnc_set_password(b->v, "x", &e), -EINVAL);
    assert_non_null(strstr(e.msg, "password"));
    bed_free(b);
}

static void test_vnc_resize_reaches_the_viewer(void **state)
{
    struct bed *b = bed_new(false);
    struct rect *r = xcalloc(1, sizeof(*r));
    int fd = join(b);
    (void)state;
    check_picture(b, fd);
    for (unsigned i = 0; i < 8; i++) {
        unsigned w = 40 + i * 24, h = 200 - i * 20;
        ask(fd, true, b->con->width, b->con->height);
        assert_true(con_resize(b->con, w, h));
        b->colour = 0x00111111 * (i + 1);
        b->fill_x = 0;
        b->fill_w = w;
        do {
            update(b, fd, r);
        } while (r->encoding != -223);
        assert_int_equal(r->w, w);
        assert_int_equal(r->h, h);
        TURN_UNTIL(b, b->fill_w == 0);
        check_picture(b, fd);
    }
    close(fd);
    free(r);
    bed_free(b);
}

static void test_vnc_two_viewers_share(void **state)
{
    struct bed *b = bed_new(false);
    struct vnc_client_info who[4];
    int x, y;
    (void)state;
    vnc_set_listener(b->v, on_change, b);
    x = join(b);
    y = join(b);
    check_picture(b, x);
    check_picture(b, y);
    TURN_UNTIL(b, b->came == 2);
    assert_int_equal(vnc_clients(b->v, who, 4), 2);
    assert_int_equal(vnc_clients(b->v, who, 1), 2);
    assert_string_equal(who[0].host, "127.0.0.1");
    assert_true(atoi(who[0].service) > 0);
    assert_int_equal(b->con->looking, 1); /* one server looks, however many look at it */
    close(x);
    TURN_UNTIL(b, b->went == 1);
    check_picture(b, y);
    close(y);
    TURN_UNTIL(b, b->went == 2);
    assert_int_equal(vnc_clients(b->v, who, 4), 0);
    bed_free(b);
}

static void test_vnc_speaks_the_old_versions(void **state)
{
    struct bed *b = bed_new(false);
    uint8_t buf[24];
    int fd = dial(b);
    (void)state;
    must_take(b, fd, buf, 12);
    give(fd, "RFB 003.003\n", 12);
    must_take(b, fd, buf, 4);
    assert_int_equal(buf[3], 1); /* the server decides: none */
    start(b, fd, 64, 32);
    check_picture(b, fd);
    close(fd);
    bed_free(b);
}

/* A message, and whether the connection survives it; another viewer is well served meanwhile. */
static void hostile(struct bed *b, int good, const void *msg, size_t len, bool survives)
{
    int bad = join(b);
    check_picture(b, bad);
    give(bad, msg, len);
    if (survives) {
        check_picture(b, bad);
    } else {
        assert_true(closed(b, bad));
    }
    close(bad);
    b->keys[0] = 0;
    check_picture(b, good);
    key(good, 'q', true);
    key(good, 'q', false);
    TURN_UNTIL(b, strstr(b->keys, "10+ 10-"));
}

static void test_vnc_hostile_messages_end_the_connection(void **state)
{
    /* CVE-2015-5239: a clipboard of 4 GB */
    static const uint8_t cut[] = { 6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
    static const uint8_t cut_2m[] = { 6, 0, 0, 0, 0, 0x20, 0, 0 };
    /* CVE-2022-3165: an extended clipboard message shorter than its own header */
    static const uint8_t cut_minus_1[] = { 6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0 };
    /* CVE-2015-8504: red, green and blue have no values */
    static const uint8_t zero_max[20] = { 0, 0, 0, 0, 32, 24, 0, 1, 0, 0, 0, 0, 0, 0, 16, 8, 0 };
    /* CVE-2014-7815: pixels of no and of odd size */
    static const uint8_t bpp_0[20] = { 0, 0, 0, 0, 0, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0 };
    static const uint8_t bpp_24[20] = { 0, 0, 0, 0, 24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8 };
    static const uint8_t shift[20] = { 0, 0, 0, 0, 16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 200, 99, 77 };
    static const uint8_t file_transfer[12] = { 7, 7, 0, 0, 0xff, 0xff, 0xff, 0xff };
    static const uint8_t scale_0[4] = { 8, 0, 0, 0 };
    static const uint8_t chat[8] = { 11, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff };
    static const uint8_t unknown[4] = { 77, 1, 2, 3 };
    struct bed *b = bed_new(false);
    int good = join(b);
    (void)state;
    hostile(b, good, cut, sizeof(cut), false);
    hostile(b, good, cut_2m, sizeof(cut_2m), false);
    hostile(b, good, cut_minus_1, sizeof(cut_minus_1), false);
    hostile(b, good, zero_max, sizeof(zero_max), false);
    hostile(b, good, bpp_0, sizeof(bpp_0), false);
    hostile(b, good, bpp_24, sizeof(bpp_24), false);
    hostile(b, good, shift, sizeof(shift), false);
    hostile(b, good, file_transfer, sizeof(file_transfer), false);
    hostile(b, good, scale_0, sizeof(scale_0), false);
    hostile(b, good, chat, sizeof(chat), false);
    hostile(b, good, unknown, sizeof(unknown), false);
    close(good);
    bed_free(b);
}

static void test_vnc_odd_messages_are_survived(void **state)
{
    static const uint8_t cut[] = { 6, 0, 0, 0, 0, 0, 0, 3, 'a', 'b', 'c' };
    static const uint8_t outside[10] = { 3, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    static const uint8_t nowhere[6] = { 5, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct bed *b = bed_new(false);
    int good = join(b);
    (void)state;
    hostile(b, good, cut, sizeof(cut), true);
    hostile(b, good, outside, sizeof(outside), true);
    hostile(b, good, nowhere, sizeof(nowhere), true);
    close(good);
    bed_free(b);
}

static void test_vnc_garbage_and_silence_harm_nobody(void **state)
{
    struct bed *b = bed_new(false);
    int junk = dial(b), web = dial(b), mute = dial(b), half = join(b), good;
    char noise[2000];
    (void)state;
    for (size_t i = 0; i < sizeof(noise); i++) {
        noise[i] = (char)(i * 167 + 13);
    }
    give(junk, noise, sizeof(noise));
    give(web, "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 38);
    give(half, "\5\1\0", 3); /* half a pointer event, and then nothing */
    good = join(b);
    check_picture(b, good);
    assert_true(closed(b, junk));
    key(good, 'q', true);
    TURN_UNTIL(b, strstr(b->keys, "10+"));
    close(junk);
    close(web);
    close(mute);
    close(half);
    close(good);
    bed_free(b); /* and all their threads end */
}

static void test_vnc_flood_is_held_back_and_no_key_is_lost(void **state)
{
    struct bed *b = bed_new(false);
    int fd = join(b), good = join(b);
    uint8_t m[8 * 256] = { 0 };
    int small = 65536;
    long sent = 0;
    (void)state;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (size_t i = 0; i < sizeof(m); i += 8) {
        m[i] = 4;
        m[i + 1] = !(i & 8);
        m[i + 7] = 'x';
    }
    /* Nobody turns the loop: the kernel's buffers fill and then the viewer has to wait. */
    for (int idle = 0; idle < 50;) {
        ssize_t n = send(fd, m + sent % 8, sizeof(m) - (size_t)(sent % 8), MSG_NOSIGNAL);
        idle = n > 0 ? 0 : idle + 1;
        sent += n > 0 ? n : 0;
        if (n <= 0) {
            usleep(10000);
        }
        assert_true(sent < 64 << 20);
    }
    check_picture(b, good);
    key(good, 'q', true);
    close(fd);
    TURN_UNTIL(b, b->con->looking == 1 && vnc_clients(b->v, NULL, 0) <= 1);
    assert_non_null(strstr(b->keys, "2d+ 2d- "));
    close(good);
    bed_free(b);
}

static void test_vnc_too_many_viewers_are_turned_away(void **state)
{
    struct bed *b = bed_new(false);
    int fd[40];
    unsigned in = 0;
    char c[12];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
        fd[i] = dial(b);
        in += take(b, fd[i], c, sizeof(c)) == sizeof(c);
    }
    assert_int_equal(in, 16);
    for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
        close(fd[i]);
    }
    bed_free(b);
}

static void test_vnc_busy_port_is_an_error_or_the_next(void **state)
{
    struct bed *b = bed_new(false);
    unsigned display = vnc_port(b->v) - 5900;
    struct vnc_options o = { .host = "127.0.0.1", .display = display };
    struct err e = { 0 };
    char want[64];
    struct vnc *v;
    (void)state;
    assert_string_equal(vnc_host(b->v), "127.0.0.1");
    assert_null(vnc_new(b->loop, b->con, &o, &e));
    assert_int_equal(e.code, -EADDRINUSE);
    snprintf(want, sizeof(want), "vnc: port %u on 127.0.0.1: ", display + 5900);
    assert_memory_equal(e.msg, want, strlen(want));
    o.to = display + 99;
    v = vnc_new(b->loop, b->con, &o, &e);
    assert_non_null(v);
    assert_true(vnc_port(v) > vnc_port(b->v));
    vnc_free(v);
    o.display = o.to = 60000;
    assert_null(vnc_new(b->loop, b->con, &o, &e));
    assert_non_null(strstr(e.msg, "60000"));
    o = (struct vnc_options){ .host = "256.0.0.1" };
    assert_null(vnc_new(b->loop, b->con, &o, &e));
    assert_non_null(strstr(e.msg, "256.0.0.1"));
    o = (struct vnc_options){ .host = "127.0.0.1", .keymap = "xx" };
    assert_null(vnc_new(b->loop, b->con, &o, &e));
    assert_string_equal(e.msg, "keymap 'xx' is unknown");
    bed_free(b);
}

/* All of ::, and nothing of IPv4; -1: no IPv6 here. */
static int take_ipv6_port(unsigned port)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
    int fd = socket(AF_INET6, SOCK_STREAM, 0), one = 1;
    if (fd >= 0 && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0 ||
                    bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_both(unsigned port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
                               .sin6_port = htons((uint16_t)port),
                               .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET, SOCK_STREAM, 0), fd6 = socket(AF_INET6, SOCK_STREAM, 0);
    int n = (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) +
            (connect(fd6, (struct sockaddr *)&a6, sizeof(a6)) == 0);
    close(fd);
    close(fd6);
    return n;
}

static void test_vnc_when_a_port_is_free_for_one_family_alone_then_it_takes_another(void **state)
{
    struct bed *b = bed_new(false);
    struct vnc_options o = { .display = vnc_port(b->v) - 5900 + 100 };
    struct err e = { 0 };
    int fd = take_ipv6_port(5900 + o.display);
    (void)state;
    if (fd < 0) {
        bed_free(b);
        skip();
    }
    o.to = o.display + 50;
    struct vnc *v = vnc_new(b->loop, b->con, &o, &e);
    assert_non_null(v);
    assert_true(vnc_port(v) > 5900 + o.display);
    assert_int_equal(connect_both(vnc_port(v)), 2);
    vnc_free(v);
    close(fd);
    bed_free(b);
}

static void test_vnc_listens_on_a_unix_socket(void **state)
{
    struct bed *b = bed_new(false);
    struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/tmp/test-vnc.sock" };
    struct vnc_options o = { .host = "unix:/tmp/test-vnc.sock" };
    struct err e = { 0 };
    struct vnc *v = vnc_new(b->loop, b->con, &o, &e);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)state;
    assert_non_null(v);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    assert_int_equal(greet(b, fd, 1, NULL), 0);
    start(b, fd, 64, 32);
    check_picture(b, fd);
    close(fd);
    vnc_free(v);
    assert_int_equal(access(un.sun_path, F_OK), -1);
    bed_free(b);
}

static void test_keymap_finds_keys_by_layout(void **state)
{
    static const struct {
        const char *map;
        unsigned keysym, code;
    } t[] = {
        { "en-us", 'z', 0x2c },      { "en-us", '@', 0x03 },      { "en-us", '|', 0x2b },
        { "en-us", ' ', 0x39 },      { "en-us", 0xffff, 0xe053 }, { "en-us", 0xffb5, 0x4c },
        { "de", 'z', 0x15 },         { "de", 'Y', 0x2c },         { "de", '@', 0x10 },
        { "de", 0xdf, 0x0c },        { "de", 0x20ac, 0x12 },      { "de", 0xfe52, 0x29 },
        { "de", '^', 0x29 },         { "de", 0xf6, 0x27 },        { "de", '#', 0x2b },
        { "en-gb", '"', 0x03 },      { "en-gb", 0xa3, 0x04 },     { "en-gb", '\\', 0x56 },
        { "en-gb", '#', 0x2b },      { "fr", 'a', 0x10 },         { "fr", 'm', 0x27 },
        { "fr", '1', 0x02 },         { "fr", 0xe9, 0x03 },        { "fr", '@', 0x0b },
        { "sv", 0xe5, 0x1a },        { "no", 0xf8, 0x27 },        { "da", 0xf8, 0x28 },
        { "it", '@', 0x27 },         { "es", 0xf1, 0x27 },        { "fi", 0xe4, 0x28 },
        { "fr", 0x10020ac, 0x12 },   { "en-us", 0x12345678, 0 },  { "nonsense", 'a', 0x1e },
        { "en-us", 0xfe03, 0xe038 }, { "en-us", 0, 0 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        if (keymap_scancode(t[i].map, t[i].keysym) != t[i].code) {
            fail_msg("%s 0x%x: 0x%x", t[i].map, t[i].keysym,
                     keymap_scancode(t[i].map, t[i].keysym));
        }
    }
    for (const char *const *name = keymap_names(); *name; name++) {
        assert_true(keymap_known(*name));
        for (unsigned c = 'a'; c <= 'z'; c++) {
            assert_int_not_equal(keymap_scancode(*name, c), 0);
        }
    }
    assert_false(keymap_known("xx"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vnc_sends_the_picture_and_what_changes),
        cmocka_unit_test(test_vnc_extended_keys_go_by_their_place),
        cmocka_unit_test(test_vnc_other_qemu_messages_end_the_connection),
        cmocka_unit_test(test_vnc_relative_pointer_has_no_edges),
        cmocka_unit_test(test_vnc_out_of_descriptors_accepts_later),
        cmocka_unit_test(test_vnc_without_viewers_draws_nothing),
        cmocka_unit_test(test_vnc_knocking_costs_the_guest_nothing),
        cmocka_unit_test(test_vnc_keys_become_scan_codes),
        cmocka_unit_test(test_vnc_pointer_becomes_relative_motion),
        cmocka_unit_test(test_vnc_password_decides),
        cmocka_unit_test(test_vnc_resize_reaches_the_viewer),
        cmocka_unit_test(test_vnc_two_viewers_share),
        cmocka_unit_test(test_vnc_speaks_the_old_versions),
        cmocka_unit_test(test_vnc_hostile_messages_end_the_connection),
        cmocka_unit_test(test_vnc_odd_messages_are_survived),
        cmocka_unit_test(test_vnc_garbage_and_silence_harm_nobody),
        cmocka_unit_test(test_vnc_flood_is_held_back_and_no_key_is_lost),
        cmocka_unit_test(test_vnc_too_many_viewers_are_turned_away),
        cmocka_unit_test(test_vnc_busy_port_is_an_error_or_the_next),
        cmocka_unit_test(test_vnc_when_a_port_is_free_for_one_family_alone_then_it_takes_another),
        cmocka_unit_test(test_vnc_listens_on_a_unix_socket),
        cmocka_unit_test(test_keymap_finds_keys_by_layout),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("vnc", tests, NULL, NULL);
}
