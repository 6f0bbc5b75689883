/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-nbd.c - hostile NBD peers: a client at Keel's server, a server at Keel's client.
 *
 * The first byte chooses the side and how much of an honest beginning comes before the input.
 */
#include "block/nbd-proto.h"
#include "block/nbd-server.h"
#include "block/tls.h"
#include "block/nbd.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"
#include "tests/unit/ram-node.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct peer {
    const uint8_t *head, *data;
    size_t head_len, len;
    int listener;
};

static char path[64];

static void send_all(int fd, const void *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, (const char *)data + at, len - at, MSG_NOSIGNAL);
        if (n <= 0) {
            return;
        }
        at += (size_t)n;
    }
}

/* Takes one connection, says its piece, and listens no more. */
static void *play(void *opaque)
{
    const struct peer *p = opaque;
    char sink[4096];
    int fd = p->listener < 0 ? socket(AF_UNIX, SOCK_STREAM, 0) : accept(p->listener, NULL, NULL);
    struct sockaddr_un un = { .sun_family = AF_UNIX };

    strcpy(un.sun_path, path);
    if (fd >= 0 && (p->listener >= 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)) {
        send_all(fd, p->head, p->head_len);
        send_all(fd, p->data, p->len);
        shutdown(fd, SHUT_WR);
        while (read(fd, sink, sizeof(sink)) > 0) {
        }
    }
    close(fd);
    return NULL;
}

static int listen_here(void)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(path, sizeof(path), "/tmp/keel-fuzz-nbd.%d", (int)getpid());
    unlink(path);
    strcpy(un.sun_path, path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 || listen(fd, 8) < 0) {
        abort();
    }
    return fd;
}

static void client_gone(void *opaque, unsigned left)
{
    (void)left;
    ev_quit(opaque);
}

/* Keys of a server that wants TLS. */
static struct tls_creds *some_keys(void)
{
    static struct tls_creds *creds;
    char dir[] = "/tmp/keel-fuzz-XXXXXX", file[64];
    struct err e = { 0 };

    if (!creds && mkdtemp(dir)) {
        snprintf(file, sizeof(file), "%s/keys.psk", dir);
        FILE *f = fopen(file, "w");
        fputs("qemu:00112233445566778899aabbccddeeff\n", f);
        fclose(f);
        creds = tls_creds_new(
            &(struct tls_open){ .id = "keys", .dir = dir, .server = true, .psk = true }, &e);
        unlink(file);
        rmdir(dir);
    }
    return creds;
}

/* Its client says: flags, GO for the export without a name, then the input. */
static void at_the_server(unsigned how, const uint8_t *data, size_t size)
{
    uint8_t head[4 + 16 + 16 + 6] = { 0 };
    struct peer p = { .head = head, .data = data, .len = size, .listener = -1 };
    struct ev_loop *loop = ev_loop_new(NULL, NULL, NULL);
    struct node_ctx *ctx = node_ctx_new(loop);
    struct nbd_server_open o = { .gone = client_gone,
                                 .opaque = loop,
                                 .tls = how & 8 ? some_keys() : NULL };
    struct nbd_server *s = nbd_server_new(loop, &o);
    struct node *n = ram_node_new(ctx, NULL, 65536);
    pthread_t t;

    node_ctx_no_threads(ctx);
    n->growable = false;
    store_be32(head, 3);
    store_be64(head + 4, NBD_OPTS_MAGIC);
    store_be32(head + 12, NBD_OPT_STRUCTURED_REPLY);
    store_be64(head + 20, NBD_OPTS_MAGIC);
    store_be32(head + 28, NBD_OPT_GO);
    store_be32(head + 32, 6);
    p.head_len = (size_t[]){ 0, 4, 20, sizeof(head) }[how & 3];
    if (o.tls && (how & 3) == 2) {
        store_be32(head + 12, NBD_OPT_STARTTLS); /* the input is a handshake */
    }
    nbd_server_export(s, &(struct nbd_export){ .node = n, .name = "", .depth = true });
    nbd_server_listen(s, listen_here());
    pthread_create(&t, NULL, play, &p);
    ev_loop_run(loop);
    nbd_server_free(s);
    pthread_join(t, NULL);
    node_close(n);
    node_ctx_free(ctx);
    ev_loop_free(loop);
}

static void use(struct node *n)
{
    static uint8_t buf[65536];
    uint64_t len = min_u64(n->len, sizeof(buf));
    struct node_status st;

    node_read(n, 0, buf, len);
    if (n->len) {
        node_status(n, 0, n->len, &st);
    }
    node_write(n, 0, buf, len);
    node_rw(n, NODE_ZERO, 0, NULL, len, 0);
    node_flush(n);
}

/* Its server says: greeting, agreement to structured replies and status, export; then the input. */
static void at_the_client(unsigned how, const uint8_t *data, size_t size)
{
    static const uint8_t words[] =
        "NBDMAGICIHAVEOPT\0\3"
        "\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\x08\0\0\0\1\0\0\0\0"
        "\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\x0a\0\0\0\4\0\0\0\x13\0\0\0\1base:allocation"
        "\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\x0a\0\0\0\1\0\0\0\0"
        "\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\x07\0\0\0\3\0\0\0\x0c\0\0\0\0\0\0\0\1\0\0\0\x6d"
        "\0\3\xe8\x89\x04\x55\x65\xa9\0\0\0\x07\0\0\0\1\0\0\0\0";
    struct peer p = { .head = words, .data = data, .len = size };
    struct node_ctx *ctx = node_ctx_new(NULL);
    char address[128];
    struct nbd_open o = { .address = address };
    struct err e = { 0 };
    pthread_t t;

    p.head_len = (size_t[]){ 0, 18, 38, sizeof(words) - 1 }[how & 3];
    p.listener = listen_here();
    snprintf(address, sizeof(address), "nbd:unix:%s", path);
    pthread_create(&t, NULL, play, &p);
    struct node *n = nbd_open(ctx, &o, &e);
    if (n) {
        use(n);
    }
    node_close(n);
    pthread_join(t, NULL);
    close(p.listener);
    node_ctx_free(ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_set_level(-1);
    if (size) {
        (data[0] & 4 ? at_the_client : at_the_server)(data[0], data + 1, size - 1);
        unlink(path);
    }
    return 0;
}
