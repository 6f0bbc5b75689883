/* SPDX-License-Identifier: MIT */
/* dm/keys.h - key names as monitors spell them (QEMU's QKeyCode). */
#ifndef DM_KEYS_H
#define DM_KEYS_H

#include <stddef.h>
#include <stdint.h>

struct con;

/* A name ("a", "ret", "ctrl") to a set 1 scan code as ui/con.h has them, 0 when unknown. */
uint16_t key_qcode(const char *name);
/* A number as QMP and sendkey take it: set 1, bit 7 meaning an 0xe0 prefix. 0 when out of range. */
uint16_t key_number(uint64_t n);
/* Presses all in order, then lets go in reverse. */
void keys_press(struct con *con, const uint16_t *codes, size_t n);

#endif
