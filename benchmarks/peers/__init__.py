"""
The proxies, one file each.  A new one is a L{Peer} in C{ALL} of C{registry.py}.
"""
