"""
Speed: mxproxy beside the proxies that one could take instead, and beside itself.

C{make bench}, or C{python -m benchmarks}, whose C{--help} says what can be chosen.  Every proxy is
measured as what it is in a mesh, a pair::

    client ─plain─► outbound proxy ═mutual TLS═► inbound proxy ─plain─► server

All of it on loopback, each proxy with one thread, certificates ECDSA P-256 as Istio's, each side
checks the other's.  What does what:

  - C{load/}: client and server, a small C program that is compiled when it is needed.
  - C{peers/}: one file a proxy: whether it is installed, and how it is configured.
  - C{pair.py}, C{processes.py}: two of one kind, running; CPU time and memory of processes.
  - C{loads.py}: what is measured.  C{rounds.py}: in which order.
  - C{summary.py}, C{table.py}, C{plot.py}: medians, spreads and ratios; as text; as a picture.

How it is made sure that it is the proxies that are measured.  The peer C{direct} has no proxy: the
client talks to the server, and is measured in the same rounds with the same loads, so that the
table's first line is what the generator can do at most.  Bulk is sent by sendfile(2) and received
with MSG_TRUNC, which copies nothing.  The CPU time of client and server is written to the JSON
beside that of the proxies, and so is what others on the machine used meanwhile.

How drift is kept out.  All pairs of a round run at the same time, idle but for the one that is
measured, and each load goes from pair to pair, so that what is compared is seconds apart.  Ratios
are taken within a round; what is shown is the median of the rounds.
"""
