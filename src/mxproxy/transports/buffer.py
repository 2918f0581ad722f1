"""
The one buffer that everything is read into, and what is said about a read or a write.

What is read is looked at, and written on, before anybody reads again: one buffer serves all
connections of a process, and stays in the processor's cache.  Whoever keeps bytes of it for
later copies them.
"""

from __future__ import annotations

#: Bytes that are read at once.  From 128 KiB on a buffer of its own for each read would come
#: from mmap(2), at a page fault for each page; below 64 KiB the calls cost more than the bytes.
CHUNK = 64 * 1024

#: A record of TLS holds at most so much plaintext (RFC 8446, section 5.1).
RECORD = 16 * 1024

#: There is nothing to be read now, or no room to write.
BLOCKED = -1

BUFFER = bytearray(CHUNK)

#: The same memory; slices of it are not copies.
VIEW = memoryview(BUFFER)
