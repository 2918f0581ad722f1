"""
C{python -m mxproxy.workers}: a worker, started by its parent and by nobody else.
"""

from .worker import main

main()
