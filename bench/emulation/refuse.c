/* Preloaded into an emulated program: a kernel without the offloads of the packet path. TUNSETIFF refuses IFF_VNET_HDR,
 * setsockopt and getsockopt refuse UDP_GRO and UDP_SEGMENT, and sendmmsg refuses a message that asks for UDP_SEGMENT, all as old kernels do. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

int ioctl(int fd, unsigned long request, ...) {
    int (*next)(int, unsigned long, void *) = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if ((unsigned int)request == (unsigned int)TUNSETIFF && ((struct ifreq *)argument)->ifr_flags & IFF_VNET_HDR) {
        errno = EINVAL;
        return -1;
    }
    return next(fd, request, argument);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    int (*next)(int, int, int, const void *, socklen_t) =
        (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    if (level == IPPROTO_UDP && (name == UDP_GRO || name == UDP_SEGMENT)) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return next(fd, level, name, value, length);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    int (*next)(int, int, int, void *, socklen_t *) =
        (int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt");
    if (level == IPPROTO_UDP && (name == UDP_GRO || name == UDP_SEGMENT)) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return next(fd, level, name, value, length);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
    int (*next)(int, struct mmsghdr *, unsigned int, int) =
        (int (*)(int, struct mmsghdr *, unsigned int, int))dlsym(RTLD_NEXT, "sendmmsg");
    for (unsigned int at = 0; at < count; at++) {
        struct msghdr *message = &messages[at].msg_hdr;
        for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part))
            if (part->cmsg_level == IPPROTO_UDP && part->cmsg_type == UDP_SEGMENT) {
                if (at > 0)
                    return next(fd, messages, at, flags);
                errno = EINVAL;
                return -1;
            }
    }
    return next(fd, messages, count, flags);
}
