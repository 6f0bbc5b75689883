/* SPDX-License-Identifier: MIT */
/* block/luks-slots.c - LUKS: which passphrases open an image. One write of one sector is what makes a slot
 * count, or no longer.
 */
#include "block/luks-int.h"

#include "block/node.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a change works on. */
struct change {
    struct node *file;
    uint64_t at; /* the header's first byte */
    uint8_t b[HEADER_READ];
    struct luks_info info;
};

static int write_header(struct change *c)
{
    int ret = node_write(c->file, c->at, c->b, sizeof(c->b));

    return ret < 0 ? ret : node_flush(c->file);
}

/* One write of one sector says that a slot is in use, or not. */
static int mark_slot(struct change *c, unsigned n, bool active)
{
    store_be32(c->b + SLOT_AT + n * SLOT_BYTES, active ? SLOT_ACTIVE : SLOT_FREE);
    c->info.slot[n].active = active;
    return write_header(c);
}

/* Nothing of what was there can be read any more. */
static int wipe_slot(struct change *c, unsigned n, struct err *e)
{
    size_t len = luks_slot_bytes(c->info.key_bits);
    uint8_t *noise = xcalloc(1, len);
    int ret = luks_random(noise, len, e);

    if (ret == 0) {
        ret = node_write(c->file, c->at + c->info.slot[n].offset, noise, len);
        ret = ret < 0 ? ret : node_flush(c->file);
        ret = ret < 0 ? err_set(e, ret, "LUKS key slot %u: %s", n, strerror(-ret)) : 0;
    }
    free(noise);
    return ret;
}

static int erase_slot(struct change *c, unsigned n, struct err *e)
{
    int ret = mark_slot(c, n, false);

    return ret < 0 ? err_set(e, ret, "its LUKS header cannot be written: %s", strerror(-ret))
                   : wipe_slot(c, n, e);
}

static unsigned slots_used(const struct luks_info *i)
{
    unsigned n = 0;

    for (unsigned k = 0; k < LUKS_SLOTS; k++) {
        n += i->slot[k].active;
    }
    return n;
}

/* Its place is the header's own word, also where a slot is free. */
static int check_place(const struct luks_info *i, unsigned n, struct err *e)
{
    const struct luks_slot *s = &i->slot[n];

    return s->offset % KEY_ALIGN || s->offset < KEY_ALIGN ||
                   s->offset + luks_slot_bytes(i->key_bits) > i->payload
               ? err_set(e, -EINVAL, "LUKS key slot %u is not between the header and the data", n)
               : 0;
}

static int choose_slot(const struct luks_info *i, const struct luks_amend *a, struct err *e)
{
    int n = a->slot;

    for (unsigned k = 0; n < 0 && k < LUKS_SLOTS; k++) {
        n = i->slot[k].active ? n : (int)k;
    }
    if (n < 0) {
        return err_set(e, -ENOSPC, "Can't add a keyslot - all keyslots are in use");
    }
    if (i->slot[n].active && !a->force) {
        return err_set(e, -EBUSY, "Refusing to overwrite active keyslot %d - please erase it first",
                       n);
    }
    return check_place(i, (unsigned)n, e) < 0 ? e->code : n;
}

/* The slot n takes the new passphrase: first all of it, then the word that it does. */
static int fill_slot(struct change *c, const struct luks_amend *a, unsigned n, uint8_t *master,
                     struct err *e)
{
    uint8_t *slot = c->b + SLOT_AT + n * SLOT_BYTES;
    struct luks_opening o = luks_opening_of(&c->info, c->b, a->other);
    unsigned iterations = luks_iterations_for(o.hash, a->iter_ms);
    int ret = luks_random(o.parts, (STRIPES - 1) * o.len, e);

