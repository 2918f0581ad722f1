"""
What C{setup.cfg} cannot say: the extension, which is optional.

It is built where there are Linux, a C compiler and Python's headers.  Where one of them is missing the
installation is whole without it, and slower (docs/performance.md).  In a checkout, after a change of
C{flows.c}: C{python setup.py build_ext --inplace}.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import Extension, setup

#: What Python sees of C{flows.c}.
DECLARATIONS = """
    enum { INTERFACE = ... };
    enum { DONE, IDLE, PYTHON, SOON, UNSENT, READ_FAILED, WRITE_FAILED, ... };
    struct end {
        int64_t number;
        int fd;
        void *ssl;
        struct end *to;
        int reads, writes;
        int size, largest;
        ...;
    };
    struct flows {
        int epoll;
        int touched;
        int64_t numbers[...], moved[...];
        int64_t number;
        int offset, left;
        int result, error;
        ...;
    };
    void flows_use(uintptr_t, uintptr_t, uintptr_t, uintptr_t);
    struct flows *flows_open(void);
    void flows_close(struct flows *);
    int flows_add(struct flows *, struct end *);
    void flows_remove(struct flows *, struct end *);
    int flows_run(struct flows *, char *, int, int, int, int);
"""


def extensions() -> list[Extension]:
    """All that there are to be built here."""
    try:
        from cffi import FFI
    except ImportError:
        return []
    if not sys.platform.startswith("linux"):
        return []  # It is epoll's.
    # Where it cannot be built any more, setuptools would take what an earlier build has left.
    for old in Path("build").glob("lib*/mxproxy/transports/_flows*"):
        old.unlink()
    builder = FFI()
    builder.cdef(DECLARATIONS)
    source = Path("src/mxproxy/transports/flows.c")
    builder.set_source("mxproxy.transports._flows", source.read_text(), depends=[str(source)])
    extension: Extension = builder.distutils_extension("build", verbose=False)
    extension.optional = True
    return [extension]


setup(ext_modules=extensions())
