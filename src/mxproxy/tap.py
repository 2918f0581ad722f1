"""
What twistd calls: C{Options}, and C{makeService} to run what they say.
"""

from __future__ import annotations

import os

from twisted.application.service import IService

from . import transports
from .config.options import EXIT_FILE, Options, refuse
from .lifecycle.manager import ServiceManager
from .openfiles import raiseSoftLimit
from .service import ProxyService

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """
    @param options: parsed; everything that can be checked without a reactor was checked.
    @raise SystemExit: the rest of it cannot be used; why is on standard error.
    """
    from twisted.internet import reactor

    raiseSoftLimit()
    transports.use(options["data-path"])
    manager = ServiceManager(reactor, os.environ)
    try:
        if options["workers"] > 1:
            # Who has one need not load this.
            from .workers.supervisor import Supervisor, exitWith

            return Supervisor(options, options["workers"], reactor, exitWith, manager)
        return ProxyService(
            options.plan,
            reactor,
            readPlan=options.readPlan,
            manager=manager,
            configuration=options.files,
        )
    except (ValueError, OSError) as error:
        refuse(str(error), EXIT_FILE)
