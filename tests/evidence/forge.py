"""Makes valid SNP evidence under a root of the tests' own, spoils one thing, and signs it again.

Certificates have AMD's profile: RSA-4096 PSS authorities, a P-384 VCEK with serial 0 and AMD's extensions.
Two RSA keys are made once a session; a second chain for "another root" has them swapped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from wasmkeep.evidence import Policy, SnpEvidence
from wasmkeep.evidence.snp import signatures
from wasmkeep.evidence.snp.endorsement import OID
from wasmkeep.evidence.snp.report import Report
from wasmkeep.evidence.snp.tcb import Tcb

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
MEASUREMENT = bytes(range(48))
REPORT_DATA = bytes(range(64))
HOST_DATA = bytes(range(100, 132))
CHIP_ID = bytes(range(1, 65))
TURIN_CHIP_ID = bytes(range(1, 9)).ljust(64, b"\0")
NAME = "wasmkeep 0.1.0"
REFERENCES = {MEASUREMENT: NAME}
GENOA_TCB = Tcb(bootloader=10, tee=0, snp=23, microcode=84)
TURIN_TCB = Tcb(fmc=1, bootloader=2, tee=1, snp=4, microcode=75)
PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)


def report(**changes: object) -> Report:
    """A Genoa version 3 report that the default policy accepts, unsigned."""
    tcb = GENOA_TCB.encode()
    base = Report(
        version=3,
        guest_svn=0,
        policy=0x30000,
        family_id=bytes(16),
        image_id=bytes(16),
        vmpl=0,
        signature_algo=1,
        current_tcb=tcb,
        platform_info=0x25,
        key_info=0,
        report_data=REPORT_DATA,
        measurement=MEASUREMENT,
        host_data=HOST_DATA,
        id_key_digest=bytes(48),
        author_key_digest=bytes(48),
        report_id=b"\x11" * 32,
        report_id_ma=b"\xff" * 32,
        reported_tcb=tcb,
        cpuid_family=0x19,
        cpuid_model=0x11,
        cpuid_stepping=1,
        chip_id=CHIP_ID,
        committed_tcb=tcb,
        current_build=25,
        current_minor=55,
        current_major=1,
        committed_build=25,
        committed_minor=55,
        committed_major=1,
        launch_tcb=tcb,
        launch_mit_vector=None,
        current_mit_vector=None,
    )
    return base._replace(**changes)  # type: ignore[arg-type]  # changes are named fields


def turin(**changes: object) -> Report:
    """The same for Turin, version 5."""
    tcb = TURIN_TCB.encode()
    base = report(
        version=5,
        current_tcb=tcb,
        reported_tcb=tcb,
        committed_tcb=tcb,
        launch_tcb=tcb,
        cpuid_family=0x1A,
        cpuid_model=0x02,
        chip_id=TURIN_CHIP_ID,
        launch_mit_vector=0x3F,
        current_mit_vector=0x3F,
        platform_info=0x65,
    )
    return base._replace(**changes)  # type: ignore[arg-type]  # changes are named fields


def version_2(**changes: object) -> Report:
    """The same before reports said what CPU they are from."""
    absent = {"cpuid_family": None, "cpuid_model": None, "cpuid_stepping": None}
    return report(version=2, platform_info=1, **absent, **changes)


def integer(value: int) -> bytes:
    """A DER INTEGER of 0 to 255."""
    return bytes([2, 2, 0, value]) if value > 0x7F else bytes([2, 1, value])


def text(value: str) -> bytes:
    """A DER IA5String."""
    return bytes([0x16, len(value)]) + value.encode("ascii")


def extensions(
    tcb: Tcb = GENOA_TCB,
    product_name: str = "Genoa",
    hw_id: bytes | None = CHIP_ID,
    csp_id: str | None = None,
) -> dict[str, bytes]:
    """AMD's extensions of a VCEK (or, with ``csp_id``, of a VLEK), by the names in `endorsement.OID`."""
    values = {
        "structVersion": integer(0),
        "productName": text(product_name),
        "blSPL": integer(tcb.bootloader),
        "teeSPL": integer(tcb.tee),
        "spl5": integer(0),
        "spl6": integer(0),
        "spl7": integer(0),
        "snpSPL": integer(tcb.snp),
        "ucodeSPL": integer(tcb.microcode),
    }
    if tcb.fmc is not None:
        values["fmcSPL"] = integer(tcb.fmc)
    if hw_id is not None:
        values["hwID"] = hw_id
    if csp_id is not None:
        values["cspID"] = text(csp_id)
    return values


def name(common_name: str) -> x509.Name:
    attributes = (
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "Engineering"),
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.LOCALITY_NAME, "Santa Clara"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.ORGANIZATION_NAME, "Advanced Micro Devices"),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


@dataclass
class Authority:
    """How an ARK or ASK is to be made; fields are there to be spoilt."""

    subject: str
    issuer: str
    serial: int
    not_before: datetime = AT - timedelta(days=1000)
    not_after: datetime = AT + timedelta(days=8000)
    ca: bool = True
    certificate_signing: bool = True
    constraints_critical: bool = True
    scheme: padding.PSS | padding.PKCS1v15 = field(default_factory=lambda: PSS)
    digest: hashes.SHA384 | hashes.SHA256 = field(default_factory=hashes.SHA384)
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()


@dataclass
class EndorsementKey:
    """How a VCEK or VLEK is to be made."""

    subject: str = "SEV-VCEK"
    issuer: str = "SEV-Genoa"
    not_before: datetime = AT - timedelta(days=100)
    not_after: datetime = AT + timedelta(days=2000)
    extensions: dict[str, bytes] = field(default_factory=extensions)
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    serial_zero: bool = True


