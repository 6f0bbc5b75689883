/* SPDX-License-Identifier: MIT */
/* dm/qmp-memory.c - QMP commands that write guest memory into files. docs/qmp.md 3.
 *
 * A dump is made with the guest stopped and is over when the command answers, also one that was asked to
 * detach.
 */
#include "dm/qmp.h"

#include "dm/base/util.h"
#include "dm/guest-dump.h"
#include "dm/hmp-cpu.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "ioreq/machine.h"
#include "target/x86/vcpu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- memsave, pmemsave ---- */

struct span {
    uint64_t at, size;
    bool linear; /* as the chosen processor sees it */
};

/* Pages of linear addresses need not lie side by side. */
static bool save(struct qmp_call *c, FILE *f, const struct span *s)
{
    uint8_t buf[4096];
    for (uint64_t done = 0, n; done < s->size; done += n) {
        uint64_t at = s->at + done, gpa = at;
        n = min_u64(s->size - done, sizeof(buf) - (at & (sizeof(buf) - 1)));
        if ((s->linear && !hmp_cpu_translate(c->k, at, &gpa)) ||
            gmem_peek(c->k->m, gpa, buf, n) < 0) {
            qmp_fail(c, NULL, "Invalid addr 0x%llx/size %llu specified", (unsigned long long)at,
                     (unsigned long long)(s->size - done));
            return false;
        }
        if (fwrite(buf, 1, n, f) != n) {
            qmp_fail(c, NULL, "writing memory to '%.200s' failed", qmp_str(c, "filename"));
            return false;
        }
    }
    return true;
}

static json_t *save_to_file(struct qmp_call *c, bool linear)
{
    struct span s = { (uint64_t)qmp_int(c, "val", 0), (uint64_t)qmp_int(c, "size", 0), linear };
    const char *name = qmp_str(c, "filename");
    if (s.size > INT64_MAX || s.at + s.size < s.at || (!linear && s.at > INT64_MAX)) {
        return qmp_fail(c, NULL, "Invalid addr 0x%llx/size %lld specified",
                        (unsigned long long)s.at, (long long)s.size);
    }
    FILE *f = fopen(name, "we");
    if (!f) {
        return qmp_fail(c, NULL, "Could not open '%.200s': %s", name, strerror(errno));
    }
    bool ok = save(c, f, &s);
    if (fclose(f) != 0 && ok) {
        return qmp_fail(c, NULL, "writing memory to '%.200s' failed", name);
    }
    return ok ? qmp_ok() : NULL;
}

static json_t *do_pmemsave(struct qmp_call *c)
{
    return save_to_file(c, false);
}

static json_t *do_memsave(struct qmp_call *c)
{
    struct keel *k = c->k;
    unsigned chosen = k->monitor_cpu;
    int64_t cpu = qmp_int(c, "cpu-index", chosen);
    if (!k->vcpus) {
        return qmp_fail(c, NULL, "the processors are not Keel's");
    }
    if (cpu < 0 || cpu >= vcpus_count(k->vcpus)) {
        return qmp_fail(c, NULL, "Parameter 'cpu-index' expects a CPU number");
    }
    k->monitor_cpu = (unsigned)cpu;
    json_t *answer = save_to_file(c, true);
    k->monitor_cpu = chosen;
    return answer;
}

/* ---- dump-guest-memory ---- */

/* What "protocol" names, open to be written and the caller's; -1 with the error set. */
static int open_dump(struct qmp_call *c)
{
    const char *protocol = qmp_str(c, "protocol");
    if (strncmp(protocol, "fd:", 3) == 0) {
        int fd = c->mon ? monitor_take_named_fd(c->mon, protocol + 3) : -1;
        if (fd < 0) {
            qmp_fail(c, NULL, "File descriptor named '%.60s' has not been found", protocol + 3);
        }
        return fd;
    }
    if (strncmp(protocol, "file:", 5) != 0) {
        qmp_fail(c, NULL, "Parameter 'protocol' expects 'file:PATH' or 'fd:NAME'");
        return -1;
    }
    int fd = open(protocol + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0400);
    if (fd < 0) {
        qmp_fail(c, NULL, "Could not open '%.200s': %s", protocol + 5, strerror(errno));
    }
    return fd;
}

static json_t *dump_state(const struct keel *k)
{
    static const char *const states[] = { "none", "completed", "failed" };
    return json_pack("{s:s, s:I, s:I}", "status", states[k->dump.state], "completed",
                     (json_int_t)(k->dump.state == DUMP_COMPLETED ? k->dump.total : 0), "total",
                     (json_int_t)k->dump.total);
}

static bool dump_arguments(struct qmp_call *c, struct guest_dump *d)
{
    bool begin = json_object_get(c->args, "begin"), length = json_object_get(c->args, "length");
    const char *format = qmp_str(c, "format");
    *d = (struct guest_dump){ .paging = qmp_bool(c, "paging", false),
                              .begin = (uint64_t)qmp_int(c, "begin", 0),
                              .length = (uint64_t)qmp_int(c, "length", 0) };
    if (begin != length) {
        qmp_fail(c, NULL, "Parameter '%s' is missing", begin ? "length" : "begin");
    } else if (length && (d->length == 0 || d->length > INT64_MAX || d->begin > INT64_MAX)) {
        qmp_fail(c, NULL, "Parameter 'length' expects a number of bytes above 0");
    } else if (format && strcmp(format, "elf") != 0) {
        qmp_fail(c, NULL, "format '%.30s': not available, Keel writes 'elf'", format);
    } else {
        return true;
    }
    return false;
}

static json_t *do_dump(struct qmp_call *c)
{
    struct keel *k = c->k;
    struct guest_dump d;
    int fd = dump_arguments(c, &d) ? open_dump(c) : -1;
    if (fd < 0) {
        return NULL;
    }
    bool ran = machine_running(k->m);
    keel_stop(k);
    int ret = guest_dump_write(k, fd, &d, &k->dump.total, &c->err);
    if (close(fd) < 0 && ret == 0) {
        ret = err_set(&c->err, -errno, "%s", strerror(errno));
    }
    k->dump.state = ret < 0 ? DUMP_FAILED : DUMP_COMPLETED;
    if (ran) {
        keel_cont(k, NULL);
    }
    json_t *event = json_pack("{s:o}", "result", dump_state(k));
    if (ret < 0) {
        json_object_set_new(event, "error", qmp_text(c->err.msg));
    }
    monitor_event(k, "DUMP_COMPLETED", event);
    return ret < 0 ? NULL : qmp_ok();
}

static json_t *query_dump(struct qmp_call *c)
{
    return dump_state(c->k);
}

static json_t *query_dump_capability(struct qmp_call *c)
{
    (void)c;
    return json_pack("{s:[s]}", "formats", "elf");
}

const struct qmp_command qmp_commands_memory[] = {
    { "dump-guest-memory", "paging:b protocol:s detach:b? begin:i? length:i? format:s?", do_dump },
    { "memsave", "val:i size:i filename:s cpu-index:i?", do_memsave },
    { "pmemsave", "val:i size:i filename:s", do_pmemsave },
    { "query-dump", "", query_dump },
    { "query-dump-guest-memory-capability", "", query_dump_capability },
    { 0 },
};
