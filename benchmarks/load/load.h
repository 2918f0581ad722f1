/* What the parts of the load generator share. */
#ifndef LOAD_H
#define LOAD_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* The first bytes of every connection say what it is for. */
enum mode { UPLOAD = 'U', DOWNLOAD = 'D', REQUESTS = 'R' };

struct opening {
    uint8_t mode;
    uint8_t unused[3];
    uint32_t request;  /* bytes */
    uint32_t response; /* bytes */
};

/* Bulk goes in frames: a length of 8 bytes that counts itself; 0 is the last one, and behind it
   the sum of those before, by which the reader knows that nothing was lost. */
#define FRAME (1024 * 1024)

struct settings {
    const char *host;
    int port;
    int connections;
    double warm;    /* seconds before counting begins */
    double seconds; /* of counting */
    double rate;    /* requests per second; 0: the next one when the last is answered */
    uint32_t request, response;
};

/* common.c */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
int64_t now(void); /* nanoseconds */
int64_t after(int64_t start, double seconds);
int watcher(void);
void watch(int epoll, int fd, uint32_t events, void *data, int operation);
int connecting(const struct settings *settings);
int frames(void);                 /* a file that holds one frame */
ssize_t discard(int fd, size_t size); /* read and forget: bytes, 0 at the end, -1 for none now */
void sent(int fd, const void *data, size_t size); /* little, so that it fits, or it is an error */
double cpu(void);                 /* seconds of this process so far */

/* What latencies there were, to 1.6 %. */
struct histogram;
struct histogram *histogram(void);
void note(struct histogram *histogram, int64_t nanoseconds);
double quantile(const struct histogram *histogram, double which); /* seconds */

/* server.c, bulk.c, requests.c, connections.c: each prints one JSON object. */
void serve(void);
void bulk(const struct settings *settings, enum mode mode);
void requests(const struct settings *settings);
void connections(const struct settings *settings);
void idle(const struct settings *settings);

#endif
