"""AMD's certificates and revocation lists, read strictly; nothing here is trusted yet (KDS profile).

All are X.509 v3, RSASSA-PSS with SHA-384, MGF1-SHA-384 and a salt of exactly 48 bytes, in AMD's encoding.
Authorities (ARK, ASK,
ASVK) have RSA-4096 keys; endorsement keys (VCEK, VLEK) are P-384 and carry AMD's own extensions, whose values
`read_endorsement` decodes. Signatures are checked in `chain`.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID

from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.evidence.snp.revocation import Revocation, RevocationStatus

__all__ = [
    "MAX_CERTIFICATE_SIZE",
    "MAX_CRL_ENTRIES",
    "MAX_CRL_SIZE",
    "PSS_SALT_SIZE",
    "Authority",
    "Endorsement",
    "RevocationList",
    "load_authority",
    "load_crl",
    "load_endorsement",
]

MAX_CERTIFICATE_SIZE = 8 * 1024
"""Bytes of one DER certificate; AMD's have up to 1,700."""
MAX_CRL_SIZE = 256 * 1024
"""Bytes of one DER revocation list; AMD's have under 1,000."""
MAX_CRL_ENTRIES = 4096
PSS_SALT_SIZE = 48
"""Bytes. Required, not detected: a signature with another salt is not one of AMD's."""

_RSA_BITS = 4096
_RSA_EXPONENT = 65537
_SECTION = "AMD 57230, VCEK certificate and KDS interface"
_KNOWN_CRITICAL = frozenset({x509.OID_BASIC_CONSTRAINTS, x509.OID_KEY_USAGE})
_KNOWN_CRL_EXTENSIONS = frozenset({x509.OID_AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER})
_KNOWN_ENTRY_EXTENSIONS = frozenset({x509.OID_CRL_REASON, x509.OID_INVALIDITY_DATE})

# AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1-SHA-384 and a salt of 48 bytes (RFC 4055, 3.1). The
# trailer field has its default; AMD's older certificates spell it out all the same. No other is AMD's.
_SHA384 = bytes.fromhex("300d06096086480165030402020500")
_PSS_PARAMETERS = (
    b"\xa0\x0f"
    + _SHA384
    + bytes.fromhex("a11c301a06092a864886f70d010108")
    + _SHA384
    + bytes.fromhex("a203020130")
)
_PSS = bytes.fromhex("06092a864886f70d01010a")
_ALGORITHMS = (
    b"\x30\x41" + _PSS + b"\x30\x34" + _PSS_PARAMETERS,
    b"\x30\x46" + _PSS + b"\x30\x39" + _PSS_PARAMETERS + bytes.fromhex("a303020101"),
)
_LIST = "revocation list"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Signed:
    """What every certificate here has. Times are aware; ``label`` says which part of a chain it is;
    ``common_name`` is the subject's, empty where it has none or several."""

    label: str
    der: bytes
    subject: x509.Name
    issuer: x509.Name
    serial: int
    not_before: datetime
    not_after: datetime
    signature: bytes
    signed_part: bytes
    common_name: str


@dataclass(frozen=True, slots=True)
class Authority(Signed):
    """An ARK, ASK or ASVK. ``spki_sha256`` is over its SubjectPublicKeyInfo."""

    key: rsa.RSAPublicKey
    spki_sha256: bytes


@dataclass(frozen=True, slots=True)
class Endorsement(Signed):
    """A VCEK or VLEK. ``extensions`` maps OIDs (dotted) to raw extension values, not yet interpreted."""

    key: ec.EllipticCurvePublicKey
    extensions: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class RevocationList:
    """A CRL. ``number`` is its CRL number, None where it has none."""

    issuer: x509.Name
    issued: datetime
    next_update: datetime
    number: int | None
    serials: frozenset[int]
    signature: bytes
    signed_part: bytes

    @cached_property
    def fresh(self) -> Revocation:
        """What it says where it is in date: the same for every verdict."""
        return Revocation(RevocationStatus.FRESH, self.issued, self.next_update, self.number)

    @cached_property
    def stale(self) -> Revocation:
        return Revocation(RevocationStatus.STALE, self.issued, self.next_update, self.number)


# Every real VCEK and VLEK has serial number 0, which RFC 5280 forbids: `cryptography` warns once on loading
# and once on reading the serial, and says that it will refuse such certificates one day. This function is
# the only place that knows. Plan for that day: read the TBSCertificate of endorsement keys here (nine fields
# of fixed order, `cryptography.hazmat.asn1` or forty lines of DER); authorities and lists stay as they are.
_SERIAL_ZERO_WARNING = "Parsed a serial number which wasn't positive"
_warnings_lock = threading.Lock()


