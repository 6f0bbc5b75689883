/* SPDX-License-Identifier: MIT */
/* hw/input/i8042.c - the keyboard controller at ports 0x60 and 0x64, with a keyboard on its first
 * serial port and a mouse on its second.
 *
 *   keyboard --(translation)--+
 *   mouse --------------------+--> output buffer (one byte) --> port 0x60
 *   controller's own answers -+
 *
 * An answer of the controller takes the output buffer at once; a device's byte that was in it is
 * held and comes back afterwards. Keys and motion keep the distance of GAP_NS between two bytes,
 * as the serial wire does, because DOS programs read one byte several times; replies to commands
 * do not wait.
 *
 * The output port's A20 bit opens or masks that address line where Keel owns the processors.
 *
 * Left out: the password lock, PS/2 active multiplexing, what would slow down IBF.
 * Reference: IBM PS/2 Hardware Interface Technical Reference, Keyboard and Auxiliary Device
 * Controller; Intel UPI-41AH/42AH.
 */
#include "hw/input/i8042.h"

#include "hw/input/ps2.h"
#include "ioreq/cpu.h"
#include "ioreq/machine.h"
#include "ui/con.h"

#include <errno.h>
#include <string.h>

#define GAP_NS 500000

enum {
    STAT_OBF = 0x01,
    STAT_SYS = 0x04,
    STAT_CMD = 0x08,
    STAT_UNLOCKED = 0x10,
    STAT_AUX = 0x20,
};
enum {
    CFG_KBD_IRQ = 0x01,
    CFG_AUX_IRQ = 0x02,
    CFG_SYS = 0x04,
    CFG_KBD_OFF = 0x10,
    CFG_AUX_OFF = 0x20,
    CFG_XLATE = 0x40,
};
enum { OUT_NO_RESET = 0x01, OUT_A20 = 0x02, OUT_KBD_OBF = 0x10, OUT_AUX_OBF = 0x20 };
enum {
    CMD_READ_RAM = 0x20,  /* to 0x3f; byte 0 is the configuration */
    CMD_WRITE_RAM = 0x60, /* to 0x7f */
    CMD_TEST_PASSWORD = 0xa4,
    CMD_AUX_OFF = 0xa7,
    CMD_AUX_ON = 0xa8,
    CMD_TEST_AUX = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_TEST_KBD = 0xab,
    CMD_KBD_OFF = 0xad,
    CMD_KBD_ON = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_FAKE_KBD = 0xd2,
    CMD_FAKE_AUX = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_READ_TEST = 0xe0,
    CMD_PULSE = 0xf0, /* to 0xff: low bits that are 0 are pulsed */
};
enum source { FROM_NOBODY, FROM_CONTROLLER, FROM_KBD, FROM_AUX };

struct i8042 {
    struct device dev;
    struct con *con; /* property */

    uint8_t status;          /* SYS and CMD only: the rest follows from obf */
    uint8_t out;             /* the output buffer, kept after it was read */
    uint8_t obf;             /* enum source of the unread byte in it */
    bool obf_aux;            /* it shows as the mouse's */
    bool obf_event;          /* it is a key or motion */
    uint8_t held, held_from; /* a device's byte that waits for the controller's answer to go */
    bool held_event;
    uint8_t pending_cmd; /* the command whose argument comes to port 0x60, 0: none */
    uint8_t ram[32];     /* [0]: the configuration byte */
    uint8_t outport;
    bool xlate_break;  /* the keyboard said 0xf0 */
    int64_t gap_end;   /* virtual ns before which the next event would be too early */
    struct vtimer gap; /* wakes us then, or when the held key repeats, whichever is first */

    struct ps2_kbd kbd;
    struct ps2_mouse mouse;
    struct region data, cmd;
    struct line irq1, irq12;
};

static uint8_t config(const struct i8042 *s)
{
    return s->ram[0];
}

static void i8042_update_irq(struct i8042 *s)
{
    line_set(&s->irq1, s->obf && !s->obf_aux && (config(s) & CFG_KBD_IRQ));
    line_set(&s->irq12, s->obf && s->obf_aux && (config(s) & CFG_AUX_IRQ));
}

