"""
The application: sends back what it receives, on as many connections as there are files.
"""

from __future__ import annotations

import selectors
import socket
import sys


def main(port: int) -> None:
    """
    Serve for ever.
    """
    selector = selectors.DefaultSelector()
    listening = socket.create_server(("127.0.0.1", port), backlog=4096)
    listening.setblocking(False)
    selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            own = key.fileobj
            assert isinstance(own, socket.socket)
            if own is listening:
                accepted, _ = own.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(accepted, selectors.EVENT_READ)
                continue
            try:
                data = own.recv(65536)
                if data:
                    own.sendall(data)
            except OSError:
                data = b""
            if not data:
                selector.unregister(own)
                own.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
