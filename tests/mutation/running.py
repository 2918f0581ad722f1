"""
A test run for a mutant, in a fork of a process that has all of the tests' libraries loaded.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
import unittest
from collections.abc import Sequence
from pathlib import Path

PRELOADED = (
    "hypothesis",
    "OpenSSL.SSL",
    "google.protobuf.any_pb2",
    "google.protobuf.struct_pb2",
    "service_identity",
    "twisted.internet.default",
    "twisted.internet.endpoints",
    "twisted.internet.task",
    "twisted.internet.tcp",
    "twisted.logger",
    "twisted.protocols.tls",
    "twisted.trial.runner",
    "twisted.trial.unittest",
    "xml.etree.ElementTree",
)


def preload() -> None:
    """
    Load what every run needs, except what is mutated and what tests it.
    """
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            __import__(name)


#: Of the clock, for a run that waits for something; what computes is bounded by its CPU time.
PATIENCE = 600.0


def spent() -> float:
    """
    @return: seconds of CPU time of all runs so far.
    """
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def passes(root: Path, tests: Sequence[str], seconds: float, show: bool = False) -> bool:
    """
    Run tests until one fails.

    @param root: the copy of the project that is tested.
    @param seconds: of CPU time, after which the run has failed: a mutant may loop for ever, and
        how long a run takes by the clock depends on what else the machine does.
    @param show: write what failed.
    """
    child = os.fork()
    if not child:
        # What a mutant leaves behind must not reach the parent's code, whatever it is.
        status = 3
        try:
            status = _run(root, tests, seconds, show)
        except BaseException:  # noqa: BLE001 - an import that fails is a mutant that is noticed
            if show:
                traceback.print_exc()
        finally:
            os._exit(status)
    end = time.monotonic() + PATIENCE
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        if time.monotonic() > end:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        # Nothing else happens in this process.
        time.sleep(0.01)  # noqa: TID251


def _run(root: Path, tests: Sequence[str], seconds: float, show: bool) -> int:
    os.setsid()
    # A mutant may ask for anything.
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    os.chdir(root)
    sys.path[:0] = [str(root / "src"), str(root)]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
    sys.dont_write_bytecode = True
    if not show:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    from twisted.trial.runner import TestLoader

    result = unittest.TestResult()
    result.failfast = True
    loader = TestLoader()
    for name in tests:
        loader.loadByName(name).run(result)
        if not result.wasSuccessful():
            break
    if show:
        for _, text in result.errors + result.failures:
            print(text)
    return 0 if result.wasSuccessful() and result.testsRun else 1