static void load_obf(struct i8042 *s, uint8_t byte, enum source from, bool aux, bool event)
{
    s->out = byte;
    s->obf = (uint8_t)from;
    s->obf_aux = aux;
    s->obf_event = event;
    /* A new byte is a new edge, even if the last one was never read. */
    line_set(&s->irq1, false);
    line_set(&s->irq12, false);
    i8042_update_irq(s);
}

/* A byte of the keyboard's as port 0x60 shows it; false when translation swallows it. */
static bool translate(struct i8042 *s, uint8_t *byte)
{
    if (!(config(s) & CFG_XLATE)) {
        s->xlate_break = false;
        return true;
    }
    if (*byte == 0xf0) {
        s->xlate_break = true;
        return false;
    }
    *byte = (uint8_t)(ps2_set2_to_set1[*byte] | (s->xlate_break ? 0x80 : 0));
    s->xlate_break = false;
    return true;
}

static bool fetch_kbd(struct i8042 *s, bool events)
{
    uint8_t byte;
    bool event;
    while (!(config(s) & CFG_KBD_OFF) && ps2_fetch(&s->kbd.port, events, &byte, &event)) {
        if (translate(s, &byte)) {
            load_obf(s, byte, FROM_KBD, false, event);
            return true;
        }
    }
    return false;
}

static bool fetch_aux(struct i8042 *s, bool events)
{
    uint8_t byte;
    bool event;
    if ((config(s) & CFG_AUX_OFF) || !ps2_fetch(&s->mouse.port, events, &byte, &event)) {
        return false;
    }
    load_obf(s, byte, FROM_AUX, true, event);
    ps2_mouse_poll(&s->mouse);
    return true;
}

/* Fills the output buffer if it is empty and somebody has something to say. */
static void i8042_next(struct i8042 *s)
{
    bool events = vclock_now(s->dev.m) >= s->gap_end;
    if (s->obf) {
        return;
    }
    if (s->held_from) {
        uint8_t from = s->held_from;
        s->held_from = FROM_NOBODY;
        load_obf(s, s->held, from, from == FROM_AUX, s->held_event);
        return;
    }
    /* Replies to commands first, then events. */
    if (fetch_kbd(s, false) || fetch_aux(s, false)) {
        return;
    }
    if (events && !fetch_kbd(s, true)) {
        fetch_aux(s, true);
    }
}

static void i8042_wake(void *opaque)
{
    i8042_next(opaque);
}

static void arm_timer(struct i8042 *s)
{
    int64_t gap = s->gap_end > vclock_now(s->dev.m) ? s->gap_end : -1, repeat = s->kbd.repeat_at;
    if (gap < 0 && repeat < 0) {
        vtimer_disarm(&s->gap);
    } else {
        vtimer_arm_at(&s->gap, gap < 0 || (repeat >= 0 && repeat < gap) ? repeat : gap);
    }
}

static void timer_fired(void *opaque)
{
    struct i8042 *s = opaque;
    int64_t now = vclock_now(s->dev.m);
    i8042_next(s);
    if (s->kbd.repeat_at >= 0 && s->kbd.repeat_at <= now) {
        ps2_kbd_repeat(&s->kbd, now);
    }
    arm_timer(s);
}

/* The controller's own answer, shown as the keyboard's or the mouse's. */
static void answer(struct i8042 *s, uint8_t byte, bool aux)
{
    if (s->obf == FROM_KBD || s->obf == FROM_AUX) {
        s->held = s->out;
        s->held_from = s->obf;
        s->held_event = s->obf_event;
    }
    load_obf(s, byte, FROM_CONTROLLER, aux, false);
}

