/* SPDX-License-Identifier: MIT */
/* dm/channel.c - ways by which a machine's state goes and comes. */
#include "dm/channel.h"

#include "dm/base/err.h"
#include "dm/base/parse.h"
#include "dm/base/sock.h"
#include "dm/base/util.h"
#include "dm/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool begins(const char *uri, const char *scheme)
{
    return strncmp(uri, scheme, strlen(scheme)) == 0;
}

static bool is_socket(const char *uri)
{
    return begins(uri, "tcp:") || begins(uri, "unix:");
}

int channel_check(const char *uri, struct err *e)
{
    bool known =
        is_socket(uri) || begins(uri, "file:") || begins(uri, "fd:") || begins(uri, "exec:");
    return known ? 0
                 : err_set(e, -EINVAL,
                           "%s: file:PATH, fd:NUMBER, exec:COMMAND, tcp:HOST:PORT or unix:PATH is "
                           "expected",
                           uri);
}

/* ---- files ---- */

static int open_set(const struct fdset *sets, int64_t set, int access)
{
    int fd = fdset_open(sets, set, access);
    return fd == -EACCES ? fdset_open(sets, set, O_RDWR) : fd;
}

int channel_open_file(const struct fdset *sets, const char *filename, bool write, struct err *e)
{
    int64_t set = fdset_parse(filename);
    int access = write ? O_WRONLY : O_RDONLY, create = write ? O_CREAT | O_TRUNC : 0;
    int fd =
        set >= 0 ? open_set(sets, set, access) : open(filename, access | create | O_CLOEXEC, 0600);
    if (fd < 0) {
        int code = set >= 0 ? fd : -errno;
        return err_set(e, code, "Unable to open %s: %s", filename, strerror(-code));
    }
    return fd;
}

/* ---- commands ---- */

/* A shell's standard input or output, and who it is. */
static int start_command(const char *command, bool to, pid_t *pid, struct err *e)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_set(e, -errno, "exec:%s: %s", command, strerror(errno));
    }
    *pid = fork();
    if (*pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        dup2(ends[to ? 0 : 1], to ? STDIN_FILENO : STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(ends[to ? 0 : 1]);
    if (*pid < 0) {
        int code = -errno;
        close(ends[to ? 1 : 0]);
        return err_set(e, code, "exec:%s: %s", command, strerror(-code));
    }
    return ends[to ? 1 : 0];
}

static int end_command(pid_t pid, const char *command, struct err *e)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : err_set(e, -EIO, "exec:%s: the command failed", command);
}

static int open_fd(const char *text, struct err *e)
{
    uint64_t n;
    if (parse_u64(text, INT32_MAX, &n) < 0 || fcntl((int)n, F_GETFD) < 0) {
        return err_set(e, -EBADF, "fd:%s: not an open descriptor", text);
    }
    return (int)n;
}

/* ---- all of them ---- */

static int open_socket(const char *uri, struct err *e)
{
    struct sock_addr a;
    int ret = sock_parse(uri, false, &a, e);
    return ret < 0 ? ret : sock_connect(&a, e);
}

int channel_open(struct channel *ch, const struct fdset *sets, const char *uri, bool write,
                 struct err *e)
{
    *ch = (struct channel){ .uri = uri };
    int ret = channel_check(uri, e);
    if (ret < 0) {
        return ret;
    }
    ch->fd = begins(uri, "exec:")   ? start_command(uri + 5, write, &ch->command, e)
             : begins(uri, "fd:")   ? open_fd(uri + 3, e)
             : begins(uri, "file:") ? channel_open_file(sets, uri + 5, write, e)
                                    : open_socket(uri, e);
    return ch->fd < 0 ? ch->fd : 0;
}

int channel_end(struct channel *ch, int ret, struct err *e)
{
    struct err failed;
    if (!ch->command) {
        return ret;
    }
    int ended = end_command(ch->command, ch->uri + 5, &failed);
    if (ended < 0) { /* it knows better why what it wrote or read was not right */
        *e = failed;
        return ended;
    }
    return ret;
}

/* ---- answers ---- */

#define LOADED "loaded"

int channel_await(const struct channel *ch, struct err *e)
{
    char answer[400] = "";
    size_t len = 0;
    ssize_t n = 1;
    if (!is_socket(ch->uri)) {
        return 0;
    }
    shutdown(ch->fd, SHUT_WR);
    while (n != 0 && len < sizeof(answer) - 1) {
        n = read(ch->fd, answer + len, sizeof(answer) - 1 - len);
        if (n < 0 && errno != EINTR) {
            break;
        }
        len += n > 0 ? (size_t)n : 0;
    }
    answer[strcspn(answer, "\n")] = '\0';
    if (strcmp(answer, LOADED) == 0) {
        return 0;
    }
    return answer[0]
               ? err_set(e, -ECANCELED, "%s: refused there: %s", ch->uri, answer)
               : err_set(e, -EINPROGRESS, "%s: no answer; the machine may run there now", ch->uri);
}

int channel_answer(int fd, const char *why)
{
    char *text = xasprintf("%s\n", why ? why : LOADED);
    ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);
    int ret = n == (ssize_t)strlen(text) ? 0 : n < 0 ? -errno : -EIO;
    free(text);
    return ret;
}

int channel_listen(const char *uri, struct err *e)
{
    struct sock_addr a;
    *e = (struct err){ 0 };
    if (!is_socket(uri)) {
        return -ENOTSUP;
    }
    int ret = sock_parse(uri, true, &a, e);
    return ret < 0 ? ret : sock_listen(&a, e);
}
