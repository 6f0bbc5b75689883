/* SPDX-License-Identifier: MIT */
/* block/tls.c - TLS on a stream socket: credentials, handshakes, and the thread that passes bytes on.
 *
 *   plain socket -> up   -> gnutls_record_send -> connection
 *   plain socket <- down <- gnutls_record_recv <- connection
 *
 * Neither direction waits for the other, or both ends could wait for each other.
 */
#include "block/tls.h"

#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 64 << 10, HELLO_MS = 30000, MAX_KEYS = 1 << 20 };

struct tls_creds {
    unsigned shares; /* atomic */
    bool server, psk, any_peer;
    char *id, *priority, *keys_file;
    gnutls_certificate_credentials_t x509;
    gnutls_psk_client_credentials_t psk_client;
    gnutls_psk_server_credentials_t psk_server;
};

/* ---- credentials ---- */

static int refused(const struct tls_open *o, const char *what, int ret, struct err *e)
{
    return err_set(e, -EINVAL, "object '%s': %s: %s", o->id, what, gnutls_strerror(ret));
}

/* dir/name if it is there; malloc'd. */
static char *file_in(const struct tls_open *o, const char *name)
{
    char *path = xasprintf("%s/%s", o->dir, name);

    if (access(path, R_OK) < 0) {
        free(path);
        return NULL;
    }
    return path;
}

static int missing(const struct tls_open *o, const char *name, struct err *e)
{
    return err_set(e, -ENOENT, "object '%s': '%s/%s' cannot be read", o->id, o->dir, name);
}

static int load_own(struct tls_creds *c, const struct tls_open *o, struct err *e)
{
    const char *side = o->server ? "server" : "client";
    char name[32];

    snprintf(name, sizeof(name), "%s-cert.pem", side);
    char *cert = file_in(o, name);
    snprintf(name, sizeof(name), "%s-key.pem", side);
    char *key = file_in(o, name);
    int ret = 0;

    if ((o->server || cert) && (!cert || !key)) {
        snprintf(name, sizeof(name), "%s-%s.pem", side, cert ? "key" : "cert");
        ret = missing(o, name, e);
    } else if (cert) {
        ret = gnutls_certificate_set_x509_key_file2(c->x509, cert, key, GNUTLS_X509_FMT_PEM,
                                                    o->password, 0);
        ret = ret < 0 ? refused(o, cert, ret, e) : 0;
    }
    free(cert);
    free(key);
    return ret;
}

static int load_x509(struct tls_creds *c, const struct tls_open *o, struct err *e)
{
    char *ca = file_in(o, "ca-cert.pem"), *crl = file_in(o, "ca-crl.pem");
    int ret = gnutls_certificate_allocate_credentials(&c->x509);

    if (ret < 0) {
        ret = refused(o, "no memory", ret, e);
    } else if (!ca && (!o->server || !o->any_peer)) {
        ret = missing(o, "ca-cert.pem", e);
    } else if (ca) {
        ret = gnutls_certificate_set_x509_trust_file(c->x509, ca, GNUTLS_X509_FMT_PEM);
        ret = ret <= 0 ? refused(o, ca, ret ? ret : GNUTLS_E_NO_CERTIFICATE_FOUND, e) : 0;
    }
    if (ret == 0 && crl) {
        ret = gnutls_certificate_set_x509_crl_file(c->x509, crl, GNUTLS_X509_FMT_PEM);
        ret = ret < 0 ? refused(o, crl, ret, e) : 0;
    }
    free(ca);
    free(crl);
    return ret < 0 ? ret : load_own(c, o, e);
}

/* The user's line, "NAME:HEX", of keys.psk. */
static int load_user_key(struct tls_creds *c, const struct tls_open *o, struct err *e)
{
    const char *user = o->username ? o->username : "qemu";
    size_t len = strlen(user);
    FILE *f = fopen(c->keys_file, "re");
    char line[4096];
    int ret = -ENOENT;

    while (f && ret == -ENOENT && fgets(line, sizeof(line), f)) {
        if (strncmp(line, user, len) == 0 && line[len] == ':') {
            line[strcspn(line, "\r\n")] = '\0';
            gnutls_datum_t key = { (void *)(line + len + 1), (unsigned)strlen(line + len + 1) };
            ret = gnutls_psk_set_client_credentials(c->psk_client, user, &key, GNUTLS_PSK_KEY_HEX);
            ret = ret < 0 ? refused(o, c->keys_file, ret, e) : 0;
        }
    }
    if (f) {
        fclose(f);
    }
    explicit_bzero(line, sizeof(line));
    return ret == -ENOENT ? err_set(e, ret, "object '%s': '%s' has no key of username=%s", o->id,
                                    c->keys_file, user)
                          : ret;
}

