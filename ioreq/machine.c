/* SPDX-License-Identifier: MIT */
/* ioreq/machine.c - the machine's life: made, entered, run, stopped, reset, freed. */
#include "ioreq/cpu.h"
#include "ioreq/machine-int.h"
#include "ioreq/trace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct machine *machine_new(const char *type, const struct machine_host *host, void *h)
{
    struct machine *m = xcalloc(1, sizeof(*m));
    m->type = type;
    m->host = host;
    m->h = h;
    m->now = -1;
    m->next_expiry = -1;
    return m;
}

static struct device *newest(const struct machine *m)
{
    struct device *d = m->devices;
    while (d && d->next) {
        d = d->next;
    }
    return d;
}

void machine_free(struct machine *m)
{
    if (!m) {
        return;
    }
    for (struct device *d; (d = newest(m));) {
        dev_free(d);
    }
    assert(!m->blocks);
    region_tables_free(m);
    free(m);
}

void machine_enter(struct machine *m)
{
    machine_begin_event(m);
}

bool machine_try_enter(struct machine *m)
{
    return machine_try_begin_event(m);
}

void machine_leave(struct machine *m)
{
    machine_end_event(m);
}

void machine_give_back(struct machine *m, struct machine_keeper *k)
{
    if (k->keeps) {
        k->keeps = false;
        k->run = 0;
        lock_return(&m->lock);
    }
}

void machine_set_leave(struct machine *m, void (*leave)(void *opaque), void *opaque)
{
    m->leave = leave;
    m->leave_opaque = opaque;
}

void machine_ask_leave(struct machine *m)
{
    m->leave_asked = true;
}

void machine_before_leave(struct machine *m)
{
    m->leave_asked = false;
    m->leave(m->leave_opaque);
    m->now = -1;
}

void machine_reset(struct machine *m)
{
    if (m->rec) {
        trace_reset(m);
    }
    for (struct device *d = m->devices; d; d = d->next) {
        if (d->inited) {
            dev_reset(d);
        }
    }
    cpu_power_on(m);
}

bool machine_running(const struct machine *m)
{
    return m->run_state == RUN_RUNNING;
}

#define TO(state) (1u << RUN_##state)
static const uint8_t legal_steps[] = {
    [RUN_PRELAUNCH] = TO(RUNNING) | TO(PAUSED) | TO(INMIGRATE) | TO(SHUTDOWN),
    [RUN_RUNNING] = TO(PAUSED) | TO(SHUTDOWN) | TO(SUSPENDED) | TO(IO_ERROR),
    [RUN_PAUSED] = TO(RUNNING) | TO(PRELAUNCH) | TO(INMIGRATE) | TO(SHUTDOWN),
    [RUN_INMIGRATE] = TO(RUNNING) | TO(PAUSED) | TO(PRELAUNCH) | TO(SHUTDOWN),
    [RUN_SHUTDOWN] = TO(RUNNING) | TO(PAUSED) | TO(PRELAUNCH),
    [RUN_SUSPENDED] = TO(RUNNING) | TO(PAUSED) | TO(SHUTDOWN),
    [RUN_IO_ERROR] = TO(RUNNING) | TO(PAUSED) | TO(PRELAUNCH) | TO(INMIGRATE) | TO(SHUTDOWN),
};

bool machine_may_step(const struct machine *m, enum run_state s)
{
    return s == m->run_state || (legal_steps[m->run_state] & (1u << s));
}

void machine_set_run_state(struct machine *m, enum run_state s)
{
    if (s == m->run_state) {
        return;
    }
    assert(machine_may_step(m, s));
    if (m->rec) {
        trace_run_state(m, s);
    }
    if (machine_running(m)) {
        clock_stop(m);
    } else if (s == RUN_RUNNING) {
        clock_start(m);
    }
    m->run_state = s;
    clock_tell_host(m, false);
}

struct device *machine_find(const struct machine *m, const char *id)
{
    for (struct device *d = m->devices; d; d = d->next) {
        if (!strcmp(d->id, id)) {
            return d;
        }
    }
    return NULL;
}
