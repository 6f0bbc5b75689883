/* SPDX-License-Identifier: MIT */
/* tests/bench/disk/disk.c - a guest's requests to a disk, past its page cache.
 *
 * disk DEVICE read|write seq|random BYTES COUNT DEPTH: COUNT requests of BYTES, DEPTH at a time (Linux's
 * own asynchronous I/O), in order or all over the first 48 MiB. Ends with 1 if one fails.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPAN = 48 << 20, MOST = 64 };

static int fd, write_it, at_random;
static size_t bytes;
static long next;

static void start(aio_context_t c, struct iocb *cb)
{
    long blocks = SPAN / (long)bytes, n = next++;
    struct iocb *list = cb;

    n = at_random ? (long)((uint64_t)n * 2654435761u % (uint64_t)blocks) : n % blocks;
    cb->aio_offset = n * (long)bytes;
    if (syscall(SYS_io_submit, c, 1, &list) != 1) {
        perror("io_submit");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static struct iocb cb[MOST];
    struct io_event e[MOST];
    aio_context_t c = 0;
    char *buf;

    if (argc != 7) {
        return 2;
    }
    long count = atol(argv[5]), depth = atol(argv[6]), done = 0;
    write_it = !strcmp(argv[2], "write");
    at_random = !strcmp(argv[3], "random");
    bytes = (size_t)atol(argv[4]);
    fd = open(argv[1], O_DIRECT | (write_it ? O_WRONLY : O_RDONLY));
    if (fd < 0 || depth > MOST || posix_memalign((void **)&buf, 4096, bytes * (size_t)depth) ||
        syscall(SYS_io_setup, MOST, &c) < 0) {
        perror(argv[1]);
        return 1;
    }
    memset(buf, 0x5a, bytes * (size_t)depth);
    for (long i = 0; i < depth && next < count; i++) {
        cb[i].aio_lio_opcode = write_it ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
        cb[i].aio_fildes = (uint32_t)fd;
        cb[i].aio_buf = (uintptr_t)(buf + (size_t)i * bytes);
        cb[i].aio_nbytes = bytes;
        start(c, &cb[i]);
    }
    while (done < count) {
        long n = syscall(SYS_io_getevents, c, 1, MOST, e, NULL);
        for (long i = 0; i < n; i++, done++) {
            if (e[i].res != (int64_t)bytes) {
                fprintf(stderr, "%s: %lld\n", argv[1], (long long)e[i].res);
                return 1;
            }
            if (next < count) {
                start(c, (struct iocb *)(uintptr_t)e[i].obj);
            }
        }
    }
    return 0;
}
