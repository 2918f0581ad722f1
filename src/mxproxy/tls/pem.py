"""
From PEM texts to certificates and keys.

Reading files, parsing them and saying in one line what is wrong with them belong here.
Nothing here knows of a TLS context, of sides or of peers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from mxproxy.config.files import readFile
from mxproxy.tls.keyfile import refuseWritable
from mxproxy.tls.settings import PEM, TLSConfigurationError

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)


def certificates(source: PEM, what: str) -> Sequence[x509.Certificate]:
    """
    The certificates of a PEM text, at least one; other blocks in it are passed over.

    @param what: C{"certificate"} or C{"CA certificate"}, for the error's text.
    @raise TLSConfigurationError: it cannot be read, or has none, or a damaged one.
    """
    data = read(source, what)
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise TLSConfigurationError(
            f"no PEM {what} in {source.origin}: it needs a block that begins with "
            "'-----BEGIN CERTIFICATE-----'"
        )
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise TLSConfigurationError(
            f"a damaged {what} in {source.origin}: {oneLine(error)}: write the file anew"
        ) from error


def privateKey(source: PEM) -> PrivateKey:
    """
    The private key of a PEM text.

    @raise TLSConfigurationError: it cannot be read or used, is encrypted, or is in a file
        that everybody may write.
    """
    data = read(source, "key")
    refuseWritable(source)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        raise TLSConfigurationError(
            f"the key in {source.origin} is encrypted: decrypt it first, "
            "for instance with 'openssl pkey -in OLD -out NEW'"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TLSConfigurationError(
            f"no usable PEM private key in {source.origin}: it needs a block that begins with "
            "'-----BEGIN PRIVATE KEY-----'"
        ) from error
    if not isinstance(key, PrivateKey):
        raise TLSConfigurationError(
            f"the key in {source.origin} cannot sign a TLS handshake: use an EC or RSA key"
        )
    return key


def credential(certificate: PEM, key: PEM) -> tuple[Sequence[x509.Certificate], PrivateKey]:
    """
    A chain and the private key of its first certificate.

    @raise TLSConfigurationError: one of them is unusable, or they are not a pair.
    """
    chain, secret = certificates(certificate, "certificate"), privateKey(key)
    if _publicKey(chain[0]) != _publicKey(secret):
        raise TLSConfigurationError(
            f"the key in {key.origin} does not match the first certificate in "
            f"{certificate.origin}: give the pair that was issued together"
        )
    return chain, secret


def _publicKey(holder: x509.Certificate | PrivateKey) -> bytes:
    """
    The public key in a form that can be compared; empty if it is of an unknown kind.
    """
    try:
        return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return b""


def datesToWatch(certificate: x509.Certificate, source: PEM) -> tuple[str, ...]:
    """
    Warn of an own certificate that peers will refuse today, because it begins later.  That
    it ends, and when, is L{mxproxy.tls.expiry}'s.

    Not an error: the file may be renewed at any time, and a proxy that runs picks the new
    one up.

    @return: no line or one.
    """
    begins = certificate.not_valid_before_utc
    if begins <= datetime.now(timezone.utc):
        return ()
    when = f"is not valid before {stamp(begins)}"
    return (f"the certificate in {source.origin} {when}: peers will refuse it",)


def stamp(moment: datetime) -> str:
    """
    A certificate's date as a log has it.
    """
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def serialInHex(number: int) -> str:
    """
    A serial number as C{openssl x509 -serial} prints it.
    """
    digits = f"{number:X}"
    return digits.rjust(len(digits) + len(digits) % 2, "0")


def oneLine(error: Exception) -> str:
    """
    What a library says, without its line breaks and not more than a line of it.
    """
    return " ".join(str(error).split())[:200]


def read(source: PEM, what: str) -> bytes:
    """
    A PEM text's bytes.

    @param what: what it is, for the error's text.
    @raise TLSConfigurationError: its file cannot be read.
    """
    if source.text is not None:
        return source.text
    assert source.path is not None
    try:
        return readFile(source.path)
    except (OSError, ValueError) as error:
        # A path with a NUL in it is a ValueError.
        why = getattr(error, "strerror", None) or error
        raise TLSConfigurationError(
            f"cannot read the {what} file {source.origin}: {why}"
        ) from error
