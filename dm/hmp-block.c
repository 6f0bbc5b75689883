/* SPDX-License-Identifier: MIT */
/* dm/hmp-block.c - the monitor's commands on jobs and snapshots of disks: QMP's, by position. */
#include "dm/hmp-block.h"

#include "block/commit.h"
#include "block/job.h"
#include "dm/base/err.h"
#include "dm/base/parse.h"
#include "dm/base/util.h"
#include "dm/hmp-int.h"
#include "dm/keel.h"
#include "dm/qmp-node.h"
#include "dm/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* args: QMP's names for the words, in order, "name:type", types as in a schema, but a: an address.
 * flags: what -f, -n and -w mean, add_flags. */
static const struct {
    const char *hmp, *qmp, *args, *flags;
} commands[] = {
    { "block_job_cancel", "block-job-cancel", "device:s", "fforce" },
    { "block_job_complete", "block-job-complete", "device:s", "" },
    { "block_job_pause", "block-job-pause", "device:s", "" },
    { "block_job_resume", "block-job-resume", "device:s", "" },
    { "block_job_set_speed", "block-job-set-speed", "device:s speed:i", "" },
    { "block_resize", "block_resize", "device:s size:i", "" },
    { "block_set_io_throttle", "block_set_io_throttle",
      "device:s bps:i bps_rd:i bps_wr:i iops:i iops_rd:i iops_wr:i", "" },
    { "block_stream", "block-stream", "device:s speed:i base:s", "" },
    { "drive_backup", "drive-backup", "device:s target:s format:s", "fsync ncreate" },
    { "drive_mirror", "drive-mirror", "device:s target:s format:s", "fsync ncreate" },
    { "nbd_server_add", "nbd-server-add", "device:s name:s", "wwritable" },
    { "nbd_server_remove", "nbd-server-remove", "name:s", "fhard" },
    { "nbd_server_start", "nbd-server-start", "addr:a", "" },
    { "nbd_server_stop", "nbd-server-stop", "", "" },
    { "snapshot_blkdev", "blockdev-snapshot-sync", "device:s snapshot-file:s format:s", "ncreate" },
    { "snapshot_blkdev_internal", "blockdev-snapshot-internal-sync", "device:s name:s", "" },
    { "snapshot_delete_blkdev_internal", "blockdev-snapshot-delete-internal-sync",
      "device:s name:s id:s", "" },
};

/* "unix:PATH" or "HOST:PORT". NULL: neither. */
static json_t *address_json(const char *word)
{
    const char *colon = strrchr(word, ':');

    if (strncmp(word, "unix:", 5) == 0) {
        return json_pack("{s:s, s:{s:o}}", "type", "unix", "data", "path", qmp_text(word + 5));
    }
    return colon ? json_pack("{s:s, s:{s:s%, s:s}}", "type", "inet", "data", "host", word,
                             (size_t)(colon - word), "port", colon + 1)
                 : NULL;
}

/* One word of the line as the argument that `arg` ("name:type") describes. */
static bool add_word(json_t *args, const char *arg, size_t len, const char *word, struct text *out)
{
    char name[32];
    size_t colon = strcspn(arg, ":");
    uint64_t n;

    snprintf(name, sizeof(name), "%.*s", (int)colon, arg);
    if (arg[len - 1] == 'a') {
        json_t *address = address_json(word);
        if (!address) {
            text_add(out, "Error: '%s': expected HOST:PORT or unix:PATH\r\n", word);
            return false;
        }
        json_object_set_new(args, name, address);
    } else if (arg[len - 1] == 's') {
        json_object_set_new(args, name, qmp_text(word));
    } else if (parse_size(word, strcmp(name, "size") == 0 ? 1 << 20 : 1, &n) < 0 || n > INT64_MAX) {
        text_add(out, "Error: '%s': a number is expected\r\n", word);
        return false;
    } else {
        json_object_set_new(args, name, json_integer((json_int_t)n));
    }
    return true;
}

static void add_flags(json_t *args, const char *known, const char *given)
{
    if (strstr(known, "fforce") && strchr(given, 'f')) {
        json_object_set_new(args, "force", json_true());
    }
    if (strstr(known, "fhard") && strchr(given, 'f')) {
        json_object_set_new(args, "mode", json_string("hard"));
    }
    if (strstr(known, "wwritable") && strchr(given, 'w')) {
        json_object_set_new(args, "writable", json_true());
    }
    if (strstr(known, "fsync")) {
        json_object_set_new(args, "sync", json_string(strchr(given, 'f') ? "full" : "top"));
    }
    if (strstr(known, "ncreate")) {
        json_object_set_new(args, "mode",
                            json_string(strchr(given, 'n') ? "existing" : "absolute-paths"));
    }
}

void hmp_block(struct keel *k, char *const *word, const char *flags, struct text *out)
{
    json_t *args = json_object();
    size_t i = 0, w = 1;
    bool ok = true;

    while (strcmp(commands[i].hmp, word[0]) != 0) {
        i++;
    }
    for (const char *p = commands[i].args; *p && *word[w] && ok; p += strspn(p, " "), w++) {
        size_t len = strcspn(p, " ");
        ok = add_word(args, p, len, word[w], out);
        p += len;
    }
    add_flags(args, commands[i].flags, flags);
    if (!ok) {
        json_decref(args);
        return;
    }
    hmp_qmp(k, commands[i].qmp, args, out);
}

void hmp_commit(struct keel *k, char *const *word, struct text *out)
{
    bool all = strcmp(word[1], "all") == 0;
    struct drive *named = all ? NULL : drive_find_any(&k->be, word[1], word[1]);

    if (!all && !named) {
        text_add(out, "Error: Device '%s' not found\r\n", word[1]);
        return;
    }
    jobs_hold(k->be.jobs, NULL);
    for (struct drive *d = named ? named : k->be.drives; d; d = named ? NULL : d->next) {
        struct node *n = drive_node(d);
        struct err e = { 0 };
        if (all && (!n || !n->backing)) {
            continue;
        }
        int ret = n ? job_node_free(n, &e) : err_set(&e, -ENOMEDIUM, "No medium found");
        ret = ret < 0 ? ret : commit_near(node_skip_filters(n), &e);
        if (ret < 0) {
            text_add(out, "Error: 'commit' error for '%s': %s\r\n", d->id, e.msg);
        }
    }
    jobs_release(k->be.jobs);
}

void hmp_info_block_jobs(struct keel *k, struct text *out)
{
    if (!jobs_first(k->be.jobs)) {
        text_add(out, "No active jobs\r\n");
    }
    for (struct job *j = jobs_first(k->be.jobs); j; j = j->next) {
        bool stream = strcmp(j->ops->type, "stream") == 0;
        text_add(out, "%s%s%sevice %s: Completed %llu of %llu bytes, speed limit %llu bytes/s\r\n",
                 stream ? "Streaming d" : "Type ", stream ? "" : j->ops->type, stream ? "" : ", d",
                 j->id, (unsigned long long)j->done, (unsigned long long)max_u64(j->total, j->done),
                 (unsigned long long)j->speed);
    }
}
