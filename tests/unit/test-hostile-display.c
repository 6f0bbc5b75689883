/* SPDX-License-Identifier: MIT */
/* tests/unit/test-hostile-display.c - guests and viewers that attack where a display device and
 * the VNC server meet: pictures that change under an update, viewers that do not read or break off.
 *
 * What each part stands alone is in test-vga.c, test-vga-vbe.c, test-cirrus*.c and test-vnc.c.
 */
#include "test-vga-rig.h"

#include "dm/base/ev.h"
#include "dm/base/util.h"
#include "ui/vnc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_NS 20000000000ll

/* ---- pictures that begin or go on beyond memory ---- */

static void fill_memory(struct rig *r, uint32_t bytes, uint8_t val)
{
    for (uint32_t at = 0; at < bytes; at += 8) {
        mem_write(r, BAR0 + at, 8, 0x0101010101010101ull * val);
    }
}

/* Every pixel has the one colour memory holds, wherever lines begin: none came from elsewhere. */
static void check_one_colour(struct rig *r, unsigned split)
{
    static const uint16_t starts[] = { 0, 1, 0x3fff, 0x7fff, 0x8000, 0xfffe, 0xffff };
    static const uint8_t pitches[] = { 0, 1, 40, 0x80, 0xff };
    for (unsigned i = 0; i < ARRAY_SIZE(starts) * ARRAY_SIZE(pitches); i++) {
        unsigned start = starts[i % ARRAY_SIZE(starts)];
        set(r, 0x3d4, 0x0c, start >> 8);
        set(r, 0x3d4, 0x0d, start & 255);
        set(r, 0x3d4, 0x13, pitches[i / ARRAY_SIZE(starts)]);
        set(r, 0x3d4, 0x18, split);
        rig_look(r, false);
        uint32_t first = pixel(r, 0, 0);
        for (size_t k = 0; k < (size_t)r->con->width * r->con->height; k++) {
            assert_int_equal(r->con->pixels[k], first);
        }
    }
}

/* CVE-2017-13672, CVE-2017-13673: the start address and the split screen at the end of memory. */
static void test_screen_when_lines_begin_beyond_memory_then_they_wrap(void **state)
{
    static const struct dev_class *const classes[] = { &vga_class, &cirrus_vga_class };
    static const struct legacy_mode *const modes[] = { &mode_13, &mode_12, &mode_0d, &mode_04 };
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(classes) * ARRAY_SIZE(modes); i++) {
        struct rig *r = rig_new(classes[i & 1], classes[i & 1] == &vga_class ? 1 : 4, false);
        r->con->looking = 1;
        fill_memory(r, classes[i & 1] == &vga_class ? 1 << 20 : 4 << 20, 0xff);
        mode_set(r, modes[i >> 1]);
        dac_fill(r);
        set(r, 0x3d4, 0x11, 0); /* unlocked */
        check_one_colour(r, 0);
        check_one_colour(r, 100);
        r->con->looking = 0;
        rig_free(r);
    }
}

/* ---- a small viewer ---- */

struct bed {
    struct rig *r;
    struct ev_loop *loop;
    struct vnc *v;
};

static void lock(void *m)
{
    machine_enter(m);
}

static void unlock(void *m)
{
    machine_leave(m);
}

static struct bed bed_new(void)
{
    struct bed b = { .r = rig_new(&cirrus_vga_class, 4, false) };
    struct vnc_options o = { .host = "127.0.0.1",
                             .display = 6000 + (unsigned)getpid() % 5000,
                             .name = "test" };
    struct err e = { 0 };
    o.to = o.display + 200;
    b.loop = ev_loop_new(lock, unlock, b.r->m);
    b.v = vnc_new(b.loop, b.r->con, &o, &e);
    if (!b.v) {
        fail_msg("%s", e.msg);
    }
    mode_set(b.r, &mode_12);
    return b;
}

static void bed_free(struct bed *b)
{
    vnc_free(b->v);
    ev_loop_free(b->loop);
    rig_free(b->r);
}

static int dial(const struct bed *b)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)vnc_port(b->v)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* What a viewer says up to its first question: version, no security, shared, Raw + DesktopSize +
 * extended clipboard. */
static const uint8_t hello[] = "RFB 003.008\n\1\1\2\0\0\3\0\0\0\0\xff\xff\xff\x21\xc0\xa1\xe5\xce";
enum { HELLO = sizeof(hello) - 1, GREETING = 12 + 2 + 4 + 24 };