static int load_psk(struct tls_creds *c, const struct tls_open *o, struct err *e)
{
    int ret;

    c->keys_file = file_in(o, "keys.psk");
    if (!c->keys_file) {
        return missing(o, "keys.psk", e);
    }
    if (!o->server) {
        ret = gnutls_psk_allocate_client_credentials(&c->psk_client);
        return ret < 0 ? refused(o, "no memory", ret, e) : load_user_key(c, o, e);
    }
    ret = gnutls_psk_allocate_server_credentials(&c->psk_server);
    ret = ret < 0 ? ret : gnutls_psk_set_server_credentials_file(c->psk_server, c->keys_file);
    return ret < 0 ? refused(o, c->keys_file, ret, e) : 0;
}

struct tls_creds *tls_creds_new(const struct tls_open *o, struct err *e)
{
    struct tls_creds *c = xcalloc(1, sizeof(*c));
    const char *at = NULL;

    c->shares = 1;
    c->id = xstrdup(o->id);
    c->server = o->server;
    c->psk = o->psk;
    c->any_peer = o->any_peer;
    c->priority = xasprintf("%s%s", o->priority ? o->priority : "NORMAL",
                            o->psk ? ":+ECDHE-PSK:+DHE-PSK:+PSK" : "");
    gnutls_priority_t known;
    int ret = gnutls_priority_init(&known, c->priority, &at);
    if (ret < 0) {
        err_set(e, -EINVAL, "object '%s': priority=%s: %s", o->id, o->priority,
                gnutls_strerror(ret));
    } else {
        gnutls_priority_deinit(known);
        ret = o->psk ? load_psk(c, o, e) : load_x509(c, o, e);
    }
    if (ret < 0) {
        tls_creds_free(c);
        return NULL;
    }
    return c;
}

struct tls_creds *tls_creds_share(struct tls_creds *c)
{
    __atomic_add_fetch(&c->shares, 1, __ATOMIC_RELAXED);
    return c;
}