static uint64_t i8042_read_data(struct device *d, uint64_t off, unsigned size)
{
    struct i8042 *s = (struct i8042 *)d;
    uint8_t byte = s->out;
    (void)off;
    (void)size;
    if (s->obf) {
        if (s->obf_event) {
            s->gap_end = vclock_now(d->m) + GAP_NS;
            arm_timer(s);
        }
        s->obf = FROM_NOBODY;
        i8042_update_irq(s);
        i8042_next(s);
    }
    return byte;
}

static void set_config(struct i8042 *s, uint8_t val)
{
    s->ram[0] = val;
    s->status = (uint8_t)((s->status & ~STAT_SYS) | (val & CFG_SYS));
    i8042_update_irq(s);
    i8042_next(s);
}

static void write_outport(struct i8042 *s, uint8_t val)
{
    s->outport = val & (uint8_t) ~(OUT_KBD_OBF | OUT_AUX_OBF);
    cpu_a20(s->dev.m, s->outport & OUT_A20);
    if (!(val & OUT_NO_RESET)) {
        s->outport |= OUT_NO_RESET;
        line_power(s->dev.m, POWER_RESET);
    }
}

static uint8_t read_outport(const struct i8042 *s)
{
    uint8_t val = s->outport;
    if (s->obf) {
        val |= s->obf_aux ? OUT_AUX_OBF : OUT_KBD_OBF;
    }
    return val;
}

static void write_argument(struct i8042 *s, uint8_t cmd, uint8_t val)
{
    switch (cmd) {
    case CMD_WRITE_OUTPUT:
        write_outport(s, val);
        break;
    case CMD_FAKE_KBD:
        answer(s, val, false);
        break;
    case CMD_FAKE_AUX:
        answer(s, val, true);
        break;
    case CMD_WRITE_AUX:
        ps2_mouse_write(&s->mouse, val);
        set_config(s, config(s) & (uint8_t)~CFG_AUX_OFF);
        break;
    default: /* CMD_WRITE_RAM and up */
        if (cmd == CMD_WRITE_RAM) {
            set_config(s, val);
        } else {
            s->ram[cmd & 0x1f] = val;
        }
        break;
    }
}

static void i8042_write_data(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct i8042 *s = (struct i8042 *)d;
    uint8_t cmd = s->pending_cmd;
    (void)off;
    (void)size;
    s->status &= (uint8_t)~STAT_CMD;
    s->pending_cmd = 0;
    if (cmd) {
        write_argument(s, cmd, (uint8_t)val);
        return;
    }
    ps2_kbd_write(&s->kbd, (uint8_t)val);
    set_config(s, config(s) & (uint8_t)~CFG_KBD_OFF);
}

static uint64_t i8042_read_status(struct device *d, uint64_t off, unsigned size)
{
    const struct i8042 *s = (const struct i8042 *)d;
    (void)off;
    (void)size;
    return (uint64_t)s->status | STAT_UNLOCKED | (s->obf ? STAT_OBF : 0) |
           (s->obf && s->obf_aux ? STAT_AUX : 0);
}

static void self_test(struct i8042 *s)
{
    s->obf = s->held_from = FROM_NOBODY;
    s->xlate_break = false;
    s->ram[0] |= CFG_SYS;
    s->status |= STAT_SYS;
    answer(s, 0x55, false);
}

static void pulse(struct i8042 *s, uint8_t cmd)
{
    if (!(cmd & OUT_NO_RESET)) {
        line_power(s->dev.m, POWER_RESET);
    }
}

/* Commands that neither answer nor take an argument. */
static bool switch_command(struct i8042 *s, uint8_t cmd)
{
    switch (cmd) {
    case CMD_AUX_OFF:
        set_config(s, config(s) | CFG_AUX_OFF);
        return true;
    case CMD_AUX_ON:
        set_config(s, config(s) & (uint8_t)~CFG_AUX_OFF);
        return true;
    case CMD_KBD_OFF:
        set_config(s, config(s) | CFG_KBD_OFF);
        return true;
    case CMD_KBD_ON:
        set_config(s, config(s) & (uint8_t)~CFG_KBD_OFF);
        return true;
    case CMD_A20_OFF:
        write_outport(s, s->outport & (uint8_t)~OUT_A20);
        return true;
    case CMD_A20_ON:
        write_outport(s, s->outport | OUT_A20);
        return true;
    default:
        return false;
    }
}

