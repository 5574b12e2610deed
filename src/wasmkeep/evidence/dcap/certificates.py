"""Intel's certificates and revocation lists, read strictly; nothing here is trusted yet.

X.509 v3 with P-256 keys, signed with ECDSA P-256 and SHA-256 (Intel SGX PCK certificate and CRL profile).
Signatures are checked by `wasmkeep.evidence.dcap.qvl`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from wasmkeep.evidence.dcap import der
from wasmkeep.evidence.dcap.findings import malformed
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.pem import decode_certificates

__all__ = ["MAX_CRL_SIZE", "Certificate", "RevocationList", "is_issued_by", "load_chain", "load_list"]

MAX_CERTIFICATE_SIZE = 8 * 1024
"""Bytes of one DER certificate; Intel's have up to 1,300."""
MAX_CRL_SIZE = 1024 * 1024
"""Bytes of one DER revocation list; Intel's have under 4,000."""

_SECTION = "Intel SGX PCK certificate and CRL profile"
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_KNOWN_CRITICAL = frozenset({x509.OID_BASIC_CONSTRAINTS, x509.OID_KEY_USAGE})
_KNOWN_CRL_EXTENSIONS = frozenset({x509.OID_AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER})
_KNOWN_ENTRY_EXTENSIONS = frozenset({x509.OID_CRL_REASON, x509.OID_INVALIDITY_DATE})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Certificate:
    """``label`` says which part of a chain it is; ``extensions`` maps dotted identifiers to the raw values of
    those that X.509 does not know. ``key`` is the point, x and y big-endian (64 bytes)."""

    label: str
    der: bytes
    subject: x509.Name
    issuer: x509.Name
    serial: int
    not_before: datetime
    not_after: datetime
    is_authority: bool
    key: bytes
    spki_sha256: bytes
    extensions: tuple[tuple[str, bytes], ...]
    signature: bytes
    signed_part: bytes

    @property
    def common_name(self) -> str:
        names = self.subject.get_attributes_for_oid(x509.OID_COMMON_NAME)
        return str(names[0].value) if len(names) == 1 else ""


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A CRL v2, complete and direct. ``number`` is its CRL number."""

    label: str
    issuer: x509.Name
    issued: datetime
    next_update: datetime
    number: int | None
    serials: frozenset[int]


def load_chain(pem: str, *labels: str, known: tuple[Certificate, ...] = ()) -> tuple[Certificate, ...]:
    """The certificates of a PEM text, which must be as many as the labels. Those of ``known`` are not read
    again: chains share their roots. Raises `Rejected`: ``dcap.certificates.malformed``,
    ``dcap.certificates.count``."""
    try:
        ders = decode_certificates(pem)
    except Rejected as rejected:
        raise _malformed(labels[0], rejected.findings[0].message, "certificates in PEM") from rejected
    if len(ders) != len(labels):
        message = f"the {labels[0]}'s chain has a wrong number of certificates"
        required = f"{len(labels)}: {', '.join(labels)}"
        raise malformed("dcap.certificates.count", message, str(len(ders)), required, _SECTION)
    loaded = {(certificate.der, certificate.label): certificate for certificate in known}
    return tuple(
        loaded.get((data, label)) or _load(data, label) for data, label in zip(ders, labels, strict=True)
    )


def is_issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Whether the issuer's name and key are those that signed the certificate."""
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + issuer.key)
    try:
        key.verify(certificate.signature, certificate.signed_part, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return certificate.issuer == issuer.subject


def load_list(data: bytes, label: str) -> RevocationList:
    """Read a revocation list. Raises `Rejected` ``dcap.crl.malformed``."""
    if len(data) > MAX_CRL_SIZE:
        raise _crl_malformed(label, f"{len(data)} bytes")
    return _guard(lambda: _list(data, label), lambda found: _crl_malformed(label, found))


def _load(data: bytes, label: str) -> Certificate:
    if len(data) > MAX_CERTIFICATE_SIZE:
        raise _malformed(label, f"{len(data)} bytes", f"≤ {MAX_CERTIFICATE_SIZE}")
    return _guard(
        lambda: _certificate(data, label),
        lambda found: _malformed(label, found, "a DER certificate of Intel's profile"),
    )


def _certificate(data: bytes, label: str) -> Certificate:
    _require_serial(data)
    loaded = x509.load_der_x509_certificate(data)
    if loaded.version is not x509.Version.v3:
        raise ValueError("not X.509 v3")
    _require_algorithm(data, loaded.tbs_certificate_bytes, loaded.signature)
    key = loaded.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("a key that is not of P-256")
    unknown: list[tuple[str, bytes]] = []
    is_authority = False
    for extension in loaded.extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise ValueError(f"unknown critical extension {extension.oid.dotted_string}")
        if isinstance(extension.value, x509.UnrecognizedExtension):
            unknown.append((extension.oid.dotted_string, extension.value.value))
        if isinstance(extension.value, x509.BasicConstraints):
            is_authority = extension.value.ca
    return Certificate(
        label=label,
        der=data,
        subject=loaded.subject,
        issuer=loaded.issuer,
        serial=loaded.serial_number,
        not_before=loaded.not_valid_before_utc,
        not_after=loaded.not_valid_after_utc,
        is_authority=is_authority,
        key=key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:],
        spki_sha256=sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest(),
        extensions=tuple(unknown),
        signature=loaded.signature,
        signed_part=loaded.tbs_certificate_bytes,
    )


