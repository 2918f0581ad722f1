/* Requests and their answers on connections that stay. Each connection has one under way; with a
   rate, each request has its time, and what is measured is from that time on, so that a proxy
   that stops for a while is charged with all that had to wait. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct channel {
    int fd;
    int opened;
    int busy;
    int64_t since; /* when the request under way was sent, or should have been */
    int64_t due, done; /* requests that should have been sent, and that were */
    uint32_t left;     /* of the response */
};

static char zeros[64 * 1024];
static const struct settings *how;
static struct channel *channels;
static int64_t start;

/* When the channel's next request is to be sent. */
static int64_t schedule(const struct channel *channel) {
    return after(start, (channel->done * how->connections + (channel - channels)) / how->rate);
}

static void ask(struct channel *channel, int64_t since) {
    channel->since = since;
    channel->done++;
    channel->busy = 1;
    channel->left = how->response;
    sent(channel->fd, zeros, how->request);
}

/* 1 for an answer that is complete. */
static int listen_(struct channel *channel) {
    static char buffer[64 * 1024];
    ssize_t got = recv(channel->fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) die("a connection was lost: %s", got ? strerror(errno) : "closed");
    if ((uint32_t)got > channel->left) die("more than an answer came");
    channel->left -= got;
    return !channel->left;
}

static void opened(int epoll, struct channel *channel) {
    struct opening opening = {
        .mode = REQUESTS, .request = how->request, .response = how->response};
    sent(channel->fd, &opening, sizeof opening);
    channel->opened = 1;
    watch(epoll, channel->fd, EPOLLIN, channel, EPOLL_CTL_MOD);
    ask(channel, now());
}

/* Connect all, and see each answer once: what comes then meets no connection that is new. */
static void establish(int epoll, const struct settings *settings) {
    int count = settings->connections, next = 0, left = count;
    struct epoll_event events[256];
    channels = calloc(count, sizeof *channels);
    if (!channels) die("no memory");
    how = settings;
    while (left) {
        /* Not more at once than a backlog holds. */
        while (next < count && next < count - left + 64) {
            channels[next].fd = connecting(settings);
            watch(epoll, channels[next].fd, EPOLLOUT, &channels[next], EPOLL_CTL_ADD);
            next++;
        }
        int ready = epoll_wait(epoll, events, 256, 1000);
        for (int i = 0; i < ready; i++) {
            struct channel *channel = events[i].data.ptr;
            if (!channel->opened) opened(epoll, channel);
            else if (listen_(channel)) {
                channel->busy = 0;
                left--;
            }
        }
    }
    for (int i = 0; i < count; i++) channels[i].done = 0;
}

static void alarm_at(int timer, int64_t when) {
    struct itimerspec spec = {.it_value = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

void requests(const struct settings *settings) {
    int epoll = watcher(), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct histogram *latencies = histogram();
    struct epoll_event events[256];
    establish(epoll, settings);
    watch(epoll, timer, EPOLLIN, NULL, EPOLL_CTL_ADD);
    start = now();
    int64_t warm = after(start, settings->warm), end = after(warm, settings->seconds);
    int64_t answered = 0, next = 0;
    if (settings->rate) alarm_at(timer, start);
    else {
        for (int i = 0; i < settings->connections; i++) ask(&channels[i], start);
    }
    int64_t time;
    while ((time = now()) < end) {
        int ready = epoll_wait(epoll, events, 256, (end - time) / 1000000 + 1);
        for (int i = 0; i < ready; i++) {
            struct channel *channel = events[i].data.ptr;
            if (!channel) {
                uint64_t times;
                if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN) die("timer");
                for (; after(start, next / settings->rate) <= now(); next++) {
                    channel = &channels[next % settings->connections];
                    channel->due++;
                    if (!channel->busy) ask(channel, schedule(channel));
                }
                alarm_at(timer, after(start, next / settings->rate));
            } else if (listen_(channel)) {
                time = now();
                channel->busy = 0;
                if (time >= warm && time < end) {
                    note(latencies, time - channel->since);
                    answered++;
                }
                if (!settings->rate) ask(channel, time);
                else if (channel->done < channel->due) ask(channel, schedule(channel));
            }
        }
    }
    /* Requests that still wait would be forgotten, and they are the slow ones. */
    for (int i = 0; i < settings->connections; i++)
        if (channels[i].busy) note(latencies, end - channels[i].since);
    printf("{\"rate\": %.1f, \"p50\": %.9f, \"p99\": %.9f, \"cpu\": %.3f}\n",
           answered / settings->seconds, quantile(latencies, 0.5), quantile(latencies, 0.99), cpu());
}

void idle(const struct settings *settings) {
    char byte;
    establish(watcher(), settings);
    printf("{\"established\": %d}\n", settings->connections);
    fflush(stdout);
    /* Until whoever asked has looked. */
    while (read(STDIN_FILENO, &byte, 1) > 0) continue;
}
