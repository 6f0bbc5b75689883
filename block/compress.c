/* SPDX-License-Identifier: MIT */
/* block/compress.c - packing and unpacking one cluster; runs on worker threads. */
#include "block/qcow2-int.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

static long deflate_cluster(void *dst, size_t dst_len, const void *src, size_t len)
{
    z_stream z = { 0 };
    long out = 0;

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return -ENOMEM;
    }
    z.next_in = (Bytef *)src;
    z.avail_in = (uInt)len;
    z.next_out = dst;
    z.avail_out = (uInt)dst_len;
    if (deflate(&z, Z_FINISH) == Z_STREAM_END) {
        out = (long)(dst_len - z.avail_out);
    }
    deflateEnd(&z);
    return out;
}

static int inflate_cluster(void *dst, size_t dst_len, const void *src, size_t len)
{
    z_stream z = { .next_in = (Bytef *)src, .avail_in = (uInt)len };
    int ret;

    if (inflateInit2(&z, -12) != Z_OK) {
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
