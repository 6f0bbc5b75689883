/* SPDX-License-Identifier: MIT */
/* dm/hmp.c - the monitor for people: a line in, text out.
 *
 * Commands and their output are spelt as QEMU's, which scripts parse; the prompt is "(qemu) " for
 * the same reason. Reference: docs/qmp.md 7.
 */
#include "dm/monitor.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/hmp-block.h"
#include "dm/hmp-chr.h"
#include "dm/hmp-cpu.h"
#include "dm/hmp-drive.h"
#include "dm/hmp-expr.h"
#include "dm/hmp-info.h"
#include "dm/hmp-int.h"
#include "dm/hmp-memory.h"
#include "dm/hmp-net.h"
#include "dm/hmp-value.h"
#include "dm/hotplug.h"
#include "dm/keel.h"
#include "dm/keys.h"
#include "dm/keyval.h"
#include "dm/qmp-block.h"
#include "dm/vm-snapshot.h"
#include "ui/con.h"
#include "ui/vnc.h"
#include "xen-glue/xen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 16

struct hmp_call {
    struct keel *k;
    struct text *out;
    char *word[MAX_WORDS + 1]; /* the command itself is word[0]; unused ones are "" */
    const char *rest;          /* the line behind the command and its "/" word, blanks and all */
    char format[16];           /* what followed a "/" word: "4xb" */
    char flags[8];             /* the letters of -f, -n that were given */
    bool linear;               /* addresses are the processor's, not physical */
};

static void report(struct hmp_call *c, int ret, const struct err *e)
{
    hmp_report(c->out, ret, e);
}

static void do_cont(struct hmp_call *c)
{
    struct err e;
    report(c, keel_cont(c->k, &e), &e);
}

static void do_stop(struct hmp_call *c)
{
    keel_stop(c->k);
}

static void do_quit(struct hmp_call *c)
{
    keel_quit(c->k, false, "host-qmp-quit");
}

static void do_reset(struct hmp_call *c)
{
    if (c->k->xen) {
        xen_shutdown(c->k->xen, POWER_RESET);
    }
    keel_reset(c->k, false, "host-qmp-system-reset");
}

static void do_powerdown(struct hmp_call *c)
{
    keel_powerdown(c->k);
}

static void do_nmi(struct hmp_call *c)
{
    if (!keel_nmi(c->k)) {
        text_add(c->out, "Error: the processors are not Keel's\r\n");
    }
}

static void do_log(struct hmp_call *c)
{
    hmp_log(c->k, c->word[1], c->out);
}

static void do_migrate(struct hmp_call *c)
{
    struct err e = { 0 };
    bool detach = strcmp(c->word[1], "-d") == 0; /* it does not take long enough */
    if (detach && !*c->word[2]) {
        text_add(c->out, "Error: migrate: URI missing\r\n");
    } else {
        report(c, keel_migrate(c->k, c->word[detach ? 2 : 1], &e), &e);
    }
}

static void do_wakeup(struct hmp_call *c)
{
    if (c->k->m->run_state == RUN_SUSPENDED) {
        keel_wakeup(c->k);
    } else {
        text_add(c->out, "Error: Unable to wake up: guest is not in suspended state\r\n");
    }
}

static void do_info(struct hmp_call *c)
{
    if (!hmp_info(c->k, c->word[1], c->out)) {
        text_add(c->out, "unknown command: 'info %s'\r\n", c->word[1]);
    }
}

static void do_screendump(struct hmp_call *c)
{
    struct err e;
    const char *file = c->word[1], *dot = strrchr(file, '.');
    const char *format = dot && strcmp(dot, ".png") == 0 ? "png" : "ppm";
    report(c, con_screendump(c->k->be.con, file, format, &e), &e);
}

/* "ctrl-alt-f1", or numbers: "0x1d-0x38". */
static void do_sendkey(struct hmp_call *c)
{
    uint16_t codes[16];
    size_t n = 0;
    char *save, *name = strtok_r(c->word[1], "-", &save);
    for (; name && n < ARRAY_SIZE(codes); name = strtok_r(NULL, "-", &save)) {
        uint64_t number;
        bool digits = strncmp(name, "0x", 2) == 0 && parse_u64(name, 0xff, &number) == 0;
        codes[n] = digits ? key_number(number) : key_qcode(name);
        if (!codes[n++]) {
            text_add(c->out, "invalid parameter: %s\r\n", name);
            return;
        }
    }
    keys_press(c->k->be.con, codes, n);
}

