"""
What becomes of a connection when one of its peers misbehaves: closes, ends its stream, resets,
falls silent or corrupts, at any byte of the handshakes and at chosen points later.

One connection is one C{case.py}: a proxy between two peers that follow a script
(C{peers.py}), one of which commits a fault (C{fault.py}).  It is played in a world
(C{worlds.py}): in memory, where time is a Clock, or over real sockets.  After each one
C{leftovers.py} looks whether anything is left of it, and C{reasons.py}, a table, says
which reason its access log has to name.

The suite plays a sample; C{make faults} plays all of it (C{__main__.py}).
"""
