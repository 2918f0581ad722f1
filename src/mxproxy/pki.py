"""
A throwaway certificate authority, for demonstrations and tests.

B{Not for production}: keys are made in memory, written unencrypted, never revoked and
never rotated.  Nothing else of mxproxy imports this module.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Credential:
    """
    A certificate chain and its key, both PEM.
    """

    cert_pem: bytes
    key_pem: bytes = field(repr=False)

    def write(self, directory: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
        """
        Write C{name.crt} and C{name.key}; the key is readable by its owner only.

        @return: the two paths.
        """
        certificate = _write(Path(directory) / f"{name}.crt", self.cert_pem, 0o644)
        return certificate, _write(Path(directory) / f"{name}.key", self.key_pem, 0o600)


@dataclass(frozen=True)
class Authority:
    """
    A root, or an intermediate, that issues X509-SVIDs and ordinary certificates.

    @ivar trust_domain: the SPIFFE trust domain it belongs to.
    @ivar certificate: its own.
    @ivar chain: what goes behind each certificate it issues, PEM: nothing for a root.
    """

    trust_domain: str
    certificate: x509.Certificate
    chain: bytes
    _key: _Key = field(repr=False)

    @classmethod
    def create(cls, trust_domain: str = "cluster.local", *, validity: timedelta = DAY) -> Authority:
        """
        Make a new root; two of the same trust domain do not trust each other.
        """
        key = _newKey(False)
        name = _name(f"{trust_domain} throwaway CA")
        builder = _authority(trust_domain, name, name, key, validity)
        return cls(trust_domain, builder.sign(key, hashes.SHA256()), b"", key)

    def subordinate(self, *, validity: timedelta = DAY) -> Authority:
        """
        Make an intermediate below this one.
        """
        key = _newKey(False)
        name = _name(f"{self.trust_domain} throwaway intermediate CA")
        builder = _authority(self.trust_domain, name, self.certificate.subject, key, validity)
        certificate = builder.sign(self._key, hashes.SHA256())
        chain = certificate.public_bytes(Encoding.PEM) + self.chain
        return Authority(self.trust_domain, certificate, chain, key)

    @property
    def cert_pem(self) -> bytes:
        """
        Its own certificate, to be trusted by its workloads.
        """
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        spiffe: str | tuple[str, ...] = (),
        dns: tuple[str, ...] = (),
        ips: tuple[str, ...] = (),
        *,
        common_name: str = "",
        validity: timedelta = DAY,
        age: timedelta = timedelta(hours=1),
        rsa_key: bool = False,
        server: bool = True,
        client: bool = True,
        authority: bool = False,
        crl_sign: bool = False,
        names_der: bytes = b"",
    ) -> Credential:
        """
        Issue a certificate.

        @param spiffe: its URI; several only to make what a validator must refuse.
        @param dns: its DNS names.
        @param ips: its addresses.
        @param common_name: its subject, empty as SPIFFE allows.
        @param validity: for how long from now; negative for one that has expired.
        @param age: since how long; negative for one that is not valid yet.
        @param rsa_key: with an RSA key of 2048 bits instead of ECDSA P-256.
        @param server: fit to be a server's.
        @param client: fit to be a client's.
        @param authority: an authority's, which may not be used as a workload's.
        @param crl_sign: may sign revocation lists, which a workload's may not.
        @param names_der: the DER of the names instead of C{spiffe}, C{dns} and C{ips}, to
            make what cannot be parsed.
        """
        key = _newKey(rsa_key)
        begin, end = _span(age, validity)
        uris = (spiffe,) if isinstance(spiffe, str) else spiffe
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        subject = _name(common_name) if common_name else x509.Name([])
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] * server
        usages += [ExtendedKeyUsageOID.CLIENT_AUTH] * client
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(_keyUsage(authority, crl_sign or authority), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if names:
            # RFC 5280, section 4.1.2.6: critical when it is all there is of a name.
            builder = builder.add_extension(
                x509.SubjectAlternativeName(names), critical=not common_name
            )
        if names_der:
            builder = builder.add_extension(
                x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names_der),
                critical=not common_name,
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Credential(
            certificate.public_bytes(Encoding.PEM) + self.chain,
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def revoke(
        self,
        *credentials: Credential | Authority,
        validity: timedelta = DAY,
        age: timedelta = timedelta(hours=1),
    ) -> bytes:
        """
        Make a list of revoked certificates, PEM.

        @param credentials: whose, none or several; an intermediate's, too.
        @param validity: for how long from now; negative for one that has expired.
        @param age: since how long; negative for one that is not valid yet.
        """
        begin, end = _span(age, validity)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(begin)
            .next_update(end)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .add_extension(x509.CRLNumber(int(begin.timestamp())), critical=False)
        )
        for one in credentials:
            number = x509.load_pem_x509_certificate(one.cert_pem).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(begin)
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def write(self, directory: str | os.PathLike[str], name: str) -> Path:
        """
        Write C{name.crt}, its own certificate; its key stays in memory.
        """
        return _write(Path(directory) / f"{name}.crt", self.cert_pem, 0o644)


def _span(age: timedelta, validity: timedelta) -> tuple[datetime, datetime]:
    now = datetime.now(timezone.utc)
    begin, end = now - age, now + validity
    return (end - DAY if begin >= end else begin), end


def _newKey(rsa_key: bool) -> _Key:
    if rsa_key:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _authority(
    trust_domain: str, subject: x509.Name, issuer: x509.Name, key: _Key, validity: timedelta
) -> x509.CertificateBuilder:
    """
    A signing certificate as X509-SVID, section 3.2, has it: its SPIFFE ID has no path.
    """
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + validity) - DAY)
        .not_valid_after(now + validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_keyUsage(authority=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
            ),
            critical=False,
        )
    )


def _keyUsage(authority: bool, crl_sign: bool) -> x509.KeyUsage:
    """
    X509-SVID, section 4.3: a leaf signs handshakes, an authority certificates.
    """
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, data: bytes, mode: int) -> Path:
    """
    Write a file that has its mode from its first moment, and anew if it exists.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path
