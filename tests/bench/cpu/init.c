/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/init.c - process 1 of the benchmark's guest: runs each program, then powers off.
 *
 * The kernel's command line may say bench=NAME,NAME... and runs=N.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

static void run(const char *name, const char *runs)
{
    char path[64];
    snprintf(path, sizeof(path), "/bench/%s", name);
    pid_t pid = fork();
    if (!pid) {
        execl(path, path, runs, (char *)NULL);
        printf("bench-missing %s\n", name);
        exit(1);
    }
    int status;
    waitpid(pid, &status, 0);
    if (status) {
        printf("bench-failed %s %x\n", name, status);
    }
}

int main(void)
{
    const char *names = getenv("bench"), *runs = getenv("runs");
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("bench-start\n");
    char list[1024];
    snprintf(list, sizeof(list), "%s", names ? names : "");
    for (char *n = strtok(list, ","); n; n = strtok(NULL, ",")) {
        run(n, runs ? runs : "3");
    }
    printf("bench-end\n");
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
