/* SPDX-License-Identifier: MIT */
/* dm/record.c - the machine of a command line, recorded; and the same machine made of a trace.
 *
 * The trace carries the command line, word by word, and what it cannot say: how long each medium
 * is and whether somebody was at the other end of each stream. A replay builds the board from
 * those words with back ends that pretend, and puts the trace's own behind it.
 */
#include "dm/record.h"

#include "dm/backends.h"
#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "dm/base/ev.h"
#include "dm/board.h"
#include "dm/firmware.h"
#include "dm/options.h"
#include "hw/nvram/fw-cfg.h"
#include "ioreq/cpu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- recording ---- */

struct option_list {
    struct trace_option *o; /* strings owned */
    size_t n;
};

static void add_option(struct option_list *l, char *name, char *value)
{
    l->o = xrealloc(l->o, (l->n + 1) * sizeof(*l->o));
    l->o[l->n++] = (struct trace_option){ name, value };
}

static void free_options(struct option_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free((char *)l->o[i].name);
        free((char *)l->o[i].value);
    }
    free(l->o);
}

static void drive_option(struct option_list *l, const struct blk *b)
{
    char *value = blk_present(b)
                      ? xasprintf("%" PRIu64 " %s", blk_len(b), blk_read_only(b) ? "ro" : "rw")
                      : xstrdup("empty");

    add_option(l, xasprintf("drive.%s", blk_id(b)), value);
}

static struct option_list describe(const struct backends *b, int argc, char **argv)
{
    struct option_list l = { 0 };

    add_option(&l, xstrdup("program"), xstrdup("keel " KEEL_VERSION));
    for (int i = 0; i < argc; i++) {
        bool object = i > 0 && argv[i - 1][0] == '-' &&
                      strcmp(argv[i - 1] + (argv[i - 1][1] == '-') + 1, "object") == 0;
        add_option(&l, xstrdup("argv"), object ? opt_public_object(argv[i]) : xstrdup(argv[i]));
    }
    for (const struct drive *d = b->drives; d; d = d->next) {
        drive_option(&l, d->blk);
    }
    for (size_t i = 0; i < b->nchrs; i++) {
        add_option(&l, xasprintf("stream.%s", b->chrs[i]->id),
                   xstrdup(b->chrs[i]->open ? "open" : "closed"));
    }
    return l;
}

/* ---- what a board of its own began with: files of the host are in it, and the time of day ---- */

enum { BOARD_ITEM = 1, BOARD_WHOLE, BOARD_CLOCK };
enum { ITEM_HEAD = 10, ITEM_PART = 512 << 10 }; /* key, length, offset; bytes at a time */

struct board_tap {
    struct machine *m;
    unsigned channel;
};

static void record_item(void *opaque, uint16_t key, const uint8_t *data, uint32_t len)
{
    const struct board_tap *t = opaque;
    uint8_t *b = xcalloc(1, ITEM_HEAD + ITEM_PART);
    uint32_t at = 0, n;

    do {
        n = (uint32_t)min_u64(len - at, ITEM_PART);
        store_le(b, 2, key);
        store_le(b + 2, 4, len);
        store_le(b + 6, 4, at);
        memcpy(b + ITEM_HEAD, data + at, n);
        trace_input(t->m, t->channel, BOARD_ITEM, b, ITEM_HEAD + n);
        at += n;
    } while (at < len);
    free(b);
}

static void record_clock(const struct board_tap *t, struct device *rtc)
{
    struct state_buf clock = { 0 };

    dev_save(rtc, &clock);
    trace_input(t->m, t->channel, BOARD_CLOCK, clock.p, clock.len);
    free(clock.p);
}

static void record_board(struct machine *m, const struct backends *b)
{
    if (b->pc.fw_cfg) {
        struct board_tap t = { m, trace_channel(m, "board") };

        fw_cfg_each(b->pc.fw_cfg, record_item, &t);
        trace_input(m, t.channel, BOARD_WHOLE, "", 0);
        if (b->pc.rtc) {
            record_clock(&t, b->pc.rtc);
        }
    }
}

static struct taps *plug_taps(struct machine *m, struct trace_play *p, struct backends *b)
{
    struct taps *t = taps_new(m, p);

    for (struct drive *d = b->drives; d; d = d->next) {
        taps_drive(t, d->blk);
    }
    for (size_t i = 0; i < b->nchrs; i++) {
        taps_chr(t, b->chrs[i]);
    }
    for (size_t i = 0; i < b->net.n; i++) {
        taps_nic(t, b->net.nics[i]);
    }
    taps_con(t, b->con);
    cpu_trace(m, p);
    return t;
}

struct taps *record_start(struct machine *m, struct backends *b, const char *path, int argc,
                          char **argv, struct err *e)
{
    struct option_list l = describe(b, argc, argv);
    int ret = trace_rec_start(m, path, l.o, l.n, e);

    free_options(&l);
    if (ret < 0) {
        return NULL;
    }
    struct taps *t = plug_taps(m, NULL, b);
    record_board(m, b);
    return t;
}

void record_stop(struct machine *m, struct taps *t)
{
    trace_rec_stop(m);
    taps_free(t);
}

/* ---- replay ---- */

