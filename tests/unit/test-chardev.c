/* SPDX-License-Identifier: MIT */
/* tests/unit/test-chardev.c - the back ends, driven through their device side and a real host. */
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"
#include "dm/chardev/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

/* A device that takes up to `room` bytes and remembers what happened to it. */
struct dev_end {
    struct chr *c;
    size_t room;
    char got[70000];
    size_t len;
    unsigned opened, closed, writables;
};

static size_t end_can_read(void *opaque)
{
    struct dev_end *d = opaque;
    return d->room - d->len;
}

static void end_read(void *opaque, const uint8_t *buf, size_t len)
{
    struct dev_end *d = opaque;
    assert_true(len <= d->room - d->len);
    memcpy(d->got + d->len, buf, len);
    d->len += len;
}

static void end_writable(void *opaque)
{
    ((struct dev_end *)opaque)->writables++;
}

static void end_event(void *opaque, enum chr_event e)
{
    struct dev_end *d = opaque;
    d->opened += e == CHR_OPENED;
    d->closed += e == CHR_CLOSED;
}

static const struct chr_handlers end_handlers = {
    .can_read = end_can_read, .read = end_read, .writable = end_writable, .event = end_event
};

static struct ev_loop *loop;
static char dir[64];

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test-chardev-XXXXXX");
    loop = ev_loop_new(NULL, NULL, NULL);
    return mkdtemp(dir) && loop ? 0 : -1;
}

static int tear_down(void **state)
{
    char *cmd = xasprintf("rm -rf %s", dir);
    (void)state;
    ev_loop_free(loop);
    assert_int_equal(system(cmd), 0);
    free(cmd);
    return 0;
}

static void turns(int n)
{
    while (n-- > 0) {
        ev_loop_turn(loop, 20);
    }
}

/* Turns until cond, five seconds at most. */
#define TURN_UNTIL(cond)                                                                           \
    do {                                                                                           \
        int64_t end_ = ev_now_ns() + 5000000000ll;                                                 \
        while (!(cond) && ev_now_ns() < end_) {                                                    \
            ev_loop_turn(loop, 50);                                                                \
        }                                                                                          \
        assert_true(cond);                                                                         \
    } while (0)

static struct chr *make(const char *id, const char *spec)
{
    struct err e = { 0 };
    struct chr *c = chardev_new(loop, id, spec, &e);
    if (!c) {
        fail_msg("%s: %s", spec, e.msg);
    }
    return c;
}

static void refused(const char *spec, int code, const char *word)
{
    struct err e = { 0 };
    assert_null(chardev_new(loop, "x", spec, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.msg, word)) {
        fail_msg("'%s' does not name '%s'", e.msg, word);
    }
}

static struct dev_end *plug(struct chr *c, size_t room)
{
    struct dev_end *d = xcalloc(1, sizeof(*d));
    d->c = c;
    d->room = room;
    chr_attach(c, &end_handlers, d);
    return d;
}

static void unplug(struct dev_end *d)
{
    chr_attach(d->c, NULL, NULL);
    chr_free(d->c);
    free(d);
}

static void file_is(const char *path, const char *text)
{
    char buf[256] = "";
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(buf, 1, sizeof(buf) - 1, f) < sizeof(buf));
    fclose(f);
    assert_string_equal(buf, text);
}

