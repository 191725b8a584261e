"""A certificate authority of the stack's own, and the certificates that it signs (RFC 5280, curve P-256)."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397  # the longest that browsers accept
BACKDATED = dt.timedelta(minutes=5)  # for clocks that differ a little


class Pair(msgspec.Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def authority(now: dt.datetime) -> Pair:
    """Make a certificate authority that is valid from `now` for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("ml-pipeline authority")
    builder = _builder(name, name, key, now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _pair(builder.sign(key, hashes.SHA256()), key)


def server(signer: Pair, hosts: Sequence[str], now: dt.datetime) -> Pair:
    """Make a server's certificate.

    Args:
        signer: the authority.
        hosts: names and addresses under which the server is reached; the first is its common name.
        now: beginning of its 397 days.
    """
    parent = x509.load_pem_x509_certificate(signer.certificate)
    parent_key = serialization.load_pem_private_key(signer.key, password=None)
    assert isinstance(parent_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `authority` makes no other
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(hosts[0]), parent.subject, key, now, SERVER_DAYS)
    builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    # Elasticsearch's nodes are clients of one another with the same certificate.
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(parent_key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    return _pair(builder.sign(parent_key, hashes.SHA256()), key)


def expires(certificate: bytes) -> dt.datetime:
    """Return when a PEM certificate ends.

    Raises:
        ValueError: it is none.
    """
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc


def hosts(certificate: bytes) -> list[str]:
    """Return the names and addresses that a PEM certificate is for.

    Raises:
        ValueError: it is none.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return []
    return [str(each.value) for each in found.value]


def belong(certificate: bytes, key: bytes) -> bool:
    """Return whether a PEM certificate is of this PEM key; not where one of them is damaged."""
    try:
        held = x509.load_pem_x509_certificate(certificate).public_key()
        return held == serialization.load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError):
        return False


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - BACKDATED).not_valid_after(now + dt.timedelta(days=days))


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
