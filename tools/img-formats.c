/* SPDX-License-Identifier: MIT */
/* tools/img-formats.c - keel-img with formats other than raw and qcow2: create, info, check. */
#include "block/format.h"
#include "block/vmdk.h"
#include "tools/img.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What -o takes for each format. shown: what `create` says when nothing was given; NULL: nothing. */
static const struct {
    const char *format, *name, *help, *shown;
} options[] = {
    { "vdi", "size", "Virtual disk size", NULL },
    { "vdi", "static", "VDI static (pre-allocated) image", "off" },
    { "vmdk", "size", "Virtual disk size", NULL },
    { "vmdk", "adapter_type", "Virtual adapter type: ide (default), lsilogic, buslogic, legacyESX",
      NULL },
    { "vmdk", "backing_file", "File name of a base image", NULL },
    { "vmdk", "backing_fmt", "Must be 'vmdk' if present", NULL },
    { "vmdk", "compat6", "VMDK version 6 image", "off" },
    { "vmdk", "hwversion", "VMDK hardware version", "undefined" },
    { "vmdk", "toolsversion", "VMware guest tools version", NULL },
    { "vmdk", "subformat",
      "monolithicSparse (default), monolithicFlat, twoGbMaxExtentFlat, streamOptimized", NULL },
    { "vmdk", "zeroed_grain", "Enable efficient zero writes using the zeroed-grain GTE feature",
      NULL },
    { "vpc", "size", "Virtual disk size", NULL },
    { "vpc", "subformat", "dynamic (default) or fixed", NULL },
    { "vpc", "force_size", "Use the size as it is, not the nearest geometry", NULL },
};

static bool is_switch(const char *name)
{
    static const char *const names[] = { "static", "compat6", "zeroed_grain", "force_size" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

int other_help(const char *format)
{
    printf("Supported options:\n");
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        if (strcmp(options[i].format, format) == 0) {
            printf("  %-22s - %s\n", options[i].name, options[i].help);
        }
    }
    return 0;
}

/* ---- create ---- */

static int check_other_options(const char *filename, const char *format, const char *text)
{
    char key[64];

    while (text && *text) {
        bool found = false;
        size_t n = strcspn(text, "=,");
        snprintf(key, sizeof(key), "%.*s", (int)n, text);
        for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
            found |= strcmp(options[i].format, format) == 0 && strcmp(options[i].name, key) == 0;
        }
        char *v = option_get(text, key);
        bool sense =
            !found || !is_switch(key) || !v || strcmp(v, "on") == 0 || strcmp(v, "off") == 0;
        bool off = v && strcmp(v, "off") == 0;
        free(v);
        if (strcmp(key, "preallocation") == 0) {
            if (!off) {
                return fail("%s: preallocation: known, but Keel does not have it yet for %s",
                            filename, format);
            }
        } else if (!found || text[n] != '=') {
            return fail("%s: Invalid parameter '%s'", filename, key);
        } else if (!sense) {
            return fail("Parameter '%s' expects 'on' or 'off'", key);
        }
        for (; *text && !(text[0] == ',' && text[1] != ','); text++) {
            text += text[0] == ',';
        }
        text += *text == ',';
    }
    return 0;
}

static bool is_on(const char *text, const char *key)
{
    char *v = option_get(text, key);
    bool on = v && strcmp(v, "on") == 0;

    free(v);
    return on;
}

static void announce(const struct img *im, const char *filename, const char *format, uint64_t size,
                     const struct format_create *c, const char *text)
{
    if (im->quiet) {
        return;
    }
    printf("Formatting '%s', fmt=%s size=%" PRIu64, filename, format, size);
    if (c->backing_file) {
        printf(" backing_file=%s backing_fmt=%s", c->backing_file, c->backing_format);
    }
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        const char *name = options[i].name;
        if (strcmp(options[i].format, format) != 0 || strcmp(name, "size") == 0 ||
            strncmp(name, "backing", 7) == 0) {
            continue;
        }
        char *v = option_get(text, name);
        if (v || options[i].shown) {
            printf(" %s=%s", name, v ? v : options[i].shown);
        }
        free(v);
    }
    putchar('\n');
}

/* The backing file's size, if none was said, and its content id. */
static int look_at_backing(struct img *im, const char *filename, struct format_create *c,
                           uint64_t *size)
{
    char *path;
    struct node *n;

    if (!c->backing_file) {
        return 0;
    }
    if (!c->backing_format || strcmp(c->backing_format, "vmdk") != 0) {
        return fail("%s: backing_fmt must be 'vmdk'", filename);
    }
    path = image_backing_path(filename, c->backing_file);
    n = img_open(im, path, "vmdk", false, 0);
    free(path);
    if (!n) {
        return 1;
    }
    struct vmdk_info info;
    vmdk_info(n, &info);
    c->parent_cid = info.cid;
    *size = *size == UINT64_MAX ? n->len : *size;
    return img_close(n);
}

static int make(struct img *im, const struct format *f, const char *filename,
                const struct format_create *c)
{
    struct file_open o = { .filename = filename, .fd = -1, .growable = true, .lock = true };
    struct err e = { 0 };
    struct node *n;
    int ret;

    if (file_create(filename, 0, &e) < 0 || !(n = file_open(im->ctx, &o, &e))) {
        return fail("%s: %s", filename, e.msg);
    }
    ret = f->create(n, c, &e);
    if (ret < 0) {
        fail("%s: %s", filename, e.msg);
    }
    return img_close(n) || ret < 0;
}