static struct drive *find_drive(struct hmp_call *c)
{
    struct drive *d = drive_find_any(&c->k->be, c->word[1], c->word[1]);
    if (!d) {
        text_add(c->out, "Error: Device '%s' not found\r\n", c->word[1]);
    }
    return d;
}

static void do_device_add(struct hmp_call *c)
{
    struct err e;
    struct keyval *kv = keyval_parse(c->word[1], "driver");
    const char *driver = kv ? keyval_get(kv, "driver") : NULL;
    int ret = driver && hotplug_can(driver)
                  ? hotplug_add(c->k, kv, &e)
                  : err_set(&e, -EINVAL, "'%.100s': no device that Keel can plug in", c->word[1]);
    keyval_free(kv);
    report(c, ret, &e);
}

static void do_device_del(struct hmp_call *c)
{
    struct err e;
    struct device *d = machine_find(c->k->m, c->word[1]);
    report(c,
           d ? hotplug_del(c->k, d, &e)
             : err_set(&e, -ENODEV, "Device '%.100s' not found", c->word[1]),
           &e);
}

static void do_eject(struct hmp_call *c)
{
    struct err e;
    struct drive *d = find_drive(c);
    if (d) {
        report(c, drive_eject(d, strchr(c->flags, 'f'), &e), &e);
    }
}

static void change_vnc(struct hmp_call *c)
{
    struct err e;
    if (!c->k->vnc || strcmp(c->word[2], "password") != 0) {
        text_add(c->out, "Error: only the password of a running VNC server can change\r\n");
        return;
    }
    report(c, vnc_set_password(c->k->vnc, c->word[3], &e), &e);
}

static void do_change(struct hmp_call *c)
{
    struct err e;
    if (strcmp(c->word[1], "vnc") == 0) {
        change_vnc(c);
        return;
    }
    struct drive *d = find_drive(c);
    if (d) {
        report(c, drive_change(c->k, d, c->word[2], strchr(c->flags, 'f'), &e), &e);
    }
}

/* ---- ports and memory ---- */

/* Size in bytes that a format names ("b", "h", "w", "l" in i/o; "4xb" in xp), or fallback. */
static unsigned format_size(const struct hmp_call *c, unsigned fallback)
{
    const char *f = c->format;
    size_t n = strlen(f);
    switch (n ? f[n - 1] : 0) {
    case 'b':
        return 1;
    case 'h':
        return 2;
    case 'w':
    case 'l':
        return 4;
    case 'g':
        return 8;
    default:
        return fallback;
    }
}

static bool parse_number(struct hmp_call *c, const char *text, uint64_t max, uint64_t *out)
{
    if (parse_u64(text, max, out) < 0) {
        text_add(c->out, "invalid number: '%s'\r\n", text);
        return false;
    }
    return true;
}

/* The door takes the machine lock, which the loop holds around every command. */
static uint64_t unlocked_io(struct keel *k, uint64_t port, unsigned size, bool write, uint64_t v)
{
    machine_leave(k->m);
    if (write) {
        io_write(k->m, IO_PIO, port, size, v);
    } else {
        v = io_read(k->m, IO_PIO, port, size);
    }
    machine_enter(k->m);
    return v;
}

static void do_in(struct hmp_call *c)
{
    uint64_t port;
    unsigned size = format_size(c, 1);
    if (parse_number(c, c->word[1], 0xffff, &port)) {
        text_add(c->out, "port%c[0x%04x] = 0x%0*llx\r\n",
                 size == 1   ? 'b'
                 : size == 2 ? 'w'
                             : 'l',
                 (unsigned)port, (int)size * 2,
                 (unsigned long long)unlocked_io(c->k, port, size, false, 0));
    }
}

static void do_out(struct hmp_call *c)
{
    uint64_t port, v;
    if (parse_number(c, c->word[1], 0xffff, &port) && parse_number(c, c->word[2], ~0u, &v)) {
        unlocked_io(c->k, port, format_size(c, 1), true, v);
    }
}

static void do_xp(struct hmp_call *c)
{
    struct err e;
    uint64_t at;
    if (hmp_expr(c->k, c->rest, &at, &e) < 0) {
        text_add(c->out, "%s\r\n", e.msg);
        return;
    }
    hmp_memory(c->k, c->format, at, c->linear, c->out);
}