struct replay {
    struct trace_play *play;
    char **argv; /* the trace's */
    int argc;
    struct options o;
    struct ev_loop *loop; /* never turned: nothing happens but what the trace says */
    struct backends b;
    struct machine *m;
    struct taps *taps;
};

static const char *option_value(const struct trace_play *p, const char *kind, const char *id)
{
    size_t n, len = strlen(kind);
    const struct trace_option *o = trace_options(p, &n);

    for (size_t i = 0; i < n; i++) {
        if (strncmp(o[i].name, kind, len) == 0 && strcmp(o[i].name + len, id) == 0) {
            return o[i].value;
        }
    }
    return NULL;
}

static int take_argv(struct replay *r, struct err *e)
{
    size_t n;
    const struct trace_option *o = trace_options(r->play, &n);

    r->argv = xcalloc(n + 1, sizeof(*r->argv));
    for (size_t i = 0; i < n; i++) {
        if (strcmp(o[i].name, "argv") == 0) {
            r->argv[r->argc++] = (char *)o[i].value;
        }
    }
    if (!r->argc) {
        return err_set(e, -EINVAL, "the trace has no command line to build a machine from");
    }
    if (options_parse(&r->o, r->argc, r->argv, e) < 0) {
        return e->code;
    }
    return r->o.action == ACT_RUN ? 0
                                  : err_set(e, -EINVAL, "the trace's command line runs nothing");
}

static int insert_media(struct replay *r, struct err *e)
{
    for (struct drive *d = r->b.drives; d; d = d->next) {
        const char *medium = option_value(r->play, "drive.", d->id);
        uint64_t len;
        char mode[3];

        if (!medium) {
            return err_set(e, -EINVAL, "the trace does not say what is in drive '%s'", d->id);
        }
        if (sscanf(medium, "%" SCNu64 " %2s", &len, mode) == 2) {
            blk_set_image(d->blk, replay_image(len, strcmp(mode, "ro") == 0));
        }
    }
    return 0;
}

/* A pretended stream says that somebody is there; the recorded one perhaps did not. */
static void close_streams(struct replay *r)
{
    for (size_t i = 0; i < r->b.nchrs; i++) {
        struct chr *c = r->b.chrs[i];
        const char *state = option_value(r->play, "stream.", c->id);

        if (c->open && state && strcmp(state, "closed") == 0) {
            c->open = false;
            if (c->handlers && c->handlers->event) {
                c->handlers->event(c->opaque, CHR_CLOSED);
            }
        }
    }
}

static void board_input(void *opaque, uint32_t tag, const void *data, size_t len)
{
    struct replay *r = opaque;
    const uint8_t *b = data;
    struct device *d = r->b.pc.fw_cfg;

    struct err e;

    if (tag == BOARD_WHOLE) {
        firmware_watch_acpi(d, r->m, &r->o, &r->b);
    } else if (tag == BOARD_CLOCK) {
        if (!r->b.pc.rtc || dev_load(r->b.pc.rtc, b, len, &e) != (long)len) {
            trace_refuse(r->play, "a clock that cannot have begun so");
        }
    } else if (tag != BOARD_ITEM || len < ITEM_HEAD ||
               !fw_cfg_put(d, (uint16_t)load_le(b, 2), (uint32_t)load_le(b + 2, 4),
                           (uint32_t)load_le(b + 6, 4), b + ITEM_HEAD,
                           (uint32_t)(len - ITEM_HEAD))) {
        trace_refuse(r->play, "what no board begins with");
    }
}

static void play_board(struct replay *r)
{
    if (r->b.pc.fw_cfg) {
        trace_channel(r->m, "board");
        trace_on_input(r->play, "board", board_input, r);
    }
}

static int build(struct replay *r, struct err *e)
{
    int ret = take_argv(r, e);

    if (ret < 0) {
        return ret;
    }
    r->loop = ev_loop_new(NULL, NULL, NULL);
    if (!r->loop) {
        return err_set(e, -errno, "no event loop: %s", strerror(errno));
    }
    ret = backends_open(&r->b, r->loop, &r->o, true, e);
    if (ret == 0) {
        ret = insert_media(r, e);
    }
    if (ret < 0) {
        return ret;
    }
    r->m = machine_new(board_type(&r->o), &trace_play_host, r->play);
    machine_enter(r->m);
    ret = board_build(r->m, &r->o, &r->b, e);
    if (ret == 0) {
        close_streams(r);
        r->taps = plug_taps(r->m, r->play, &r->b);
        play_board(r);
    }
    machine_leave(r->m);
    return ret;
}

struct replay *replay_new(struct trace_play *p, struct err *e)
{
    struct replay *r = xcalloc(1, sizeof(*r));

    r->play = p;
    if (build(r, e) < 0) {
        replay_free(r);
        return NULL;
    }
    return r;
}

struct machine *replay_machine(const struct replay *r)
{
    return r->m;
}

struct con *replay_con(const struct replay *r)
{
    return r->b.con;
}

void replay_free(struct replay *r)
{
    if (!r) {
        return;
    }
    taps_free(r->taps);
    machine_free(r->m);
    if (r->loop) {
        backends_close(&r->b);
        ev_loop_free(r->loop);
    }
    options_free(&r->o);
    free(r->argv);
    free(r);
}
