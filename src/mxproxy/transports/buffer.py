"""
The one buffer that everything is read into, and what is said about a read or a write.

What is read is looked at, and written on, before anybody reads again: one buffer serves all
connections of a process, and stays in the processor's cache.  Whoever keeps bytes of it for
later copies them.
"""

from __future__ import annotations

import mmap

#: Bytes that are read at once, at first.  So much is what a layer that is not done yet, or a side that
#: does not read, may have to keep.
CHUNK = 64 * 1024

#: Bytes that are read at once of a connection that flows.  Whoever is on the other end of it sleeps and
#: is woken less often than with L{CHUNK}, which is a tenth of all that bulk costs and more; nothing
#: is gained by 512 KiB.
LARGEST = 256 * 1024

#: A record of TLS holds at most so much plaintext (RFC 8446, section 5.1).
RECORD = 16 * 1024

#: There is nothing to be read now, or no room to write.
BLOCKED = -1

#: It begins with a page, as what the kernel copies into it mostly does: on AMD's Zen a copy to an
#: address that is a few bytes behind its source's, within a page, takes ten times as long (glibc's
#: bug 30994), and a buffer of the heap would be there for the whole life of an unlucky process.
#: It is the process's own, also after a fork.
BUFFER = mmap.mmap(-1, LARGEST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

#: The same memory; slices of it are not copies.
VIEW = memoryview(BUFFER)
