/* SPDX-License-Identifier: MIT */
/* block/compress.h - packing outside of qcow2. Any thread. */
#ifndef BLOCK_COMPRESS_H
#define BLOCK_COMPRESS_H

#include <stddef.h>

/* len bytes as a zlib stream. Returns its bytes, 0 when dst_len are too few, -ENOMEM. */
long pack_zlib(void *dst, size_t dst_len, const void *src, size_t len);

#endif
