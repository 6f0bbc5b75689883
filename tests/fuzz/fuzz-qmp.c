/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-qmp.c - a hostile peer at the monitor of a PC without guest.
 *
 * The input picks pieces of JSON, command names and arguments, or literal bytes. Nothing can be
 * opened meanwhile: a descriptor limit of zero holds every file name back.
 */
#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/board.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "ioreq/flat.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const pieces[] = {
    "{\"execute\":\"qmp_capabilities\"}\n",
    "{\"execute\":\"",
    "\"}\n",
    "\",\"arguments\":{",
    "}}\n",
    "{\"execute\":\"eject\",\"arguments\":{\"id\":\"cd\"}}",
    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"",
    "{\"execute\":\"send-key\",\"arguments\":{\"keys\":[{\"type\":\"qcode\",\"data\":\"",
    "{\"execute\":\"input-send-event\",\"arguments\":{\"events\":[{\"type\":\"rel\",\"data\":{"
    "\"axis\":",
    "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"qemu32-i386-cpu\",\"socket-id\":",
    "{\"execute\":\"blockdev-change-medium\",\"arguments\":{\"id\":\"cd\",\"filename\":\"",
    "]}}",
    "}]}}",
    "\"",
    ":",
    ",",
    "{",
    "}",
    "[",
    "]",
    "'",
    "\\",
    "null",
    "true",
    "1",
    "-1",
    "1e999",
    "\"id\":",
    "info ",
    "mtree",
    "pci",
    "qtree",
    "state",
    "block",
    "xp /4xb 0",
    "i /b 0x64",
    "o /w 0x92 1",
    "sendkey ctrl-alt-f1",
    "eject cd",
    "change cd /x",
    "stop",
    "cont",
    "system_reset",
    "system_powerdown",
    "screendump /x",
    "query-pci",
    "query-block",
    "query-command-line-options",
    "xen-save-devices-state",
    "xen-load-devices-state",
    "\"filename\":\"/x\"",
    "add-fd",
    "quit",
    "help",
    "99999999999999999999",
    "\xff",
    "\n",
};

static long swallow(struct chr *c, const void *buf, size_t len)
{
    (void)c, (void)buf;
    return (long)len;
}

static const struct chr_ops swallow_ops = { .kind = "fuzz", .write = swallow };

static void start(struct keel *k)
{
    static char *argv[] = {
        "keel",   "-accel",        "qtest",   "-nodefaults",
        "-smp",   "1,maxcpus=4",   "-device", "VGA,vgamem_mb=1",
        "-drive", "if=none,id=cd", "-device", "ide-cd,id=cd,drive=cd,bus=ide.1,unit=0"
    };
    static struct ev_loop *loop;
    struct err e;
    loop = loop ? loop : ev_loop_new(NULL, NULL, NULL);
    k->loop = loop;
    if (options_parse(&k->o, (int)ARRAY_SIZE(argv), argv, &e) < 0 ||
        backends_open(&k->be, loop, &k->o, true, &e) < 0) {
        abort();
    }
    k->be.pretend = false; /* from here on only what the peer asks for is opened, or is not */
    k->flat = flat_new(1 << 20);
    k->m = machine_new(board_type(&k->o), &flat_host_ops, k->flat);
    k->cpu_here[0] = 1;
    keel_watch_power(k);
    machine_enter(k->m);
    if (board_build(k->m, &k->o, &k->be, &e) < 0) {
        abort();
    }
}

static void end(struct keel *k)
{
    monitor_free_all(k);
    machine_leave(k->m);
    ev_post_cancel(k->loop, &k->power);
    machine_free(k->m);
    flat_free(k->flat);
    backends_close(&k->be);
    options_free(&k->o);
}

static void feed(struct chr *c, const char *s, size_t len)
{
    if (c->handlers->can_read(c->opaque)) {
        c->handlers->read(c->opaque, (const uint8_t *)s, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keel *k = xcalloc(1, sizeof(*k));
    struct chr c = { .ops = &swallow_ops, .id = "fuzz", .filename = "fuzz", .open = true };
    struct rlimit files, none;
    start(k);
    getrlimit(RLIMIT_NOFILE, &files);
    none = files;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    monitor_add(k, &c, !size || data[0] & 1);
    feed(&c, pieces[0], strlen(pieces[0]));
    for (size_t i = 0; i + 1 < size; i += 2) {
        const char *piece = pieces[data[i + 1] % ARRAY_SIZE(pieces)];
        if (data[i] % 4) {
            feed(&c, piece, strlen(piece));
        } else {
            feed(&c, (const char *)&data[i + 1], 1);
        }
    }
    setrlimit(RLIMIT_NOFILE, &files);
    end(k);
    free(k);
    return 0;
}
