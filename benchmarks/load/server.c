/* The application behind the proxies: it does to each connection what its opening asks for. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define EVENTS 256

struct connection {
    int fd;
    unsigned got; /* of the opening, then of a frame's header */
    struct opening opening;
    uint64_t header;
    uint64_t left;  /* of the frame, of the request */
    uint64_t total; /* of the frames */
    uint64_t owed;  /* bytes of responses that the socket has not taken */
    off_t offset;   /* in the frame that is being sent */
    int stopped;    /* the reader has said that it is enough */
    int opened;
    int writing; /* what the socket is watched for */
};

static char zeros[256 * 1024];
static int epoll, frame;

static void end(struct connection *connection) {
    close(connection->fd);
    free(connection);
}

/* So little that it fits, unless the connection is broken. */
static int whole(struct connection *connection, const void *data, ssize_t size) {
    return send(connection->fd, data, size, MSG_NOSIGNAL) == size;
}

/* -1: all for now; 0: it is over. */
static int receive(struct connection *connection) {
    for (;;) {
        if (!connection->left) {
            char *into = (char *)&connection->header + connection->got;
            ssize_t got = recv(connection->fd, into, sizeof connection->header - connection->got, 0);
            if (got <= 0) return got < 0 && errno == EAGAIN ? -1 : 0;
            connection->got += got;
            if (connection->got < sizeof connection->header) continue;
            connection->got = 0;
            if (!connection->header) {
                if (!whole(connection, &connection->total, sizeof connection->total)) return 0;
                continue;
            }
            connection->total += connection->header;
            connection->left = connection->header - sizeof connection->header;
        }
        ssize_t got = discard(connection->fd, connection->left);
        if (got <= 0) return got;
        connection->left -= got;
    }
}

static int transmit(struct connection *connection, uint32_t events) {
    if (events & EPOLLIN && !connection->stopped) {
        char word;
        if (recv(connection->fd, &word, 1, 0) <= 0) return 0;
        connection->stopped = 1;
    }
    for (int turns = 0; turns < 4; turns++) {
        if (connection->offset == 0 && connection->stopped) {
            uint64_t last[2] = {0, connection->total};
            if (!whole(connection, last, sizeof last)) return 0;
            /* What is left is that the reader closes. */
            watch(epoll, connection->fd, EPOLLIN, connection, EPOLL_CTL_MOD);
            connection->opening.mode = UPLOAD;
            return -1;
        }
        ssize_t done = sendfile(connection->fd, frame, &connection->offset, FRAME - connection->offset);
        if (done < 0) return errno == EAGAIN ? -1 : 0;
        connection->total += done;
        if (connection->offset == FRAME) connection->offset = 0;
    }
    return -1;
}

static int answer(struct connection *connection) {
    static char buffer[64 * 1024];
    ssize_t got = recv(connection->fd, buffer, sizeof buffer, 0);
    if (got <= 0 && !(got < 0 && errno == EAGAIN)) return 0;
    if (got > 0) {
        connection->left += got;
        connection->owed += connection->left / connection->opening.request * connection->opening.response;
        connection->left %= connection->opening.request;
    }
    while (connection->owed) {
        size_t size = connection->owed < sizeof zeros ? connection->owed : sizeof zeros;
        ssize_t done = send(connection->fd, zeros, size, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN) return 0;
        if (done < 0) break;
        connection->owed -= done;
    }
    int writing = connection->owed > 0;
    if (writing != connection->writing) {
        connection->writing = writing;
        watch(epoll, connection->fd, writing ? EPOLLIN | EPOLLOUT : EPOLLIN, connection, EPOLL_CTL_MOD);
    }
    return -1;
}

static int open_(struct connection *connection) {
    char *into = (char *)&connection->opening + connection->got;
    ssize_t got = recv(connection->fd, into, sizeof connection->opening - connection->got, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN ? -1 : 0;
    connection->got += got;
    if (connection->got < sizeof connection->opening) return -1;
    connection->got = 0;
    connection->opened = 1;
    switch (connection->opening.mode) {
    case UPLOAD:
        return receive(connection);
    case DOWNLOAD:
        watch(epoll, connection->fd, EPOLLIN | EPOLLOUT, connection, EPOLL_CTL_MOD);
        return -1;
    case REQUESTS:
        return connection->opening.request ? answer(connection) : 0;
    default:
        return 0;
    }
}

static void accept_(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection) die("no memory");
        connection->fd = fd;
        watch(epoll, fd, EPOLLIN, connection, EPOLL_CTL_ADD);
    }
}

void serve(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof own;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&own, size) || listen(listener, BACKLOG) ||
        getsockname(listener, (struct sockaddr *)&own, &size))
        die("listen: %s", strerror(errno));
    epoll = watcher();
    frame = frames();
    watch(epoll, listener, EPOLLIN, NULL, EPOLL_CTL_ADD);
    static char input;
    watch(epoll, STDIN_FILENO, EPOLLIN, &input, EPOLL_CTL_ADD);
    printf("{\"port\": %d}\n", ntohs(own.sin_port));
    fflush(stdout);
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) {
                accept_(listener);
                continue;
            }
            /* Whoever started this has gone, or wants it to. */
            if (events[i].data.ptr == &input) return;
            int state = !connection->opened                        ? open_(connection)
                        : connection->opening.mode == UPLOAD   ? receive(connection)
                        : connection->opening.mode == DOWNLOAD ? transmit(connection, events[i].events)
                                                               : answer(connection);
            if (!state) end(connection);
        }
    }
}