    ret = ret < 0 || !c->info.slot[n].active ? ret : mark_slot(c, n, false);
    ret = ret < 0 ? ret : luks_random(slot + 8, SALT, e);
    if (ret == 0) {
        store_be32(slot + 4, iterations);
        store_be32(slot + 44, STRIPES);
        luks_split_key(o.hash->hash, master, o.len, o.parts);
        luks_crypt_parts(&o, true, iterations, slot + 8);
        ret = node_write(c->file, c->at + c->info.slot[n].offset, o.parts,
                         luks_slot_bytes(c->info.key_bits));
        ret = ret < 0 ? ret : write_header(c);
        ret = ret < 0 ? ret : mark_slot(c, n, true);
    }
    luks_opening_end(&o, master);
    return ret < 0 && !e->code ? err_set(e, ret, "LUKS key slot %u: %s", n, strerror(-ret)) : ret;
}

static int activate(struct change *c, const struct luks_amend *a, struct err *e)
{
    uint8_t master[MAX_KEY];
    struct luks_opening o = luks_opening_of(&c->info, c->b, a->key);
    unsigned unlocked = 0;
    int n = choose_slot(&c->info, a, e), ret = n;

    if (n >= 0) {
        ret = luks_open_slot(&o, c->file, c->at, &unlocked, master);
        ret = ret == 1 ? fill_slot(c, a, (unsigned)n, master, e) : luks_refuse_key(ret, a->key, e);
    }
    luks_opening_end(&o, master);
    return ret;
}

/* Which slots old_key opens, as bits. */
static int slots_of(struct change *c, const struct luks_amend *a, unsigned *bits, struct err *e)
{
    uint8_t master[MAX_KEY];
    struct luks_opening o = luks_opening_of(&c->info, c->b, a->other);
    int ret;

    *bits = 0;
    for (unsigned n = 0; (ret = luks_open_slot(&o, c->file, c->at, &n, master)) == 1; n++) {
        *bits |= 1u << n;
    }
    luks_opening_end(&o, master);
    if (ret < 0) {
        return luks_refuse_key(ret, a->other, e);
    }
    return *bits
               ? 0
               : err_set(e, -EACCES, "No keyslots match given (old) password for erase operation");
}

static int deactivate(struct change *c, const struct luks_amend *a, struct err *e)
{
    unsigned bits = a->slot >= 0 ? 1u << a->slot : 0, opened = 0, used = slots_used(&c->info);
    int ret = a->other ? slots_of(c, a, &opened, e) : 0;

    if (ret == 0 && bits && a->other && !(bits & opened)) {
        return err_set(e, -EINVAL, "This keyslot %d doesn't contain given old password", a->slot);
    }
    bits = bits ? bits : opened;
    if (ret == 0 && a->slot >= 0 && !c->info.slot[a->slot].active && !a->force) {
        return err_set(e, -EINVAL, "Given keyslot %d is already erased (inactive)", a->slot);
    }
    if (ret == 0 && !a->force && (unsigned)__builtin_popcount(bits) >= used) {
        return a->slot >= 0
                   ? err_set(e, -EPERM,
                             "Attempt to erase the only active keyslot %d which will erase all the "
                             "data in the image irreversibly - refusing operation",
                             a->slot)
                   : err_set(e, -EPERM,
                             "All the active keyslots match the (old) password that was given and "
                             "erasing them will erase all the data in the image irreversibly - "
                             "refusing operation");
    }
    for (unsigned n = 0; n < LUKS_SLOTS && ret == 0; n++) {
        if (bits >> n & 1) {
            ret = check_place(&c->info, n, e);
            ret = ret < 0 ? ret : erase_slot(c, n, e);
        }
    }
    return ret;
}

int luks_amend(struct node *file, uint64_t at, uint64_t room, const struct luks_amend *a,
               struct err *e)
{
    struct change c = { .file = file, .at = at };
    int ret = luks_read_header(file, at, room, c.b, &c.info, e);

    if (ret < 0) {
        return ret;
    }
    if (a->slot >= LUKS_SLOTS) {
        return err_set(e, -EINVAL, "Invalid keyslot %d specified, must be between 0 and %d",
                       a->slot, LUKS_SLOTS - 1);
    }
    return a->activate ? activate(&c, a, e) : deactivate(&c, a, e);
}
