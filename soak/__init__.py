"""
Hours of a pair's life in minutes: C{make soak}.

Two sidecars as real processes, inbound and outbound, on loopback; mixed traffic through both at
full speed; certificates that are renewed, configurations that are read again, connections that
are killed.  At the end: no byte was wrong, no connection without its line in the access
logs, no memory and no descriptor lost, no traceback.

  - C{conversation.py}: what one connection does, drawn at random;
  - C{sides.py}: its two ends, which look at every byte;
  - C{traffic.py}: many of them at once;
  - C{pair.py}: the two processes, their certificates and their size;
  - C{ledger.py}: what the access logs say, beside what the ends know;
  - C{__main__.py}: all together, and the summary.
"""
