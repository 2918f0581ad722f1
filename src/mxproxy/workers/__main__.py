"""
C{python -m mxproxy.workers}: a worker, started by its parent and by nobody else.
"""

import os


def _expectSystemd() -> None:
    """
    Endpoints of systemd's sockets are only described in a worker, and have to make sense; the
    descriptors themselves come from the parent, to whom they were given.  Twisted looks for them
    once, when it is imported.
    """
    names = os.environ.get("LISTEN_FDNAMES")
    if names is not None:
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDS"] = str(len(names.split(":")))


def _main() -> None:
    _expectSystemd()
    from .worker import main

    main()


if __name__ == "__main__":
    _main()
