/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-gdb.c - a hostile debugger at a PC on Keel's own processors.
 *
 * The input picks commands with good checksums, pieces of their arguments, or literal bytes. One machine
 * serves all inputs, from a halted processor on: a debugger that comes finds what the last one left.
 */
#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/gdb-packet.h"
#include "dm/gdb.h"
#include "dm/keel.h"
#include "ioreq/machine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const pieces[] = {
    "?",
    "g",
    "G",
    "p",
    "P",
    "m",
    "M",
    "X",
    "c",
    "s",
    "C05",
    "S05",
    "Z0,",
    "Z1,",
    "Z2,",
    "Z3,",
    "Z4,",
    "z0,",
    "z2,",
    "Hg",
    "Hc",
    "T",
    "D",
    "vCont",
    "vCont?",
    "vCont;s:1;c",
    "vCont;c:-1",
    "qSupported",
    "qC",
    "qfThreadInfo",
    "qsThreadInfo",
    "qThreadExtraInfo,",
    "qRcmd,",
    "696e666f20",
    "7265676973746572",
    "qXfer:features:read:target.xml:",
    "qqemu.PhyMemMode",
    "Qqemu.PhyMemMode:1",
    "QStartNoAckMode",
    "0",
    "1",
    "-1",
    "2",
    "fffffff0",
    "ffffffffffffffff",
    "a0000",
    "fee00000",
    "1000",
    "4000",
    ",",
    ":",
    ";",
    "=",
    "00",
    "ff",
    "}",
    "*",
    "#",
    "$",
};

static void feed(struct chr *c, const void *p, size_t len)
{
    if (c->handlers && c->handlers->can_read(c->opaque)) {
        c->handlers->read(c->opaque, p, len);
    }
}

static struct keel *start(void)
{
    static char *argv[] = { "keel", "-accel",   "tcg",         "-m",       "2",
                            "-smp", "2",        "-nodefaults", "-display", "none",
                            "-S",   "-sandbox", "off",         "-gdb",     "null" };
    struct keel *k = xcalloc(1, sizeof(*k));
    struct err e;
    if (options_parse(&k->o, (int)ARRAY_SIZE(argv), argv, &e) < 0 || keel_start(k, &e) < 0) {
        abort();
    }
    return k;
}

/* One command: pieces, framed with the sum that belongs to it. */
static void send_command(struct chr *c, struct text *t)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < t->len; i++) {
        sum = (uint8_t)(sum + (uint8_t)t->p[i]);
    }
    feed(c, "$", 1);
    feed(c, t->p, t->len);
    text_drop(t, t->len);
    text_add(t, "#%02x", sum);
    feed(c, t->p, t->len);
    text_drop(t, t->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct keel *k;
    struct text t = { 0 };
    k = k ? k : start();
    machine_enter(k->m);
    struct chr *c = chr_find(&k->be, "gdb");
    c->handlers->event(c->opaque, CHR_OPENED);
    for (size_t i = 0; i + 1 < size; i += 2) {
        const char *piece = pieces[data[i + 1] % ARRAY_SIZE(pieces)];
        switch (data[i] % 8) {
        case 0:
            feed(c, &data[i + 1], 1);
            break;
        case 1:
        case 2:
            text_put(&t, piece, strlen(piece));
            send_command(c, &t);
            break;
        default:
            text_put(&t, piece, strlen(piece));
        }
    }
    c->handlers->event(c->opaque, CHR_CLOSED);
    keel_stop(k);
    machine_leave(k->m);
    text_free(&t);
    return 0;
}