/* Commands with an answer: the byte, or -1. */
static int asked(const struct i8042 *s, uint8_t cmd)
{
    switch (cmd) {
    case CMD_TEST_PASSWORD:
        return 0xf1; /* none is set */
    case CMD_TEST_AUX:
    case CMD_TEST_KBD:
        return 0x00; /* the wires are fine */
    case CMD_READ_INPUT:
        return 0x80; /* keyboard not locked */
    case CMD_READ_OUTPUT:
        return read_outport(s);
    case CMD_READ_TEST:
        return 0x00;
    default:
        return cmd >= CMD_READ_RAM && cmd < CMD_READ_RAM + 32 ? s->ram[cmd & 0x1f] : -1;
    }
}

static bool takes_argument(uint8_t cmd)
{
    return (cmd >= CMD_WRITE_RAM && cmd < CMD_WRITE_RAM + 32) ||
           (cmd >= CMD_WRITE_OUTPUT && cmd <= CMD_WRITE_AUX);
}

static void i8042_write_cmd(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct i8042 *s = (struct i8042 *)d;
    uint8_t cmd = (uint8_t)val;
    int byte = asked(s, cmd);
    (void)off;
    (void)size;
    s->status |= STAT_CMD;
    s->pending_cmd = takes_argument(cmd) ? cmd : 0;
    if (byte >= 0) {
        answer(s, (uint8_t)byte, false);
    } else if (cmd == CMD_SELF_TEST) {
        self_test(s);
    } else if (cmd >= CMD_PULSE) {
        pulse(s, cmd);
    } else if (!switch_command(s, cmd) && !s->pending_cmd) {
        guest_odd(d, "command 0x%02x is unknown", cmd);
    }
}

static const struct reg_name data_names[] = { { 0, "DATA" }, { 0 } };
static const struct reg_name cmd_names[] = { { 0, "STATUS/COMMAND" }, { 0 } };
static const struct region_ops data_ops = {
    .read = i8042_read_data, .write = i8042_write_data, .max_size = 1, .names = data_names
};
static const struct region_ops cmd_ops = {
    .read = i8042_read_status, .write = i8042_write_cmd, .max_size = 1, .names = cmd_names
};

static void i8042_key(void *opaque, uint16_t scancode, bool down)
{
    struct i8042 *s = opaque;
    ps2_kbd_key(&s->kbd, scancode, down, vclock_now(s->dev.m));
    arm_timer(s);
}

static void i8042_motion(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    ps2_mouse_motion(&((struct i8042 *)opaque)->mouse, dx, dy, dz, buttons);
}

static const struct con_input_ops kbd_input = { .key = i8042_key };
static const struct con_input_ops mouse_input = { .motion = i8042_motion };

static int i8042_init(struct device *d, struct err *e)
{
    struct i8042 *s = (struct i8042 *)d;
    (void)e;
    region_init(&s->data, d, &data_ops, IO_PIO, 1, "i8042 data");
    region_init(&s->cmd, d, &cmd_ops, IO_PIO, 1, "i8042 command");
    region_map(&s->data, 0x60);
    region_map(&s->cmd, 0x64);
    line_init(&s->irq1, d, LINE_ISA, 1);
    line_init(&s->irq12, d, LINE_ISA, 12);
    vtimer_init(&s->gap, d->m, "i8042 gap", timer_fired, s);
    s->kbd.con = s->con;
    s->kbd.port.wake = s->mouse.port.wake = i8042_wake;
    s->kbd.port.opaque = s->mouse.port.opaque = s;
    if (s->con) {
        con_set_keyboard(s->con, &kbd_input, s);
        con_set_mouse(s->con, &mouse_input, s);
    }
    return 0;
}

