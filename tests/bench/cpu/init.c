/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/init.c - process 1 of the benchmark's guest: runs the programs whose names come on the
 * console, one a line, as often as runs= of the kernel's command line says.
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
    const char *runs = getenv("runs");
    char name[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    do {
        printf("bench-ready\n");
        name[0] = 0;
        if (fgets(name, sizeof(name), stdin)) {
            name[strcspn(name, "\n")] = 0;
            run(name, runs ? runs : "1");
        }
    } while (name[0]);
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