def _list(data: bytes, label: str) -> RevocationList:
    loaded = x509.load_der_x509_crl(data)
    _require_algorithm(data, loaded.tbs_certlist_bytes, loaded.signature)
    number: int | None = None
    for extension in loaded.extensions:
        if extension.oid not in _KNOWN_CRL_EXTENSIONS:
            raise ValueError(f"extension {extension.oid.dotted_string}")
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
    serials: set[int] = set()
    for entry in loaded:
        if any(extension.oid not in _KNOWN_ENTRY_EXTENSIONS for extension in entry.extensions):
            raise ValueError("an entry with an unknown extension")
        serials.add(entry.serial_number)
    next_update = loaded.next_update_utc
    if next_update is None:
        raise ValueError("no next update")
    return RevocationList(
        label, loaded.issuer, loaded.last_update_utc, next_update, number, frozenset(serials)
    )


def _require_serial(data: bytes) -> None:
    """Certificates of Intel's have positive serial numbers; the library warns of others, and reads them."""
    outer = list(der.elements(data))
    if len(outer) != 1 or outer[0][0] != der.SEQUENCE:
        raise ValueError("not one sequence")
    signed = next(iter(der.elements(outer[0][1])), (0, b""))
    fields = [element for _, element in zip(range(2), der.elements(signed[1]), strict=False)]
    if len(fields) != 2 or fields[1][0] != der.INTEGER or not any(fields[1][1]) or fields[1][1][0] & 0x80:
        raise ValueError("no positive serial number")


def _require_algorithm(data: bytes, signed: bytes, signature: bytes) -> None:
    """The whole ends in ECDSA with SHA-256 and the signature, in DER, and the signed part says the same."""
    bits = b"\x03" + _size(len(signature) + 1) + b"\x00" + signature
    body = signed + _ECDSA_SHA256 + bits
    if data != b"\x30" + _size(len(body)) + body or _ECDSA_SHA256 not in signed:
        raise ValueError("not ECDSA with SHA-256 in DER")


def _size(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    encoded = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(encoded),)) + encoded


def _guard(read: Callable[[], T], malformed_as: Callable[[str], Rejected]) -> T:
    """Run the library on hostile bytes; whatever it raises or warns of is "malformed"."""
    try:
        return read()
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
        Warning,
    ) as error:
        raise malformed_as(" ".join(str(error).split())[:200]) from error


def _malformed(label: str, found: str, required: str) -> Rejected:
    message = f"the {label}'s certificate cannot be read"
    return malformed("dcap.certificates.malformed", message, found, required, _SECTION)


def _crl_malformed(label: str, found: str) -> Rejected:
    message = f"the {label} cannot be read"
    return malformed("dcap.crl.malformed", message, found, f"a DER list, ≤ {MAX_CRL_SIZE} bytes", _SECTION)
