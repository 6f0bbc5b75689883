/* SPDX-License-Identifier: MIT */
/* dm/channel.h - ways by which a machine's state goes and comes, named as QEMU names them:
 *
 *   file:PATH (also /dev/fdset/N)   fd:NUMBER   exec:COMMAND   tcp:HOST:PORT   unix:PATH
 */
#ifndef DM_CHANNEL_H
#define DM_CHANNEL_H

#include <stdbool.h>
#include <sys/types.h>

struct err;
struct fdset;

struct channel {
    int fd; /* blocks */
    const char *uri;
    pid_t command; /* of exec:, else 0 */
};

/* Whether uri names a way at all: 0, or -EINVAL with e. */
int channel_check(const char *uri, struct err *e);
/* Opens uri for the state to go (write) or come; a socket is connected to the other side. *ch stays uri's
 * user. 0, or -errno with e. */
int channel_open(struct channel *ch, const struct fdset *sets, const char *uri, bool write,
                 struct err *e);
/* Behind the last byte, its fd closed by whoever used it: what that led to was ret, with e if it failed.
 * Waits for a command. Returns ret, or a command's failure with e. */
int channel_end(struct channel *ch, int ret, struct err *e);
/* tcp: or unix: as the side that the state comes to: a listening socket; -ENOTSUP without e for other
 * ways. */
int channel_listen(const char *uri, struct err *e);

/* Over a socket the other side answers when it has tried to load the state. The sender's part, behind the
 * last byte: 0; -ECANCELED with e when it is refused there; -EINPROGRESS with e when no answer came, so
 * that it may or may not run there now. 0 for other ways, which do not tell. */
int channel_await(const struct channel *ch, struct err *e);
/* The receiver's part: why NULL means that the state is loaded. 0, or -errno: the sender is gone. */
int channel_answer(int fd, const char *why);

/* A file by name. The descriptor, or -errno with e. */
int channel_open_file(const struct fdset *sets, const char *filename, bool write, struct err *e);

#endif
