"""
The admin page in a headless Chromium, with a live pair behind it.

Keeps: it follows a connection's life without an error in the console or a request to anybody
else, on wide and on narrow screens, in light and in dark.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThread

from tests.e2e.browser import Browser, browser
from tests.e2e.metrics import MetricsTestCase
from tests.observe.istio.scenario import REPLY, REQUEST


class PageTests(MetricsTestCase):
    """
    One browser, one pair.
    """

    async def setUpPage(self, width: int = 1440, height: int = 1000) -> None:
        await self.istioPair()
        self.browser: Browser = await deferToThread(browser)
        # What it has begun to ask of a proxy that is gone is no problem of the next test's.
        self.addCleanup(lambda: deferToThread(self.browser.open, "about:blank"))
        await deferToThread(self.browser.resize, width, height)
        await deferToThread(self.browser.open, f"{self.serverAdmin}/")

    async def waitFor(self, selector: str, text: str) -> None:
        """Wait until that is written there."""
        await deferToThread(
            self.browser.until,
            lambda: text in self.browser.text(selector),
            f"{text!r} in {selector}",
        )

    async def script(self, script: str, *arguments: object) -> Any:
        return await deferToThread(self.browser.run, script, *arguments)

    async def quiet(self) -> None:
        """The console has nothing to say, and nobody else was asked."""
        self.assertEqual(await deferToThread(self.browser.problems), [])
        urls = await self.script(
            "return performance.getEntriesByType('resource').map((one) => one.name)"
        )
        self.assertEqual([url for url in urls if not url.startswith(self.serverAdmin)], [])

    async def test_life(self) -> None:
        """
        Nobody; then a connection, with both workloads, who they proved to be and how much they
        say; found by a filter, and not by another; and then nobody again, but the graph knows.
        """
        await self.setUpPage()
        await self.waitFor("#empty", "No connection is open yet")
        await self.waitFor("#empty", f"127.0.0.1:{self.server.port}")
        await self.waitFor("#who", "ratings-v1 in default")
        await self.waitFor("#state", "live")
        await self.waitFor("#certs", "default / server")

        client, server = await self.talk()
        await self.waitFor("#open", "1")
        await self.waitFor("tr.row .source", "productpage-v1")
        await self.waitFor("tr.row .destination", "ratings-v1")
        await self.waitFor("tr.row .principal", "default / client")
        await self.waitFor("tr.row .alpn", "istio-peer-exchange")
        await self.waitFor("tr.row .sent", f"{len(REPLY)} B")
        await self.waitFor("tr.row .received", f"{len(REQUEST)} B")
        await self.waitFor("#graph svg", "productpage-v1")
        self.assertEqual(await self.script("return document.querySelector('#empty').hidden"), True)
        # The exchange's outcome: one, negotiated.
        await self.waitFor("#outcomes dd", "1")

        client.write(b"x" * 123_456)
        await server.reads(123_456)
        await self.waitFor("tr.row .received", "123 kB")
        await self.waitFor("tr.row .rate-cell", "/s")

        await self.script("document.querySelector('tr.row').click()")
        await self.waitFor("tr.details", "spiffe://cluster.local/ns/default/sa/client")
        await self.script("document.querySelector('tr.row').click()")

        await self.look("nobody at all")
        await self.waitFor("#empty", "None of 1 open connections is like that")
        await self.look("productpage")
        await self.waitFor("tr.row .source", "productpage-v1")
        await self.look("")

        await self.hangUp(client, server)
        await self.waitFor("#empty", "No connection is open yet")
        await self.waitFor("#opened", "1")
        await self.waitFor("#graph svg", "0 open")
        await self.quiet()

    async def look(self, text: str) -> None:
        """Type into the filter."""
        await self.script(
            "const f = document.querySelector('#filter'); f.value = arguments[0];"
            "f.dispatchEvent(new Event('input'))",
            text,
        )

    async def test_sorted(self) -> None:
        """
        A click on a column sorts by it, another click the other way; rows stay the same.
        """
        await self.setUpPage()
        pairs = [await self.talk() for _ in range(3)]
        for index, (client, server) in enumerate(pairs):
            client.write(b"x" * 1000 * (index + 1))
            await server.reads(1000 * (index + 1))
        cells = "return [...document.querySelectorAll('td.received')].map((one) => one.innerText)"
        click = "document.querySelector('[data-sort=received]').click()"
        for expected in (
            ["3.01 kB", "2.01 kB", "1.01 kB"],
            ["1.01 kB", "2.01 kB", "3.01 kB"],
        ):
            await self.script(click)
            await deferToThread(
                self.browser.until,
                lambda expected=expected: self.browser.run(cells) == expected,
                f"{expected}",
            )
        for client, server in pairs:
            await self.hangUp(client, server)
        await self.quiet()

    async def test_screens(self) -> None:
        """
        Nothing is wider than its screen, and dark is dark.
        """
        await self.setUpPage(390, 844)
        ends = await self.talk()
        await self.waitFor("tr.row .source", "productpage-v1")
        wide = "return document.documentElement.scrollWidth"
        back = "return getComputedStyle(document.body).backgroundColor"
        for width in 390, 820, 1440:
            await deferToThread(self.browser.resize, width, 844)
            self.assertLessEqual(await self.script(wide), width)
        await deferToThread(self.browser.prefer, "light")
        light = await self.script(back)
        await deferToThread(self.browser.prefer, "dark")
        self.assertNotEqual(await self.script(back), light)
        await self.hangUp(*ends)
        await self.quiet()

    async def test_gone(self) -> None:
        """
        A proxy that does not answer any more is said to be gone; what was there stays.
        """
        await self.setUpPage()
        await self.waitFor("#state", "live")
        await self.client.stop()
        await self.server.stop()
        await self.waitFor("#alarm", "does not answer")
        await self.waitFor("#who", "ratings-v1")
