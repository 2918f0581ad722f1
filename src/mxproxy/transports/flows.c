/*
 * What mxproxy.transports.flows does for each event, in C. Theory of operation is there.
 *
 * OpenSSL is not linked: the one of the cryptography package is used, by the addresses of its
 * functions. So none of its headers is needed either, and what they say of the two constants below
 * is part of its ABI since 1.0 (ssl.h: SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE).
 */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WANT_READ 2
#define WANT_WRITE 3

/* As in transports/tls.py and transports/buffer.py. */
#define SHORT 4096
#define RECORD 16384

/* Events that are asked for at once. */
#define BATCH 64
/* Flows that can be told of at once. */
#define TOLD (4 * BATCH)

/* As in transports/flows.py: changed with anything here that Python uses. */
enum { INTERFACE = 2 };

/* What a flow has come to. */
enum { DONE, IDLE, PYTHON, SOON, UNSENT, READ_FAILED, WRITE_FAILED };

/* A socket and what is known of it. Python owns it, and keeps that which it points to. */
struct end {
    int64_t number;
    int fd;
    void *ssl;       /* NULL: as it is */
    struct end *to;  /* where what is read is written */
    int reads;       /* it may be read: not paused, not ended */
    int writes;      /* it may be written: nothing is kept, not ended */
    int size;        /* bytes to be read at once, and the most that they may become */
    int largest;
    int64_t moved;   /* what was read and written, and not told of */
};

struct flows {
    int epoll;
    int count, next;
    struct epoll_event events[BATCH];
    /* What has moved in this call. */
    int touched;
    struct end *ends[TOLD];
    int64_t numbers[TOLD], moved[TOLD];
    /* Whose flow cannot go on, and why; what of the buffer was read and not written. */
    int64_t number;
    int offset, left;
    int result, error;
};

static int (*ssl_read)(void *, void *, int);
static int (*ssl_write)(void *, const void *, int);
static int (*ssl_get_error)(const void *, int);
static int (*ssl_pending)(const void *);

static void flows_use(uintptr_t read, uintptr_t write, uintptr_t error, uintptr_t pending)
{
    ssl_read = (int (*)(void *, void *, int)) read;
    ssl_write = (int (*)(void *, const void *, int)) write;
    ssl_get_error = (int (*)(const void *, int)) error;
    ssl_pending = (int (*)(const void *)) pending;
}

static struct flows *flows_open(void)
{
    struct flows *flows = calloc(1, sizeof *flows);
    if (flows && (flows->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        free(flows);
        flows = NULL;
    }
    return flows;
}

static void flows_close(struct flows *flows)
{
    close(flows->epoll);
    free(flows);
}

static int flows_add(struct flows *flows, struct end *end)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = end}};
    return epoll_ctl(flows->epoll, EPOLL_CTL_ADD, end->fd, &event) < 0 ? errno : 0;
}

static void flows_remove(struct flows *flows, struct end *end)
{
    struct epoll_event event = {0}; /* For kernels before 2.6.9. */
    epoll_ctl(flows->epoll, EPOLL_CTL_DEL, end->fd, &event);
    for (int i = flows->next; i < flows->count; i++)
        if (flows->events[i].data.ptr == end)
            flows->events[i].data.ptr = NULL;
}

/* Read a chunk: how many bytes; 0 where there are none, or *failed. */
static int flows_read(struct flows *flows, struct end *from, char *buffer, int *failed)
{
    int got, total = 0;
    if (!from->ssl) {
        do
            got = recv(from->fd, buffer, from->size, 0);
        while (got < 0 && errno == EINTR);
        if (got > 0)
            return got;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        flows->error = got < 0 ? errno : 0;
        flows->result = got;
        *failed = 1;
        return 0;
    }
    do {
        got = ssl_read(from->ssl, buffer + total, RECORD);
        if (got <= 0) {
            int error = ssl_get_error(from->ssl, got);
            if (error != WANT_READ) {
                flows->error = error;
                flows->result = got;
                *failed = 1;
            }
            break;
        }
        total += got;
    } while (got >= SHORT && total <= from->size - RECORD);
    return total;
}