/* n bytes, while the loop turns; false when the server hangs up first. */
static bool take(const struct bed *b, int fd, void *buf, size_t n)
{
    int64_t end = ev_now_ns() + PATIENCE_NS;
    for (size_t got = 0; got < n;) {
        ssize_t k = recv(fd, (char *)buf + got, n - got, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN)) {
            return false;
        }
        got += k > 0 ? (size_t)k : 0;
        assert_true(ev_now_ns() < end);
        if (k < 0) {
            ev_loop_turn(b->loop, 1);
        }
    }
    return true;
}

static void give(int fd, const void *buf, size_t n)
{
    send(fd, buf, n, MSG_NOSIGNAL);
}

/* A viewer that was let in; those who just left may still hold the last places. */
static int join(const struct bed *b)
{
    uint8_t greeting[GREETING], name[256];
    int64_t end = ev_now_ns() + PATIENCE_NS;
    int fd = dial(b);
    for (give(fd, hello, HELLO); !take(b, fd, greeting, GREETING); give(fd, hello, HELLO)) {
        assert_true(ev_now_ns() < end);
        close(fd);
        ev_loop_turn(b->loop, 10);
        fd = dial(b);
    }
    assert_true(take(b, fd, name, greeting[GREETING - 1]));
    return fd;
}

