"""
Who is answered by the admin interface, and how much it lets itself be asked.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.admin.page import PAGE
from mxproxy.admin.paths import PATHS
from mxproxy.admin.server import BODY_LIMIT, CONNECTION_LIMIT, TIMEOUT
from mxproxy.config.plan import Plan
from mxproxy.service import CannotStart, ProxyService
from mxproxy.testing.sidecars import SERVER, dial, onePlan
from mxproxy.wire.metadata import Node
from tests.admin.client import ADMIN, Response, ask, request, watched
from tests.proxies import PORT, ProxyTestCase


def plan(**changes: Any) -> Plan:
    return watched(onePlan(Node(), PORT, SERVER), **changes)


class AdminTestCase(ProxyTestCase):
    """
    A proxy with an admin interface.
    """

    def setUp(self) -> None:
        self.start(plan(admin_hosts=("Allowed.example",)))

    def ask(self, path: str, method: str = "GET", **headers: str) -> Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.reactor, path, method, names)


class HostTests(AdminTestCase):
    """
    DNS rebinding.
    """

    def test_allowed(self) -> None:
        """
        Addresses, this machine's names, and names that were allowed.
        """
        for host in (
            "127.0.0.1:15000",
            "10.0.0.7",
            "[::1]:15000",
            "localhost",
            "LOCALHOST:15000",
            socket.gethostname(),
            "allowed.example:15000",
        ):
            self.assertEqual(self.ask("/ready", Host=host).status, 200, host)

    def test_refused(self) -> None:
        """
        Any other name could be a web page's own that leads here.
        """
        for host in ("evil.example", "localhost.evil.example:15000", "127.0.0.1.evil.example", ""):
            for path in ("/ready", "/", "/nosuch"):
                response = self.ask(path, Host=host)
                self.assertEqual(response.status, 403, host)
                self.assertIn("--admin-host", response.text)


class SiteTests(AdminTestCase):
    """
    Requests that other sites make a browser send.
    """

    def test_crossSite(self) -> None:
        for headers in (
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:8080", "Host": "127.0.0.1:15000"},
        ):
            response = self.ask("/healthcheck/fail", "POST", **headers)
            self.assertEqual(response.status, 403, headers)
        self.assertTrue(self.proxy.service.healthy)

    def test_own(self) -> None:
        """
        The page itself, and somebody who types the address.
        """
        for headers in (
            {"Sec_Fetch_Site": "same-origin", "Origin": "http://127.0.0.1:15000"},
            {"Sec_Fetch_Site": "none"},
        ):
            response = self.ask("/healthcheck/fail", "POST", Host="127.0.0.1:15000", **headers)
            self.assertEqual(response.status, 200, headers)

    def test_headers(self) -> None:
        """
        On every answer: nothing from elsewhere, no frames, no guessing, no keeping.
        """
        for path in ("/", "/stats", "/nosuch", "/static/page.js"):
            headers = self.ask(path).headers
            policy = headers["content-security-policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertIn("frame-ancestors 'none'", policy)
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["cache-control"], "no-cache, max-age=0")
            self.assertTrue(headers["server"].startswith("mxproxy/"))


class MethodTests(AdminTestCase):
    def test_changesArePosts(self) -> None:
        """
        As Envoy says it.
        """
        for path in PATHS:
            if path.changes:
                response = self.ask(path.path)
                self.assertEqual(response.status, 405, path.path)
                self.assertEqual(response.text, "Method GET not allowed, POST required.\n")
        self.assertTrue(self.proxy.service.healthy)

    def test_others(self) -> None:
        self.assertEqual(self.ask("/stats", "DELETE").status, 405)
        self.assertEqual(self.ask("/", "POST").status, 405)
        self.assertEqual(self.ask("/ready", "POST").status, 200)
        head = self.ask("/ready", "HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], "5")

    def test_unknown(self) -> None:
        """
        The list of what there is.
        """
        response = self.ask("/nosuch")
        self.assertEqual(response.status, 404)
        self.assertIn("invalid path. admin commands are:", response.text)
        for path in PATHS:
            self.assertIn(f"  {path.path}", response.text)


class BoundTests(AdminTestCase):
    """
    What a client can cost.
    """

    def test_body(self) -> None:
        """
        A body is of no use to anybody; a long one ends the connection.
        """
        short = ask(self.reactor, "/healthcheck/fail", "POST", body=b"x" * 1000)
        self.assertEqual(short.status, 200)
        client = dial(self.reactor, ADMIN)
        client.write(request("/healthcheck/ok", "POST", body=b"x" * (BODY_LIMIT + 1)))
        self.settle()
        self.assertEqual(client.received, b"")
        self.assertEqual(len(client.losses), 1)
        self.assertFalse(self.proxy.service.healthy)

    def test_parameters(self) -> None:
        query = "&".join(f"p{n}=1" for n in range(100))
        self.assertEqual(self.ask(f"/stats?{query}").status, 400)

    def test_connections(self) -> None:
        """
        More clients than a few are turned away; when one goes there is room again.
        """
        clients = [dial(self.reactor, ADMIN) for _ in range(CONNECTION_LIMIT)]
        refused = dial(self.reactor, ADMIN)
        refused.write(request("/ready"))
        self.settle()
        self.assertEqual(refused.received, b"")
        clients[0].close()
        self.settle()
        self.assertEqual(self.ask("/ready").status, 200)

    def test_silent(self) -> None:
        """
        A client that asks nothing is dropped.
        """
        client = dial(self.reactor, ADMIN)
        client.write(b"GET /ready HTTP/1.1\r\nHo")
        for _ in range(int(TIMEOUT) + 20):
            self.reactor.advance(1)
        self.assertEqual(client.endings, 1)
        self.assertEqual(client.received, b"")


class FailureTests(AdminTestCase):
    def test_error(self) -> None:
        """
        What goes wrong is in the log, and no secret of ours in the answer.
        """

        def collect(command: str, arguments: object) -> Deferred[Any]:
            return fail(ValueError("a secret"))

        site = self.proxy.service.admin
        assert site is not None
        self.patch(site._factory.wrappedFactory.resource._source, "collect", collect)
        response = self.ask("/stats")
        self.assertEqual(response.status, 500)
        self.assertNotIn("secret", response.text)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_impatient(self) -> None:
        """
        Nobody is answered who has gone.
        """
        waiting: Deferred[Any] = Deferred()
        site = self.proxy.service.admin
        assert site is not None
        resource = site._factory.wrappedFactory.resource
        self.patch(resource._source, "collect", lambda command, arguments: waiting)
        client = dial(self.reactor, ADMIN)
        client.write(request("/stats"))
        self.settle()
        client.abort()
        self.settle()
        self.assertTrue(waiting.called)
        self.assertEqual(self.flushLoggedErrors(), [])


class PageTests(AdminTestCase):
    def test_files(self) -> None:
        """
        All files are there, and the page needs no others.
        """
        for path in PAGE:
            response = self.ask(path)
            self.assertEqual(response.status, 200)
            self.assertEqual(response.body, PAGE[path].body)
            self.assertNotIn(b"http://", response.body.replace(b"http://www.w3.org/", b""))
            self.assertNotIn(b"https://", response.body)


class ListenTests(SynchronousTestCase):
    def test_inUse(self) -> None:
        """
        One line that says where.
        """
        case = ProxyTestCase()
        case.start(plan())
        error = self.assertRaises(
            CannotStart,
            ProxyService(
                watched(onePlan(Node(), PORT + 1, SERVER)), case.reactor
            ).privilegedStartService,
        )
        self.assertTrue(str(error).startswith(f"mxproxy: admin: tcp:{ADMIN}:"), str(error))
