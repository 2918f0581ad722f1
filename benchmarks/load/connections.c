/* New connections: each carries one request and its answer, and is closed. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* A proxy that refuses is not measured. */
#define MANY_FAILURES 100

struct slot {
    int fd;
    int asked;
    int64_t since;
    uint32_t left;
};

static void begin(int epoll, struct slot *slot, const struct settings *settings) {
    slot->since = now();
    slot->fd = connecting(settings);
    slot->asked = 0;
    slot->left = settings->response;
    watch(epoll, slot->fd, EPOLLOUT, slot, EPOLL_CTL_ADD);
}

void connections(const struct settings *settings) {
    static char buffer[64 * 1024];
    int epoll = watcher(), count = settings->connections, failed = 0;
    struct slot *slots = calloc(count, sizeof *slots);
    struct histogram *latencies = histogram();
    struct epoll_event events[256];
    if (!slots) die("no memory");
    for (int i = 0; i < count; i++) begin(epoll, &slots[i], settings);
    int64_t time = now(), warm = after(time, settings->warm), end = after(warm, settings->seconds);
    int64_t answered = 0, all = 0;
    while ((time = now()) < end) {
        int ready = epoll_wait(epoll, events, 256, (end - time) / 1000000 + 1);
        for (int i = 0; i < ready; i++) {
            struct slot *slot = events[i].data.ptr;
            ssize_t got;
            if (!slot->asked) {
                struct opening opening = {
                    .mode = REQUESTS, .request = settings->request, .response = settings->response};
                memcpy(buffer, &opening, sizeof opening);
                got = send(slot->fd, buffer, sizeof opening + settings->request, MSG_NOSIGNAL);
                slot->asked = 1;
                if (got > 0) watch(epoll, slot->fd, EPOLLIN, slot, EPOLL_CTL_MOD);
            } else {
                got = recv(slot->fd, buffer, sizeof buffer, 0);
                if (got > 0) slot->left -= got;
            }
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0 && ++failed > MANY_FAILURES)
                die("%d connections failed, the last one: %s", failed, got ? strerror(errno) : "closed");
            if (got > 0 && slot->left) continue;
            time = now();
            if (got > 0) all++;
            if (got > 0 && time >= warm && time < end) {
                answered++;
                note(latencies, time - slot->since);
            }
            close(slot->fd);
            begin(epoll, slot, settings);
        }
    }
    printf("{\"rate\": %.1f, \"count\": %lld, \"failed\": %d, \"p50\": %.9f, \"p99\": %.9f, \"cpu\": %.3f}\n",
           answered / settings->seconds, (long long)all, failed, quantile(latencies, 0.5), quantile(latencies, 0.99),
           cpu());
}
