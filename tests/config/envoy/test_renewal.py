"""
What a configuration file names for TLS is renewed while running: by SDS's files, which may say
each time something else, and by the names in the file itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from mxproxy.pki import Authority
from mxproxy.tls.reload import CertificateReloader, TLSContexts
from mxproxy.tls.settings import PEM, ClientTLS, ServerTLS
from tests.config.envoy.files import (
    ECHO,
    SOCKETS,
    FileCase,
    bootstrap,
    downstreamTLS,
    listener,
    typed,
    upstreamTLS,
)

SECRET = """
resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: {name}
  {text}
"""
OWN = "tls_certificate: {{certificate_chain: {{filename: {0}.crt}}, private_key: {{filename: {0}.key}}}}"
TRUSTED = "validation_context: {{trusted_ca: {{filename: {}}}}}"


def sds(name: str, path: str) -> dict[str, object]:
    return {"name": name, "sds_config": {"path_config_source": {"path": path}}}


class RenewalTests(FileCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.reloader = CertificateReloader(self.clock)
        self.other = Authority.create("other.example")
        self.other.write(".", "other")
        self.write("own.yaml", "own", OWN.format("db"))
        self.write("trusted.yaml", "trusted", TRUSTED.format("ca.crt"))

    def write(self, path: str, name: str, text: str) -> None:
        Path(path).write_text(SECRET.format(name=name, text=text))

    def server(self, **common: object) -> TLSContexts:
        chain = {"filters": [ECHO], "transport_socket": downstreamTLS(**common)}  # type: ignore[arg-type]
        plan = self.read(bootstrap(listeners=[listener(filter_chains=[chain])]))
        (found,) = plan.listeners[0].chains
        assert found.tls is not None
        return self.start(found.tls)

    def client(self, socket: Any) -> TLSContexts:
        tls = self.cluster(transport_socket=socket).tls
        assert tls is not None
        return self.start(tls)

    def start(self, settings: ServerTLS | ClientTLS) -> TLSContexts:
        """
        twistd goes elsewhere when it starts.
        """
        contexts = self.reloader.contexts(settings, "it")
        self.reloader.start()
        self.addCleanup(self.reloader.stop)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        self.here = here
        os.chdir("/")
        return contexts

    def pass_(self) -> None:
        self.clock.pump([5.0, 1.0])

    def path(self, source: PEM | None) -> str:
        assert source is not None
        assert source.path is not None
        return os.path.relpath(source.path, self.here)

    def text(self, name: str) -> bytes:
        return Path(self.here, name).read_bytes()

    def test_elsewhere(self) -> None:
        """
        The SDS file names other files.
        """
        contexts = self.server(
            tls_certificates=[], tls_certificate_sds_secret_configs=[sds("own", "own.yaml")]
        )
        self.assertEqual(self.path(contexts.context.settings.certificate), "db.crt")
        self.write(os.path.join(self.here, "own.yaml"), "own", OWN.format("web"))
        self.pass_()
        settings = contexts.context.settings
        self.assertEqual(self.path(settings.certificate), "web.crt")
        assert settings.key is not None
        self.assertEqual(settings.key.text, self.text("web.key"))

    def test_namedFile(self) -> None:
        """
        A file that the SDS file names changes.
        """
        contexts = self.server(validation_context_sds_secret_config=sds("trusted", "trusted.yaml"))
        os.replace(os.path.join(self.here, "other.crt"), os.path.join(self.here, "ca.crt"))
        self.pass_()
        authorities = contexts.context.settings.authorities
        assert authorities is not None
        self.assertEqual(authorities.text, self.other.cert_pem)

    def test_broken(self) -> None:
        """
        Whatever is wrong with the SDS file: the old one stays, and its file is looked at.
        """
        contexts = self.server(
            tls_certificates=[], tls_certificate_sds_secret_configs=[sds("own", "own.yaml")]
        )
        before = contexts.context
        file = os.path.join(self.here, "own.yaml")
        for text in ("{", "resources: []", "", SECRET.format(name="own", text="nothing: {}")):
            Path(file).write_text(text)
            self.pass_()
            self.assertIs(contexts.context, before)
        self.write(file, "own", OWN.format("absent"))
        self.pass_()
        self.assertIs(contexts.context, before)
        for end in ("crt", "key"):
            Path(self.here, f"absent.{end}").write_bytes(self.text(f"web.{end}"))
            os.chmod(os.path.join(self.here, f"absent.{end}"), 0o600)
        self.pass_()
        self.assertEqual(self.path(contexts.context.settings.certificate), "absent.crt")

    def test_static(self) -> None:
        """
        Without SDS, where Envoy would not look again.
        """
        contexts = self.client(upstreamTLS())
        os.replace(os.path.join(self.here, "other.crt"), os.path.join(self.here, "ca.crt"))
        self.pass_()
        authorities = contexts.context.settings.authorities
        assert authorities is not None
        self.assertEqual(authorities.text, self.other.cert_pem)

    def test_names(self) -> None:
        """
        Whom to accept is part of the secret.
        """
        contexts = self.client(
            typed(
                SOCKETS + "tls.v3.UpstreamTlsContext",
                common_tls_context={
                    "validation_context_sds_secret_config": sds("trusted", "trusted.yaml")
                },
            )
        )
        self.assertEqual(contexts.context.settings.accepted, ())
        more = "match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: a}}]"
        text = f"validation_context: {{trusted_ca: {{filename: ca.crt}}, {more}}}"
        self.write(os.path.join(self.here, "trusted.yaml"), "trusted", text)
        self.pass_()
        self.assertEqual([str(one) for one in contexts.context.settings.accepted], ["URI exact a"])

    def test_verifyFromNowOn(self) -> None:
        """
        A client that was told of no CA believes anybody; told of one, it does not any more.
        """
        self.write("trusted.yaml", "trusted", "validation_context: {}")
        contexts = self.client(
            typed(
                SOCKETS + "tls.v3.UpstreamTlsContext",
                common_tls_context={
                    "validation_context_sds_secret_config": sds("trusted", "trusted.yaml")
                },
            )
        )
        self.assertFalse(contexts.context.settings.verify)  # type: ignore[union-attr]
        text = TRUSTED.format("ca.crt")
        self.write(os.path.join(self.here, "trusted.yaml"), "trusted", text)
        self.pass_()
        self.assertTrue(contexts.context.settings.verify)  # type: ignore[union-attr]

    def test_lists(self) -> None:
        Path("ca.crl").write_bytes(self.other.revoke())
        Path("ca.pem").write_bytes(self.other.cert_pem)
        found = self.server(
            validation_context={
                "trusted_ca": {"filename": "ca.pem"},
                "crl": {"filename": "ca.crl"},
                "only_verify_leaf_cert_crl": True,
                "watched_directory": {"path": "."},
            }
        ).settings
        self.assertEqual(self.path(found.crl), "ca.crl")
        self.assertTrue(found.only_verify_leaf_cert_crl)

    def test_listAlone(self) -> None:
        Path("ca.crl").write_bytes(self.other.revoke())
        chain = {
            "filters": [ECHO],
            "transport_socket": downstreamTLS(validation_context={"crl": {"filename": "ca.crl"}}),
        }
        (fault,) = self.faults(bootstrap(listeners=[listener(filter_chains=[chain])]))
        self.assertIn("crl without a trusted_ca: no certificate is looked at, nor up", fault)
