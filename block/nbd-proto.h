/* SPDX-License-Identifier: MIT */
/* block/nbd-proto.h - numbers of the NBD protocol, for client and server.
 *
 * Everything on the wire is big-endian. Reference: the protocol document of the NetworkBlockDevice
 * project (doc/proto.md), "fixed newstyle" negotiation.
 */
#ifndef BLOCK_NBD_PROTO_H
#define BLOCK_NBD_PROTO_H

#define NBD_MAGIC 0x4e42444d41474943ull      /* "NBDMAGIC" */
#define NBD_OPTS_MAGIC 0x49484156454f5054ull /* "IHAVEOPT" */
#define NBD_OLD_MAGIC 0x0000420281861253ull  /* oldstyle servers send it instead */
#define NBD_REP_MAGIC 0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_MAGIC 0x67446698u
#define NBD_CHUNK_MAGIC 0x668e33efu

enum {
    NBD_PORT = 10809,
    NBD_MAX_NAME = 4096,     /* bytes of any string */
    NBD_MAX_DATA = 32 << 20, /* bytes of one read or write */
    NBD_REQUEST_LEN = 28,
    NBD_SIMPLE_LEN = 16,
    NBD_CHUNK_LEN = 20,
};

enum { NBD_FLAG_FIXED_NEWSTYLE = 1, NBD_FLAG_NO_ZEROES = 2 }; /* both sides' handshake flags */

enum nbd_opt {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
};

enum {
    NBD_REP_ACK = 1,
    NBD_REP_SERVER = 2,
    NBD_REP_INFO = 3,
    NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR 0x80000000u /* set in every error */
#define NBD_REP_ERR_UNSUP (NBD_REP_ERR | 1)
#define NBD_REP_ERR_POLICY (NBD_REP_ERR | 2)
#define NBD_REP_ERR_INVALID (NBD_REP_ERR | 3)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_ERR | 5)
#define NBD_REP_ERR_UNKNOWN (NBD_REP_ERR | 6)
#define NBD_REP_ERR_TOO_BIG (NBD_REP_ERR | 9)

enum { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

enum { /* what an export can do */
       NBD_HAS_FLAGS = 1,
       NBD_READ_ONLY = 2,
       NBD_SEND_FLUSH = 4,
       NBD_SEND_FUA = 8,
       NBD_SEND_TRIM = 32,
       NBD_SEND_WRITE_ZEROES = 64,
       NBD_SEND_DF = 128,
       NBD_CAN_MULTI_CONN = 256,
       NBD_SEND_CACHE = 1024,
};

enum nbd_cmd {
    NBD_CMD_READ,
    NBD_CMD_WRITE,
    NBD_CMD_DISC,
    NBD_CMD_FLUSH,
    NBD_CMD_TRIM,
    NBD_CMD_CACHE,
    NBD_CMD_WRITE_ZEROES,
    NBD_CMD_BLOCK_STATUS,
};

enum { NBD_CMD_FUA = 1, NBD_CMD_NO_HOLE = 2, NBD_CMD_DF = 4, NBD_CMD_REQ_ONE = 8 };

enum {
    NBD_CHUNK_DONE = 1, /* a flag; the rest are types */
    NBD_CHUNK_NONE = 0,
    NBD_CHUNK_DATA = 1,
    NBD_CHUNK_HOLE = 2,
    NBD_CHUNK_STATUS = 5,
    NBD_CHUNK_ERROR = 0x8001,
    NBD_CHUNK_ERROR_OFFSET = 0x8002,
};

enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2 }; /* of base:allocation */

/* Errors on the wire. */
enum {
    NBD_EPERM = 1,
    NBD_EIO = 5,
    NBD_ENOMEM = 12,
    NBD_EINVAL = 22,
    NBD_ENOSPC = 28,
    NBD_EOVERFLOW = 75,
    NBD_ENOTSUP = 95,
    NBD_ESHUTDOWN = 108,
};

#endif
