/* SPDX-License-Identifier: MIT */
/* dm/call-filter.c - -sandbox, by libseccomp. Reference: seccomp(2), docs/security.md. */
#include "dm/call-filter.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

/* ---- the calls ---- */

/* Refused always: ways into other processes, the kernel and the host's set-up. */
static const char *const never[] = {
#ifndef __SANITIZE_ADDRESS__ /* its leak check attaches to its own threads */
    "ptrace",
#endif
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "syslog",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
    NULL
};

/* obsolete=deny, which is the default. */
static const char *const obsolete[] = { "_sysctl",
                                        "afs_syscall",
                                        "create_module",
                                        "epoll_ctl_old",
                                        "epoll_wait_old",
                                        "getpmsg",
                                        "get_kernel_syms",
                                        "modify_ldt",
                                        "nfsservctl",
                                        "putpmsg",
                                        "query_module",
                                        "remap_file_pages",
                                        "security",
                                        "sysfs",
                                        "tuxcall",
                                        "uselib",
                                        "ustat",
                                        "vserver",
                                        NULL };

/* elevateprivileges=deny */
static const char *const elevating[] = { "capset",    "chroot",    "setfsgid", "setfsuid",
                                         "setgid",    "setgroups", "setpgid",  "setregid",
                                         "setresgid", "setresuid", "setreuid", "setsid",
                                         "setuid",    NULL };

/* resourcecontrol=deny */
static const char *const scheduling[] = { "ioprio_set",
                                          "sched_setaffinity",
                                          "sched_setattr",
                                          "sched_setparam",
                                          "sched_setscheduler",
                                          "setpriority",
                                          NULL };

/* All that is left with spawn=deny, by what needs it. */
static const char *const needed[] = {
    /* memory and threads */
    "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "exit", "exit_group", "futex",
    "get_robust_list", "getcpu", "getpid", "getrandom", "gettid", "gettimeofday", "madvise",
    "membarrier", "mlock", "mremap", "munlock", "munmap", "nanosleep", "restart_syscall", "rseq",
    "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "sched_getaffinity", "sched_yield", "set_robust_list", "sigaltstack",
    "sysinfo", "tgkill", "time", "times", "uname", "wait4",
    /* the event loop */
    "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "poll",
    "ppoll", "pselect6", "select", "signalfd4", "timerfd_create", "timerfd_gettime",
    "timerfd_settime",
    /* files: images, saved state, screenshots */
    "access", "chmod", "close", "close_range", "dup", "dup2", "dup3", "faccessat", "faccessat2",
    "fadvise64", "fallocate", "fchmod", "fcntl", "fdatasync", "flock", "fstat", "fstatfs", "fsync",
    "ftruncate", "getcwd", "getdents64", "link", "lseek", "lstat", "memfd_create", "mkdir",
    "newfstatat", "open", "openat", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev",
    "pwritev2", "read", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2",
    "sendfile", "splice", "stat", "statfs", "statx", "sync_file_range", "umask", "unlink",
    "unlinkat", "write", "writev", "copy_file_range", "io_cancel", "io_destroy", "io_getevents",
    "io_pgetevents", "io_setup", "io_submit", "io_uring_enter", "io_uring_register",
    "io_uring_setup",
    /* networks, monitors, viewers */
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
    "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    "socketpair",
    /* terminals, Xen's devices, taps */
    "ioctl",
    /* who and where we are, for logs and peers */
    "getegid", "geteuid", "getgid", "getppid", "getresgid", "getresuid", "getrlimit", "getrusage",
    "getuid", "prlimit64", NULL
};

/* ---- a refused call ---- */

enum { CALL_MAX = 512 };
static char call_names[CALL_MAX][24];

static void name_calls(void)
{
    for (int i = 0; i < CALL_MAX; i++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
        snprintf(call_names[i], sizeof call_names[i], "%s", name ? name : "?");
        free(name);
    }
}

/* Answers EPERM in the kernel's place. One that tries often is told about eight times. */
static void refused(int sig, siginfo_t *info, void *context)
{
    static int told;
    ucontext_t *uc = context;
    (void)sig;
    uc->uc_mcontext.gregs[REG_RAX] = -EPERM;
    if (__atomic_add_fetch(&told, 1, __ATOMIC_RELAXED) > 8) {
        return;
    }
    int nr = info->si_syscall;
    char line[96];
    int n = snprintf(line, sizeof line, "keel: sandbox: system call %d (%s) refused\n", nr,
                     nr >= 0 && nr < CALL_MAX ? call_names[nr] : "?");
    if (write(STDERR_FILENO, line, (size_t)n) < 0) {
        return; /* there is nobody else to tell */
    }
}

