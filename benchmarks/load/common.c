#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int64_t after(int64_t start, double seconds) { return start + (int64_t)(seconds * 1e9); }

int watcher(void) {
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) die("epoll_create1: %s", strerror(errno));
    return epoll;
}

void watch(int epoll, int fd, uint32_t events, void *data, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll, operation, fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

int connecting(const struct settings *settings) {
    static unsigned turn;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* A closed connection keeps its port for a minute; eight addresses have eight times the
       ports of one, which the connections of a fast proxy would use up. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    struct sockaddr_in own = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(0x7f000002 + turn++ % 8)};
    if (bind(fd, (struct sockaddr *)&own, sizeof own)) die("bind: %s", strerror(errno));
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(settings->port)};
    if (inet_pton(AF_INET, settings->host, &peer.sin_addr) != 1) die("not an IPv4 address: %s", settings->host);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    return fd;
}

int frames(void) {
    int fd = memfd_create("frame", MFD_CLOEXEC);
    uint64_t length = FRAME;
    if (fd < 0 || ftruncate(fd, FRAME) || pwrite(fd, &length, sizeof length, 0) != sizeof length)
        die("memfd_create: %s", strerror(errno));
    return fd;
}

ssize_t discard(int fd, size_t size) {
    char unused[1];
    /* tcp(7): MSG_TRUNC does not copy. The buffer is not written to, whatever its size. */
    void *volatile buffer = unused;
    ssize_t got = recv(fd, buffer, size, MSG_TRUNC);
    if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return 0;
    return got;
}

void sent(int fd, const void *data, size_t size) {
    ssize_t done = send(fd, data, size, MSG_NOSIGNAL);
    if (done != (ssize_t)size) die("send: %s", done < 0 ? strerror(errno) : "only a part was taken");
}

double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Buckets: 64 to each power of two. */
#define STEPS 64

struct histogram {
    uint64_t counts[64 * STEPS];
    uint64_t total;
};

struct histogram *histogram(void) {
    struct histogram *made = calloc(1, sizeof *made);
    if (!made) die("no memory");
    return made;
}

void note(struct histogram *histogram, int64_t nanoseconds) {
    uint64_t value = nanoseconds < STEPS ? STEPS : (uint64_t)nanoseconds;
    int power = 63 - __builtin_clzll(value);
    histogram->counts[power * STEPS + (value >> (power - 6)) % STEPS]++;
    histogram->total++;
}

double quantile(const struct histogram *histogram, double which) {
    uint64_t wanted = (uint64_t)(which * histogram->total), seen = 0;
    for (int bucket = 0; bucket < 64 * STEPS; bucket++) {
        seen += histogram->counts[bucket];
        if (seen > wanted) {
            int power = bucket / STEPS;
            return ((1ULL << power) + ((bucket % STEPS) + 0.5) * (1ULL << (power - 6))) / 1e9;
        }
    }
    return 0;
}