static int unix_connect(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(un.sun_path, path, sizeof(un.sun_path) - 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    return fd;
}

static void test_chardev_file_truncates_and_appends(void **state)
{
    char *spec = xasprintf("file:%s/a,b", dir), *path = xasprintf("%s/a,b", dir);
    char *opts = xasprintf("file,id=f,path=%s/a,,b,append=on,logfile=%s/log", dir, dir);
    char *log = xasprintf("%s/log", dir);
    struct chr *c = make("serial0", spec);
    (void)state;
    assert_string_equal(c->filename, "file");
    assert_string_equal(c->id, "serial0");
    assert_int_equal(chr_write(c, "one ", 4), 4);
    chr_free(c);
    c = make(NULL, opts);
    assert_string_equal(c->id, "f");
    assert_int_equal(chr_write(c, "two", 3), 3);
    chr_free(c);
    file_is(path, "one two");
    file_is(log, "two");
    chr_free(make("serial0", spec));
    file_is(path, "");
    free(spec);
    free(path);
    free(opts);
    free(log);
}

static void test_chardev_file_at_its_size_limit_drops_bytes(void **state)
{
    struct rlimit old, small = { 4, RLIM_INFINITY };
    char *spec = xasprintf("file:%s/f", dir), *path = xasprintf("%s/f", dir);
    struct chr *c = make("serial0", spec);
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(chr_write(c, "1234", 4), 4);
    assert_int_equal(chr_write(c, "5678", 4), 4);
    assert_int_equal(chr_write(c, "9", 1), 1);
    setrlimit(RLIMIT_FSIZE, &old);
    file_is(path, "1234");
    chr_free(c);
    free(spec);
    free(path);
}

static void test_chardev_null_takes_everything(void **state)
{
    struct chr *c = make("serial0", "null");
    (void)state;
    assert_string_equal(c->filename, "null");
    assert_int_equal(chr_write(c, "abc", 3), 3);
    chr_free(c);
    c = make("serial0", "/dev/null");
    assert_string_equal(c->filename, "null");
    chr_free(c);
}

static int open_slave(const struct chr *c)
{
    assert_memory_equal(c->filename, "pty:/dev/pts/", 13);
    int fd = open(c->filename + 4, O_RDWR | O_NOCTTY | O_NONBLOCK);
    assert_true(fd >= 0);
    return fd;
}

static void test_chardev_pty_carries_raw_bytes_both_ways(void **state)
{
    struct chr *c = make("serial0", "pty");
    struct dev_end *d = plug(c, 1000);
    char buf[64];
    int slave;
    (void)state;
    assert_false(c->open);
    assert_int_equal(chr_write(c, "early\r\n", 7), 7); /* kept until somebody looks */
    slave = open_slave(c);
    TURN_UNTIL(d->opened == 1);
    assert_int_equal(read(slave, buf, sizeof(buf)), 7);
    assert_memory_equal(buf, "early\r\n", 7);
    assert_int_equal(write(slave, "in\r\x03\xff", 5), 5);
    TURN_UNTIL(d->len == 5);
    assert_memory_equal(d->got, "in\r\x03\xff", 5);
    assert_int_equal(chr_write(c, "out\n", 4), 4);
    assert_int_equal(read(slave, buf, sizeof(buf)), 4);
    assert_memory_equal(buf, "out\n", 4);
    close(slave);
    TURN_UNTIL(d->closed == 1);
    slave = open_slave(c);
    TURN_UNTIL(d->opened == 2);
    assert_int_equal(write(slave, "x", 1), 1);
    TURN_UNTIL(d->len == 6);
    close(slave);
    unplug(d);
}

static void test_chardev_pty_reads_what_a_short_visitor_left(void **state)
{
    struct dev_end *d = plug(make("serial0", "pty"), 100);
    int slave = open_slave(d->c);
    (void)state;
    assert_int_equal(write(slave, "hi", 2), 2);
    close(slave);
    TURN_UNTIL(d->len == 2 && d->closed == 1);
    unplug(d);
}

/* Bytes written until the pty is full and stays so: the kernel moves what it has to the other side on a thread of
 * its own, and may have room again. */
static long fill_pty(struct dev_end *d)
{
    static const char buf[4096];
    long total = 0;
    for (bool full = false; !full;) {
        long n = 1;
        for (int i = 0; i < 100 && n > 0; i++) {
            n = chr_write(d->c, buf, sizeof(buf));
            total += n;
        }
        assert_int_equal(n, 0);
        d->writables = 0;
        turns(2);
        full = d->writables == 0;
    }
    return total;
}

static void test_chardev_pty_full_holds_back_a_reader_and_drops_for_nobody(void **state)
{
    struct dev_end *d = plug(make("serial0", "pty"), 100);
    char buf[4096] = "";
    long n, total;
    int slave;
    (void)state;
    for (int i = 0; i < 100; i++) { /* far more than the kernel keeps */
        assert_int_equal(chr_write(d->c, buf, sizeof(buf)), sizeof(buf));
    }
    slave = open_slave(d->c);
    TURN_UNTIL(d->opened == 1);
    while (read(slave, buf, sizeof(buf)) > 0) {
    }
    total = fill_pty(d);
    while (total > 0) {
        n = read(slave, buf, sizeof(buf));
        total -= n > 0 ? n : 0;
        ev_loop_turn(loop, 0);
    }
    TURN_UNTIL(d->writables > 0);
    close(slave);
    unplug(d);
}

static void test_chardev_pty_idle_wakes_up_at_most_twice_a_second(void **state)
{
    struct dev_end *d = plug(make("serial0", "pty"), 100);
    uint64_t before;
    int64_t end = ev_now_ns() + 2000000000ll;
    (void)state;
    before = ev_wakeups(loop);
    while (ev_now_ns() < end) {
        ev_loop_turn(loop, 2000);
    }
    assert_true(ev_wakeups(loop) - before <= 4);
    unplug(d);
}

static void test_chardev_unix_server_serves_one_peer_after_another(void **state)
{
    char *path = xasprintf("%s/sock", dir);
    char *spec = xasprintf("socket,id=libxl-cmd,path=%s,server=on,wait=off", path);
    char *here = xasprintf("unix:%s,server=on", path);
    char *gone = xasprintf("disconnected:unix:%s,server=on", path);
    struct dev_end *d = plug(make(NULL, spec), 1000);
    char buf[16];
    int a, b;
    (void)state;
    assert_string_equal(d->c->filename, gone);
    for (unsigned round = 1; round <= 50; round++) {
        a = unix_connect(path);
        TURN_UNTIL(d->opened == round);
        assert_string_equal(d->c->filename, here);
        assert_int_equal(write(a, "q", 1), 1);
        TURN_UNTIL(d->len == round);
        assert_int_equal(chr_write(d->c, "answer", 6), 6);
        assert_int_equal(read(a, buf, sizeof(buf)), 6);
        close(a);
        TURN_UNTIL(d->closed == round);
        assert_string_equal(d->c->filename, gone);
    }
    d->len = 0;
    a = unix_connect(path); /* the second waits for its turn */
    b = unix_connect(path);
    assert_int_equal(write(b, "second", 6), 6);
    assert_int_equal(write(a, "first", 5), 5);
    TURN_UNTIL(d->len == 5);
    turns(3);
    assert_int_equal(d->len, 5);
    close(a);
    TURN_UNTIL(d->len == 11);
    assert_memory_equal(d->got, "firstsecond", 11);
    d->c->ops->disconnect(d->c);
    assert_false(d->c->open);
    assert_int_equal(read(b, buf, sizeof(buf)), 0);
    close(b);
    unplug(d);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
    free(spec);
    free(here);
    free(gone);
}

/* The connection waits in the backlog until there is a descriptor for it. */
static void test_chardev_out_of_descriptors_accepts_later(void **state)
{
    char *path = xasprintf("%s/sock", dir);
    char *spec = xasprintf("socket,id=c,path=%s,server=on,wait=off", path);
    struct dev_end *d = plug(make(NULL, spec), 1000);
    int a = unix_connect(path), next = dup(a);
    struct rlimit was, none;
    (void)state;
    close(next);
    getrlimit(RLIMIT_NOFILE, &was);
    none = was;
    none.rlim_cur = (rlim_t)next;
    setrlimit(RLIMIT_NOFILE, &none);
    uint64_t before = ev_wakeups(loop);
    turns(10);
    assert_true(ev_wakeups(loop) - before < 30); /* no spinning */
    assert_int_equal(d->opened, 0);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_int_equal(write(a, "late", 4), 4);
    TURN_UNTIL(d->len == 4);
    close(a);
    TURN_UNTIL(d->closed == 1);
    unplug(d);
    free(path);
    free(spec);
}

static void test_chardev_full_device_leaves_bytes_with_the_peer(void **state)
{
    char *spec = xasprintf("unix:%s/s,server,nowait", dir), *path = xasprintf("%s/s", dir);
    struct dev_end *d = plug(make("serial0", spec), 4);
    uint64_t before;
    int a = unix_connect(path);
    (void)state;
    assert_int_equal(write(a, "abcdefgh", 8), 8);
    TURN_UNTIL(d->len == 4);
    close(a); /* hung up while the device is full: neither lost nor spun over */
    before = ev_wakeups(loop);
    for (int64_t end = ev_now_ns() + 200000000; ev_now_ns() < end;) {
        ev_loop_turn(loop, 50);
    }
    assert_true(ev_wakeups(loop) - before <= 10);
    assert_int_equal(d->closed, 0);
    d->len = 0;
    chr_kick(d->c);
    TURN_UNTIL(d->len == 4);
    assert_memory_equal(d->got, "efgh", 4);
    d->len = 0;
    chr_kick(d->c);
    TURN_UNTIL(d->closed == 1);
    unplug(d);
    free(spec);
    free(path);
}

static void send_fds(int sock, const int *fds, size_t n)
{
    char space[CMSG_SPACE(sizeof(int) * 20)] = "";
    struct iovec iov = { (void *)"{", 1 };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = space,
                          .msg_controllen = CMSG_SPACE(sizeof(int) * n) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    assert_int_equal(sendmsg(sock, &msg, 0), 1);
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void test_chardev_passed_descriptors_queue_up(void **state)
{
    char *spec = xasprintf("unix:%s/s,server=on,wait=off", dir), *path = xasprintf("%s/s", dir);
    struct dev_end *d = plug(make("m", spec), 100);
    int many[20], a, fd;
    unsigned before;
    struct stat st, null_st;
    (void)state;
    a = unix_connect(path);
    TURN_UNTIL(d->c->open);
    before = open_fds();
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        many[i] = open("/dev/null", O_RDONLY);
    }
    send_fds(a, many, 2);
    send_fds(a, many, 1);
    TURN_UNTIL(d->len == 2);
    stat("/dev/null", &null_st);
    for (int i = 0; i < 3; i++) {
        fd = d->c->ops->take_fd(d->c);
        assert_true(fd >= 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_rdev, null_st.st_rdev);
        close(fd);
    }
    assert_int_equal(d->c->ops->take_fd(d->c), -1);
    send_fds(a, many, 20); /* more than anybody may leave lying about */
    send_fds(a, many, 20);
    TURN_UNTIL(d->len == 4);
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        close(many[i]);
    }
    assert_true(open_fds() <= before + 16);
    close(a);
    TURN_UNTIL(!d->c->open);
    assert_true(open_fds() <= before);
    unplug(d);
    free(spec);
    free(path);
}

