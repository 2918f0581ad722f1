"""
TLS: Envoy's C{transport_sockets.tls.v3} as the settings of L{mxproxy.tls}.

Certificates come from files, inline, or from a secret.  They are read and tried here, so that
what is wrong with them is a fault with a place; a running proxy reads them again, and again
whenever they change (L{mxproxy.tls.reload}).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from ....tls.context import ClientContext, ServerContext
from ....tls.identity import acceptedPattern
from ....tls.pem import certificates, credential
from ....tls.revocation import revocationLists
from ....tls.settings import (
    PEM,
    ClientTLS,
    Comparison,
    Discovered,
    NameKind,
    NameMatcher,
    ServerTLS,
    TLSConfigurationError,
    TLSSettings,
    TLSVersion,
)
from ..faults import Faults, Path
from .scope import Scope, enumName, sourceBytes, wrapped
from .secrets import findSecret, sourceFiles

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
    settings = replace(settings, resumable=not message.disable_stateless_session_resumption)
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
    settings = replace(settings, resumable=wrapped(message, "max_session_keys", 1) > 0)
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
    params = message.tls_params
    return replace(
        _credentials(message, path, scope),
        discovered=_discovered(message, scope),
        alpn=_alpn(message.alpn_protocols, path / "alpn_protocols", scope, protocols),
        minimum=_VERSIONS.get(enumName(params, "tls_minimum_protocol_version"), TLSVersion.TLS12),
        maximum=_VERSIONS.get(enumName(params, "tls_maximum_protocol_version"), newest),
        key_log=message.key_log.path or None,
    )


def _credentials(message: Any, path: Path, scope: Scope) -> TLSSettings:
    """
    Who we are, and whom to believe: what is renewed while running.
    """
    certificate, key = _certificate(message, path, scope)
    return replace(_validation(message, path, scope), certificate=certificate, key=key)


def _discovered(message: Any, scope: Scope) -> Discovered | None:
    paths = sourceFiles(_secretConfigs(message), scope)
    if not paths:
        return None

    def read() -> TLSSettings:
        faults = Faults()
        found = _credentials(message, Path(), replace(scope, faults=faults, tries=False))
        for fault in faults:
            raise TLSConfigurationError(str(fault))
        return found

    return Discovered(paths, read)


def _secretConfigs(message: Any) -> Iterator[Any]:
    yield from message.tls_certificate_sds_secret_configs
    yield message.validation_context_sds_secret_config
    yield message.combined_validation_context.validation_context_sds_secret_config


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
        found = findSecret(secrets[0], "tls_certificate", place, scope)
        if found is not None:
            return _pair(*found)
    return None, None


def _pair(message: Any, path: Path, scope: Scope) -> tuple[PEM | None, PEM | None]:
    certificate = _pem(message.certificate_chain, path / "certificate_chain", scope)
    key = _pem(message.private_key, path / "private_key", scope)
    if certificate is not None and key is not None and scope.tries:
        with scope.faults.at(path, TLSConfigurationError):
            credential(certificate, key)
    return certificate, key


def _pem(source: Any, path: Path, scope: Scope) -> PEM | None:
    if source.WhichOneof("specifier") == "filename":
        file = os.path.join(scope.directory, source.filename)
        if scope.tries and sourceBytes(source, path, scope.faults) is None:
            return None
        return PEM(path=file)
    text = sourceBytes(source, path, scope.faults)
    return None if text is None else PEM(text=text)


# -- whom to believe


def _validation(message: Any, path: Path, scope: Scope) -> TLSSettings:
    """
    The authorities, what they have revoked, and whom to accept of those that they have signed.
    """
    kind = message.WhichOneof("validation_context_type")
    if kind is None:
        return TLSSettings()
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
        found = findSecret(config, "validation_context", place, scope)
        if found is not None:
            parts.append(found)
    # As protobuf merges messages, and so Envoy: the later source, all matchers.
    result = TLSSettings()
    for part, where, within in parts:
        result = _merged(result, part, where, within)
    if result.authorities is None and len(scope.faults) == before:
        if result.accepted:
            scope.faults.add(
                path / kind,
                "match_typed_subject_alt_names without a trusted_ca: whoever wants a name has it",
            )
        if result.crl is not None:
            scope.faults.add(
                path / kind, "crl without a trusted_ca: no certificate is looked at, nor up"
            )
    return result


def _merged(before: TLSSettings, part: Any, path: Path, scope: Scope) -> TLSSettings:
    authorities, crl = before.authorities, before.crl
    if part.HasField("trusted_ca"):
        authorities = _authorities(part.trusted_ca, path / "trusted_ca", scope)
    if part.HasField("crl"):
        crl = _lists(part.crl, path / "crl", scope)
    names = "match_typed_subject_alt_names"
    return replace(
        before,
        authorities=authorities,
        crl=crl,
        only_verify_leaf_cert_crl=(
            before.only_verify_leaf_cert_crl or part.only_verify_leaf_cert_crl
        ),
        accepted=before.accepted + _matchers(getattr(part, names), path / names, scope),
    )


def _authorities(source: Any, path: Path, scope: Scope) -> PEM | None:
    pem = _pem(source, path, scope)
    if pem is not None and scope.tries:
        with scope.faults.at(path, TLSConfigurationError):
            certificates(pem, "CA certificate")
    return pem


def _lists(source: Any, path: Path, scope: Scope) -> PEM | None:
    pem = _pem(source, path, scope)
    if pem is not None and scope.tries:
        with scope.faults.at(path, TLSConfigurationError):
            revocationLists(pem)
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
