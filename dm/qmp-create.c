/* SPDX-License-Identifier: MIT */
/* dm/qmp-create.c - QMP's blockdev-create: a job that makes an image, on a node of the graph or as a file.
 *
 * What the options say is checked when the command is given, as far as QEMU's schema says it; the rest is
 * the job's: it fails with a sentence and stays to be asked until it is dismissed. A thread does the work,
 * which waits for its I/O, on nodes that stand for the graph's (block/relay.h): the guest runs on.
 */
#include "dm/qmp-node.h"

#include "block/crypt.h"
#include "block/format.h"
#include "block/job.h"
#include "block/qcow2.h"
#include "block/relay.h"
#include "dm/base/util.h"
#include "dm/blockdev.h"
#include "dm/keel.h"
#include "dm/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A node of the graph that is written. */
struct target {
    struct node *node;   /* a share */
    struct relay *relay; /* from when the job has it until the work is over */
    struct node *its;    /* the thread's */
};

struct create {
    struct job job;    /* first */
    struct pool *pool; /* of one thread */
    struct pool_work work;
    struct node_ctx *its_ctx; /* the thread's */
    struct node_work end;     /* tells that it is over */
    struct keel *k;
    const struct maker *maker;
    json_t *options;
    enum qcow2_prealloc prealloc;
    struct format_create c;
    struct qcow2_create q;
    struct target file, data;
    const struct luks_key *key;
    struct luks_create luks;
    bool worked;
    bool stop; /* atomic: it was cancelled */
    int ret;
    struct err err;
};

struct maker {
    const char *driver, *schema;
    /* Takes the options over from c->args; what is wrong is the job's error. */
    int (*take)(struct qmp_call *c, struct create *m, struct err *e);
    int (*make)(struct create *m, struct err *e); /* on the thread */
};

/* ---- options ---- */

#define LUKS                                                                                       \
    "key-secret:s? cipher-alg:s? cipher-mode:s? ivgen-alg:s? ivgen-hash-alg:s? hash-alg:s? "       \
    "iter-time:i?"

static const char *const prealloc_words[] = { "off", "metadata", "falloc", "full", NULL };

/* Of what Keel makes, one value is to be had. */
static int only(struct qmp_call *c, const char *name, const char *value, struct err *e)
{
    const char *v = qmp_str(c, name);

    return !v || strcmp(v, value) == 0 ? 0 : err_set(e, -ENOTSUP, "%s: Keel has %s", name, value);
}

/* From c->args, the options of a LUKS header. */
static int take_luks(struct qmp_call *c, struct create *m, struct err *e)
{
    static const char *const hashes[] = { "sha1", "sha256", "sha512" };
    const char *cipher = qmp_str(c, "cipher-alg"), *hash = qmp_str(c, "hash-alg");
    const char *secret = qmp_str(c, "key-secret");
    int64_t ms = qmp_int(c, "iter-time", 2000);

    m->luks = (struct luks_create){ .key_bits = 256, .hash = hash ? NULL : "sha256" };
    for (size_t i = 0; hash && i < ARRAY_SIZE(hashes); i++) {
        m->luks.hash = strcmp(hash, hashes[i]) == 0 ? hashes[i] : m->luks.hash;
    }
    if (!secret) {
        return err_set(e, -EINVAL, "Parameter '%skey-secret' is required for cipher",
                       c->args == m->options ? "" : "encrypt.");
    }
    if (!m->luks.hash) {
        return err_set(e, -ENOTSUP, "hash-alg: Keel has sha1, sha256 and sha512");
    }
    if (ms < 1 || ms > 60000) {
        return err_set(e, -EINVAL, "iter-time: expected 1 to 60000 ms");
    }
    m->luks.iter_ms = (unsigned)ms;
    if (cipher && strcmp(cipher, "aes-128") == 0) {
        m->luks.key_bits = 128;
    } else if (only(c, "cipher-alg", "aes-256", e) < 0) {
        return e->code;
    }
    if (only(c, "cipher-mode", "xts", e) < 0 || only(c, "ivgen-alg", "plain64", e) < 0) {
        return e->code;
    }
    m->key = secret_find(m->k->be.secrets, secret, e);
    return m->key ? 0 : e->code;
}

