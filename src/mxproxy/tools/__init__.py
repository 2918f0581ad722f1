"""
What people look at sidecars with: C{mxproxy probe}, C{mxproxy decode}.

A command is a package of its own: its arguments, what it finds out as plain values, and how
these are shown.  What they share is here: C{page}, a terminal's looks; C{dissect}, a prefix on
one screen; C{verdict}, what some bytes are as a prefix.  No sidecar imports any of it.
"""
