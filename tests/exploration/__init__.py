"""
Everything that can happen between two sides of an exchange, tried.

  - L{tests.exploration.side}: one side, the real layer and machine, as a table that is filled
    as it is asked: in this state, with this event, what next and what is sent.
  - L{tests.exploration.pair}: two of them joined by queues; every interleaving.
  - L{tests.exploration.script}: one of them against a peer that sends what it likes.

C{python -m tests.exploration} prints how many states there were.
"""
