/* One way as fast as it goes, on one connection or several; and nothing may be lost. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

struct stream {
    int fd;
    int opened, stopping, done;
    uint64_t total;
    uint64_t left;
    uint64_t word[2];
    unsigned got, wanted; /* bytes of word */
    off_t offset;
};

static int epoll, frame, stop;

static void finish(struct stream *stream, uint64_t said) {
    if (said != stream->total)
        die("%llu bytes were sent or received here, %llu at the other end",
            (unsigned long long)stream->total, (unsigned long long)said);
    stream->done = 1;
    close(stream->fd);
}

static void lost(const struct stream *stream, const char *what) {
    die("the connection was lost after %llu bytes: %s", (unsigned long long)stream->total, what);
}

static void upload(struct stream *stream) {
    if (stream->stopping) {
        ssize_t got = recv(stream->fd, (char *)stream->word + stream->got, 8 - stream->got, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) lost(stream, got ? strerror(errno) : "closed");
        stream->got += got;
        if (stream->got == 8) finish(stream, stream->word[0]);
        return;
    }
    for (int turns = 0; turns < 4; turns++) {
        if (stop && stream->offset == 0) {
            uint64_t last = 0;
            /* The socket may be full: then there is a next turn. */
            ssize_t done = send(stream->fd, &last, sizeof last, MSG_NOSIGNAL);
            if (done < 0 && errno == EAGAIN) return;
            if (done != sizeof last) lost(stream, done < 0 ? strerror(errno) : "half a header");
            stream->stopping = 1;
            watch(epoll, stream->fd, EPOLLIN, stream, EPOLL_CTL_MOD);
            return;
        }
        ssize_t done = sendfile(stream->fd, frame, &stream->offset, FRAME - stream->offset);
        if (done < 0 && errno == EAGAIN) return;
        if (done < 0) lost(stream, strerror(errno));
        stream->total += done;
        if (stream->offset == FRAME) stream->offset = 0;
    }
}

static void download(struct stream *stream) {
    if (stop && !stream->stopping) {
        sent(stream->fd, "s", 1);
        stream->stopping = 1;
    }
    for (int turns = 0; turns < 64; turns++) {
        ssize_t got;
        if (stream->left) {
            got = discard(stream->fd, stream->left);
            if (got > 0) {
                stream->left -= got;
                stream->total += got;
            }
        } else {
            got = recv(stream->fd, (char *)stream->word + stream->got, stream->wanted - stream->got, 0);
            if (got > 0) stream->got += got;
            if (stream->got == 8 && stream->word[0]) {
                stream->total += 8;
                stream->left = stream->word[0] - 8;
                stream->got = 0;
            } else if (stream->got == 8) {
                stream->wanted = 16;
            } else if (stream->got == 16) {
                finish(stream, stream->word[1]);
                return;
            }
        }
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) lost(stream, got ? strerror(errno) : "closed");
    }
}

void bulk(const struct settings *settings, enum mode mode) {
    int count = settings->connections;
    struct stream *streams = calloc(count, sizeof *streams);
    struct epoll_event events[64];
    if (!streams) die("no memory");
    epoll = watcher();
    frame = frames();
    for (int i = 0; i < count; i++) {
        streams[i].fd = connecting(settings);
        streams[i].wanted = 8;
        watch(epoll, streams[i].fd, EPOLLOUT, &streams[i], EPOLL_CTL_ADD);
    }
    int64_t start = now(), warm = after(start, settings->warm), end = after(warm, settings->seconds);
    uint64_t before = 0, total = 0;
    int64_t counting = 0;
    for (int left = count; left;) {
        int64_t time = now();
        int ready = epoll_wait(epoll, events, 64, time < end ? (end - time) / 1000000 + 1 : 100);
        if (!counting && now() >= warm) {
            counting = now();
            for (int i = 0; i < count; i++) before += streams[i].total;
        }
        stop = now() >= end;
        for (int i = 0; i < ready; i++) {
            struct stream *stream = events[i].data.ptr;
            if (!stream->opened) {
                struct opening opening = {.mode = mode};
                sent(stream->fd, &opening, sizeof opening);
                stream->opened = 1;
                watch(epoll, stream->fd, mode == UPLOAD ? EPOLLOUT : EPOLLIN, stream, EPOLL_CTL_MOD);
                continue;
            }
            if (mode == UPLOAD) upload(stream);
            else download(stream);
            left -= stream->done;
        }
    }
    double seconds = (now() - counting) / 1e9;
    for (int i = 0; i < count; i++) total += streams[i].total;
    printf("{\"bytes\": %llu, \"rate\": %.1f, \"seconds\": %.3f, \"cpu\": %.3f}\n",
           (unsigned long long)total, (total - before) / seconds, seconds, cpu());
}
