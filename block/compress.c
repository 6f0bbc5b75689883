/* SPDX-License-Identifier: MIT */
/* block/compress.c - packing and unpacking one cluster; runs on worker threads.
 *
 * Deflate is ISA-L's: several times as fast as zlib's at a few percent more bytes. The format wants
 * a window of 4 KiB, which it can be held to.
 */
#include "block/compress.h"

#include "block/qcow2-int.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { WINDOW_BITS = 12 };

/* wrap: IGZIP_DEFLATE or IGZIP_ZLIB; window_bits 0: as large as it goes. */
static long deflate_fast(void *dst, size_t dst_len, const void *src, size_t len, uint16_t wrap,
                         uint16_t window_bits)
{
    struct isal_zstream z;
    long out;

    isal_deflate_stateless_init(&z);
    z.level = 3;
    z.level_buf_size = ISAL_DEF_LVL3_DEFAULT;
    z.level_buf = malloc(z.level_buf_size);
    if (!z.level_buf) {
        return -ENOMEM;
    }
    z.gzip_flag = wrap;
    z.hist_bits = window_bits;
    z.end_of_stream = 1;
    z.next_in = (uint8_t *)src;
    z.avail_in = (uint32_t)len;
    z.next_out = dst;
    z.avail_out = (uint32_t)dst_len;
    out = isal_deflate_stateless(&z) == COMP_OK ? (long)z.total_out : 0;
    free(z.level_buf);
    return out;
}

long pack_zlib(void *dst, size_t dst_len, const void *src, size_t len)
{
    return deflate_fast(dst, dst_len, src, len, IGZIP_ZLIB, 0);
}

static long deflate_cluster(void *dst, size_t dst_len, const void *src, size_t len)
{
    return deflate_fast(dst, dst_len, src, len, IGZIP_DEFLATE, WINDOW_BITS);
}

static int inflate_cluster(void *dst, size_t dst_len, const void *src, size_t len)
{
    z_stream z = { .next_in = (Bytef *)src, .avail_in = (uInt)len };
    int ret;

    if (inflateInit2(&z, -WINDOW_BITS) != Z_OK) {
        return -ENOMEM;
    }
    z.next_out = dst;
    z.avail_out = (uInt)dst_len;
    ret = inflate(&z, Z_FINISH);
    ret = (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0 ? 0 : -EIO;
    inflateEnd(&z);
    return ret;
}

/* The frame ends somewhere inside src: the L2 entry counts whole sectors. */
static int unzstd_cluster(void *dst, size_t dst_len, const void *src, size_t len)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    ZSTD_outBuffer out = { dst, dst_len, 0 };
    ZSTD_inBuffer in = { src, len, 0 };
    int ret = 0;

    if (!d) {
        return -ENOMEM;
    }
    while (out.pos < out.size && ret == 0) {
        size_t before_in = in.pos, before_out = out.pos;
        size_t left = ZSTD_decompressStream(d, &out, &in);
        bool stuck = in.pos == before_in && out.pos == before_out;
        ret = ZSTD_isError(left) || (stuck && out.pos < out.size) ? -EIO : 0;
    }
    ZSTD_freeDCtx(d);
    return ret;
}

static long zstd_cluster(void *dst, size_t dst_len, const void *src, size_t len)
{
    size_t n = ZSTD_compress(dst, dst_len, src, len, ZSTD_CLEVEL_DEFAULT);

    return ZSTD_isError(n) ? 0 : (long)n;
}

long pack_cluster(bool zstd, void *dst, size_t dst_len, const void *src, size_t len)
{
    return zstd ? zstd_cluster(dst, dst_len, src, len) : deflate_cluster(dst, dst_len, src, len);
}

int unpack_cluster(bool zstd, void *dst, size_t dst_len, const void *src, size_t len)
{
    return zstd ? unzstd_cluster(dst, dst_len, src, len) : inflate_cluster(dst, dst_len, src, len);
}
