/* For programs under qemu's user-mode emulation: socket(AF_NETLINK, ...) hands out sockets that netlink-carrier opened
 * natively. qemu rewrites what passes through route sockets that it made itself, and refuses the messages that it does not
 * know (policy rules among them); sockets that it did not make it leaves alone. aarch64 and x86_64 agree on every
 * structure, so nothing needs rewriting. Preloaded into the emulated program. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

static atomic_int taken;

int socket(int domain, int type, int protocol) {
    if (domain != AF_NETLINK || protocol != 0 /* NETLINK_ROUTE */) {
        int (*next)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
        return next(domain, type, protocol);
    }
    const char *first = getenv("NETLINK_FIRST"), *count = getenv("NETLINK_COUNT");
    int number = atomic_fetch_add(&taken, 1);
    if (!first || !count || number >= atoi(count)) {
        errno = EMFILE;
        return -1;
    }
    int fd = atoi(first) + number;
    fcntl(fd, F_SETFD, type & SOCK_CLOEXEC ? FD_CLOEXEC : 0);
    fcntl(fd, F_SETFL, type & SOCK_NONBLOCK ? O_NONBLOCK : 0);
    return fd;
}
