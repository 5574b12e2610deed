"""Quotes of a platform that does not exist, valid under a root of its own: what real ones never show.

Everything is made from a `Machine`; ``broken`` names signatures to make wrong.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from wasmkeep.evidence import Collateral, Policy, SgxEvidence, TdxEvidence
from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.pck import SGX_EXTENSION
from wasmkeep.evidence.dcap.quote import INTEL_QE_VENDOR, Header, Quote, QuotingEnclave, TeeType
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.roots import format_pin
from wasmkeep.evidence.tdx.bits import TdAttribute
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["AT", "Machine", "enclave_report", "sgx", "td_report", "tdx", "tdx_10"]

AT = datetime(2026, 6, 15, 12, tzinfo=UTC)
ISSUED, UNTIL = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
BORN, DIES = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC)
FMSPC = bytes.fromhex("90c06f000000")
QE_SIGNER, MODULE_SIGNER = bytes(range(32)), bytes(48)
Json = dict[str, Any]  # Any: JSON


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def raw_key(name: str) -> bytes:
    return key(name).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def sign(name: str, data: bytes) -> bytes:
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    r, s = decode_dss_signature(key(name).sign(data, algorithm))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def named(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
        ]
    )


def enclave_report(**changes: Any) -> EnclaveReport:  # Any: fields of a report
    """An enclave's report that a plain policy accepts."""
    report = EnclaveReport(
        cpu_svn=bytes(16),
        misc_select=0,
        isv_ext_prod_id=bytes(16),
        attributes=0x5,
        xfrm=0x7,
        mrenclave=b"\x11" * 32,
        mrsigner=b"\x22" * 32,
        config_id=bytes(64),
        isv_prod_id=3,
        isv_svn=4,
        config_svn=0,
        isv_family_id=bytes(16),
        report_data=b"\x33" * 64,
    )
    return replace(report, **changes)


def td_report(**changes: Any) -> TdReport:  # Any: fields of a report
    """A TD report 1.5 that a plain policy accepts."""
    report = TdReport(
        tee_tcb_svn=bytes((6, 1, 3)) + bytes(13),
        mrseam=b"\x44" * 48,
        mrsignerseam=MODULE_SIGNER,
        seam_attributes=bytes(8),
        attributes=int(TdAttribute.SEPT_VE_DISABLE),
        xfam=0x602E7,
        mrtd=b"\x55" * 48,
        mrconfigid=b"\x66" * 48,
        mrowner=b"\x67" * 48,
        mrownerconfig=b"\x68" * 48,
        rtmr0=b"\x70" * 48,
        rtmr1=b"\x71" * 48,
        rtmr2=b"\x72" * 48,
        rtmr3=b"\x73" * 48,
        report_data=b"\x33" * 64,
        tee_tcb_svn2=bytes((6, 1, 3)) + bytes(13),
        mr_service_td=bytes(48),
    )
    return replace(report, **changes)


def level(status: str, svn: int, *advisories: str, tdx: tuple[int, ...] | None = None, pce: int = 13) -> Json:
    """A TCB level whose sixteen components all need ``svn``."""
    tcb: Json = {"sgxtcbcomponents": [{"svn": svn}] * 16, "pcesvn": pce}
    if tdx is not None:
        tcb["tdxtcbcomponents"] = [{"svn": entry} for entry in tdx + (0,) * (16 - len(tdx))]
    return {
        "tcb": tcb,
        "tcbDate": "2026-01-01T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": list(advisories),
    }


def isv_level(status: str, svn: int, *advisories: str) -> Json:
    """A level of a TDX module or quoting enclave."""
    date = "2026-01-01T00:00:00Z"
    return {"tcb": {"isvsvn": svn}, "tcbDate": date, "tcbStatus": status, "advisoryIDs": list(advisories)}


def module(identifier: str, *levels: Json, **changes: Any) -> Json:  # Any: JSON
    return {
        "id": identifier,
        "mrsigner": MODULE_SIGNER.hex(),
        "attributes": "00" * 8,
        "attributesMask": "FF" * 8,
        "tcbLevels": list(levels),
        **changes,
    }


