"""
Many connections at once through one inbound process: C{make load}.

  - C{idle.py}: what an idle connection costs: thousands, over mutual TLS, with their exchange
    done.
  - C{stalled.py}: what others notice of thousands of handshakes that stall.

Where other programs want the processors, too, what is measured is how long the proxy waits for
one: C{chrt -r 1 make load}.

Everything is on this machine's loopback, and in processes of its own: C{proxy.py} starts the
proxy, C{echo.py} is the application, C{client.py} the peers.
"""