int other_make(struct img *im, const struct format *f, const char *filename, uint64_t size,
               const char *text)
{
    char *file = im->backing ? xstrdup(im->backing) : option_get(text, "backing_file");
    char *format =
        im->backing_format ? xstrdup(im->backing_format) : option_get(text, "backing_fmt");
    char *subformat = option_get(text, "subformat"), *adapter = option_get(text, "adapter_type");
    char *hw = option_get(text, "hwversion"), *tools = option_get(text, "toolsversion");
    char *given = option_get(text, "size");
    struct format_create c = { .subformat = subformat,
                               .backing_file = file,
                               .backing_format = format,
                               .adapter_type = adapter,
                               .hwversion = hw,
                               .toolsversion = tools,
                               .is_static = is_on(text, "static"),
                               .force_size = is_on(text, "force_size"),
                               .zeroed_grain = is_on(text, "zeroed_grain"),
                               .compat6 = is_on(text, "compat6") };
    int rc = f->create ? check_other_options(filename, f->name, text)
                       : fail("%s: format '%s': Keel reads it but makes none", filename, f->name);

    if (rc == 0 && size == UINT64_MAX && given && !tool_bytes(given, &size)) {
        rc = fail("Invalid image size specified.");
    }
    if (rc == 0 && file && strcmp(f->name, "vmdk") != 0) {
        rc = fail("%s: Backing file not supported for file format '%s'", filename, f->name);
    }
    rc = rc ? rc : look_at_backing(im, filename, &c, &size);
    if (rc == 0 && size == UINT64_MAX) {
        rc = fail("%s: Image creation needs a size parameter", filename);
    }
    if (rc == 0 && size > INT64_MAX - 511) {
        rc = fail("Invalid image size specified.");
    }
    if (rc == 0) {
        announce(im, filename, f->name, size, &c, text);
        c.size = (size + 511) & ~511ull;
        rc = make(im, f, filename, &c);
    }
    free(file);
    free(format);
    free(subformat);
    free(adapter);
    free(hw);
    free(tools);
    free(given);
    return rc;
}

/* ---- info ---- */

static void print_vmdk(const struct node *n)
{
    struct vmdk_info v;

    vmdk_info(n, &v);
    printf("Format specific information:\n    cid: %u\n    parent cid: %u\n    create type: %s\n"
           "    extents:\n",
           v.cid, v.parent_cid, v.create_type);
    for (unsigned i = 0; i < v.extents; i++) {
        struct vmdk_extent_info x;
        vmdk_extent(n, i, &x);
        printf("        [%u]:\n", i);
        if (x.compressed) {
            printf("            compressed: true\n");
        }
        printf("            virtual size: %" PRIu64 "\n            filename: %s\n", x.len,
               x.filename);
        if (x.cluster_size) {
            printf("            cluster size: %" PRIu64 "\n", x.cluster_size);
        }
        printf("            format: %s\n", x.format);
    }
}

void other_info(const struct node *n)
{
    struct format_info f;

    format_info(n, &f);
    if (f.cluster_size) {
        printf("cluster_size: %" PRIu64 "\n", f.cluster_size);
    }
    if (f.backing_file) {
        char *full = image_backing_path(n->filename, f.backing_file);
        printf("backing file: %s", f.backing_file);
        if (strcmp(full, f.backing_file) != 0) {
            printf(" (actual path: %s)", full);
        }
        printf("\n");
        free(full);
    }
    if (vmdk_is(n)) {
        print_vmdk(n);
    }
}

/* ---- check ---- */

static void say(void *opaque, const char *line)
{
    (void)opaque;
    fprintf(stderr, "%s\n", line);
}

int other_check(struct img *im, struct node *n, bool repair)
{
    const struct format *f = format_of(n);
    struct format_check c = { .say = im->quiet || im->json ? NULL : say };
    int ret;

    if (!f || !f->check) {
        fail("This image format does not support checks");
        return 63;
    }
    if (repair) { /* nobody repairs these, qemu-img neither */
        fail("This image format does not support checks");
        return 63;
    }
    ret = f->check(n, &c);
    if (ret < 0) {
        return fail("Check failed: %s", strerror(-ret));
    }
    if (im->json) {
        json_t *j =
            json_pack("{s:o, s:s, s:I, s:I, s:I, s:I}", "filename", json_text(n->filename),
                      "format", f->name, "check-errors", (json_int_t)c.errors, "image-end-offset",
                      (json_int_t)c.image_end, "total-clusters", (json_int_t)c.total_clusters,
                      "allocated-clusters", (json_int_t)c.allocated);
        if (c.corruptions) {
            json_object_set_new(j, "corruptions", json_integer((json_int_t)c.corruptions));
        }
        print_json(j);
    } else if (c.corruptions && !im->quiet) {
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               c.corruptions);
    } else if (!im->quiet) {
        printf("No errors were found on the image.\n");
    }
    return c.corruptions ? 2 : 0;
}
