/* SPDX-License-Identifier: MIT */
/* dm/image-json.h - an image as QMP's ImageInfo, which keel-img info prints too. */
#ifndef DM_IMAGE_JSON_H
#define DM_IMAGE_JSON_H

#include "block/graph.h"

#include <jansson.h>
#include <stdbool.h>

/* A string that need not be UTF-8: other bytes above 0x7f become '?' then. */
json_t *json_text(const char *s);
/* n: a format's node or a protocol's. chain: what it stands on as well. */
json_t *image_json(struct node *n, bool chain);

#endif