void tls_creds_free(struct tls_creds *c)
{
    if (!c || __atomic_sub_fetch(&c->shares, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    if (c->x509) {
        gnutls_certificate_free_credentials(c->x509);
    }
    if (c->psk_client) {
        gnutls_psk_free_client_credentials(c->psk_client);
    }
    if (c->psk_server) {
        gnutls_psk_free_server_credentials(c->psk_server);
    }
    free(c->id);
    free(c->priority);
    free(c->keys_file);
    free(c);
}

bool tls_creds_server(const struct tls_creds *c)
{
    return c->server;
}

/* ---- one connection ---- */

struct stretch {
    uint8_t bytes[BUFFER];
    size_t at, len;
};

struct link {
    struct tls_creds *creds;
    gnutls_session_t session;
    int net, plain;
    struct stretch up, down;
};

static void link_free(struct link *k)
{
    if (k->session) {
        gnutls_deinit(k->session);
    }
    close(k->net);
    if (k->plain >= 0) {
        close(k->plain);
    }
    tls_creds_free(k->creds);
    explicit_bzero(k, sizeof(*k));
    free(k);
}

static int set_credentials(struct link *k)
{
    const struct tls_creds *c = k->creds;

    if (!c->psk) {
        return gnutls_credentials_set(k->session, GNUTLS_CRD_CERTIFICATE, c->x509);
    }
    return gnutls_credentials_set(k->session, GNUTLS_CRD_PSK,
                                  c->server ? (void *)c->psk_server : (void *)c->psk_client);
}

/* NULL: no memory; fd is closed. */
static struct link *link_new(int fd, struct tls_creds *c)
{
    struct link *k = calloc(1, sizeof(*k));
    struct timeval tv = { .tv_sec = HELLO_MS / 1000 };

    if (!k) {
        close(fd);
        return NULL;
    }
    k->creds = tls_creds_share(c);
    k->net = fd;
    k->plain = -1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK); /* until hands are shaken */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    if (gnutls_init(&k->session, (c->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_SIGNAL) <
            0 ||
        gnutls_priority_set_direct(k->session, c->priority, NULL) < 0 || set_credentials(k) < 0) {
        link_free(k);
        return NULL;
    }
    if (c->server && !c->psk) {
        gnutls_certificate_server_set_request(k->session, c->any_peer ? GNUTLS_CERT_REQUEST
                                                                      : GNUTLS_CERT_REQUIRE);
    }
    gnutls_transport_set_int(k->session, fd);
    gnutls_handshake_set_timeout(k->session, HELLO_MS);
    return k;
}

static int shake_hands(struct link *k, const char *host, struct err *e)
{
    const struct tls_creds *c = k->creds;
    unsigned status = 0;
    int ret;

    if (!c->psk && !c->any_peer) {
        gnutls_session_set_verify_cert(k->session, host, 0);
    }
    if (!c->server && host) {
        gnutls_server_name_set(k->session, GNUTLS_NAME_DNS, host, strlen(host));
    }
    do {
        ret = gnutls_handshake(k->session);
    } while (ret < 0 && !gnutls_error_is_fatal(ret));
    if (ret == 0) {
        return 0;
    }
    status = gnutls_session_get_verify_cert_status(k->session);
    gnutls_datum_t why = { 0 };
    if (ret == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR && status &&
        gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &why, 0) == 0) {
        ret = err_set(e, -EPROTO, "TLS: %.200s", (char *)why.data);
        gnutls_free(why.data);
        return ret;
    }
    return err_set(e, -EPROTO, "TLS handshake failed: %s", gnutls_strerror(ret));
}

/* Takes from the plain socket, gives to the connection. 1: something moved, 0: not now, -1: end. */
static int move_up(struct link *k)
{
    struct stretch *s = &k->up;
    ssize_t n;

    if (s->at == s->len) {
        n = recv(k->plain, s->bytes, BUFFER, MSG_DONTWAIT);
        if (n <= 0) {
            return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
        }
        s->at = 0;
        s->len = (size_t)n;
    }
    n = gnutls_record_send(k->session, s->bytes + s->at, s->len - s->at);
    if (n < 0) {
        return gnutls_error_is_fatal((int)n) ? -1 : 0;
    }
    s->at += (size_t)n;
    return 1;
}

static int move_down(struct link *k)
{
    struct stretch *s = &k->down;
    ssize_t n;

    if (s->at == s->len) {
        n = gnutls_record_recv(k->session, s->bytes, BUFFER);
        if (n <= 0) {
            return n < 0 && !gnutls_error_is_fatal((int)n) ? 0 : -1;
        }
        s->at = 0;
        s->len = (size_t)n;
    }
    n = send(k->plain, s->bytes + s->at, s->len - s->at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    s->at += (size_t)n;
    return 1;
}

static void pass_on(struct link *k)
{
    for (;;) {
        int up = move_up(k), down = move_down(k);

        if (up < 0 || down < 0) {
            return;
        }
        if (up || down) {
            continue;
        }
        bool to_net = k->up.at < k->up.len, to_plain = k->down.at < k->down.len;
        struct pollfd p[2] = {
            { .fd = k->net, .events = (short)((to_plain ? 0 : POLLIN) | (to_net ? POLLOUT : 0)) },
            { .fd = k->plain, .events = (short)((to_net ? 0 : POLLIN) | (to_plain ? POLLOUT : 0)) },
        };
        if (poll(p, 2, -1) < 0 && errno != EINTR) {
            return;
        }
        if ((p[0].revents | p[1].revents) & (POLLERR | POLLNVAL)) {
            return;
        }
        if (((p[0].revents & POLLHUP) && to_plain) || ((p[1].revents & POLLHUP) && to_net)) {
            return; /* one end is gone, and what it would still take from here nobody will get */
        }
    }
}

static void *link_run(void *opaque)
{
    struct link *k = opaque;
    struct err e = { 0 };

    if (k->creds->server && shake_hands(k, NULL, &e) < 0) {
        log_msg(LOG_INFO, "nbd", "a client: %s", e.msg);
    } else {
        fcntl(k->net, F_SETFL, fcntl(k->net, F_GETFL) | O_NONBLOCK);
        pass_on(k);
        gnutls_bye(k->session, GNUTLS_SHUT_WR);
    }
    link_free(k);
    return NULL;
}

/* Starts k's thread, which owns it from now on. The plain end, or -errno. Signals stay with the
 * threads that were there before. */
static int link_start(struct link *k)
{
    int fd[2], ret;
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0) {
        ret = -errno;
        link_free(k);
        return ret;
    }
    k->plain = fd[1];
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = -pthread_create(&thread, &attr, link_run, k);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (ret < 0) {
        link_free(k);
        close(fd[0]);
        return ret;
    }
    return fd[0];
}

int tls_client(int fd, struct tls_creds *c, const char *host, struct err *e)
{
    struct link *k;
    int ret;

    if (!c->psk && !c->any_peer && !host) {
        close(fd);
        return err_set(e, -EINVAL, "No hostname for certificate validation: tls-hostname=");
    }
    k = link_new(fd, c);
    if (!k) {
        return err_set(e, -ENOMEM, "TLS: no memory");
    }
    ret = shake_hands(k, host, e);
    if (ret < 0) {
        link_free(k);
        return ret;
    }
    ret = link_start(k);
    return ret < 0 ? err_set(e, ret, "TLS: %s", strerror(-ret)) : ret;
}

int tls_server(int fd, struct tls_creds *c)
{
    struct link *k = link_new(fd, c);
    int plain = k ? link_start(k) : -ENOMEM;

    if (plain >= 0) {
        fcntl(plain, F_SETFL, fcntl(plain, F_GETFL) | O_NONBLOCK);
    }
    return plain;
}