static void ask(int fd)
{
    static const uint8_t everything[10] = { 3, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
    give(fd, everything, sizeof(everything));
}

/* Reads one update; each rectangle fits the largest picture there is. Returns whether one of them
 * was the whole picture as it is now. */
static bool update(const struct bed *b, int fd)
{
    static uint8_t pixels[CON_MAX_WIDTH * 4];
    const struct con *c = b->r->con;
    uint8_t head[12];
    bool whole = false;
    if (!take(b, fd, head, 4)) {
        fail_msg("the server hung up");
    }
    if (head[0] == 3) { /* clipboard; a negative length marks its extension */
        assert_true(take(b, fd, head + 4, 4));
        int32_t len = (int32_t)load_be32(head + 4);
        assert_true(abs(len) < (int)sizeof(pixels) && take(b, fd, pixels, (size_t)abs(len)));
        return false;
    }
    assert_int_equal(head[0], 0);
    for (unsigned n = load_be16(head + 2); n > 0; n--) {
        assert_true(take(b, fd, head, 12));
        unsigned x = load_be16(head), w = load_be16(head + 4), h = load_be16(head + 6);
        bool raw = load_be32(head + 8) == 0;
        assert_true(w > 0 && h > 0 && x + w <= CON_MAX_WIDTH && h <= CON_MAX_HEIGHT);
        whole = whole || (raw && w == c->width && h == c->height);
        for (unsigned y = 0; raw && y < h; y++) {
            assert_true(take(b, fd, pixels, (size_t)w * 4));
        }
    }
    return whole;
}

static void check_served(const struct bed *b, int fd)
{
    bool whole = false;
    for (unsigned tries = 0; !whole; tries++) {
        assert_true(tries < 40);
        ask(fd);
        whole = update(b, fd);
    }
}

/* CVE-2016-9603: the guest changes the picture's size while an update is on its way. */
static void test_picture_when_resized_under_an_update_then_rectangles_fit(void **state)
{
    struct bed b = bed_new();
    uint32_t seed = 42;
    int fd = join(&b);
    (void)state;
    for (unsigned i = 0; i < 30; i++) {
        ask(fd);
        ev_loop_turn(b.loop, 0);
        set(b.r, 0x3d4, 0x11, 0);
        set(b.r, 0x3d4, 0x01, 0x10 + rnd(&seed) % 0x50);
        set(b.r, 0x3d4, 0x12, 0x20 + rnd(&seed) % 0xd0);
        if (i % 5 == 0) {
            mode_set(b.r, i & 1 ? &mode_13 : &mode_03);
        }
        update(&b, fd);
        check_served(&b, fd);
    }
    close(fd);
    bed_free(&b);
}

static size_t resident_bytes(void)
{
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %zu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* CVE-2017-15124, CVE-2019-20382: a thousand pictures of 1.2 MB are asked for and never fetched. */
static void test_viewer_when_it_never_reads_then_memory_is_bounded(void **state)
{
    struct bed b = bed_new();
    int deaf = join(&b), good = join(&b);
    size_t before;
    (void)state;
    check_served(&b, good);
    before = resident_bytes();
    for (unsigned i = 0; i < 1000; i++) {
        ask(deaf);
        mem_write(b.r, 0xa0000 + i * 8, 8, i);
        if (i % 50 == 0) {
            check_served(&b, good);
        }
        ev_loop_turn(b.loop, 0);
    }
    assert_true(resident_bytes() < before + (64 << 20));
    close(deaf);
    check_served(&b, good);
    close(good);
    bed_free(&b);
}

/* CVE-2023-3354: a viewer that leaves in the middle of the handshake, at every byte of it. */
static void test_viewer_when_it_leaves_in_the_handshake_then_nothing_stays(void **state)
{
    struct bed b = bed_new();
    int good;
    (void)state;
    for (size_t n = 0; n <= HELLO; n++) {
        int fd = dial(&b);
        give(fd, hello, n);
        ev_loop_turn(b.loop, 2);
        close(fd);
    }
    for (int64_t end = ev_now_ns() + PATIENCE_NS; vnc_clients(b.v, NULL, 0) > 0;) {
        assert_true(ev_now_ns() < end);
        ev_loop_turn(b.loop, 5);
    }
    good = join(&b);
    check_served(&b, good);
    close(good);
    bed_free(&b);
}

/* CVE-2022-3165, CVE-2023-3255, CVE-2023-6683: lengths, formats and packed data of the extended
 * clipboard, which a negative length announces. */
static void test_viewer_when_its_clipboard_lies_then_only_it_is_dropped(void **state)
{
    static const struct {
        uint32_t len;
        uint8_t data[24];
    } lies[] = {
        { 0xffffffff, { 1 } },                                     /* shorter than its flags */
        { 0xfffffffd, { 1, 0, 0 } },                               /* by one byte */
        { 0x80000000, { 0x10, 0, 0, 1 } },                         /* no positive counterpart */
        { 0xfffffffc, { 0x10, 0, 0, 1 } },                         /* provides nothing at all */
        { 0xfffffff4, { 0x10, 0, 0, 1, 0x78, 0x9c, 0xff, 0xff } }, /* not a zlib stream */
        { 0xffffffec, { 0x10, 0, 0, 1, 0x78, 0x9c, 0xfb, 0xff } }, /* a stream that ends */
        { 0xfffffffc, { 0x02, 0, 0, 1 } },                         /* asks before it was offered */
        { 0xfffffffc, { 0xff, 0xff, 0xff, 0xff } },                /* everything at once */
        { 0xfffffff8, { 0x01, 0, 0, 1, 0xff, 0xff, 0xff, 0xff } }, /* 4 GB are welcome */
        { 0x7fffffff, { 0 } },
    };
    struct bed b = bed_new();
    int good = join(&b);
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(lies); i++) {
        uint8_t msg[8 + 24] = { 6 };
        int fd = join(&b);
        store_be32(msg + 4, lies[i].len);
        memcpy(msg + 8, lies[i].data, sizeof(lies[i].data));
        give(fd, msg, sizeof(msg));
        check_served(&b, good);
        close(fd);
    }
    check_served(&b, good);
    close(good);
    bed_free(&b);
}

/* What LibVNCServer would take but no viewer of a guest needs: chat, scaling, input locks. */
static void test_viewer_when_it_sends_what_nobody_needs_then_it_is_dropped(void **state)
{
    static const uint8_t unneeded[][12] = {
        { 11, 0, 0, 0, 0, 0, 0, 4, 'a', 'b', 'c', 'd' },
        { 11, 0, 0, 0, 0xff, 0xff, 0xff, 0xff },
        { 8, 2 },
        { 15, 2 },
        { 9, 1 },
        { 10, 1 },
        { 7, 2 },
        { 255, 1 },
    };
    struct bed b = bed_new();
    int good = join(&b);
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(unneeded); i++) {
        uint8_t rest[256];
        int fd = join(&b);
        give(fd, unneeded[i], sizeof(unneeded[i]));
        while (take(&b, fd, rest, 1)) {
        }
        close(fd);
        check_served(&b, good);
    }
    close(good);
    bed_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_screen_when_lines_begin_beyond_memory_then_they_wrap),
        cmocka_unit_test(test_picture_when_resized_under_an_update_then_rectangles_fit),
        cmocka_unit_test(test_viewer_when_it_never_reads_then_memory_is_bounded),
        cmocka_unit_test(test_viewer_when_it_leaves_in_the_handshake_then_nothing_stays),
        cmocka_unit_test(test_viewer_when_its_clipboard_lies_then_only_it_is_dropped),
        cmocka_unit_test(test_viewer_when_it_sends_what_nobody_needs_then_it_is_dropped),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("hostile-display", tests, NULL, NULL);
}
