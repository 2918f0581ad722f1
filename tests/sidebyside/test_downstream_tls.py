"""
TLS towards clients: whose certificate, which protocol, who gets in, and how it ends.
"""

from __future__ import annotations

from typing import Any

from tests.sidebyside.backends import Backend
from tests.sidebyside.clients import WORD, Client, Finish, Read, Reset, Send, Wait
from tests.sidebyside.harness import SideBySide
from tests.sidebyside.peer import Tls, hello
from tests.sidebyside.test_tcp import BULK

#: A word in TLS.
GOOD = {
    "reached": ["alpha"],
    "received": "'alpha:hello, world.'",
    "ended": "close_notify, fin",
    "when": "at once",
}


def refused(alert: str) -> dict[str, Any]:
    """
    An alert, and not a byte.
    """
    return {"received": "''", "ended": f"alert {alert}, closed", "when": "at once"}


def shows(whose: str, sees: dict[str, Any], **more: Any) -> Client:
    """
    A client that shows this certificate.
    """
    return Client(more.pop("name", whose or "none"), tls=Tls(certificate=whose), sees=sees, **more)


class EndsTests(SideBySide):
    def test_ends(self) -> Any:
        tls = Tls("server.test")
        long = tuple(f"{number:03}" + "x" * 250 for number in range(100))
        return self.compare(
            "downstream_tls",
            Client("a word", tls=tls, sees={**GOOD, "certificate": "server", "version": "TLSv1.3"}),
            Client("1.2", tls=Tls(most="TLS1_2"), sees={**GOOD, "version": "TLSv1.2"}),
            Client("byte by byte", (Send(WORD, 1), Read(18), Finish()), tls=tls, sees=GOOD),
            Client("a hello byte by byte", tls=Tls("server.test", piece=1), sees=GOOD),
            Client("a hello in small records", tls=Tls("server.test", record=50), sees=GOOD),
            Client("a hello of 25 KiB", tls=Tls(alpn=long), sees={}),
            Client("a megabyte", (Send(BULK), Read(len(BULK) + 6), Finish()), tls=tls),
            Client("an end by FIN alone", (Send(WORD), Read(18), Finish(tcp=True)), tls=tls),
            Client("a reset", (Send(WORD), Read(18), Reset()), tls=tls),
            Client("a certificate not asked for", tls=Tls(certificate="stranger"), sees=GOOD),
            Client("silent behind the handshake", (), tls=tls, stays=0.3, sees={"ended": "open"}),
            Client("silent", (), stays=1.0, sees={"ended": "open"}),
            Client("plaintext", (Send(WORD),), abrupt=True, sees={"ended": "closed"}),
            Client("half a hello", (Send(hello(tls)[:99]), Finish()), sees={"received": "''"}),
            Client("nothing, and the end", (Finish(),), sees={"received": "''"}),
        )

    def test_backendCloses(self) -> Any:
        return self.compare(
            "downstream_tls",
            Client("1.3", (Send(WORD),), tls=Tls(), sees={"ended": "close_notify, fin"}),
            Client("1.2", (Send(WORD),), tls=Tls(most="TLS1_2")),
            backends={"alpha": Backend(replies="close")},
            variant="the host closes",
        )

    def test_backendResets(self) -> Any:
        return self.compare(
            "downstream_tls",
            Client("1.3", (Send(WORD),), tls=Tls(), sees={"received": "''"}),
            backends={"alpha": Backend(replies="reset")},
            variant="the host resets",
        )

    def test_backendStaysOpen(self) -> Any:
        return self.compare(
            "downstream_tls",
            Client("half-closed", (Finish(),), tls=Tls(), stays=0.5, sees={"ended": "open"}),
            Client("by FIN", (Finish(tcp=True),), tls=Tls(), stays=0.5),
            backends={"alpha": Backend(replies="nothing")},
            variant="the host stays open",
        )

    def test_backendSpeaksFirst(self) -> Any:
        sees = {"received": "'alpha:'", "ended": "open"}
        return self.compare(
            "downstream_tls",
            Client("silent", (Read(6), Wait(0.1)), tls=Tls(), stays=0.3, sees=sees),
            backends={"alpha": Backend(greets=True)},
            variant="the host speaks first",
        )


