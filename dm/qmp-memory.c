/* SPDX-License-Identifier: MIT */
/* dm/qmp-memory.c - QMP commands that look at guest memory. */
#include "dm/keel.h"
#include "dm/qmp.h"
#include "ioreq/machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool save(struct qmp_call *c, FILE *f, uint64_t gpa, uint64_t size)
{
    uint8_t buf[4096];
    for (uint64_t done = 0; done < size;) {
        size_t n = size - done < sizeof(buf) ? (size_t)(size - done) : sizeof(buf);
        if (gmem_peek(c->k->m, gpa + done, buf, n) < 0) {
            qmp_fail(c, NULL, "Invalid addr 0x%llx/size %llu specified",
                     (unsigned long long)(gpa + done), (unsigned long long)(size - done));
            return false;
        }
        if (fwrite(buf, 1, n, f) != n) {
            qmp_fail(c, NULL, "writing memory to '%.200s' failed", qmp_str(c, "filename"));
            return false;
        }
        done += n;
    }
    return true;
}

static json_t *do_pmemsave(struct qmp_call *c)
{
    int64_t gpa = qmp_int(c, "val", 0), size = qmp_int(c, "size", 0);
    const char *name = qmp_str(c, "filename");
    if (gpa < 0 || size < 0 || gpa > INT64_MAX - size) {
        return qmp_fail(c, NULL, "Invalid addr 0x%llx/size %lld specified", (unsigned long long)gpa,
                        (long long)size);
    }
    FILE *f = fopen(name, "we");
    if (!f) {
        return qmp_fail(c, NULL, "Could not open '%.200s': %s", name, strerror(errno));
    }
    bool ok = save(c, f, (uint64_t)gpa, (uint64_t)size);
    if (fclose(f) != 0 && ok) {
        return qmp_fail(c, NULL, "writing memory to '%.200s' failed", name);
    }
    return ok ? qmp_ok() : NULL;
}

const struct qmp_command qmp_commands_memory[] = {
    { "pmemsave", "val:i size:i filename:s", do_pmemsave },
    { 0 },
};