@dataclass
class Crl:
    """How a revocation list is to be made."""

    issuer: str = "ARK-Genoa"
    issued: datetime = AT - timedelta(days=30)
    next_update: datetime = AT + timedelta(days=300)
    serials: tuple[int, ...] = ()
    number: int = 7
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    entry_extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()


class Forge:
    """Keys of a chain, and the artefacts they sign."""

    def __init__(
        self, ark: rsa.RSAPrivateKey, ask: rsa.RSAPrivateKey, vcek: ec.EllipticCurvePrivateKey
    ) -> None:
        self.ark_key, self.ask_key, self.vcek_key = ark, ask, vcek

    @property
    def pin(self) -> str:
        """The pin of this chain's root."""
        spki = self.ark_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return "sha256:" + sha256(spki).hexdigest()

    def policy(self, **changes: object) -> Policy:
        """The default policy with this root pinned as a simulator's."""
        return replace(Policy.default(simulated=self.pin), **changes)  # type: ignore[arg-type]  # named fields

    def ark(self, product: str = "Genoa", **changes: object) -> bytes:
        form = Authority(f"ARK-{product}", f"ARK-{product}", 0x20000, **changes)  # type: ignore[arg-type]  # named
        return _authority(form, self.ark_key, self.ark_key)

    def ask(self, product: str = "Genoa", *, subject: str | None = None, **changes: object) -> bytes:
        form = Authority(
            subject or f"SEV-{product}",
            f"ARK-{product}",
            0x20002,
            **changes,  # type: ignore[arg-type]  # named fields
        )
        return _authority(form, self.ask_key, self.ark_key)

    def vcek(self, **changes: object) -> bytes:
        form = EndorsementKey(**changes)  # type: ignore[arg-type]  # named fields
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(form.subject))
            .issuer_name(name(form.issuer))
            .public_key(self.vcek_key.public_key())
            .serial_number(1)
            .not_valid_before(form.not_before)
            .not_valid_after(form.not_after)
        )
        for key, value in form.extensions.items():
            oid = x509.ObjectIdentifier(OID.get(key, key))
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        for extension, critical in form.extra:
            builder = builder.add_extension(extension, critical=critical)
        signed = builder.sign(self.ask_key, hashes.SHA384(), rsa_padding=PSS)
        return self._with_serial_zero(signed) if form.serial_zero else signed.public_bytes(Encoding.DER)

    def crl(self, **changes: object) -> bytes:
        form = Crl(**changes)  # type: ignore[arg-type]  # named fields
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name(form.issuer))
            .last_update(form.issued)
            .next_update(form.next_update)
            .add_extension(x509.CRLNumber(form.number), critical=False)
        )
        for extension, critical in form.extra:
            builder = builder.add_extension(extension, critical=critical)
        for serial in form.serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(form.issued)
            for extension, critical in form.entry_extra:
                entry = entry.add_extension(extension, critical=critical)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.ark_key, hashes.SHA384(), rsa_padding=PSS).public_bytes(Encoding.DER)

    def sign(self, unsigned: Report) -> bytes:
        """The report's 1184 bytes with a genuine signature."""
        der = self.vcek_key.sign(unsigned.signed_part(), ec.ECDSA(hashes.SHA384()))
        r, s = signatures.decode_signature(signatures.encode_signature(der))
        return unsigned._replace(signature_r=r, signature_s=s).encode()

    def evidence(self, unsigned: Report | None = None, **parts: object) -> SnpEvidence:
        """Evidence that the default policy with this pin accepts; ``parts`` replaces whole fields."""
        values: dict[str, object] = {
            "report": self.sign(unsigned or report()),
            "vcek": self.cached("vcek"),
            "chain": (self.cached("ask"), self.cached("ark")),
            "crl": self.cached("crl"),
        }
        return SnpEvidence(**(values | parts))  # type: ignore[arg-type]  # named fields

    def cached(self, part: str) -> bytes:
        """A part as it is when nothing is spoilt, made once."""
        cache: dict[str, bytes] = self.__dict__.setdefault("_cache", {})
        if part not in cache:
            cache[part] = getattr(self, part)()
        return cache[part]

    def _with_serial_zero(self, certificate: x509.Certificate) -> bytes:
        """The library makes no certificate with serial 0, as AMD's are: change it and sign again."""
        old = certificate.tbs_certificate_bytes
        one, zero = b"\xa0\x03\x02\x01\x02\x02\x01\x01", b"\xa0\x03\x02\x01\x02\x02\x01\x00"
        assert old.count(one) == 1
        new = old.replace(one, zero)
        signature = self.ask_key.sign(new, PSS, hashes.SHA384())
        return (
            certificate.public_bytes(Encoding.DER).replace(old, new).replace(certificate.signature, signature)
        )


def _authority(form: Authority, key: rsa.RSAPrivateKey, issuer: rsa.RSAPrivateKey) -> bytes:
    usage = x509.KeyUsage(
        digital_signature=not form.certificate_signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=form.certificate_signing,
        crl_sign=form.subject == form.issuer,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=form.ca, path_length=None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(form.subject))
        .issuer_name(name(form.issuer))
        .public_key(key.public_key())
        .serial_number(form.serial)
        .not_valid_before(form.not_before)
        .not_valid_after(form.not_after)
        .add_extension(usage, critical=True)
        .add_extension(constraints, critical=form.constraints_critical)
    )
    for extension, critical in form.extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer, form.digest, rsa_padding=form.scheme).public_bytes(Encoding.DER)