def timed(value: datetime) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Machine:
    """A platform, its quote and its collateral. ``revoked`` names certificates on their issuer's list."""

    body: TdReport | EnclaveReport
    version: int
    header: Json = field(default_factory=dict)
    svn: int = 5
    pce_svn: int = 13
    pce_id: bytes = bytes(2)
    flags: tuple[bool, bool, bool] | None = (False, False, False)
    instance: bytes | None = b"\x99" * 16
    qe: EnclaveReport = field(
        default_factory=lambda: enclave_report(mrsigner=QE_SIGNER, isv_prod_id=2, isv_svn=7, attributes=0x15)
    )
    levels: tuple[Json, ...] = ()
    modules: tuple[Json, ...] = (module("TDX_01", isv_level("UpToDate", 6)),)
    qe_levels: tuple[Json, ...] = (isv_level("UpToDate", 7),)
    tcb_info: Json = field(default_factory=dict)
    qe_identity: Json = field(default_factory=dict)
    authority: str = "Platform"
    broken: frozenset[str] = frozenset()
    revoked: frozenset[str] = frozenset()
    names: dict[str, str] = field(default_factory=dict)
    issuers: dict[str, str] = field(default_factory=dict)
    validity: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    extension: bytes | None = None
    trailing: bytes = b""

    @property
    def is_tdx(self) -> bool:
        return isinstance(self.body, TdReport)

    def but(self, **changes: Any) -> Machine:  # Any: fields of a machine
        return replace(self, **changes)

    def with_body(self, **changes: Any) -> Machine:  # Any: fields of a report
        return replace(self, body=replace(self.body, **changes))

    def break_(self, *names: str) -> Machine:
        return replace(self, broken=frozenset(names))

    # --- certificates

    def name_of(self, role: str) -> str:
        usual = {
            "root": "Intel SGX Root CA",
            "authority": f"Intel SGX PCK {self.authority} CA",
            "pck": "Intel SGX PCK Certificate",
            "signer": "Intel SGX TCB Signing",
        }
        return self.names.get(role, usual[role])

    def issuer_of(self, role: str) -> str:
        return self.issuers.get(role, "authority" if role == "pck" else "root")

    def certificate(self, role: str) -> bytes:
        """DER of ``root``, ``authority``, ``pck`` or ``signer``."""
        issuer = self.issuer_of(role)
        first, last = self.validity.get(role, (BORN, DIES))
        is_authority = role in ("root", "authority")
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(self.name_of(role)))
            .issuer_name(named(self.name_of(issuer)))
            .public_key(key(role).public_key())
            .serial_number(serial(role))
            .not_valid_before(first)
            .not_valid_after(last)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(usage(is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key(role).public_key()), critical=False)
        )
        if role == "pck":
            value = self.extension if self.extension is not None else self.sgx_extension()
            oid = x509.ObjectIdentifier(SGX_EXTENSION)
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        signer = "stranger" if role in self.broken else issuer
        return builder.sign(key(signer), hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)

    def chain(self, *roles: str) -> str:
        return "".join(
            x509.load_der_x509_certificate(self.certificate(role)).public_bytes(Encoding.PEM).decode()
            for role in roles
        )

    def revocation_list(self, issuer: str) -> bytes:
        name = f"{issuer}-list"
        first, last = self.validity.get(name, (ISSUED, UNTIL))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(named(self.name_of(issuer)))
            .last_update(first)
            .next_update(last)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key(issuer).public_key()), critical=False
            )
        )
        for role in sorted(self.revoked):
            if self.issuer_of(role) == issuer:
                entry = x509.RevokedCertificateBuilder().serial_number(serial(role)).revocation_date(first)
                builder = builder.add_revoked_certificate(entry.build())
        signer = "stranger" if name in self.broken else issuer
        return builder.sign(key(signer), hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)

    def sgx_extension(self) -> bytes:
        tcb = [element((2, index), integer(self.svn)) for index in range(1, 17)]
        tcb += [
            element((2, 17), integer(self.pce_svn)),
            element((2, 18), tlv(0x04, bytes((self.svn,)) * 16)),
        ]
        parts = [
            element((1,), tlv(0x04, b"\x88" * 16)),
            element((2,), tlv(0x30, b"".join(tcb))),
            element((3,), tlv(0x04, self.pce_id)),
            element((4,), tlv(0x04, FMSPC)),
            element((5,), tlv(0x0A, b"\x01")),
        ]
        if self.instance is not None:
            parts.append(element((6,), tlv(0x04, self.instance)))
        if self.flags is not None:
            flags = [
                element((7, index + 1), tlv(0x01, b"\xff" if value else b"\x00"))
                for index, value in enumerate(self.flags)
            ]
            parts.append(element((7,), tlv(0x30, b"".join(flags))))
        return tlv(0x30, b"".join(parts))

    # --- collateral

    def tcb_info_text(self) -> str:
        tdx = (5, 0, 3) if self.is_tdx else None
        info: Json = {
            "id": "TDX" if self.is_tdx else "SGX",
            "version": 3,
            "issueDate": timed(ISSUED),
            "nextUpdate": timed(UNTIL),
            "fmspc": FMSPC.hex(),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": 18,
            "tcbLevels": list(self.levels) or [level("UpToDate", 5, tdx=tdx)],
        }
        if self.is_tdx:
            info["tdxModule"] = {k: v for k, v in module("").items() if k not in ("id", "tcbLevels")}
            info["tdxModuleIdentities"] = list(self.modules)
        return json.dumps(info | self.tcb_info, separators=(",", ":"))

    def qe_identity_text(self) -> str:
        identity: Json = {
            "id": "TD_QE" if self.is_tdx else "QE",
            "version": 2,
            "issueDate": timed(ISSUED),
            "nextUpdate": timed(UNTIL),
            "tcbEvaluationDataNumber": 18,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11" + "00" * 15,
            "attributesMask": "FB" + "FF" * 7 + "00" * 8,
            "mrsigner": QE_SIGNER.hex(),
            "isvprodid": 2,
            "tcbLevels": list(self.qe_levels),
        }
        return json.dumps(identity | self.qe_identity, separators=(",", ":"))

    def signature(self, name: str, signer: str, data: bytes) -> bytes:
        return sign("stranger" if name in self.broken else signer, data)

    def collateral(self) -> Collateral:
        info, identity = self.tcb_info_text(), self.qe_identity_text()
        return Collateral(
            pck_crl_issuer_chain=self.chain("authority", "root"),
            root_ca_crl=self.revocation_list("root"),
            pck_crl=self.revocation_list("authority"),
            tcb_info_issuer_chain=self.chain("signer", "root"),
            tcb_info=info,
            tcb_info_signature=self.signature("tcb-info", "signer", info.encode()),
            qe_identity_issuer_chain=self.chain("signer", "root"),
            qe_identity=identity,
            qe_identity_signature=self.signature("qe-identity", "signer", identity.encode()),
        )

    # --- the quote

    def parsed_quote(self) -> Quote:
        tee = TeeType.TDX if self.is_tdx else TeeType.SGX
        header = Header(self.version, 2, tee, 0, 0, INTEL_QE_VENDOR, bytes(20))
        auth_data = bytes(32)
        vouched = hashlib.sha256(raw_key("attestation") + auth_data).digest()
        if "qe-key" in self.broken:
            vouched = bytes(32)
        report = replace(self.qe, report_data=vouched + bytes(32))
        enclave = QuotingEnclave(
            report=report,
            signature=self.signature("qe-report", "pck", report.encode()),
            auth_data=auth_data,
            pck_chain=self.chain("pck", "authority", "root").encode(),
        )
        quote = Quote(
            replace(header, **self.header), self.body, bytes(64), raw_key("attestation"), enclave, 0
        )
        return replace(quote, signature=self.signature("quote", "attestation", quote.signed_part))

    def quote(self) -> bytes:
        return self.parsed_quote().encode() + self.trailing

    def evidence(self) -> TdxEvidence | SgxEvidence:
        kind = TdxEvidence if self.is_tdx else SgxEvidence
        return kind(self.quote(), self.collateral())

    def policy(self) -> Policy:
        """The plain policy with this machine's root pinned."""
        return plain().with_simulated(pin())


def pin() -> str:
    spki = key("root").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return format_pin(hashlib.sha256(spki).digest())


def serial(role: str) -> int:
    return 1 + ("root", "authority", "pck", "signer").index(role)


def usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=not is_authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    encoded = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(encoded))) + encoded + content


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def element(path: tuple[int, ...], value: bytes) -> bytes:
    identifier = bytes.fromhex("2a864886f84d010d01") + bytes(path)
    return tlv(0x30, tlv(0x06, identifier) + value)


def sgx(**changes: Any) -> Machine:  # Any: fields of a machine
    """An SGX platform with an enclave."""
    return replace(Machine(body=enclave_report(), version=3), **changes)


def tdx(**changes: Any) -> Machine:  # Any: fields of a machine
    """A TDX 1.5 platform with a trust domain, quote version 5."""
    return replace(Machine(body=td_report(), version=5), **changes)


def tdx_10(version: int = 4, **changes: Any) -> Machine:  # Any: fields of a machine
    """A TDX 1.0 report, in a quote of version 4 or 5."""
    body = td_report(tee_tcb_svn2=None, mr_service_td=None)
    return replace(Machine(body=body, version=version), **changes)


def later(days: float) -> datetime:
    return AT + timedelta(days=days)