/* As in transports/tls.py: several records are one to the kernel. */
static void flows_cork(const struct end *to, int on)
{
    int error = errno; /* Why a write has failed is still to be told. */
    setsockopt(to->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    errno = error;
}

/* Write a chunk: how many bytes of it were taken; *failed where no more ever will. */
static int flows_write(struct flows *flows, struct end *to, const char *data, int size, int *failed)
{
    int sent, total = 0, several = to->ssl && size > RECORD;
    if (several)
        flows_cork(to, 1);
    while (total < size) {
        if (to->ssl) {
            sent = ssl_write(to->ssl, data + total, size - total);
            if (sent <= 0) {
                int error = ssl_get_error(to->ssl, sent);
                if (error == WANT_READ || error == WANT_WRITE)
                    break;
                flows->error = error;
            }
        } else {
            sent = send(to->fd, data + total, size - total, MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno == EINTR)
                    continue;
                if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
                    break;
                flows->error = errno;
            }
        }
        if (sent <= 0) {
            flows->result = sent;
            *failed = 1;
            break;
        }
        total += sent;
    }
    if (several)
        flows_cork(to, 0);
    return total;
}

static int flows_move(struct flows *flows, struct end *from, char *buffer, int turn)
{
    struct end *to = from->to;
    if (!from->reads || !to || !to->writes)
        return PYTHON;
    while (turn > 0) {
        int failed = 0, size = from->size;
        int got = flows_read(flows, from, buffer, &failed);
        if (failed) {
            /* An error of OpenSSL's has to be looked at before anything else is done with it. */
            flows->offset = 0;
            flows->left = got;
            return READ_FAILED;
        }
        if (!got)
            return IDLE;
        int sent = flows_write(flows, to, buffer, got, &failed);
        if (sent && !from->moved)
            flows->ends[flows->touched++] = from;
        from->moved += sent;
        if (sent < got) {
            flows->offset = sent;
            flows->left = got - sent;
            return failed ? WRITE_FAILED : UNSENT;
        }
        if (got < size && !(from->ssl && ssl_pending(from->ssl)))
            return IDLE;
        turn -= got;
        if (got > size - RECORD)
            from->size = 2 * size < from->largest ? 2 * size : from->largest;
    }
    return from->ssl && ssl_pending(from->ssl) ? SOON : IDLE;
}

/* Serve those that are ready, up to one that Python has to see to. */
static int flows_batch(struct flows *flows, char *buffer, int turn)
{
    while (flows->next < flows->count) {
        struct end *from = flows->events[flows->next++].data.ptr;
        if (!from)
            continue; /* It has gone meanwhile. */
        int what = flows_move(flows, from, buffer, turn);
        if (what != IDLE) {
            flows->number = from->number;
            return what;
        }
    }
    return DONE;
}

static void flows_look(struct flows *flows)
{
    flows->next = 0;
    flows->count = epoll_wait(flows->epoll, flows->events, BATCH, 0);
}

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Would the reactor, by now or in so many ms, be told of us and of nobody else? */
static int flows_alone(struct flows *flows, int reactor, int wait)
{
    struct epoll_event ready[2];
    return epoll_wait(reactor, ready, 2, wait) == 1 && ready[0].data.fd == flows->epoll;
}

/*
 * Serve what is ready, up to one that Python has to see to; begin with a look at what is.  Where the
 * reactor's epoll is known, go on for so many ms as long as there is nothing else for it.
 */
static int flows_run(struct flows *flows, char *buffer, int turn, int begin, int reactor, int stay)
{
    int64_t end = stay > 0 ? milliseconds() + stay : 0;
    flows->touched = 0;
    if (begin)
        flows_look(flows);
    int what = flows_batch(flows, buffer, turn);
    while (stay > 0 && what == DONE && (stay = end - milliseconds()) > 0) {
        if (flows->touched > TOLD - BATCH || !flows_alone(flows, reactor, stay))
            break;
        flows_look(flows);
        what = flows_batch(flows, buffer, turn);
    }
    for (int i = 0; i < flows->touched; i++) {
        struct end *from = flows->ends[i];
        flows->numbers[i] = from->number;
        flows->moved[i] = from->moved;
        from->moved = 0;
    }
    return what;
}
