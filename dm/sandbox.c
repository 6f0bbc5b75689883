/* SPDX-License-Identifier: MIT */
/* dm/sandbox.c - giving up power: -chroot, -runas and their -run-with spellings, then -sandbox.
 *
 * Everything is open by then: images, sockets, Xen. The user is looked up before the root changes,
 * the groups go before the user, and it is checked that the way back is shut. What Xen's handles
 * may still reach is xen_restrict's part and comes right before. That no program may give
 * privileges back is a property of each thread, so keel_start asks for it before it makes any.
 *
 * With dm_restrict libxl also limits files to 256 KiB, meant for logs. The kernel holds that limit
 * against every write past it, inside an image that has been longer all along as well, so the guest
 * could not write most of its disk. While the process may, it moves the limit to the end of the
 * longest writable image: no image can grow past that, and the disk is whole.
 */
#include "dm/keel.h"

#include "block/blk.h"
#include "dm/base/err.h"
#include "dm/call-filter.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

struct identity {
    bool wanted;
    uid_t uid;
    gid_t gid;
};

static int look_up(const char *text, struct identity *id, struct err *e)
{
    unsigned long uid, gid;
    char end;
    *id = (struct identity){ 0 };
    if (!text) {
        return 0;
    }
    errno = 0;
    const struct passwd *pw = getpwnam(text);
    if (pw) {
        *id = (struct identity){ true, pw->pw_uid, pw->pw_gid };
    } else if (sscanf(text, "%lu:%lu%c", &uid, &gid, &end) == 2 && uid < UINT32_MAX &&
               gid < UINT32_MAX) {
        *id = (struct identity){ true, (uid_t)uid, (gid_t)gid };
    } else {
        return err_set(e, -ENOENT, "-runas %s: no such user, and not UID:GID", text);
    }
    return 0;
}

static int change_root(const char *dir, struct err *e)
{
    if (dir && (chroot(dir) < 0 || chdir("/") < 0)) {
        return err_set(e, -errno, "-chroot %s: %s", dir, strerror(errno));
    }
    return 0;
}

static int become(const struct identity *id, struct err *e)
{
    if (!id->wanted) {
        return 0;
    }
    if (setgroups(1, &id->gid) < 0 || setresgid(id->gid, id->gid, id->gid) < 0 ||
        setresuid(id->uid, id->uid, id->uid) < 0) {
        return err_set(e, -errno, "-runas: cannot become %u:%u: %s", id->uid, id->gid,
                       strerror(errno));
    }
    if (id->uid != 0 && (setuid(0) == 0 || seteuid(0) == 0)) {
        return err_set(e, -EPERM, "-runas: root privileges could be regained");
    }
    return 0;
}

/* How long the files get that i is in: a format adds tables of its own to what the guest sees. */
static uint64_t longest_writes(const struct blk_image *i)
{
    return i->grows ? i->len + i->len / 8 + (64u << 20) : i->len;
}

/* The image with the longest file that is written to and that the limit on file sizes applies to,
 * or NULL. */
static const struct blk_image *longest_file(const struct backends *be)
{
    const struct blk_image *longest = NULL;
    for (const struct drive *d = be->drives; d; d = d->next) {
        const struct blk_image *i = blk_image(d->blk);
        if (i && i->is_file && !i->read_only &&
            (!longest || longest_writes(i) > longest_writes(longest))) {
            longest = i;
        }
    }
    return longest;
}

static int make_room_for_images(const struct backends *be, struct err *e)
{
    const struct blk_image *i = longest_file(be);
    uint64_t need = i ? longest_writes(i) : 0;
    struct rlimit r;
    if (!i || getrlimit(RLIMIT_FSIZE, &r) < 0 || r.rlim_cur >= need) {
        return 0;
    }
    unsigned long long was = r.rlim_cur;
    r.rlim_cur = need;
    r.rlim_max = r.rlim_max > need ? r.rlim_max : need;
    if (setrlimit(RLIMIT_FSIZE, &r) < 0) {
        return err_set(e, -errno,
                       "image '%s' is longer than the %llu bytes this process may write to a file, "
                       "and the limit cannot be raised: %s",
                       i->filename, was, strerror(errno));
    }
    return 0;
}

static int lock_memory(const struct options *o, struct err *e)
{
    if (o->lock_memory && mlockall(MCL_CURRENT | MCL_FUTURE) < 0) {
        return err_set(e, -errno, "-overcommit mem-lock=on: %s", strerror(errno));
    }
    return 0;
}

int sandbox_enter(const struct options *o, const struct backends *be, struct err *e)
{
    struct identity id;
    int ret = look_up(o->runas, &id, e);
    if (ret == 0) {
        ret = make_room_for_images(be, e);
    }
    if (ret == 0) {
        ret = lock_memory(o, e);
    }
    if (ret == 0) {
        ret = change_root(o->chroot, e);
    }
    if (ret == 0) {
        ret = become(&id, e);
    }
    return ret == 0 ? call_filter_enter(&o->sandbox, e) : ret;
}
