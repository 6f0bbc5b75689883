/* SPDX-License-Identifier: MIT */
/* tests/xen/guest/early.c - the test guest's early user space, in two kilobytes and without a C
 * library: firmware reads it from the disk sector by sector, and traces carry every sector.
 *
 * Loads the modules that /mods/order names, one a line; waits for the disk, emulated or paravirtual;
 * mounts its first partition; goes there and runs /init.
 */
#include <stddef.h>

enum {
    SYS_READ = 0,
    SYS_WRITE = 1,
    SYS_OPEN = 2,
    SYS_CLOSE = 3,
    SYS_NANOSLEEP = 35,
    SYS_EXECVE = 59,
    SYS_EXIT = 60,
    SYS_CHDIR = 80,
    SYS_CHROOT = 161,
    SYS_MOUNT = 165,
    SYS_FINIT_MODULE = 313,
};
enum { O_RDONLY = 0, MS_RDONLY = 1, MS_MOVE = 8192 };

static long sys(long n, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
    long ret;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return ret;
}

static long mount_at(const char *dev, const char *dir, const char *type, long flags)
{
    return sys(SYS_MOUNT, (long)dev, (long)dir, (long)type, flags, 0);
}

static void load(const char *name)
{
    char path[64] = "/mods/";
    size_t n = 6;
    while (*name && n < sizeof(path) - 1) {
        path[n++] = *name++;
    }
    path[n] = 0;
    long fd = sys(SYS_OPEN, (long)path, O_RDONLY, 0, 0, 0);
    sys(SYS_FINIT_MODULE, fd, (long)"", 0, 0, 0);
    sys(SYS_CLOSE, fd, 0, 0, 0, 0);
}

static void load_all(void)
{
    static char order[1024];
    long fd = sys(SYS_OPEN, (long)"/mods/order", O_RDONLY, 0, 0, 0);
    long len = sys(SYS_READ, fd, (long)order, sizeof(order) - 1, 0, 0);
    char *line = order;
    for (long i = 0; i < len; i++) {
        if (order[i] == '\n') {
            order[i] = 0;
            load(line);
            line = order + i + 1;
        }
    }
    sys(SYS_CLOSE, fd, 0, 0, 0, 0);
}

static void run(void)
{
    static const long tick[2] = { 0, 25000000 };
    static const char *const argv[] = { "/init", NULL }, *const env[] = { "HOME=/", NULL };
    mount_at("d", "/dev", "devtmpfs", 0);
    load_all();
    for (int i = 0; i < 800 && mount_at("/dev/sda1", "/newroot", "squashfs", MS_RDONLY) < 0 &&
                    mount_at("/dev/xvda1", "/newroot", "squashfs", MS_RDONLY) < 0;
         i++) {
        sys(SYS_NANOSLEEP, (long)tick, 0, 0, 0, 0);
    }
    mount_at("/dev", "/newroot/dev", NULL, MS_MOVE);
    sys(SYS_CHDIR, (long)"/newroot", 0, 0, 0, 0);
    mount_at(".", "/", NULL, MS_MOVE);
    sys(SYS_CHROOT, (long)".", 0, 0, 0, 0);
    sys(SYS_EXECVE, (long)argv[0], (long)argv, (long)env, 0, 0);
    sys(SYS_WRITE, 1, (long)"GUEST: no /init\n", 16, 0, 0);
    sys(SYS_EXIT, 1, 0, 0, 0, 0);
}

void _start(void);
void _start(void)
{
    __asm__ volatile("andq $-16, %rsp");
    run();
}
