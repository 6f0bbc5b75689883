/* SPDX-License-Identifier: MIT */
/* dm/keyval-json.h - JSON objects as sub-options: {"file": {"filename": "a"}} is file.filename=a. */
#ifndef DM_KEYVAL_JSON_H
#define DM_KEYVAL_JSON_H

#include "dm/keyval.h"

#include <jansson.h>

/* What a list becomes: key.0, key.1, ... (null is an empty value then), or, of strings and objects
 * with a "str", the key several times. */
enum keyval_lists { KEYVAL_NUMBERED, KEYVAL_REPEATED };

/* NULL with e naming the member that no option takes. */
struct keyval *keyval_from_json(const json_t *object, enum keyval_lists lists, struct err *e);
/* The same from its text, which becomes the keyval's. */
struct keyval *keyval_parse_json(const char *text, enum keyval_lists lists, struct err *e);

#endif