static void do_print(struct hmp_call *c)
{
    hmp_print(c->k, c->format, c->rest, c->out);
}

static void do_cpu(struct hmp_call *c)
{
    uint64_t n;
    if (!parse_number(c, c->word[1], UINT32_MAX, &n)) {
        return;
    }
    if (n >= c->k->o.max_cpus || !cpu_present(c->k, (unsigned)n)) {
        text_add(c->out, "invalid CPU index\r\n");
        return;
    }
    c->k->monitor_cpu = (unsigned)n;
}

static void do_x(struct hmp_call *c)
{
    c->linear = true;
    do_xp(c);
}

#define WORDS_COMMAND(name)                                                                        \
    static void do_##name(struct hmp_call *c)                                                      \
    {                                                                                              \
        hmp_##name(c->k, c->word, c->out);                                                         \
    }
WORDS_COMMAND(set_link)
WORDS_COMMAND(netdev_add)
WORDS_COMMAND(netdev_del)
WORDS_COMMAND(hostfwd_add)
WORDS_COMMAND(hostfwd_remove)
WORDS_COMMAND(chardev)
WORDS_COMMAND(gdbserver)
WORDS_COMMAND(drive_add)
WORDS_COMMAND(drive_del)
WORDS_COMMAND(gva2gpa)
WORDS_COMMAND(sum)
WORDS_COMMAND(save_memory)
WORDS_COMMAND(commit)
WORDS_COMMAND(vm_snapshot)

static void do_block(struct hmp_call *c)
{
    hmp_block(c->k, c->word, c->flags, c->out);
}

static void do_help(struct hmp_call *c);