static void test_chardev_fd_server_takes_a_connection_already_waiting(void **state)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), a;
    char *path = xasprintf("%s/pre", dir), *spec, *here;
    struct dev_end *d;
    (void)state;
    strncpy(un.sun_path, path, sizeof(un.sun_path) - 1);
    assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(listener, 1), 0);
    a = unix_connect(path);
    assert_int_equal(write(a, "hello", 5), 5);
    spec = xasprintf("socket,id=libxl-cmd,fd=%d,server=on,wait=off", listener);
    here = xasprintf("unix:%s,server=on", path);
    d = plug(make(NULL, spec), 100);
    TURN_UNTIL(d->len == 5);
    assert_string_equal(d->c->filename, here);
    close(a);
    TURN_UNTIL(d->closed == 1);
    a = unix_connect(path);
    TURN_UNTIL(d->opened == 2);
    close(a);
    unplug(d);
    assert_int_equal(access(path, F_OK), 0); /* not ours to remove */
    free(path);
    free(spec);
    free(here);
}

static void test_chardev_tcp_server_and_client_meet(void **state)
{
    char *spec;
    struct chr *s = NULL, *c;
    struct dev_end *ds, *dc;
    unsigned port;
    (void)state;
    for (port = 45000 + (unsigned)getpid() % 10000; !s; port++) {
        spec = xasprintf("tcp:127.0.0.1:%u,server=on,wait=off,nodelay", port);
        s = chardev_new(loop, "serial0", spec, NULL);
        free(spec);
    }
    port--;
    spec = xasprintf("disconnected:tcp:127.0.0.1:%u,server=on", port);
    assert_string_equal(s->filename, spec);
    free(spec);
    spec = xasprintf("socket,id=c,host=127.0.0.1,port=%u", port);
    c = make(NULL, spec);
    free(spec);
    ds = plug(s, 100);
    dc = plug(c, 100);
    TURN_UNTIL(ds->opened == 1);
    spec = xasprintf("tcp:127.0.0.1:%u,server=on <-> 127.0.0.1:", port);
    assert_memory_equal(s->filename, spec, strlen(spec));
    free(spec);
    assert_int_equal(chr_write(c, "ping", 4), 4);
    TURN_UNTIL(ds->len == 4);
    assert_int_equal(chr_write(s, "pong", 4), 4);
    TURN_UNTIL(dc->len == 4);
    unplug(ds);
    TURN_UNTIL(dc->closed == 1);
    unplug(dc);
}

