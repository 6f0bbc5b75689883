/* SPDX-License-Identifier: MIT */
/* net/user-smb.c - smb=: a directory of the host's as an SMB share, by Samba's smbd.
 *
 * The library starts one smbd a connection, with the connection as its standard input, which smbd
 * takes as having been started by inetd. All that smbd writes lies in a private directory that goes
 * with the network. It runs with the rights of this process and no others.
 * Reference: smb.conf(5); qemu(1) for the share's name.
 */
#include "net/user-int.h"

#include "dm/base/util.h"

#include <errno.h>
#include <ftw.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMBD "/usr/sbin/smbd"
enum { NETBIOS_PORT = 139, SMB_PORT = 445 };

/* smb.conf(5) has no way to quote a line's end, and % stands for something else. */
static bool can_be_shared(const char *path)
{
    size_t n = strlen(path);
    for (const char *p = path; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == '%' || *p == '"') {
            return false;
        }
    }
    return n > 0 && path[n - 1] != '\\' && path[n - 1] != ' ';
}

static int write_config(const char *private, const char *dir, struct err *e)
{
    const struct passwd *me = getpwuid(geteuid());
    char *path = xasprintf("%s/smb.conf", private);
    FILE *f = fopen(path, "wxe");
    free(path);
    if (!f || !me) {
        int ret = f ? -ENOENT : -errno;
        if (f) {
            fclose(f);
        }
        return err_set(e, ret, "smb=%s: %s", dir,
                       me ? strerror(-ret) : "the user of this process has no name");
    }
    fprintf(f, "[global]\n");
    static const char *const dirs[] = { "private dir",     "pid directory",   "lock directory",
                                        "state directory", "cache directory", "usershare path" };
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        fprintf(f, "%s = %s\n", dirs[i], private);
    }
    fprintf(f,
            "ncalrpc dir = %s/ncalrpc\n"
            "log file = %s/log\n"
            "smb passwd file = %s/smbpasswd\n"
            "security = user\n"
            "map to guest = Bad User\n"
            "guest account = %s\n"
            "interfaces = 127.0.0.1\n"
            "bind interfaces only = yes\n"
            "load printers = no\n"
            "printing = bsd\n"
            "disable spoolss = yes\n"
            "usershare max shares = 0\n"
            "[qemu]\n"
            "path = %s\n"
            "read only = no\n"
            "guest ok = yes\n"
            "force user = %s\n",
            private, private, private, me->pw_name, dir, me->pw_name);
    return fclose(f) == 0 ? 0 : err_set(e, -errno, "smb=%s: %s", dir, strerror(errno));
}

/* The ports that clients try, both. */
static int listen_for(struct user *u, struct in_addr server)
{
    char *command = xasprintf(SMBD " -l %s -s %s/smb.conf", u->smb_dir, u->smb_dir);
    int ret = slirp_add_exec(u->slirp, command, &server, NETBIOS_PORT) < 0 ||
                      slirp_add_exec(u->slirp, command, &server, SMB_PORT) < 0
                  ? -EINVAL
                  : 0;
    free(command);
    return ret;
}

bool net_user_has_smb(const struct nic *n)
{
    return net_is_user(n) && ((const struct user *)n->priv)->smb_dir;
}

int user_smb_start(struct user *u, const char *dir, struct in_addr server, struct err *e)
{
    char private[] = "/tmp/keel-smb.XXXXXX";
    char *path = realpath(dir, NULL);
    int ret = 0;
    if (!path || access(path, R_OK | X_OK) < 0) {
        ret = err_set(e, -errno, "smb=%s: %s", dir, strerror(errno));
    } else if (!can_be_shared(path)) {
        ret = err_set(e, -EINVAL, "smb=%s: a name that smb.conf cannot hold", dir);
    } else if (access(SMBD, X_OK) < 0) {
        ret = err_set(e, -errno, "smb=%s: needs Samba: " SMBD ": %s", dir, strerror(errno));
    } else if (!mkdtemp(private)) {
        ret = err_set(e, -errno, "smb=%s: %s: %s", dir, private, strerror(errno));
    } else {
        u->smb_dir = xstrdup(private);
        ret = write_config(private, path, e);
    }
    if (ret == 0 && listen_for(u, server) < 0) {
        ret = err_set(e, -EINVAL, "smbserver: not a free address of the user network");
    }
    free(path);
    return ret;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    remove(path);
    return 0;
}

void user_smb_stop(struct user *u)
{
    if (u->smb_dir) {
        nftw(u->smb_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(u->smb_dir);
    }
}