/* The thread would like something of a node. While the job is held it waits for it. */
static void asked(void *opaque)
{
    struct create *m = opaque;

    if (!job_held(&m->job)) {
        relay_carry(m->file.relay);
        relay_carry(m->data.relay);
    } else if (relay_idle(m->file.relay) && relay_idle(m->data.relay)) {
        job_stands(&m->job);
    }
}

static int take_node(struct create *m, const char *option, struct target *t, struct err *e)
{
    const json_t *ref = json_object_get(m->options, option);
    struct node *n = blockdev_ref(&m->k->be, ref, e);

    t->node = n;
    if (!n) {
        return e->code;
    }
    if (n->job || graph_has_parent(n)) {
        return err_set(e, -EBUSY, "Node '%s' is in use", node_name(n));
    }
    if (n->read_only) {
        return err_set(e, -EACCES, "Block node is read-only");
    }
    t->relay = relay_new(n, asked, m);
    n->job = m->job.ops->type;
    return 0;
}

/* "file" and "size", which every format has. */
static int take_common(struct qmp_call *c, struct create *m, struct err *e)
{
    m->c.size = m->q.size = (uint64_t)qmp_int(c, "size", 0);
    if (m->c.size % NODE_ALIGN) {
        return err_set(e, -EINVAL, "Image size must be a multiple of %d bytes", NODE_ALIGN);
    }
    return take_node(m, "file", &m->file, e);
}

/* An image begins on an empty file. */
static int clear(struct node *n, struct err *e)
{
    return n->growable ? node_resize(n, 0, e) : 0;
}

/* ---- file ---- */

static int file_take(struct qmp_call *c, struct create *m, struct err *e)
{
    m->c.size = (uint64_t)qmp_int(c, "size", 0);
    return m->prealloc == QCOW2_PREALLOC_METADATA
               ? err_set(e, -ENOTSUP, "Unsupported preallocation mode: metadata")
               : 0;
}

/* The room of the file, which nobody else knows yet. 0 or -errno. */
static int give_room(struct create *m, const char *filename, bool full)
{
    enum { STEP = 1 << 20 };
    uint64_t size = m->c.size;
    int fd = open(filename, O_WRONLY | O_CLOEXEC), ret = 0;
    void *zeros = full ? xcalloc(1, STEP) : NULL;

    if (fd < 0) {
        ret = -errno;
    }
    if (ret == 0 && !full) {
        ret = -posix_fallocate(fd, 0, (off_t)size);
    }
    for (uint64_t at = 0; ret == 0 && full && at < size;) {
        ssize_t n = pwrite(fd, zeros, min_u64(size - at, STEP), (off_t)at);
        ret = n < 0 && errno != EINTR ? -errno : 0;
        ret = __atomic_load_n(&m->stop, __ATOMIC_RELAXED) ? -ECANCELED : ret;
        at += n > 0 ? (uint64_t)n : 0;
    }
    free(zeros);
    if (fd >= 0) {
        close(fd);
    }
    return ret;
}

static int file_make(struct create *m, struct err *e)
{
    const char *filename = json_string_value(json_object_get(m->options, "filename"));
    int ret = file_create(filename, m->c.size, e);

    if (ret < 0 || m->prealloc == QCOW2_PREALLOC_OFF || !m->c.size) {
        return ret;
    }
    ret = give_room(m, filename, m->prealloc == QCOW2_PREALLOC_FULL);
    return ret < 0 ? err_set(e, ret, "Could not preallocate: %s", strerror(-ret)) : 0;
}

/* ---- luks ---- */

