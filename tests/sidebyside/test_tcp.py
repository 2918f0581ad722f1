"""
What happens to bytes and to the ends of streams: listeners, tcp_proxy, and the filters before it.
"""

from __future__ import annotations

from typing import Any

from tests.sidebyside.backends import Backend, Hole
from tests.sidebyside.clients import WORD, Client, Finish, Read, Reset, Send, Wait, talk
from tests.sidebyside.harness import Observed, SideBySide
from tests.sidebyside.peer import Tls

BULK = b"0123456789abcdef" * 65536

#: What a word to C{alpha} brings.
ALPHA = {
    "reached": ["alpha"],
    "received": "'alpha:hello, world.'",
    "ended": "fin",
    "when": "at once",
}
BETA = {**ALPHA, "reached": ["beta"], "received": "'beta:hello, world.'"}
GAMMA = {**ALPHA, "reached": ["gamma"], "received": "'gamma:hello, world.'"}
DELTA = {**ALPHA, "reached": ["delta"], "received": "'delta:hello, world.'"}

#: Closed without a word, and no backend has heard of it.
CLOSED = {"connected": True, "received": "''", "ended": "fin", "when": "at once", "reached": []}


def anyOf(observed: Observed) -> Observed:
    """
    Which backend it was is chance: its name is taken out.
    """
    renamed: Observed = {}
    for client, seen in observed.items():
        for name in seen["reached"]:
            seen = {
                key.replace(name, "some"): value.replace(name, "some")
                if isinstance(value, str)
                else value
                for key, value in seen.items()
            }
            seen["reached"] = ["some"]
        renamed[client] = seen
    return renamed


class TcpProxyTests(SideBySide):
    def test_plain(self) -> Any:
        return self.compare(
            "tcp_proxy",
            Client("a word", talk("alpha"), sees=ALPHA),
            Client("byte by byte", (Send(WORD, 1), Read(18), Finish()), sees=ALPHA),
            Client("a megabyte", (Send(BULK), Read(len(BULK) + 6), Finish())),
            Client("nothing, and a half-close", (Finish(),), sees={"received": "'.'"}),
            Client("a reset", (Send(WORD), Read(18), Reset()), sees={"alpha.ended": "reset"}),
            Client("a reset at once", (Reset(),)),
            Client("silence", (), stays=0.4, sees={"ended": "open", "reached": ["alpha"]}),
            Client("a client hello", (Wait(0.1), Send(b"\x16\x03\x01"), Read(9), Finish())),
        )

    def test_backendSpeaksFirst(self) -> Any:
        return self.compare(
            "tcp_proxy",
            Client("a silent client", (Read(6),), stays=0.3, sees={"received": "'alpha:'"}),
            Client("an answer", (Read(6), Send(WORD), Read(18), Finish()), sees=ALPHA),
            backends={"alpha": Backend(greets=True)},
            variant="the host speaks first",
        )

    def test_backendCloses(self) -> Any:
        return self.compare(
            "tcp_proxy",
            Client("by a close", (Send(WORD),), sees={"received": "'alpha:'", "ended": "fin"}),
            backends={"alpha": Backend(replies="close")},
            variant="the host closes",
        )

    def test_backendResets(self) -> Any:
        return self.compare(
            "tcp_proxy",
            Client("by a reset", (Send(WORD),), sees={"ended": "reset"}),
            backends={"alpha": Backend(replies="reset")},
            variant="the host resets",
        )

    def test_backendStaysOpen(self) -> Any:
        """
        A half-close of the client's does not end what the backend does not end.
        """
        return self.compare(
            "tcp_proxy",
            Client("half-closed", (Send(WORD), Finish()), stays=0.5, sees={"ended": "open"}),
            backends={"alpha": Backend(replies="nothing")},
            variant="the host stays open",
        )

    def test_weightedClusters(self) -> Any:
        def both(observed: Observed) -> Observed:
            reached = sorted({name for seen in observed.values() for name in seen["reached"]})
            return {**anyOf(observed), "all of them": {"reached": reached}}

        turns = [Client(f"turn {number}") for number in range(19)]
        last = Client("turn 19", sees={"ended": "fin"})
        return self.compare("weighted_clusters", *turns, last, normalize=both)

    def test_idleTimeout(self) -> Any:
        strikes = {"ended": "fin", "when": "after 1 s"}
        beats = tuple(step for _ in range(4) for step in (Send(b"."), Wait(0.5)))
        return self.compare(
            "idle_timeout",
            Client("silent from the start", (), after=1, sees=strikes),
            Client("silent after a word", (Send(WORD), Read(18)), after=1, sees=strikes),
            Client("now and then", (*beats, Finish()), sees={"received": "'alpha:.....'"}),
            Client("half-closed", (Send(WORD), Finish()), after=1, sees={"reached": ["alpha"]}),
        )

    def test_idleHalfClosed(self) -> Any:
        """
        The time runs on after one direction has ended.
        """
        return self.compare(
            "idle_timeout",
            Client("half-closed", (Send(WORD), Finish()), after=1, sees={"when": "after 1 s"}),
            backends={"alpha": Backend(replies="nothing")},
            variant="half-closed",
        )

    def test_maxConnectAttempts(self) -> Any:
        return self.compare(
            "max_connect_attempts",
            Client("one of three", sees=ALPHA),
            Client("one of three again", sees=ALPHA),
            Client("one of three once more", sees=ALPHA),
            Client("all dead", port="port_dead", abrupt=True, sees={"ended": "closed"}),
            Client("all dead, silent", (), port="port_dead", sees={"ended": "fin"}),
            Client("one attempt", (), port="port_once", sees={"ended": "fin"}),
        )

    def test_connectTimeout(self) -> Any:
        return self.compare(
            "connect_timeout",
            Client("a silent client", (), after=1, sees={"when": "after 1 s", "ended": "fin"}),
            Client(
                "a client that talks",
                (Send(WORD),),
                abrupt=True,
                after=1,
                sees={"when": "after 1 s"},
            ),
            Client(
                "a half-close", (Send(WORD), Finish()), abrupt=True, after=1, sees={"reached": []}
            ),
            backends={"hole": Hole()},
        )

    def test_bufferLimit(self) -> Any:
        return self.compare(
            "buffer_limit",
            Client(
                "a megabyte", (Send(BULK), Read(len(BULK) + 6), Finish()), sees={"ended": "fin"}
            ),
        )


