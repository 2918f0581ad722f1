"""
C{python -m mxproxy}: the C{mxproxy} command.
"""

from .cli import main

raise SystemExit(main())