@contextmanager
def _library() -> Iterator[None]:
    """Around every use of the library's parsers: whatever else it warns of here is an error, and so a
    refusal (`_guard`). `catch_warnings` swaps process-wide state, hence the lock and the narrow filters."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.filterwarnings("error", module=re.escape(__name__))
        warnings.filterwarnings("ignore", _SERIAL_ZERO_WARNING, CryptographyDeprecationWarning)
        yield


@_library()
def load_authority(der: bytes, label: str) -> Authority:
    """Read an ARK, ASK or ASVK (the label names it in findings). Raises `Rejected`:
    ``snp.certificates.malformed``, ``snp.certificates.algorithm``, ``snp.certificates.profile``."""
    certificate, serial = _load(der, label)
    key = _guard(label, certificate.public_key)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size != _RSA_BITS:
        found = f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else "not RSA"
        raise _refused("algorithm", f"the {label}'s key is not AMD's kind", found, "RSA-4096")
    if key.public_numbers().e != _RSA_EXPONENT:
        raise _refused("algorithm", f"the {label}'s key has another exponent", "", str(_RSA_EXPONENT))
    _require_authority(_guard(label, lambda: certificate.extensions), label)
    # Not at the top: it brings ciphers and SSH along, which an import of this package can do without.
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Authority(*_common(certificate, serial, label, der), key=key, spki_sha256=sha256(spki).digest())


@_library()
def load_endorsement(der: bytes, label: str) -> Endorsement:
    """Read a VCEK or VLEK. Raises `Rejected` as `load_authority` does."""
    certificate, serial = _load(der, label)
    key = _guard(label, certificate.public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _refused("algorithm", f"the {label}'s key is not AMD's kind", "", "ECDSA P-384")
    values: list[tuple[str, bytes]] = []
    for extension in _guard(label, lambda: certificate.extensions):
        if extension.critical:
            raise _profile(label, f"critical extension {extension.oid.dotted_string}", "none is critical")
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            raise _profile(label, "marked as an authority", "an end entity")
        if isinstance(extension.value, x509.UnrecognizedExtension):
            values.append((extension.oid.dotted_string, extension.value.value))
    return Endorsement(*_common(certificate, serial, label, der), key=key, extensions=tuple(values))


@_library()
def load_crl(der: bytes) -> RevocationList:
    """Read a revocation list (CRL v2, complete, direct). Raises `Rejected` ``snp.crl.malformed`` or
    ``snp.crl.algorithm``."""
    label = _LIST
    if len(der) > MAX_CRL_SIZE:
        raise _crl_malformed(f"{len(der)} bytes", f"≤ {MAX_CRL_SIZE}")
    crl = _guard(label, lambda: x509.load_der_x509_crl(der))
    _require_algorithm(der, crl.tbs_certlist_bytes, crl.signature, label)
    number: int | None = None
    for extension in _guard(label, lambda: crl.extensions):
        if extension.oid not in _KNOWN_CRL_EXTENSIONS:
            raise _crl_malformed(f"extension {extension.oid.dotted_string}", "a complete, direct list")
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
    next_update = _guard(label, lambda: crl.next_update_utc)
    if next_update is None:
        raise _crl_malformed("no next update", "an end of validity")
    return RevocationList(
        issuer=_guard(label, lambda: crl.issuer),
        issued=_guard(label, lambda: crl.last_update_utc),
        next_update=next_update,
        number=number,
        serials=_guard(label, lambda: _revoked_serials(crl)),
        signature=crl.signature,
        signed_part=crl.tbs_certlist_bytes,
    )


def _revoked_serials(crl: x509.CertificateRevocationList) -> frozenset[int]:
    serials: set[int] = set()
    for entry in crl:
        if len(serials) >= MAX_CRL_ENTRIES:
            raise _crl_malformed("more entries", f"≤ {MAX_CRL_ENTRIES}")
        unknown = [ext for ext in entry.extensions if ext.oid not in _KNOWN_ENTRY_EXTENSIONS]
        if unknown:
            raise _crl_malformed(f"entry extension {unknown[0].oid.dotted_string}", "issuer and serial only")
        serials.add(entry.serial_number)
    return frozenset(serials)


def _load(der: bytes, label: str) -> tuple[x509.Certificate, int]:
    """A certificate of the right version and algorithm, and its serial number."""
    if len(der) > MAX_CERTIFICATE_SIZE:
        raise _malformed(label, f"{len(der)} bytes", f"≤ {MAX_CERTIFICATE_SIZE}")
    certificate = _guard(label, lambda: x509.load_der_x509_certificate(der))
    serial = _guard(label, lambda: certificate.serial_number)
    if certificate.version is not x509.Version.v3:
        raise _malformed(label, "X.509 v1", "X.509 v3")
    _require_algorithm(der, certificate.tbs_certificate_bytes, certificate.signature, label)
    return certificate, serial


def _common(
    certificate: x509.Certificate, serial: int, label: str, der: bytes
) -> tuple[str, bytes, x509.Name, x509.Name, int, datetime, datetime, bytes, bytes, str]:
    subject = _guard(label, lambda: certificate.subject)
    names = subject.get_attributes_for_oid(x509.OID_COMMON_NAME)
    return (
        label,
        der,
        subject,
        _guard(label, lambda: certificate.issuer),
        serial,
        _guard(label, lambda: certificate.not_valid_before_utc),
        _guard(label, lambda: certificate.not_valid_after_utc),
        certificate.signature,
        certificate.tbs_certificate_bytes,
        str(names[0].value) if len(names) == 1 else "",
    )


def _require_authority(extensions: x509.Extensions, label: str) -> None:
    constraints: x509.BasicConstraints | None = None
    usage: x509.KeyUsage | None = None
    for extension in extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise _profile(label, f"critical extension {extension.oid.dotted_string}", "one that is known")
        if isinstance(extension.value, x509.BasicConstraints) and extension.critical:
            constraints = extension.value
        if isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
    if constraints is None or not constraints.ca:
        raise _profile(label, "not marked as an authority", "basic constraints: CA, critical")
    if usage is None or not usage.key_cert_sign:
        raise _profile(label, "key usage without certificate signing", "keyCertSign")


def _require_algorithm(der: bytes, signed: bytes, signature: bytes, label: str) -> None:
    """The whole is exactly: signed part, AMD's algorithm, signature, in DER. The algorithm outside the signed
    part is not signed, so anything but the one inside would be a second encoding of the same certificate."""
    bits = b"\x03\x82\x02\x01\x00" + signature
    for algorithm in _ALGORITHMS:
        if der == _sequence(signed + algorithm + bits) and algorithm in signed:
            return
    is_list = label == _LIST
    raise _refused(
        "algorithm",
        f"the {label} is signed with another algorithm, or not encoded as AMD does",
        "",
        "RSASSA-PSS with RSA-4096, SHA-384, MGF1-SHA-384 and a salt of 48 bytes",
        check_id="snp.crl.algorithm" if is_list else None,
    )


def _sequence(body: bytes) -> bytes:
    """A DER SEQUENCE in the minimal long form; what is signed here never fits the short one."""
    size = (len(body).bit_length() + 7) // 8
    return bytes((0x30, 0x80 | size)) + len(body).to_bytes(size, "big") + body


def _guard(label: str, read: Callable[[], T]) -> T:
    """Run one lazy read of the library's; whatever hostile bytes make it raise is "malformed"."""
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
        if label == _LIST:
            raise _crl_malformed(_one_line(error), "a DER certificate revocation list") from error
        raise _malformed(label, _one_line(error), "a DER certificate of AMD's profile") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _malformed(label: str, found: str, required: str) -> Rejected:
    return Rejected(
        Finding(
            "snp.certificates.malformed",
            Kind.MALFORMED,
            f"the {label} is not a certificate that can be read",
            found=found,
            required=required,
            section=_SECTION,
        )
    )


def _crl_malformed(found: str, required: str) -> Rejected:
    return Rejected(
        Finding(
            "snp.crl.malformed",
            Kind.MALFORMED,
            "the revocation list cannot be read",
            found=found,
            required=required,
            section="RFC 5280, 5",
            advice="fetch it again from AMD's key distribution service",
        )
    )


def _profile(label: str, found: str, required: str) -> Rejected:
    return _refused("profile", f"the {label} does not have AMD's certificate profile", found, required)


def _refused(check: str, message: str, found: str, required: str, *, check_id: str | None = None) -> Rejected:
    return Rejected(
        Finding(
            check_id or f"snp.certificates.{check}",
            Kind.UNTRUSTED,
            message,
            found=found,
            required=required,
            section=_SECTION,
        )
    )
