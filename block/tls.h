/* SPDX-License-Identifier: MIT */
/* block/tls.h - TLS on a stream socket, through GnuTLS.
 *
 * What is said to a peer and what he says stays plain for whoever speaks to him: he gets one end of a
 * pair of sockets, and a thread at the other end passes on to the connection what it encrypts, and
 * back what it decrypts. The thread ends with either of the two connections.
 */
#ifndef BLOCK_TLS_H
#define BLOCK_TLS_H

#include <stdbool.h>

struct err;
struct tls_creds;

/* What certificates or shared keys there are: files in a directory, named as QEMU names them. */
struct tls_open {
    const char *id; /* for messages */
    const char
        *dir; /* x509: ca-cert.pem, ca-crl.pem, {server,client}-{cert,key}.pem; psk: keys.psk */
    bool server, psk;
    bool any_peer;        /* x509: whoever he is */
    const char *username; /* psk, of a client; NULL: "qemu" */
    const char *priority; /* of GnuTLS; NULL: its own */
    const char *password; /* x509, of the private key; NULL: it has none */
};

/* Reads the files. NULL with e. */
struct tls_creds *tls_creds_new(const struct tls_open *o, struct err *e);
struct tls_creds *tls_creds_share(struct tls_creds *c);
/* Gives a share up. NULL is fine. */
void tls_creds_free(struct tls_creds *c);
bool tls_creds_server(const struct tls_creds *c);

/* Shakes hands with a server, waiting for it. host: whom his certificate has to be for; NULL: any
 * that the authority signed, with any_peer alone. Takes fd, a connected socket. Returns the plain
 * end, or -errno with e. */
int tls_client(int fd, struct tls_creds *c, const char *host, struct err *e);
/* The same for a server, which waits for nothing: a peer who does not pass is gone, and the plain end
 * is at its end. -errno: no thread, no memory. */
int tls_server(int fd, struct tls_creds *c);

#endif