class FilterTests(SideBySide):
    def test_directResponse(self) -> Any:
        answer = {"received": "'go away\\n'", "ended": "fin", "when": "at once"}
        return self.compare(
            "direct_response",
            Client("silent", (), sees=answer),
            Client("half-closed", (Finish(),), sees=answer),
        )

    def test_echo(self) -> Any:
        return self.compare(
            "echo",
            Client("a word", (Send(WORD), Read(12), Finish()), sees={"received": "'hello, world'"}),
            Client("a megabyte", (Send(BULK), Read(len(BULK)), Finish()), sees={"ended": "fin"}),
            Client("silent", (), stays=0.3, sees={"ended": "open"}),
        )

    def test_connectionLimit(self) -> Any:
        ping = (Send(WORD), Read(17))
        return self.compare(
            "connection_limit",
            Client("the first", ping, keep=True, sees={"ended": "open"}),
            Client("the second", (), sees=CLOSED),
            Client("the second, talking", (Send(WORD),), abrupt=True, sees={"received": "''"}),
            Client("the third", releases=("the first",), sees=ALPHA),
            Client("with delay, the first", ping, port="port_delay", keep=True),
            Client("with delay, the second", (), port="port_delay", after=1, sees={"reached": []}),
        )

    def test_localRatelimit(self) -> Any:
        return self.compare(
            "local_ratelimit",
            Client("the first", sees=ALPHA),
            Client("the second", sees=ALPHA),
            Client("the third", (), sees=CLOSED),
            Client("the fourth", (), sees=CLOSED),
        )

    def test_localRatelimitRefill(self) -> Any:
        return self.compare(
            "local_ratelimit_refill",
            Client("the first", sees=ALPHA),
            Client("at once", (), sees=CLOSED),
            Client("later", wait=1.2, sees=ALPHA),
        )

    def test_sniCluster(self) -> Any:
        through = {"reached": ["alpha"], "certificate": "alpha", "alpn": "h2"}
        servers = {
            name: Backend(tls=Tls(certificate=name, alpn=("h2",))) for name in ("alpha", "beta")
        }
        return self.compare(
            "sni_cluster",
            Client("alpha", tls=Tls("alpha.test", ("h2", "x")), sees=through),
            Client("beta", tls=Tls("beta.test"), sees={"certificate": "beta"}),
            Client("in capitals", tls=Tls("ALPHA.test")),
            Client("a name of no cluster", tls=Tls("nobody.test"), sees={"reached": []}),
            Client("no name", (Send(WORD), Read(18), Finish()), sees=GAMMA),
            backends=servers,
        )


class ListenerTests(SideBySide):
    def test_several(self) -> Any:
        return self.compare(
            "several_listeners",
            Client("the first", sees=ALPHA),
            Client("the second", port="port_second", sees=BETA),
            Client("the third", port="port_third", sees=BETA),
        )

    def test_unix(self) -> Any:
        return self.compare(
            "unix_listener",
            Client("a word", port="${dir}/listener.sock", sees=ALPHA),
            Client("silence", (), port="${dir}/listener.sock", stays=0.3, sees={"ended": "open"}),
        )

    def test_unixUpstream(self) -> Any:
        return self.compare("unix_upstream", Client("a word", sees=ALPHA))

    def test_ipv6(self) -> Any:
        return self.compare("ipv6_listener", Client("a word", host="::1", sees=ALPHA))

    def test_ipv6Any(self) -> Any:
        return self.compare(
            "ipv6_any",
            Client("over IPv4", sees=ALPHA),
            Client("over IPv6", host="::1", sees=BETA),
            Client("from another address", (), source="127.0.0.2", sees=CLOSED),
        )

    def test_full(self) -> Any:
        return self.compare("full_listener", Client("a word", sees=ALPHA))

    def test_noInspection(self) -> Any:
        return self.compare(
            "no_inspection",
            Client(
                "a silent client", (Read(6),), stays=0.3, after=5, sees={"first byte": "at once"}
            ),
            backends={"alpha": Backend(greets=True)},
        )
