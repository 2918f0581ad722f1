"""
A headless Chromium, driven by Selenium: Debian's packages of both.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.common.exceptions import SessionNotCreatedException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

T = TypeVar("T")

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"

#: It asks nobody but the page: neither its maker nor anybody's proxy.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)

#: Seconds for something to appear; the page asks every two.
PATIENCE = 30.0

#: How often a browser is started, at most.
TRIES = 3


def _start(options: Options) -> webdriver.Chrome:
    # On a busy machine the driver gives a browser up that is still starting.
    for _ in range(TRIES - 1):
        with suppress(SessionNotCreatedException):
            return webdriver.Chrome(options=options, service=Service(DRIVER))
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@cache
def browser() -> Browser:
    """
    The one that all tests of a process share: it takes seconds to start.
    """
    one = Browser()
    atexit.register(one.close)
    return one


class Browser:
    """
    One window.
    """

    def __init__(self, width: int = 1440, height: int = 1000) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="mxproxy-chromium-")
        options = Options()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={self._profile.name}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = _start(options)
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        """The size of the page, in pixels; less than a window's least is possible."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def prefer(self, scheme: str) -> None:
        """
        @param scheme: C{light} or C{dark}.
        """
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def open(self, url: str) -> None:
        """Go there, with an empty console."""
        self.problems()
        self.driver.get(url)

    def text(self, selector: str) -> str:
        """What is written in the first element of that kind, or nothing."""
        return str(
            self.driver.execute_script(
                "const e = document.querySelector(arguments[0]);"
                "return e && !e.hidden ? (e.innerText ?? e.textContent) : '';",
                selector,
            )
        )

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def until(self, look: Callable[[], T], what: str) -> T:
        """
        Wait until C{look} finds something.
        """
        wait = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.1)
        return wait.until(lambda _: look(), f"{what}; the page says: {self.problems()}")

    def problems(self) -> list[str]:
        """Errors in the browser's console: of scripts, and of what the page's policy forbids."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    def shoot(self, path: Path) -> None:
        """Write a picture of what is to be seen."""
        self.driver.save_screenshot(str(path))

    def close(self) -> None:
        """End it."""
        self.driver.quit()
        self._profile.cleanup()
