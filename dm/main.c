/* SPDX-License-Identifier: MIT */
/* dm/main.c - the process: parse, start, run, end. Reference: man/keel.1. */
#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/board.h"
#include "dm/keel.h"
#include "dm/text.h"
#include "target/x86/cpuid.h"
#include "xen-glue/xen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* libxl's log is standard error; the xenstore node is for people who look there. */
static int refuse(const struct options *o, const struct err *e)
{
    log_msg(LOG_ERROR, "keel", "%s", e->msg);
    if (o->domid >= 0 && o->machine != MACHINE_NONE) {
        xen_store_failure((unsigned)o->domid, e->msg);
    }
    return 1;
}

static int device_help(const struct options *o, struct err *e)
{
    const struct keyval *kv = o->devices.kv[o->devices.n - 1];
    if (board_device_help(keyval_get((struct keyval *)kv, "driver"), e) < 0) {
        return refuse(o, e);
    }
    return 0;
}

static void print_cpu(void *o, const char *name, const char *brand)
{
    (void)o;
    printf("x86 %-20s %s\n", name, brand);
}

static void print_feature(void *o, const char *name, bool on)
{
    (void)o, (void)on;
    printf(" %s", name);
}

static void log_help(void)
{
    struct text t = { 0 };
    options_log_help(&t, "\n");
    fputs(t.p, stdout);
    text_free(&t);
}

static void cpu_help(void)
{
    struct x86_model *any = x86_model_new("max", false, NULL);
    printf("Available CPUs:\n");
    x86_model_list(print_cpu, NULL);
    printf("\nRecognized CPUID flags:\n");
    x86_model_features(any, print_feature, NULL);
    printf("\n");
    free(any);
}

static int tell(const struct options *o, struct err *e)
{
    switch (o->action) {
    case ACT_VERSION:
        printf("Keel version " KEEL_VERSION "\n");
        return 0;
    case ACT_MACHINE_HELP:
        board_machine_help();
        return 0;
    case ACT_ACCEL_HELP:
        printf("Accelerators supported by Keel:\ntcg\nxen\nqtest\n");
        return 0;
    case ACT_CPU_HELP:
        cpu_help();
        return 0;
    case ACT_LOG_HELP:
        log_help();
        return 0;
    case ACT_DEVICE_HELP:
        return device_help(o, e);
    default:
        options_help();
        return 0;
    }
}

/* The parent waits for one byte that says the child's start succeeded, and goes. Returns the pipe's
 * end to write it to (in the child), or -1 with e. */
static int go_background(struct err *e)
{
    int ends[2];
    char ok;
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        return err_set(e, -errno, "-daemonize: %s", strerror(errno));
    }
    if (pid > 0) {
        close(ends[1]);
        _exit(read(ends[0], &ok, 1) == 1 ? 0 : 1);
    }
    close(ends[0]);
    setsid();
    return ends[1];
}

/* With -D standard error is the log already. */
static void leave_terminal(int ready_fd, bool has_log)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int end = has_log ? STDERR_FILENO : STDERR_FILENO + 1;
    for (int fd = STDIN_FILENO; null >= 0 && fd < end; fd++) {
        dup2(null, fd);
    }
    if (write(ready_fd, "", 1) == 1) {
        close(ready_fd);
    }
    close(null);
}

static int open_log(const char *path, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0) {
        return err_set(e, -errno, "-D %s: %s", path, strerror(errno));
    }
    close(fd);
    return 0;
}

static int run(struct keel *k, struct err *e)
{
    log_set_head(k->o.log_time, k->o.log_guest ? k->o.name : NULL);
    int ready = -1, ret = k->o.log_file ? open_log(k->o.log_file, e) : 0;
    if (ret == 0 && k->o.daemonize) {
        ready = go_background(e);
        ret = ready < 0 ? ready : 0;
    }
    if (ret == 0) {
        ret = keel_start(k, e);
    }
    if (ret < 0) {
        refuse(&k->o, e);
        keel_fini(k);
        return 1;
    }
    if (ready >= 0) {
        leave_terminal(ready, k->o.log_file != NULL);
    }
    keel_run(k);
    keel_fini(k);
    return k->exit_code;
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    struct keel *k = calloc(1, sizeof(*k));
    int code;
    if (!k) {
        return 1;
    }
    k->argc = argc;
    k->argv = argv;
    if (options_parse(&k->o, argc, argv, &e) < 0) {
        code = refuse(&k->o, &e);
    } else if (k->o.action != ACT_RUN) {
        code = tell(&k->o, &e);
    } else {
        code = run(k, &e);
    }
    options_free(&k->o);
    free(k);
    return code;
}