static void i8042_reset(struct device *d)
{
    struct i8042 *s = (struct i8042 *)d;
    vtimer_disarm(&s->gap);
    s->gap_end = 0;
    memset(s->ram, 0, sizeof(s->ram));
    s->ram[0] = CFG_KBD_IRQ | CFG_AUX_IRQ;
    s->status = STAT_CMD;
    s->out = s->held = s->held_from = s->pending_cmd = 0;
    s->obf = FROM_NOBODY;
    s->obf_aux = s->obf_event = s->held_event = s->xlate_break = false;
    s->outport = OUT_NO_RESET | OUT_A20 | 0xc0; /* both wires' clock and data idle high */
    ps2_kbd_reset(&s->kbd);
    ps2_mouse_reset(&s->mouse);
    i8042_update_irq(s);
}

static int i8042_loaded(struct device *d, struct err *e)
{
    struct i8042 *s = (struct i8042 *)d;
    int64_t now = vclock_now(d->m);
    if (ps2_check(&s->kbd.port) < 0 || ps2_check(&s->mouse.port) < 0) {
        return err_set(e, -EINVAL, "%s: a queue holds more than it can", d->id);
    }
    if (s->status & ~(STAT_SYS | STAT_CMD)) {
        return err_set(e, -EINVAL, "%s: status 0x%x", d->id, s->status);
    }
    if (s->pending_cmd && !takes_argument(s->pending_cmd)) {
        return err_set(e, -EINVAL, "%s: pending_cmd 0x%x takes no argument", d->id, s->pending_cmd);
    }
    if (s->con) {
        s->con->leds = s->kbd.leds;
    }
    s->kbd.held = 0; /* whoever held it is not here */
    s->kbd.repeat_at = -1;
    if (s->gap_end > now + GAP_NS) {
        return err_set(e, -EINVAL, "%s: gap_end lies too far ahead", d->id);
    }
    if (s->gap_end > now && (!vtimer_armed(&s->gap) || s->gap.when > s->gap_end)) {
        vtimer_arm_at(&s->gap, s->gap_end);
    }
    i8042_update_irq(s);
    return 0;
}

static void i8042_fini(struct device *d)
{
    struct i8042 *s = (struct i8042 *)d;
    if (s->con) {
        con_set_keyboard(s->con, NULL, NULL);
        con_set_mouse(s->con, NULL, NULL);
    }
    vtimer_fini(&s->gap);
    line_fini(&s->irq1);
    line_fini(&s->irq12);
    region_unmap(&s->data);
    region_unmap(&s->cmd);
}

static const struct dev_prop i8042_props[] = {
    PROP(struct i8042, "con", PROP_PTR, con, 0, "where keys and motion come from"),
    { .kind = PROP_END },
};

static const struct state_field i8042_state[] = {
    FIELD_RANGE(struct i8042, status, 0, STAT_SYS | STAT_CMD),
    FIELD(struct i8042, out),
    FIELD_RANGE(struct i8042, obf, FROM_NOBODY, FROM_AUX),
    FIELD(struct i8042, obf_aux),
    FIELD(struct i8042, obf_event),
    FIELD(struct i8042, held),
    FIELD_RANGE(struct i8042, held_from, FROM_NOBODY, FROM_AUX),
    FIELD(struct i8042, held_event),
    FIELD(struct i8042, pending_cmd),
    FIELD_ARRAY(struct i8042, ram),
    FIELD(struct i8042, outport),
    FIELD(struct i8042, xlate_break),
    FIELD_TIMER(struct i8042, gap),
    FIELD_SINCE(struct i8042, gap_end, 2),
    FIELD_SUB(struct i8042, kbd, ps2_kbd_state, 1),
    FIELD_SUB(struct i8042, mouse, ps2_mouse_state, 1),
    FIELD_END,
};

const struct dev_class i8042_class = {
    .name = "i8042",
    .desc = "PS/2 keyboard and mouse controller",
    .size = sizeof(struct i8042),
    .props = i8042_props,
    .state = i8042_state,
    .state_version = 2,
    .init = i8042_init,
    .reset = i8042_reset,
    .loaded = i8042_loaded,
    .fini = i8042_fini,
};
