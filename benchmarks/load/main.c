/* load server
   load up|down|requests|connections|idle HOST PORT CONNECTIONS WARM SECONDS RATE REQUEST RESPONSE DEADLINE

   Both ends of the benchmarks' traffic: see the docstring of benchmarks/load. */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int main(int count, char **words) {
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (count == 2 && !strcmp(words[1], "server")) {
        serve();
        return 0;
    }
    if (count != 11) die("see main.c for the arguments");
    const char *what = words[1];
    struct settings settings = {
        .host = words[2],
        .port = atoi(words[3]),
        .connections = atoi(words[4]),
        .warm = atof(words[5]),
        .seconds = atof(words[6]),
        .rate = atof(words[7]),
        .request = strtoul(words[8], NULL, 10),
        .response = strtoul(words[9], NULL, 10),
    };
    /* Ended by SIGALRM if the proxies have stopped. */
    alarm(atoi(words[10]));
    if (!strcmp(what, "up")) bulk(&settings, UPLOAD);
    else if (!strcmp(what, "down")) bulk(&settings, DOWNLOAD);
    else if (!strcmp(what, "requests")) requests(&settings);
    else if (!strcmp(what, "connections")) connections(&settings);
    else if (!strcmp(what, "idle")) idle(&settings);
    else die("unknown: %s", what);
    return 0;
}