static int luks_take(struct qmp_call *c, struct create *m, struct err *e)
{
    int ret = take_common(c, m, e);

    if (ret == 0 && m->prealloc != QCOW2_PREALLOC_OFF) {
        ret = err_set(e, -ENOTSUP, "preallocation: known, but Keel does not have it for luks");
    }
    return ret < 0 ? ret : take_luks(c, m, e);
}

static int luks_make(struct create *m, struct err *e)
{
    uint64_t len;
    uint8_t *header = luks_create(&m->luks, m->key, &len, e);
    int ret = header ? clear(m->file.its, e) : e->code;

    ret = ret < 0 ? ret : crypt_create_with(m->file.its, m->c.size, header, len, e);
    free(header);
    return ret;
}

/* ---- qcow2 ---- */

static int check_qcow2(const struct create *m, struct err *e)
{
    const struct qcow2_create *q = &m->q;
    const struct {
        bool asked;
        const char *what;
    } newer[] = {
        { q->lazy_refcounts,
          "Lazy refcounts only supported with compatibility level 1.1 and above" },
        { q->zstd,
          "Non-zlib compression type is only supported with compatibility level 1.1 and above" },
        { q->refcount_bits != 16,
          "Different refcount widths than 16 bits require compatibility level 1.1 or above" },
        { q->extended_l2,
          "Extended L2 entries are only supported with compatibility level 1.1 and above" },
        { m->data.node,
          "External data files are only supported with compatibility level 1.1 and above" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(newer) && q->version < 3; i++) {
        if (newer[i].asked) {
            return err_set(e, -EINVAL, "%s (use version=v3 or greater)", newer[i].what);
        }
    }
    if (q->extended_l2 && q->cluster_bits < 14) {
        return err_set(e, -EINVAL,
                       "Extended L2 entries are only supported with cluster sizes of at least "
                       "16384 bytes");
    }
    if (q->data_file_raw && !m->data.node) {
        return err_set(e, -EINVAL, "data-file-raw requires data-file");
    }
    if (q->data_file_raw && q->backing_file) {
        return err_set(e, -EINVAL,
                       "Backing file and data-file-raw cannot be used at the same time");
    }
    if (m->prealloc != QCOW2_PREALLOC_OFF && q->backing_file && !q->extended_l2) {
        return err_set(e, -EINVAL,
                       "Backing file and preallocation can only be used at the same time if "
                       "extended_l2 is on");
    }
    if (q->backing_format && !q->backing_file) {
        return err_set(e, -EINVAL, "Backing format cannot be used without backing file");
    }
    if (q->backing_file && !q->backing_format) {
        return err_set(e, -EINVAL, "Backing file specified without backing format");
    }
    return 0;
}

static int take_shape(struct qmp_call *c, struct create *m, struct err *e)
{
    int64_t cluster = qmp_int(c, "cluster-size", 65536), bits = qmp_int(c, "refcount-bits", 16);
    const char *version = qmp_str(c, "version"), *type = qmp_str(c, "compression-type");

    if (cluster < 512 || cluster > 2 << 20 || cluster & (cluster - 1)) {
        return err_set(e, -EINVAL, "Cluster size must be a power of two between 512 and 2048k");
    }
    if (bits < 1 || bits > 64 || bits & (bits - 1)) {
        return err_set(e, -EINVAL,
                       "Refcount width must be a power of two and may not exceed 64 bits");
    }
    m->q.version = version && strcmp(version, "v2") == 0 ? 2 : 3;
    m->q.cluster_bits = (unsigned)__builtin_ctzll((uint64_t)cluster);
    m->q.refcount_bits = (unsigned)bits;
    m->q.zstd = type && strcmp(type, "zstd") == 0;
    m->q.lazy_refcounts = qmp_bool(c, "lazy-refcounts", false);
    m->q.extended_l2 = qmp_bool(c, "extended-l2", false);
    m->q.data_file_raw = qmp_bool(c, "data-file-raw", false);
    m->q.backing_file = qmp_str(c, "backing-file");
    m->q.backing_format = qmp_str(c, "backing-fmt");
    return 0;
}

static int qcow2_take(struct qmp_call *c, struct create *m, struct err *e)
{
    json_t *encrypt = json_object_get(m->options, "encrypt");
    int ret = take_common(c, m, e);

    ret = ret < 0 ? ret : take_shape(c, m, e);
    if (ret == 0 && json_object_get(m->options, "data-file")) {
        ret = take_node(m, "data-file", &m->data, e);
        m->q.data_file = m->data.node ? m->data.node->filename : NULL;
    }
    ret = ret < 0 ? ret : check_qcow2(m, e);
    if (ret == 0 && encrypt) {
        json_t *all = c->args;
        c->args = encrypt;
        ret = take_luks(c, m, e);
        c->args = all;
    }
    return ret;
}

static int qcow2_give_room(struct create *m, enum qcow2_prealloc how, struct err *e)
{
    struct qcow2_open o = { .key = m->key };
    struct node *n = qcow2_open(node_share(m->file.its), &o, e);

    if (!n) {
        return e->code;
    }
    if (m->data.its) {
        qcow2_set_data(n, node_share(m->data.its));
    }
    int ret = qcow2_preallocate(n, 0, how), closed = node_close(n);
    ret = ret < 0 ? ret : closed;
    return ret < 0 ? err_set(e, ret, "Could not preallocate: %s", strerror(-ret)) : 0;
}

static int qcow2_make(struct create *m, struct err *e)
{
    /* Whoever reads the data file by itself shall see what the image has. */
    enum qcow2_prealloc how = m->prealloc == QCOW2_PREALLOC_OFF && m->q.data_file_raw
                                  ? QCOW2_PREALLOC_METADATA
                                  : m->prealloc;
    uint8_t *header = m->key ? luks_create(&m->luks, m->key, &m->q.luks_len, e) : NULL;
    int ret = m->key && !header ? e->code : clear(m->file.its, e);

    ret = ret < 0 || !m->data.its ? ret : clear(m->data.its, e);
    m->q.luks_header = header;
    ret = ret < 0 ? ret : qcow2_create(m->file.its, &m->q, e);
    free(header);
    return ret < 0 || how == QCOW2_PREALLOC_OFF ? ret : qcow2_give_room(m, how, e);
}

/* ---- other formats ---- */

static int other_take(struct qmp_call *c, struct create *m, struct err *e)
{
    static const char *const adapters[] = { "ide", "buslogic", "lsilogic", "legacyESX", NULL };
    const char *adapter = qmp_str(c, "adapter-type");

    m->c.subformat = qmp_str(c, "subformat");
    m->c.force_size = qmp_bool(c, "force-size", false);
    m->c.is_static = m->prealloc == QCOW2_PREALLOC_METADATA;
    m->c.zeroed_grain = qmp_bool(c, "zeroed-grain", false);
    m->c.hwversion = qmp_str(c, "hwversion");
    m->c.toolsversion = qmp_str(c, "toolsversion");
    m->c.adapter_type = adapter;
    if (adapter && qmp_word(c, "adapter-type", adapters, 0) < 0) {
        return c->err.code;
    }
    if (m->c.subformat && strstr(m->c.subformat, "Flat")) {
        return err_set(e, -ENOTSUP, "subformat '%s': Keel makes images of one file here",
                       m->c.subformat);
    }
    return take_common(c, m, e);
}

static int other_make(struct create *m, struct err *e)
{
    int ret = clear(m->file.its, e);

    return ret < 0 ? ret : format_find(m->maker->driver)->create(m->file.its, &m->c, e);
}

#define FORMAT "driver:s file:r size:i "

static const struct maker makers[] = {
    { "file", "driver:s filename:s size:i preallocation:s? nocow:b? extent-size-hint:i?", file_take,
      file_make },
    { "luks", FORMAT "preallocation:s? " LUKS, luks_take, luks_make },
    { "qcow2",
      FORMAT "data-file:r? data-file-raw:b? extended-l2:b? version:s? backing-file:s? "
             "backing-fmt:s? encrypt:o? cluster-size:i? preallocation:s? lazy-refcounts:b? "
             "refcount-bits:i? compression-type:s?",
      qcow2_take, qcow2_make },
    { "vdi", FORMAT "preallocation:s?", other_take, other_make },
    { "vmdk", FORMAT "subformat:s? adapter-type:s? hwversion:s? toolsversion:s? zeroed-grain:b?",
      other_take, other_make },
    { "vpc", FORMAT "subformat:s? force-size:b?", other_take, other_make },
};

/* ---- the job ---- */

static int make(struct create *m, struct err *e)
{
    int ret = m->maker->make(m, e);

    if (ret == 0 && m->file.its) {
        ret = node_flush(m->file.its);
        ret = ret < 0 ? err_set(e, ret, "%s", strerror(-ret)) : 0;
    }
    return ret;
}

static void work(struct pool_work *w)
{
    struct create *m = container_of(w, struct create, work);

    m->file.its = relay_open(m->file.relay, m->its_ctx);
    m->data.its = relay_open(m->data.relay, m->its_ctx);
    m->ret = make(m, &m->err);
    node_close(m->file.its);
    node_close(m->data.its);
    node_ctx_end(&m->end);
}

static void work_ended(struct node_work *w)
{
    struct create *m = container_of(w, struct create, end);

    m->job.copy.in_flight--;
    job_kick(&m->job);
}

static int start_work(struct create *m)
{
    m->its_ctx = node_ctx_try();
    if (!m->its_ctx) {
        return -errno;
    }
    m->pool = pool_new(1);
    m->work.run = work;
    m->end.done = work_ended;
    node_ctx_begin(m->k->be.graph, &m->end);
    m->job.copy.in_flight++; /* the job is busy */
    int ret = pool_submit(m->pool, &m->work);
    if (ret < 0) { /* no thread: over already */
        node_ctx_end(&m->end);
    }
    return ret;
}

static void let_go(struct target *t)
{
    if (t->relay) {
        relay_free(t->relay);
        t->relay = NULL;
        t->node->job = NULL;
    }
}

/* The thread has ended, or never began. */
static void clean_up(struct create *m)
{
    let_go(&m->file);
    let_go(&m->data);
    if (m->pool) {
        pool_free(m->pool);
        m->pool = NULL;
    }
    node_ctx_free(m->its_ctx);
    m->its_ctx = NULL;
}

static void end(struct create *m)
{
    struct job *j = &m->job;

    clean_up(m);
    j->done = 1;
    if (m->ret < 0) {
        j->error = xstrdup(m->err.msg);
    }
    job_end(j, m->ret);
}

/* Before the work, and after it. */
static void idle(struct job *j)
{
    struct create *m = (struct create *)j;

    if (m->ret < 0 || m->worked) {
        end(m);
        return;
    }
    m->worked = true;
    int ret = start_work(m);
    if (ret < 0) {
        m->ret = err_set(&m->err, ret, "%s", strerror(-ret));
        job_kick(j);
    }
}

/* Nobody holds the graph any more. */
static void go_on(struct job *j)
{
    asked(j);
}

static void cancel(struct job *j)
{
    struct create *m = (struct create *)j;

    __atomic_store_n(&m->stop, true, __ATOMIC_RELAXED);
    relay_stop(m->file.relay);
    relay_stop(m->data.relay);
}

/* The process may end while the thread is at it. */
static void abort_job(struct job *j)
{
    struct create *m = (struct create *)j;

    cancel(j);
    while (j->copy.in_flight) {
        node_ctx_poll(m->k->be.graph, true);
    }
    clean_up(m);
}

static int no_commit(struct job *j, struct err *e)
{
    (void)j;
    (void)e;
    return 0;
}

static void free_job(struct job *j)
{
    struct create *m = (struct create *)j;

    node_close(m->file.node);
    node_close(m->data.node);
    json_decref(m->options);
    free(m);
}

static const struct job_ops create_ops = { .type = "create",
                                           .plain = true,
                                           .work = go_on,
                                           .idle = idle,
                                           .commit = no_commit,
                                           .abort = abort_job,
                                           .cancel = cancel,
                                           .free = free_job };

/* What QEMU's schema refuses before there is a job. */
static bool check_words(struct qmp_call *c, struct create *m)
{
    static const char *const versions[] = { "v2", "v3", NULL };
    static const char *const types[] = { "zlib", "zstd", NULL };
    static const char *const subformats[] = { "dynamic", "fixed", NULL };
    json_t *encrypt = json_object_get(c->args, "encrypt"), *all = c->args;
    int how = qmp_word(c, "preallocation", prealloc_words, 0);
    bool vpc = strcmp(m->maker->driver, "vpc") == 0;

    if (qmp_int(c, "size", 0) < 0) {
        return qmp_fail(c, NULL, "Parameter 'options.size' expects uint64");
    }
    if (how < 0 || qmp_word(c, "version", versions, 0) < 0 ||
        qmp_word(c, "compression-type", types, 0) < 0 ||
        (vpc && qmp_word(c, "subformat", subformats, 0) < 0)) {
        return false;
    }
    m->prealloc = (enum qcow2_prealloc)how;
    if (encrypt) {
        static const char *const formats[] = { "luks", NULL };
        c->args = encrypt;
        c->where = "options.encrypt.";
        bool ok = qmp_check_args(c, "format:s " LUKS) && qmp_word(c, "format", formats, 0) >= 0;
        c->args = all;
        c->where = "options.";
        return ok;
    }
    return true;
}

static const struct maker *find_maker(struct qmp_call *c)
{
    const char *driver = json_string_value(json_object_get(c->args, "driver"));

    for (size_t i = 0; driver && i < ARRAY_SIZE(makers); i++) {
        if (strcmp(makers[i].driver, driver) == 0) {
            return &makers[i];
        }
    }
    if (!driver) {
        qmp_fail(c, NULL, "Parameter 'options.driver' is missing");
    } else if (image_format_known(driver) || strcmp(driver, "host_device") == 0) {
        qmp_fail(c, NULL, "Driver does not support blockdev-create");
    } else {
        qmp_fail(c, NULL, "Parameter 'driver' does not accept value '%.60s'", driver);
    }
    return NULL;
}

static json_t *start(struct qmp_call *c, const struct job_options *o)
{
    const struct maker *maker = find_maker(c);
    struct create *m;

    if (!maker || !qmp_check_args(c, maker->schema)) {
        return NULL;
    }
    m = xcalloc(1, sizeof(*m));
    m->k = c->k;
    m->maker = maker;
    m->options = json_incref(c->args);
    if (!check_words(c, m) || job_init(c->k->be.jobs, &m->job, &create_ops, o, &c->err) < 0) {
        free_job(&m->job);
        return NULL;
    }
    m->job.total = 1;
    m->ret = maker->take(c, m, &m->err);
    job_start(&m->job);
    return qmp_ok();
}

static json_t *do_create(struct qmp_call *c)
{
    struct job_options o = { .id = qmp_str(c, "job-id"), .no_dismiss = true };
    json_t *all = c->args;

    c->args = json_object_get(all, "options");
    c->where = "options.";
    json_t *ret = start(c, &o);
    c->args = all;
    c->where = NULL;
    return ret;
}

const struct qmp_command qmp_commands_create[] = {
    { "blockdev-create", "job-id:s options:o", do_create },
    { 0 },
};