static int answer_refusals(struct err *e)
{
    struct sigaction sa = { .sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigset_t sys;
    name_calls();
    sigemptyset(&sys);
    sigaddset(&sys, SIGSYS);
    if (sigaction(SIGSYS, &sa, NULL) < 0 || sigprocmask(SIG_UNBLOCK, &sys, NULL) < 0) {
        return err_set(e, -errno, "-sandbox: SIGSYS: %s", strerror(errno));
    }
    return 0;
}

/* ---- the filters ---- */

/* Adds action for every call of the list that this machine has. */
static int rules(scmp_filter_ctx f, uint32_t action, const char *const *names)
{
    int ret = 0;
    for (; *names && ret == 0; names++) {
        int nr = seccomp_syscall_resolve_name(*names);
        ret = nr == __NR_SCMP_ERROR ? 0 : seccomp_rule_add(f, action, nr, 0);
    }
    return ret;
}

static int refuse_some(scmp_filter_ctx f, const struct sandbox_policy *p)
{
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);
    int ret = rules(f, no, never);
    if (ret == 0 && !p->obsolete) {
        ret = rules(f, no, obsolete);
    }
    if (ret == 0 && p->no_elevation) {
        ret = rules(f, no, elevating);
    }
    return ret == 0 && p->no_scheduling ? rules(f, no, scheduling) : ret;
}

/* Calls that depend on an argument: threads but no processes, memory that is not made executable
 * (the translator's code cache is mapped by now), sockets of the families Keel serves. */
static int allow_some_forms(scmp_filter_ctx f)
{
    static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK /* getaddrinfo */ };
    static const int settings[] = { PR_SET_NAME, PR_GET_NAME, PR_SET_DUMPABLE, PR_GET_DUMPABLE };
    const uint32_t yes = SCMP_ACT_ALLOW;
    int ret = seccomp_rule_add(f, yes, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (ret == 0) { /* its flags are out of a filter's sight; the C library then takes clone */
        ret = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    }
    if (ret == 0) {
        ret =
            seccomp_rule_add(f, yes, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    }
    if (ret == 0) {
        ret = seccomp_rule_add(f, yes, SCMP_SYS(mprotect), 1,
                               SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    }
    for (size_t i = 0; ret == 0 && i < ARRAY_SIZE(families); i++) {
        ret = seccomp_rule_add(f, yes, SCMP_SYS(socket), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
    }
    for (size_t i = 0; ret == 0 && i < ARRAY_SIZE(settings); i++) {
        ret = seccomp_rule_add(f, yes, SCMP_SYS(prctl), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)settings[i]));
    }
    /* kill(2) only asks whether a process is there (the owner of a lock, say). */
    return ret ? ret : seccomp_rule_add(f, yes, SCMP_SYS(kill), 1, SCMP_A1(SCMP_CMP_EQ, 0));
}

static int load(scmp_filter_ctx f, const struct sandbox_policy *p)
{
    int ret = p->no_spawn ? rules(f, SCMP_ACT_ALLOW, needed) : refuse_some(f, p);
    if (ret == 0 && p->no_spawn) {
        ret = allow_some_forms(f);
    }
    if (ret == 0) {
        ret = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
    }
    if (ret == 0) {
        ret = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    return ret ? ret : seccomp_load(f);
}

int call_filter_enter(const struct sandbox_policy *p, struct err *e)
{
    if (p->off) {
        return 0;
    }
    int ret = p->no_spawn ? answer_refusals(e) : 0;
    if (ret < 0) {
        return ret;
    }
    scmp_filter_ctx f = seccomp_init(p->no_spawn ? SCMP_ACT_TRAP : SCMP_ACT_ALLOW);
    if (!f) {
        return err_set(e, -ENOMEM, "-sandbox: no memory for the filter");
    }
    ret = load(f, p);
    seccomp_release(f);
    return ret == 0 ? 0 : err_set(e, ret, "-sandbox: %s", strerror(-ret));
}
