"""
TLS: Envoy's C{transport_sockets.tls.v3} as the settings of L{mxproxy.tls}.

Certificates come from files, inline, or from a secret: one of the file's own, or in a file of
SDS's form.  They are read and tried here, so that what is wrong with them is a fault with a
place; a running proxy reads them once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path as File
from typing import Any

from ....tls.context import ClientContext, ServerContext
from ....tls.identity import acceptedPattern
from ....tls.pem import certificates, credential
from ....tls.settings import (
    PEM,
    ClientTLS,
    Comparison,
    NameKind,
    NameMatcher,
    ServerTLS,
    TLSConfigurationError,
    TLSSettings,
    TLSVersion,
)
from ...errors import ConfigurationError
from ..check import checkDocument
from ..document import readDocument
from ..faults import Faults, Path
from ..registry import unpack
from .scope import Scope, enumName, sourceBytes, wrapped

_VERSIONS = {"TLSv1_2": TLSVersion.TLS12, "TLSv1_3": TLSVersion.TLS13}

_ALPN_LIMIT = 255


def serverTLS(message: Any, path: Path, scope: Scope, protocols: Iterable[str]) -> ServerTLS:
    """
    @param message: a C{DownstreamTlsContext}.
    @param protocols: the ALPN names that filters of this chain stand for.
    """
    before = len(scope.faults)
    common, place = message.common_tls_context, path / "common_tls_context"
    settings = _common(common, place, scope, protocols, newest=TLSVersion.TLS13)
    require = wrapped(message, "require_client_certificate", False)
    if not (common.tls_certificates or common.tls_certificate_sds_secret_configs):
        scope.faults.add(place / "tls_certificates", "is required: a TLS server has a certificate")
    if require and settings.authorities is None and len(scope.faults) == before:
        scope.faults.add(
            path / "require_client_certificate",
            "without a trusted_ca to verify it with, a client's certificate proves nothing: not "
            "implemented by mxproxy",
        )
    result = ServerTLS(**vars(settings), require_client_certificate=require)
    if len(scope.faults) == before:
        _try(ServerContext, result, place, scope)
    return result


def clientTLS(message: Any, path: Path, scope: Scope, protocols: Iterable[str]) -> ClientTLS:
    """
    @param message: an C{UpstreamTlsContext}.
    @param protocols: the ALPN names that filters of this cluster stand for.
    """
    before = len(scope.faults)
    place = path / "common_tls_context"
    settings = _common(message.common_tls_context, place, scope, protocols, newest=TLSVersion.TLS12)
    result = ClientTLS(
        **vars(settings),
        server_name=message.sni or None,
        # Envoy looks at names only where it is told which.
        verify_name=False,
        verify=settings.authorities is not None,
    )
    if len(scope.faults) == before:
        _try(ClientContext, result, path, scope)
    return result


def _try(build: Callable[[Any], object], settings: TLSSettings, path: Path, scope: Scope) -> None:
    """
    Find what is wrong with the whole, when its parts are right.
    """
    with scope.faults.at(path, TLSConfigurationError):
        build(settings)


def _common(
    message: Any, path: Path, scope: Scope, protocols: Iterable[str], newest: TLSVersion
) -> TLSSettings:
    certificate, key = _certificate(message, path, scope)
    authorities, accepted = _validation(message, path, scope)
    params = message.tls_params
    return TLSSettings(
        certificate=certificate,
        key=key,
        authorities=authorities,
        alpn=_alpn(message.alpn_protocols, path / "alpn_protocols", scope, protocols),
        accepted=accepted,
        minimum=_VERSIONS.get(enumName(params, "tls_minimum_protocol_version"), TLSVersion.TLS12),
        maximum=_VERSIONS.get(enumName(params, "tls_maximum_protocol_version"), newest),
    )


def _alpn(
    names: Iterable[str], path: Path, scope: Scope, protocols: Iterable[str]
) -> tuple[str, ...]:
    """
    What the file says, without what stands for an exchange that this chain does not have: a
    peer that picked it would wait for our metadata.
    """
    live = set(protocols)
    found = []
    for index, name in enumerate(names):
        if not 1 <= len(name.encode()) <= _ALPN_LIMIT:
            scope.faults.add(path.item(index), f"an ALPN name has 1 to {_ALPN_LIMIT} bytes")
        elif name in live or name not in scope.exchanges:
            found.append(name)
    return tuple(found)


# -- the own certificate


def _certificate(message: Any, path: Path, scope: Scope) -> tuple[PEM | None, PEM | None]:
    given = list(message.tls_certificates)
    secrets = list(message.tls_certificate_sds_secret_configs)
    place = path / "tls_certificates"
    if len(given) > 1:
        scope.faults.add(place.item(1), "a second certificate is not implemented by mxproxy")
    if len(secrets) + bool(given) > 1:
        scope.faults.add(
            (path / "tls_certificate_sds_secret_configs").item(0 if given else 1),
            "a second certificate is not implemented by mxproxy",
        )
    if given:
        return _pair(given[0], place.item(0), scope)
    if secrets:
        place = (path / "tls_certificate_sds_secret_configs").item(0)
        found = _secret(secrets[0], "tls_certificate", place, scope)
        if found is not None:
            return _pair(*found)
    return None, None


def _pair(message: Any, path: Path, scope: Scope) -> tuple[PEM | None, PEM | None]:
    certificate = _pem(message.certificate_chain, path / "certificate_chain", scope)
    key = _pem(message.private_key, path / "private_key", scope)
    if certificate is not None and key is not None:
        with scope.faults.at(path, TLSConfigurationError):
            credential(certificate, key)
    return certificate, key


def _pem(source: Any, path: Path, scope: Scope) -> PEM | None:
    text = sourceBytes(source, path, scope.faults)
    if text is None:
        return None
    if source.WhichOneof("specifier") == "filename":
        return PEM(path=str(File(source.filename).absolute()))
    return PEM(text=text)


# -- whom to believe


def _validation(
    message: Any, path: Path, scope: Scope
) -> tuple[PEM | None, tuple[NameMatcher, ...]]:
    """
    The authorities, and whom of those that they have signed.
    """
    kind = message.WhichOneof("validation_context_type")
    if kind is None:
        return None, ()
    before = len(scope.faults)
    place = path / kind
    parts: list[tuple[Any, Path, Scope]] = []
    if kind == "validation_context":
        parts.append((message.validation_context, place, scope))
    else:
        config = getattr(message, kind)
        if kind == "combined_validation_context":
            parts.append(
                (config.default_validation_context, place / "default_validation_context", scope)
            )
            place = place / "validation_context_sds_secret_config"
            config = config.validation_context_sds_secret_config
        found = _secret(config, "validation_context", place, scope)
        if found is not None:
            parts.append(found)
    # As protobuf merges messages, and so Envoy: the later source, all matchers.
    authorities: PEM | None = None
    accepted: tuple[NameMatcher, ...] = ()
    for part, where, within in parts:
        if part.HasField("trusted_ca"):
            authorities = _authorities(part.trusted_ca, where / "trusted_ca", within)
        accepted += _matchers(
            part.match_typed_subject_alt_names, where / "match_typed_subject_alt_names", within
        )
    if accepted and authorities is None and len(scope.faults) == before:
        scope.faults.add(
            path / kind,
            "match_typed_subject_alt_names without a trusted_ca: whoever wants a name has it",
        )
    return authorities, accepted


def _authorities(source: Any, path: Path, scope: Scope) -> PEM | None:
    pem = _pem(source, path, scope)
    if pem is not None:
        with scope.faults.at(path, TLSConfigurationError):
            certificates(pem, "CA certificate")
    return pem


def _matchers(messages: Iterable[Any], path: Path, scope: Scope) -> tuple[NameMatcher, ...]:
    found = []
    for index, message in enumerate(messages):
        matcher = message.matcher
        kind = matcher.WhichOneof("match_pattern")
        value = getattr(matcher, kind)
        one = NameMatcher(
            NameKind(enumName(message, "san_type")),
            Comparison(kind),
            value.regex if kind == "safe_regex" else value,
            matcher.ignore_case,
        )
        with scope.faults.at(path.item(index) / "matcher" / kind, TLSConfigurationError):
            acceptedPattern(one)
        found.append(one)
    return tuple(found)


# -- secrets


def _secret(config: Any, kind: str, path: Path, scope: Scope) -> tuple[Any, Path, Scope] | None:
    """
    @param config: an C{SdsSecretConfig}.
    @param kind: which of a secret's fields is meant.
    @return: that message, its place, and where its faults go.
    """
    if not config.HasField("sds_config"):
        known = scope.secrets.get(config.name)
        if known is None:
            scope.faults.add(
                path / "name", f"there is no {config.name!r} in static_resources.secrets"
            )
            return None
        secret, place = known
        within = scope
    else:
        place = path / "sds_config/path_config_source/path"
        file = config.sds_config.path_config_source.path
        within = Scope(_FaultsOfFile(scope.faults, place, file))
        secret = _readSecret(file, config.name, within)
        if secret is None:
            return None
        secret, place = secret
    if secret.WhichOneof("type") != kind:
        scope.faults.add(path / "name", f"the secret {config.name!r} has no {kind}")
        return None
    return getattr(secret, kind), place / kind, within


class _FaultsOfFile(Faults):
    """
    What is wrong in a file that the configuration names: faults of the name's.
    """

    def __init__(self, faults: Faults, place: Path, file: str) -> None:
        super().__init__()
        self._faults = faults
        self._place = place
        self._file = file

    def add(self, path: str, text: str) -> None:
        """
        Keep it here, too: then nothing more is made of the file.
        """
        super().add(path, text)
        where = f"{self._file!r}: {self._written(path)}" if path else repr(self._file)
        self._faults.add(self._place, f"{where}: {text}")


def _readSecret(file: str, name: str, scope: Scope) -> tuple[Any, Path] | None:
    try:
        document = readDocument(file)
    except ConfigurationError as error:
        scope.faults.add("", str(error))
        return None
    response: Any = checkDocument(
        document, "envoy.service.discovery.v3.DiscoveryResponse", scope.faults
    )
    if response is None:
        return None
    for index, resource in enumerate(response.resources):
        secret = unpack(resource)
        if secret.name == name:
            return secret, Path("resources").item(index)
    scope.faults.add("resources", f"there is no secret {name!r}")
    return None