static const struct hmp_command {
    const char *names; /* blank-separated */
    unsigned args;     /* words it needs */
    const char *help;
    void (*run)(struct hmp_call *c);
} commands[] = {
    { "block_job_cancel", 1, "[-f] JOB", do_block },
    { "block_job_complete", 1, "JOB", do_block },
    { "block_job_pause", 1, "JOB", do_block },
    { "block_job_resume", 1, "JOB", do_block },
    { "block_job_set_speed", 2, "JOB BYTES_A_SECOND", do_block },
    { "block_resize", 2, "DRIVE SIZE, in MiB unless it says so", do_block },
    { "block_set_io_throttle", 7, "DRIVE BPS BPS_RD BPS_WR IOPS IOPS_RD IOPS_WR", do_block },
    { "block_stream", 1, "DRIVE [SPEED [BASE]]", do_block },
    { "change", 2, "DRIVE FILE, or vnc password TEXT", do_change },
    { "chardev-add", 1, "KIND,id=ID[,...], as -chardev", do_chardev },
    { "chardev-remove", 1, "ID", do_chardev },
    { "chardev-send-break", 1, "ID", do_chardev },
    { "commit", 1, "DRIVE|all: what its image has of its own, into the backing file", do_commit },
    { "cont c", 0, "let the guest run", do_cont },
    { "cpu", 1, "N: whose memory and tables are looked at", do_cpu },
    { "delvm", 1, "TAG: take a snapshot of the machine out of its disks", do_vm_snapshot },
    { "device_add", 1, "DRIVER[,id=ID][,...]", do_device_add },
    { "device_del", 1, "ID", do_device_del },
    { "drive_add", 1, "[ADDRESS] if=none,id=ID[,file=FILE][,...]; ADDRESS means nothing",
      do_drive_add },
    { "drive_backup", 2, "[-n] [-f] DRIVE FILE [FORMAT]", do_block },
    { "drive_del", 1, "ID, of a drive that no device uses", do_drive_del },
    { "drive_mirror", 2, "[-n] [-f] DRIVE FILE [FORMAT]", do_block },
    { "dump-guest-memory", 1, "[-p] [-d] FILE [BEGIN LENGTH]: an ELF core; -p by linear addresses",
      do_save_memory },
    { "eject", 1, "[-f] DRIVE", do_eject },
    { "gdbserver", 0, "[DEV|none]: wait for gdb there, tcp::1234 if nothing is said",
      do_gdbserver },
    { "gva2gpa", 1, "ADDRESS: where the chosen processor's tables lead", do_gva2gpa },
    { "help ?", 0, "this list", do_help },
    { "hostfwd_add", 1, "[NETDEV] [tcp|udp]:[HOSTADDR]:PORT-[GUESTADDR]:PORT", do_hostfwd_add },
    { "hostfwd_remove", 1, "[NETDEV] [tcp|udp]:[HOSTADDR]:PORT", do_hostfwd_remove },
    { "i", 1, "/b|w|l PORT", do_in },
    { "info", 1, "WHAT", do_info },
    { "loadvm", 1, "TAG: go on from a snapshot of the machine", do_vm_snapshot },
    { "memsave", 3, "ADDRESS SIZE FILE, as the chosen processor sees it", do_save_memory },
    { "log", 1, "ITEM,... as -d has them, none or help", do_log },
    { "migrate", 1, "[-d] file:PATH, fd:NUMBER, exec:COMMAND, tcp:HOST:PORT or unix:PATH",
      do_migrate },
    { "nbd_server_add", 1, "[-w] NODE [NAME]", do_block },
    { "nbd_server_remove", 1, "[-f] NAME", do_block },
    { "nbd_server_start", 1, "HOST:PORT or unix:PATH", do_block },
    { "nbd_server_stop", 0, "end the NBD server", do_block },
    { "netdev_add", 1, "TYPE,id=ID[,...]", do_netdev_add },
    { "netdev_del", 1, "ID", do_netdev_del },
    { "nmi", 0, "press the NMI button", do_nmi },
    { "o", 2, "/b|w|l PORT VALUE", do_out },
    { "pmemsave", 3, "ADDRESS SIZE FILE, guest-physical", do_save_memory },
    { "print p", 1, "/x|d|u|o|c EXPRESSION, with $REGISTERs of the chosen processor", do_print },
    { "quit q", 0, "end Keel", do_quit },
    { "savevm", 0, "[TAG]: machine and disks, into the qcow2 disks", do_vm_snapshot },
    { "screendump", 1, "FILE, PPM or .png", do_screendump },
    { "sendkey", 1, "KEY-KEY-...", do_sendkey },
    { "set_link", 2, "NAME on|off", do_set_link },
    { "snapshot_blkdev", 2, "[-n] DRIVE FILE [FORMAT]", do_block },
    { "snapshot_blkdev_internal", 2, "DRIVE NAME", do_block },
    { "snapshot_delete_blkdev_internal", 2, "DRIVE NAME [ID]", do_block },
    { "stop s", 0, "stop the guest's devices", do_stop },
    { "sum", 2, "ADDRESS SIZE: a checksum of guest-physical memory", do_sum },
    { "system_powerdown", 0, "press the power button", do_powerdown },
    { "system_reset", 0, "press the reset button", do_reset },
    { "system_wakeup", 0, "wake up from suspension", do_wakeup },
    { "x", 1, "/COUNT[xduoci][bhwg] ADDRESS, as the chosen processor sees it", do_x },
    { "xp", 1, "/COUNT[xduoci][bhwg] ADDRESS, guest-physical", do_xp },
};

static bool has_name(const char *names, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = names; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        if (len == n && strncmp(p, name, n) == 0) {
            return true;
        }
        p += len;
    }
    return false;
}

/* All commands, or the one asked about. */
static void do_help(struct hmp_call *c)
{
    const char *name = c->word[1];
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!*name || has_name(commands[i].names, name)) {
            text_add(c->out, "%s %s\r\n", commands[i].names, commands[i].help);
        }
    }
    if (!*name || strcmp(name, "info") == 0) {
        text_add(c->out, "info ");
        hmp_info_names(c->out);
    }
}

/* The next word at *at, ended in place; one in double quotes may hold blanks, and \" \\ \n \r. NULL:
 * there is none. */
static char *next_word(char **at)
{
    char *p = *at + strspn(*at, " \t\r\n");
    if (!*p) {
        return NULL;
    }
    if (*p != '"') {
        char *end = p + strcspn(p, " \t\r\n");
        *at = end + (*end != '\0');
        *end = '\0';
        return p;
    }
    char *from = p + 1, *to = p;
    for (; *from && *from != '"'; from++) {
        if (*from == '\\' && from[1]) {
            from++;
            *to++ = *from == 'n' ? '\n' : *from == 'r' ? '\r' : *from;
        } else {
            *to++ = *from;
        }
    }
    *at = from + (*from == '"');
    *to = '\0';
    return p;
}

/* What stands behind "/" in the second word is the first one's format. */
static bool takes_format(const char *command)
{
    return strchr("iox", command[0]) || has_name("print p", command);
}

