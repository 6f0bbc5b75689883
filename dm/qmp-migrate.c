/* SPDX-License-Identifier: MIT */
/* dm/qmp-migrate.c - QMP commands that send a machine away. docs/qmp.md 3.
 *
 * Keel's migration goes over a file, a descriptor, a command or a socket, with the guest stopped, and is over when
 * the command answers. So of QEMU's capabilities only "events" means something: MIGRATION tells of each
 * state in between.
 */
#include "dm/qmp.h"

#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void monitor_migration(struct keel *k, const char *status)
{
    if (k->migrate_events) {
        monitor_event(k, "MIGRATION", json_pack("{s:s}", "status", status));
    }
}

/* The descriptor that getfd gave the name in "fd:NAME", now the caller's; -1 for any other uri. */
static int take_named(const struct qmp_call *c, const char *uri)
{
    bool named = c->mon && strncmp(uri, "fd:", 3) == 0 && !(uri[3] >= '0' && uri[3] <= '9');
    return named ? monitor_take_named_fd(c->mon, uri + 3) : -1;
}

static json_t *do_migrate(struct qmp_call *c)
{
    static const char *const lacking[] = { "blk", "inc", "resume" };
    struct keel *k = c->k;
    for (size_t i = 0; i < ARRAY_SIZE(lacking); i++) {
        if (qmp_bool(c, lacking[i], false)) {
            return qmp_fail(c, NULL, "Parameter '%s': not available", lacking[i]);
        }
    }
    const char *uri = qmp_str(c, "uri");
    int fd = take_named(c, uri);
    monitor_migration(k, "setup");
    monitor_migration(k, "active");
    int ret = fd < 0 ? keel_migrate(k, uri, &c->err) : keel_migrate_fd(k, fd, uri, &c->err);
    k->migrated = ret == 0 ? 1 : -1;
    snprintf(k->migrate_error, sizeof(k->migrate_error), "%s", ret < 0 ? c->err.msg : "");
    monitor_migration(k, ret < 0 ? "failed" : "completed");
    return ret < 0 ? NULL : qmp_ok();
}

/* The machine was started with -incoming defer. */
static json_t *do_incoming(struct qmp_call *c)
{
    struct keel *k = c->k;
    if (k->m->run_state != RUN_INMIGRATE) {
        return qmp_fail(c, NULL, "'-incoming defer' was not specified, or the state has arrived");
    }
    const char *uri = qmp_str(c, "uri");
    int fd = take_named(c, uri);
    int ret = incoming_open(k, uri, &c->err);
    if (ret != -ENOTSUP) {
        return ret < 0 ? NULL : qmp_ok(); /* incoming.c tells what comes of it */
    }
    monitor_migration(k, "active");
    ret = fd < 0 ? keel_load_incoming(k, uri, &c->err) : keel_load_incoming_fd(k, fd, uri, &c->err);
    monitor_migration(k, ret < 0 ? "failed" : "completed");
    if (ret == 0 && !k->o.stopped) {
        ret = keel_cont(k, &c->err);
    }
    return ret < 0 ? NULL : qmp_ok();
}

static json_t *do_query_migrate(struct qmp_call *c)
{
    const struct keel *k = c->k;
    return k->migrated == 0  ? qmp_ok()
           : k->migrated > 0 ? json_pack("{s:s}", "status", "completed")
                             : json_pack("{s:s, s:o}", "status", "failed", "error-desc",
                                         qmp_text(k->migrate_error));
}

static json_t *query_capabilities(struct qmp_call *c)
{
    return json_pack("[{s:s, s:b}]", "capability", "events", "state", (int)c->k->migrate_events);
}

static json_t *set_capabilities(struct qmp_call *c)
{
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(c->args, "capabilities"), i, v)
    {
        const char *name = json_string_value(json_object_get(v, "capability"));
        bool on = json_is_true(json_object_get(v, "state"));
        if (!name) {
            return qmp_fail(c, NULL, "Parameter 'capability' is missing");
        }
        if (strcmp(name, "events") == 0) {
            c->k->migrate_events = on;
        } else if (on) { /* turning off what is not there is fine */
            return qmp_fail(c, NULL, "migration capability '%.60s': not available", name);
        }
    }
    return qmp_ok();
}

/* A guest that stands still is sent as fast as the other side takes it; what clients set of these is
 * kept for them to read. */
static const char *const parameters[] = { "downtime-limit", "max-bandwidth" };

static json_t *query_parameters(struct qmp_call *c)
{
    json_t *all = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
        json_object_set_new(all, parameters[i], json_integer(c->k->migrate_parameter[i]));
    }
    return all;
}

static json_t *set_parameters(struct qmp_call *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
        c->k->migrate_parameter[i] = qmp_int(c, parameters[i], c->k->migrate_parameter[i]);
    }
    return qmp_ok();
}

const struct qmp_command qmp_commands_migrate[] = {
    { "migrate", "uri:s blk:b? inc:b? detach:b? resume:b?", do_migrate },
    { "migrate-incoming", "uri:s", do_incoming },
    { "migrate-set-capabilities", "capabilities:a", set_capabilities },
    { "migrate-set-parameters", "downtime-limit:i? max-bandwidth:i?", set_parameters },
    { "query-migrate", "", do_query_migrate },
    { "query-migrate-capabilities", "", query_capabilities },
    { "query-migrate-parameters", "", query_parameters },
    { 0 },
};
