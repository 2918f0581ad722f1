"""
Real processes from end to end: C{make e2e}, which first installs the applications as Debian packages.

One scenario is one file, and its docstring says what it keeps.  What they share:
C{processes.py}, child processes; C{streams.py}, both ends of a TCP connection, written as a
conversation; C{mesh.py}, identities, sidecars and what their access logs have to say;
C{namespaces.py}, machines with a network of their own.

Nothing here sleeps or, but on such a machine, chooses a port: a test waits until what it waits for
has happened, and fails when that takes too long.
"""