/* Splits copy (changed), which says what line does, into words, taking "/format" and -f out. Returns how
 * many there are. */
static unsigned split(struct hmp_call *c, const char *line, char *copy)
{
    unsigned n = 0;
    char *at = copy, *w;
    c->rest = "";
    while (n < MAX_WORDS && (w = next_word(&at))) {
        if (n == 1 && w[0] == '/' && takes_format(c->word[0])) {
            snprintf(c->format, sizeof(c->format), "%s", w + 1);
            c->rest = line + (at - copy);
        } else if (n >= 1 && (strcmp(w, "-f") == 0 || strcmp(w, "-n") == 0 ||
                              (strcmp(w, "-w") == 0 && has_name("nbd_server_add", c->word[0])))) {
            c->flags[strlen(c->flags) % (sizeof(c->flags) - 1)] = w[1];
        } else {
            c->rest = n == 0 ? line + (at - copy) : c->rest;
            c->word[n++] = w;
        }
    }
    return n;
}

static void run_words(struct hmp_call *c, unsigned n)
{
    char *slash = strchr(c->word[0], '/'); /* "xp/4xb" */
    if (slash) {
        snprintf(c->format, sizeof(c->format), "%s", slash + 1);
        *slash = '\0';
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!has_name(commands[i].names, c->word[0])) {
            continue;
        }
        if (n - 1 < commands[i].args) {
            text_add(c->out, "%s: needs %s\r\n", c->word[0], commands[i].help);
            return;
        }
        commands[i].run(c);
        return;
    }
    text_add(c->out, "unknown command: '%s'\r\n", c->word[0]);
}

void hmp_run(struct keel *k, const char *line, struct text *out)
{
    struct hmp_call c = { .k = k, .out = out };
    char nothing[1] = "", *copy = xstrdup(line);
    for (unsigned i = 0; i <= MAX_WORDS; i++) {
        c.word[i] = nothing;
    }
    unsigned n = split(&c, line, copy);
    if (n > 0) {
        run_words(&c, n);
    }
    free(copy);
}

/* ---- on a stream ---- */

#define PROMPT "(qemu) "

static void add_if_begins(struct text *words, const char *word, size_t len, const char *begin)
{
    if (len >= strlen(begin) && strncmp(word, begin, strlen(begin)) == 0) {
        text_put(words, word, len);
        text_put(words, " ", 1);
    }
}

static void add_all(struct text *words, const char *names, const char *separators,
                    const char *begin)
{
    for (const char *n = names; *n; n += strspn(n, separators)) {
        size_t len = strcspn(n, separators);
        add_if_begins(words, n, len, begin);
        n += len;
    }
}

/* What could stand where the last word of line begins: a command, a topic of info or help, a drive. */
static void complete(void *owner, const char *line, struct text *words)
{
    struct monitor *mon = owner;
    const char *blank = strrchr(line, ' '), *begin = blank ? blank + 1 : line;
    if (!blank || strncmp(line, "help ", 5) == 0) {
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
            add_all(words, commands[i].names, " ", begin);
        }
    } else if (strncmp(line, "info ", 5) == 0) {
        struct text names = { 0 };
        hmp_info_names(&names);
        add_all(words, names.p, "|\r\n", begin);
        text_free(&names);
    } else {
        for (const struct drive *d = mon->k->be.drives; d; d = d->next) {
            add_if_begins(words, d->id, strlen(d->id), begin);
        }
    }
}

void hmp_greet(struct monitor *mon)
{
    static const char hello[] =
        "Keel " KEEL_VERSION " monitor - type 'help' for more information\r\n" PROMPT;
    mon->line.prompt = PROMPT;
    mon->line.complete = complete;
    mon->line.owner = mon;
    monitor_put(mon, hello, sizeof(hello) - 1);
}

static void show(struct monitor *mon, struct text *t)
{
    if (t->len) {
        monitor_put(mon, t->p, t->len);
    }
    text_free(t);
}

static void run_line(struct monitor *mon, const char *line)
{
    struct text out = { 0 };
    show(mon, &mon->line.out);
    hmp_run(mon->k, line, &out);
    text_put(&out, PROMPT, strlen(PROMPT));
    show(mon, &out);
}

void hmp_feed(struct monitor *mon, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const char *line = line_edit_byte(&mon->line, p[i]);
        if (line) {
            run_line(mon, line);
        }
    }
    show(mon, &mon->line.out);
}