static void test_chardev_pipe_uses_two_fifos(void **state)
{
    char *spec = xasprintf("pipe:%s/p", dir);
    char *in = xasprintf("%s/p.in", dir), *out = xasprintf("%s/p.out", dir), buf[8];
    struct dev_end *d;
    int w, r;
    (void)state;
    refused(spec, -ENOENT, "/p:");
    assert_int_equal(mkfifo(in, 0600) | mkfifo(out, 0600), 0);
    d = plug(make("serial0", spec), 100);
    w = open(in, O_WRONLY);
    r = open(out, O_RDONLY);
    assert_int_equal(write(w, "abc", 3), 3);
    TURN_UNTIL(d->len == 3);
    assert_int_equal(chr_write(d->c, "de", 2), 2);
    assert_int_equal(read(r, buf, sizeof(buf)), 2);
    close(w);
    close(r);
    unplug(d);
    free(spec);
    free(in);
    free(out);
}

static void test_chardev_says_what_is_wrong_with_a_spec(void **state)
{
    (void)state;
    refused("telnet:localhost:1,server", -ENOTSUP, "telnet");
    refused("vc", -ENOTSUP, "vc");
    refused("vc:80Cx24C", -ENOTSUP, "vc");
    refused("mon:stdio", -ENOTSUP, "mon");
    refused("/dev/ttyS0", -ENOTSUP, "/dev/ttyS0");
    refused("nonsense", -EINVAL, "nonsense");
    refused("", -EINVAL, "kind");
    refused("file:", -EINVAL, "path");
    refused("file:/nonexistent/x", -ENOENT, "/nonexistent/x");
    refused("tcp:nowhere", -EINVAL, "host:port");
    refused("unix:,server=on", -EINVAL, "path");
    refused("unix:/tmp/x,server=maybe", -EINVAL, "server");
    refused("unix:/nonexistent/x", -ENOENT, "/nonexistent/x");
    refused("pty,colour=red", -EINVAL, "colour");
    refused("socket,id=a", -EINVAL, "path");
    refused("socket,id=a,fd=9999,server=on", -EBADF, "fd=9999");
    refused("socket,id=a,fd=0,server=on", -ENOTSOCK, "fd=0");
    refused("null,logfile=/nonexistent/x", -ENOENT, "logfile");
    assert_null(chardev_new(loop, NULL, "null", NULL));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_chardev_file_truncates_and_appends),
        TEST(test_chardev_file_at_its_size_limit_drops_bytes),
        TEST(test_chardev_null_takes_everything),
        TEST(test_chardev_pty_carries_raw_bytes_both_ways),
        TEST(test_chardev_pty_reads_what_a_short_visitor_left),
        TEST(test_chardev_pty_full_holds_back_a_reader_and_drops_for_nobody),
        TEST(test_chardev_pty_idle_wakes_up_at_most_twice_a_second),
        TEST(test_chardev_unix_server_serves_one_peer_after_another),
        TEST(test_chardev_out_of_descriptors_accepts_later),
        TEST(test_chardev_full_device_leaves_bytes_with_the_peer),
        TEST(test_chardev_passed_descriptors_queue_up),
        TEST(test_chardev_fd_server_takes_a_connection_already_waiting),
        TEST(test_chardev_tcp_server_and_client_meet),
        TEST(test_chardev_pipe_uses_two_fifos),
        TEST(test_chardev_says_what_is_wrong_with_a_spec),
    };
    return cmocka_run_group_tests_name("chardev", tests, NULL, NULL);
}
