/* SPDX-License-Identifier: MIT */
/* dm/qmp-vm-snapshot.c - QMP's snapshot-save, snapshot-load, snapshot-delete: jobs that do all their work
 * at once, from the loop, and are there to be asked how it went.
 */
#include "dm/qmp.h"

#include "block/job.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/vm-snapshot.h"

#include <errno.h>
#include <stdlib.h>

struct vm_job {
    struct job job; /* first */
    struct keel *k;
    char *tag, *vmstate;
    char **names;
    size_t n;
};

static void nothing(struct job *j)
{
    (void)j;
}

static int no_commit(struct job *j, struct err *e)
{
    (void)j;
    (void)e;
    return 0;
}

static void end(struct job *j, int ret, const struct err *e)
{
    j->total = 1;
    if (ret < 0) {
        j->error = xstrdup(e->msg);
    }
    job_end(j, ret);
}

static struct vm_disks disks_of(const struct vm_job *v)
{
    return (struct vm_disks){ (const char *const *)v->names, v->n, v->vmstate };
}

static void save(struct job *j)
{
    struct vm_job *v = (struct vm_job *)j;
    struct vm_disks d = disks_of(v);
    struct err e = { 0 };

    end(j, vm_snapshot_save(v->k, v->tag, false, &d, &e), &e);
}

static void load(struct job *j)
{
    struct vm_job *v = (struct vm_job *)j;
    struct vm_disks d = disks_of(v);
    struct err e = { 0 };

    end(j, vm_snapshot_load(v->k, v->tag, &d, &e), &e);
}

static void take_away(struct job *j)
{
    struct vm_job *v = (struct vm_job *)j;
    struct vm_disks d = disks_of(v);
    struct err e = { 0 };

    end(j, vm_snapshot_delete(v->k, v->tag, &d, &e), &e);
}

static void free_job(struct job *j)
{
    struct vm_job *v = (struct vm_job *)j;

    for (size_t i = 0; i < v->n; i++) {
        free(v->names[i]);
    }
    free(v->names);
    free(v->tag);
    free(v->vmstate);
    free(v);
}

#define OPS(name, what)                                                                            \
    {                                                                                              \
        .type = name, .plain = true, .work = nothing, .idle = what, .commit = no_commit,           \
        .abort = nothing, .free = free_job                                                         \
    }
static const struct job_ops save_ops = OPS("snapshot-save", save),
                            load_ops = OPS("snapshot-load", load),
                            delete_ops = OPS("snapshot-delete", take_away);

static bool take_names(struct qmp_call *c, struct vm_job *v)
{
    const json_t *list = json_object_get(c->args, "devices");
    const json_t *name;
    size_t i;

    v->names = xcalloc(json_array_size(list), sizeof(*v->names));
    json_array_foreach(list, i, name)
    {
        if (!json_is_string(name)) {
            return qmp_fail(c, NULL, "Parameter 'devices' expects a list of strings");
        }
        v->names[v->n++] = xstrdup(json_string_value(name));
    }
    return true;
}

static json_t *start(struct qmp_call *c, const struct job_ops *ops)
{
    struct vm_job *v = xcalloc(1, sizeof(*v));
    struct job_options o = { .id = qmp_str(c, "job-id"), .no_dismiss = true };
    const char *vmstate = qmp_str(c, "vmstate");

    v->k = c->k;
    v->tag = xstrdup(qmp_str(c, "tag"));
    v->vmstate = vmstate ? xstrdup(vmstate) : NULL;
    if (!take_names(c, v) || job_init(c->k->be.jobs, &v->job, ops, &o, &c->err) < 0) {
        free_job(&v->job);
        return NULL;
    }
    job_start(&v->job);
    return qmp_ok();
}

static json_t *do_save(struct qmp_call *c)
{
    return start(c, &save_ops);
}

static json_t *do_load(struct qmp_call *c)
{
    return start(c, &load_ops);
}

static json_t *do_delete(struct qmp_call *c)
{
    return start(c, &delete_ops);
}

const struct qmp_command qmp_commands_vm_snapshot[] = {
    { "snapshot-delete", "job-id:s tag:s devices:a", do_delete },
    { "snapshot-load", "job-id:s tag:s vmstate:s devices:a", do_load },
    { "snapshot-save", "job-id:s tag:s vmstate:s devices:a", do_save },
    { 0 },
};
