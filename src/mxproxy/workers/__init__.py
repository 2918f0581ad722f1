"""
Several processes that accept on the same addresses: C{--workers N}.

The process that twistd has made, the I{parent}, opens the sockets and proxies nothing itself.  It
starts I{workers}, programs of their own, which inherit the sockets and run a
L{ProxyService<mxproxy.service.ProxyService>} each.  The parent is the one to be signalled: it tells
the workers to stop, to read the configuration again, to reopen their logs; and it starts another
one in the place of one that has died.

::

    twistd (Supervisor) ── channel ── worker 1 (ProxyService)
        │       └───────── channel ── worker 2 (ProxyService)
        └ log, pid file, admin interface, systemd

Between the parent and a worker there is a L{Channel<mxproxy.workers.channel.Channel>}: a socket on
which either asks the other something, as lines of JSON.

B{To ask all workers} something, whoever runs in the parent calls

    Supervisor.collect(command, arguments) -> Deferred[list of answers]

which has the signature of L{mxproxy.admin.source.Source}: it fires with each worker's answer, in the
workers' order.  A worker that does not answer in time, or dies, is left out; when there is no
answer at all the Deferred fails.  In the worker it is
L{mxproxy.admin.source.perform}C{(service, command, arguments)} that answers.  What is asked and
answered is anything that JSON has.

With one worker, which is the default, there is none of this: one process, as without workers.
"""
