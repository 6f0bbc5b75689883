/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/ctxswitch.c - a byte to and fro between two processes through pipes. */
#include "bench.h"

#include <sys/wait.h>
#include <unistd.h>

static const char NAME[] = "ctxswitch";
enum { ROUNDS = 5000 };

static void echo(int in, int out)
{
    char c;
    while (read(in, &c, 1) == 1 && write(out, &c, 1) == 1) {
    }
    _exit(0);
}

static uint64_t kernel(void)
{
    int there[2], back[2];
    uint64_t sum = 0;
    if (pipe(there) || pipe(back)) {
        return 0;
    }
    pid_t pid = fork();
    if (!pid) {
        close(there[1]);
        close(back[0]);
        echo(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    for (int i = 0; i < ROUNDS; i++) {
        char c = (char)i;
        if (write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1) {
            sum += (uint8_t)c;
        }
    }
    close(there[1]);
    close(back[0]);
    waitpid(pid, NULL, 0);
    return sum;
}
