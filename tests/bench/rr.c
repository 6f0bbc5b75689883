/* SPDX-License-Identifier: MIT */
/* tests/bench/rr.c - one byte there and back, over TCP, again and again.
 *
 *   rr serve PORT          answers whoever connects, one after the other
 *   rr ADDRESS PORT TURNS  asks that often
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int tcp_socket(void)
{
    int on = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return s;
}

static bool answer(int s)
{
    char c;
    return read(s, &c, 1) == 1 && write(s, &c, 1) == 1;
}

static int serve(const struct sockaddr_in *at)
{
    int on = 1, listener = tcp_socket();
    if (bind(listener, (const struct sockaddr *)at, sizeof(*at)) < 0 || listen(listener, 4) < 0) {
        perror("rr: listening");
        return 1;
    }
    for (;;) {
        int s = accept(listener, NULL, NULL);
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        while (answer(s)) {
        }
        close(s);
    }
}

static int ask(const struct sockaddr_in *at, long turns)
{
    int s = tcp_socket();
    if (connect(s, (const struct sockaddr *)at, sizeof(*at)) < 0) {
        perror("rr: connecting");
        return 1;
    }
    for (char c = 0; turns > 0; turns--) {
        if (write(s, &c, 1) != 1 || read(s, &c, 1) != 1) {
            perror("rr: the other end");
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "serve") == 0) {
        at.sin_port = htons((uint16_t)atoi(argv[2]));
        return serve(&at);
    }
    if (argc != 4 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) {
        fprintf(stderr, "usage: rr serve PORT | rr ADDRESS PORT TURNS\n");
        return 2;
    }
    at.sin_port = htons((uint16_t)atoi(argv[2]));
    return ask(&at, atol(argv[3]));
}
