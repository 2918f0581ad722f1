"""
Response flags are those that Envoy 1.40 set when the same had happened to it.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mxproxy.connection import Connection
from mxproxy.observe.flags import (
    closeType,
    downstreamFailure,
    responseCodeDetails,
    responseFlags,
    upstreamFailure,
)

REFUSED = "connect_failed: Connection refused"


def ended(reason: str, *attempts: str, joined: bool = False, downstream: str = "") -> Connection:
    """
    A connection that has ended.

    @param attempts: why each host could not be connected; empty for the one that could.
    """
    connection = Connection("listener", Clock().seconds)
    for why in attempts:
        connection.newUpstream(lambda peer: None)
        if why:
            connection.upstream.closing(why)
    if joined:
        connection.joined()
    connection.downstream.closing(downstream)
    connection.closing(reason)
    return connection


class FlagTests(SynchronousTestCase):
    def assertFlags(self, wanted: str, connection: Connection) -> None:
        flags = responseFlags(connection)
        self.assertEqual(",".join(flag.short for flag in flags), wanted)

    def test_orderly(self) -> None:
        """
        None while it is open, and none of these ends.
        """
        self.assertFlags("", ended(""))
        for reason in (
            "downstream: closed",
            "upstream: closed",
            "downstream: reset",
            "upstream: truncated: the stream ended without a close_notify",
            "proxy: idle_timeout: no byte in 1 s",
            "proxy: shutdown",
        ):
            self.assertFlags("", ended(reason, "", joined=True))

    def test_upstreamReset(self) -> None:
        self.assertFlags("UR", ended("upstream: reset", "", joined=True))

    def test_noHost(self) -> None:
        """
        Attempts that failed, and why there was no other.
        """
        place = f"{REFUSED} (tcp:10.0.0.1:80)"
        for wanted, reason, attempts in (
            ("UF,URX", f"upstream: {place}", [REFUSED]),
            ("UF,URX", f"upstream: {place}; {place}", [REFUSED, REFUSED]),
            ("UF,URX", "upstream: unknown_ca: a; b (tcp:10.0.0.1:80)", ["unknown_ca: a; b"]),
            ("UF,URX", "upstream: reset (tcp:10.0.0.1:80)", ["reset"]),
            ("UH", "upstream: no_healthy_upstream: cluster x has no hosts", []),
            ("UO", "upstream: overflow: cluster x is at its max_connections, 1", []),
            ("UF,UO", f"upstream: {place}; overflow: cluster x is at its", [REFUSED]),
            ("UF,UH", f"upstream: {place}; no_healthy_upstream: none", [REFUSED]),
            ("NC", "upstream: no_cluster: there is no cluster 'x'; there is: a, b", []),
            ("UH", "upstream: no_healthy_upstream: a; overflow: b", []),
        ):
            self.assertFlags(wanted, ended(reason, *attempts))

    def test_secondHost(self) -> None:
        """
        The first could not be connected, the second could: it is said all the same.
        """
        self.assertFlags("UF", ended("", REFUSED, "", joined=True))
        self.assertFlags("UF,UR", ended("upstream: reset", REFUSED, "reset", joined=True))

    def test_downstreamGivesUp(self) -> None:
        """
        Nobody is to blame for an attempt that was given up.
        """
        self.assertFlags("", ended("downstream: closed", "cancelled: the downstream closed"))
        self.assertFlags("", ended("proxy: shutdown", "aborted"))
        self.assertFlags("", ended("downstream: closed", ""))
        self.assertFlags("UF", ended("downstream: closed", REFUSED, "cancelled: closed"))

    def test_refused(self) -> None:
        """
        By the listener, and by filters: a rate limit is what Envoy has this flag for, and a
        connection limit is none of its flags.
        """
        self.assertFlags("NR", ended("downstream: no_filter_chain: none takes raw_buffer"))
        self.assertFlags("URX", ended("downstream: local_ratelimit: more than 1"))
        self.assertFlags("", ended("downstream: connection_limit: 1 are open"))
        self.assertFlags("", ended("downstream: not_tls: the first byte is 0x47"))
        self.assertFlags("DT", ended("proxy: max_connection_duration: 1 s", "", joined=True))

    def test_longNames(self) -> None:
        flags = responseFlags(ended(f"upstream: {REFUSED} (x)", REFUSED))
        self.assertEqual(
            [flag.long for flag in flags],
            ["UpstreamConnectionFailure", "UpstreamRetryLimitExceeded"],
        )


class DetailTests(SynchronousTestCase):
    def test_responseCodeDetails(self) -> None:
        for reason, wanted in (
            ("downstream: no_filter_chain: none takes x", "filter_chain_not_found"),
            ("downstream: direct_response", "direct_response"),
            ("downstream: closed", None),
            ("", None),
        ):
            self.assertEqual(responseCodeDetails(ended(reason)), wanted)

    def test_transportFailures(self) -> None:
        """
        What went wrong below the stream, and nothing else that a stream can end by.
        """
        connection = ended("", REFUSED, downstream="unknown_ca: by nobody")
        self.assertEqual(downstreamFailure(connection), "unknown_ca: by nobody")
        self.assertEqual(upstreamFailure(connection), "delayed connect error: Connection refused")
        connection = ended("", "connect_timeout: no connection", downstream="closed")
        self.assertEqual(downstreamFailure(connection), None)
        self.assertEqual(upstreamFailure(connection), None)

    def test_earlierAttempt(self) -> None:
        """
        The last failure there was.
        """
        wrong = "identity_mismatch: the peer is x"
        self.assertEqual(upstreamFailure(ended("", wrong, "", joined=True)), wrong)
        self.assertEqual(upstreamFailure(ended("", REFUSED, wrong)), wrong)

    def test_closeType(self) -> None:
        for reason, wanted in (
            ("reset", "RemoteReset"),
            ("aborted", "LocalReset"),
            ("closed", "Normal"),
            ("", "Normal"),
        ):
            self.assertEqual(closeType(ended("", downstream=reason).downstream), wanted)
