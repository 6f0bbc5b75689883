/* SPDX-License-Identifier: MIT */
/* dm/qmp.h - one QMP command: its table entry, and the call as a handler sees it. */
#ifndef DM_QMP_H
#define DM_QMP_H

#include "dm/base/err.h"
#include "dm/image-json.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct keel;
struct keyval;
struct monitor;

struct qmp_call {
    struct keel *k;
    struct monitor *mon;
    json_t *args;      /* an object, checked against the command's schema; owned by the caller */
    const char *where; /* of args within the command's arguments, "options."; NULL: they are all */
    const char *class; /* of the error; "GenericError" unless set */
    struct err err;
};

struct qmp_command {
    const char *name;
    /* Arguments as "name:type", blank-separated, "?" behind an optional one: s string, b boolean,
     * i integer, a array, o object, r a node's name or the options of one. A final "*" lets any others pass. */
    const char *schema;
    /* The value of "return" (a new reference), or NULL with the error set. */
    json_t *(*run)(struct qmp_call *c);
};

/* Sorted by name; each array ends with a NULL name. */
extern const struct qmp_command *const qmp_tables[];
extern const struct qmp_command qmp_commands_core[], qmp_commands_query[], qmp_commands_block[],
    qmp_commands_input[], qmp_commands_net[], qmp_commands_memory[], qmp_commands_bitmap[],
    qmp_commands_job[], qmp_commands_node[], qmp_commands_object[], qmp_commands_snapshot[],
    qmp_commands_stats[], qmp_commands_vm_snapshot[], qmp_commands_probe[], qmp_commands_migrate[],
    qmp_commands_qom[], qmp_commands_chardev[], qmp_commands_export[], qmp_commands_create[],
    qmp_commands_reopen[], qmp_commands_throttle[], qmp_commands_watch[];

/* Sets the error and returns NULL. */
json_t *qmp_fail(struct qmp_call *c, const char *class, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
json_t *qmp_ok(void); /* an empty object */
/* json_text (dm/image-json.h): ids, file names and half-cut texts need not be UTF-8. */
static inline json_t *qmp_text(const char *s)
{
    return json_text(s);
}
/* NULL when absent. */
const char *qmp_str(const struct qmp_call *c, const char *name);
bool qmp_bool(const struct qmp_call *c, const char *name, bool absent);
int64_t qmp_int(const struct qmp_call *c, const char *name, int64_t absent);

/* The place of the word an argument gives, in words; `absent` when it gives none; -1 with the error
 * set. */
int qmp_word(struct qmp_call *c, const char *name, const char *const *words, int absent);

/* c->args fit a schema, else the error is set. */
bool qmp_check_args(struct qmp_call *c, const char *schema);
/* Runs a command from inside. Takes args (NULL: none). NULL with e. */
json_t *qmp_run(struct keel *k, const char *name, json_t *args, struct err *e);

/* Every event there may be, with its data's schema, as a command's arguments; ends with a NULL name. */
struct qmp_event {
    const char *name, *schema;
};
extern const struct qmp_event qmp_events[];

/* All names, for query-commands. */
json_t *qmp_command_names(void);

#endif