class ClientCertificateTests(SideBySide):
    def test_required(self) -> Any:
        two = Tls(certificate="stranger", most="TLS1_2")
        none = Tls(most="TLS1_2")
        return self.compare(
            "downstream_mtls",
            shows("client", GOOD),
            shows("other", GOOD),
            shows("chained", GOOD),
            shows("", refused("certificate_required")),
            shows("stranger", refused("unknown_ca")),
            shows("expired", refused("certificate_expired")),
            Client("none, 1.2", tls=none, sees=refused("handshake_failure")),
            Client("stranger, 1.2", tls=two, sees=refused("unknown_ca")),
            Client("plaintext", (Send(WORD),), abrupt=True, sees={"ended": "closed"}),
        )

    def test_revoked(self) -> Any:
        """
        Who is in the list is refused, and who is in no list.
        """
        return self.compare(
            "downstream_crl",
            shows("client", GOOD),
            shows("other", refused("certificate_revoked")),
            shows("chained", {"received": "''"}),
            shows("stranger", refused("unknown_ca")),
            shows("", refused("certificate_required")),
        )

    def test_revokedByIntermediate(self) -> Any:
        return self.compare(
            "downstream_crl_both",
            shows("client", GOOD),
            shows("other", GOOD),
            shows("chained", refused("certificate_revoked")),
        )

    def test_onlyLeafLookedUp(self) -> Any:
        return self.compare(
            "downstream_crl_leaf",
            shows("client", {"received": "''"}),
            shows("chained", GOOD),
        )

    def test_expiredList(self) -> Any:
        return self.compare("downstream_crl_expired", shows("client", {"received": "''"}))

    def test_foreignList(self) -> Any:
        return self.compare("downstream_crl_foreign", shows("client", {"received": "''"}))

    def test_optional(self) -> Any:
        return self.compare(
            "downstream_mtls_optional",
            shows("client", GOOD),
            shows("", GOOD),
            shows("stranger", refused("unknown_ca")),
            shows("expired", refused("certificate_expired")),
        )

    def test_names(self) -> Any:
        no = refused("certificate_unknown")

        def at(port: str, name: str, sees: dict[str, Any]) -> Client:
            return shows(name, sees, port=port, name=f"{port}: {name}")

        return self.compare(
            "downstream_san",
            at("port", "client", GOOD),
            at("port", "other", no),
            at("port", "stranger", refused("unknown_ca")),
            at("port_prefix", "client", no),
            at("port_prefix", "other", GOOD),
            at("port_suffix", "client", GOOD),
            at("port_suffix", "other", GOOD),
            at("port_suffix", "chained", GOOD),
            at("port_suffix", "rsa", GOOD),
            at("port_regex", "client", GOOD),
            at("port_regex", "other", no),
            at("port_wildcard", "server", GOOD),
            at("port_wildcard", "chained", no),
        )


class AlpnTests(SideBySide):
    def test_alpn(self) -> Any:
        def offer(chosen: str, *alpn: str) -> Client:
            sees = {**GOOD, "alpn": chosen}
            return Client(", ".join(alpn) or "none", tls=Tls(alpn=alpn), sees=sees)

        return self.compare(
            "downstream_alpn",
            offer("h2", "h2"),
            offer("h2", "h2", "http/1.1"),
            offer("h2", "http/1.1", "h2"),
            offer("http/1.1", "http/1.1"),
            offer("http/1.1", "x", "http/1.1"),
            offer("", "x"),
            offer(""),
        )


class VersionTests(SideBySide):
    def test_versions(self) -> Any:
        def client(port: str, version: str, sees: dict[str, Any]) -> Client:
            tls = Tls(least=version, most=version)
            return Client(f"{port}: {version}", port=port, tls=tls, sees=sees)

        no = refused("protocol_version")
        two, three = {**GOOD, "version": "TLSv1.2"}, {**GOOD, "version": "TLSv1.3"}
        return self.compare(
            "downstream_tls_versions",
            client("port", "TLS1_2", two),
            client("port", "TLS1_3", no),
            Client("port: any", tls=Tls(), sees=two),
            client("port_three", "TLS1_2", no),
            client("port_three", "TLS1_3", three),
            client("port_unset", "TLS1_1", no),
            client("port_unset", "TLS1_2", two),
            client("port_unset", "TLS1_3", three),
        )


class CertificateTests(SideBySide):
    SERVER = {**GOOD, "certificate": "server"}

    def test_inline(self) -> Any:
        return self.compare(
            "inline_certificates",
            shows("client", self.SERVER),
            shows("stranger", refused("unknown_ca")),
        )

    def test_sds(self) -> Any:
        return self.compare(
            "sds", shows("client", self.SERVER), shows("", refused("certificate_required"))
        )

    def test_sdsCombined(self) -> Any:
        return self.compare(
            "sds_combined",
            shows("client", self.SERVER),
            shows("other", refused("certificate_unknown")),
            shows("stranger", refused("unknown_ca")),
        )

    def test_chain(self) -> Any:
        return self.compare(
            "certificate_chain",
            Client("an intermediate", tls=Tls(), sees={**GOOD, "certificate": "chained"}),
            Client("RSA", port="port_rsa", tls=Tls(), sees={**GOOD, "certificate": "rsa"}),
        )

    def test_two(self) -> Any:
        return self.compare(
            "two_certificates",
            Client("alpha", tls=Tls("alpha.test"), sees={"certificate": "alpha"}),
            Client("beta", tls=Tls("beta.test"), sees={"certificate": "beta"}),
            Client("neither", tls=Tls("x.test")),
            Client("no name", tls=Tls()),
        )

    def test_rawBuffer(self) -> Any:
        whole = {"received": "'alpha:hello, world.'", "ended": "fin"}
        return self.compare("raw_buffer", Client("a word", sees=whole))
