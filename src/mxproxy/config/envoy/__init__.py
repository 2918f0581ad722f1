"""
Envoy's own configuration files: a bootstrap, in YAML or JSON, becomes the plan.

    document   text -> plain values
    check      plain values -> Envoy's messages, with every fault in its place; what is
               implemented is the table in C{subset}
    translate  Envoy's messages -> L{mxproxy.config.plan}

Whatever is not implemented is refused with its place in the file, never ignored: a file
that Envoy and mxproxy both take does the same in both.

Importing this package imports nothing; L{readPlan} imports Envoy's messages.
"""

from __future__ import annotations

from ..plan import Plan
from .faults import Faults, RefusedFile

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"


def readPlan(path: str) -> Plan:
    """
    @param path: a file's.
    @raise RefusedFile: it cannot be used; the exception has every fault.
    @raise mxproxy.config.errors.ConfigurationError: it cannot be read at all; one line.
    """
    from .check import checkDocument
    from .document import readDocument
    from .translate import translate

    faults = Faults()
    bootstrap = checkDocument(readDocument(path), BOOTSTRAP, faults)
    if bootstrap is not None:
        plan = translate(bootstrap, faults)
        if not faults:
            return plan
    raise RefusedFile(path, faults)


__all__ = ["BOOTSTRAP", "RefusedFile", "readPlan"]
