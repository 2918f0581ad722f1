"""
The same configuration file, run by the real Envoy and by mxproxy: C{make sidebyside}.

A scenario is a file of C{scenarios/}, an Envoy bootstrap whose first comment says what it keeps,
and the clients that a test plays against it.  Each client, and each backend behind the proxy,
writes down what it saw: which backend it was, the certificate, the ALPN, the bytes, who ended
the connection and how, and how soon.  That is done once with Envoy and once with mxproxy, and
compared as data.

- C{certificates.py}, C{ports.py}: what the placeholders of a file stand for.
- C{peer.py}: one end of a connection and all that it saw; C{backends.py}, C{clients.py}: its two
  kinds; C{headers.py}: PROXY headers, to send and to read.
- C{proxies.py}: the two processes; C{harness.py}: runs a scenario in both and compares.
- C{differences.py}: the differences that are known, each with its reason. The list is exact: one
  that is gone fails the test until it is taken off.
- C{broken/}: files that both must refuse; the first lines say where, and why.

Nothing here reads a clock to decide what is right but for this: at once, or after the timeout
that the file sets.
"""
