"""A quote and its collateral in words: every field with its meaning. Nothing here is a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from wasmkeep.evidence.dcap.certificates import Certificate, RevocationList
from wasmkeep.evidence.dcap.chain import load_pck_chain
from wasmkeep.evidence.dcap.collateral import ParsedCollateral
from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.pck import SGX_EXTENSION, PckIdentity, read_identity
from wasmkeep.evidence.dcap.quote import INTEL_QE_VENDOR, Quote
from wasmkeep.evidence.sgx.bits import Attribute
from wasmkeep.evidence.sgx.bits import unknown_attributes as unknown_enclave_attributes
from wasmkeep.evidence.snp.explain import Line
from wasmkeep.evidence.tdx.bits import UNDER_DEBUG, TdAttribute, XfamBit
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["explain", "explain_collateral"]

_NO_OF = {None: "not said", False: "no", True: "yes"}
_SGX_TYPES = {0: "standard", 1: "scalable", 2: "scalable with integrity"}


def explain(quote: Quote) -> tuple[Line, ...]:
    """Every field of a quote, and what its PCK certificate says of the platform. Raises `Rejected` where that
    certificate cannot be read."""
    body = quote.body
    return (
        *_header(quote),
        *(_trust_domain(body) if isinstance(body, TdReport) else _enclave("enclave", body)),
        *_quoting_enclave(quote),
        *_platform(quote.quoting_enclave.pck_chain),
    )


def explain_collateral(collateral: ParsedCollateral) -> tuple[Line, ...]:
    """Every statement of a set of collateral; of TCB levels the first, which is the highest."""
    return (
        *_tcb_info(collateral),
        *_qe_identity(collateral),
        *_list("root CRL", collateral.root_list),
        *_list("PCK CRL", collateral.pck_list),
        *_signers(collateral),
    )


def _header(quote: Quote) -> Iterator[Line]:
    header = quote.header
    yield Line("header", "version", str(header.version))
    yield Line("header", "attestation key", str(header.key_type), "ECDSA P-256 with SHA-256")
    yield Line("header", "TEE type", f"{header.tee_type:#x}", "TDX" if header.tee_type else "SGX")
    yield Line("header", "QE SVN", str(header.qe_svn), "" if header.version == 3 else "reserved: see the QE")
    yield Line("header", "PCE SVN", str(header.pce_svn), "" if header.version == 3 else "reserved")
    vendor = "Intel" if header.qe_vendor == INTEL_QE_VENDOR else "not Intel"
    yield Line("header", "QE vendor", header.qe_vendor.hex(), vendor)
    yield Line("header", "user data", header.user_data.hex(), "first 16 bytes: the platform's QE id")
    yield Line("header", "trailing bytes", str(quote.trailing), "signed by nobody, not read")


def _trust_domain(report: TdReport) -> Iterator[Line]:
    yield Line("TD", "report", report.version, "TDX version")
    yield Line("TD", "attributes", f"{report.attributes:016x}", _attribute_words(report.attributes))
    yield Line("TD", "XFAM", f"{report.xfam:016x}", _flags(XfamBit, report.xfam))
    yield Line("TD", "MRTD", report.mrtd.hex(), "launch digest: what the TD was built from")
    for number, value in enumerate(report.rtmrs):
        yield Line("TD", f"RTMR{number}", value.hex(), "extended by the TD while it runs")
    yield Line("TD", "MRCONFIGID", report.mrconfigid.hex(), "configuration, chosen by the host at launch")
    yield Line("TD", "MROWNER", report.mrowner.hex(), "owner, chosen by the host at launch")
    yield Line("TD", "MROWNERCONFIG", report.mrownerconfig.hex(), "owner's configuration, likewise")
    yield Line("TD", "report data", report.report_data.hex(), "chosen by the TD")
    if report.mr_service_td is not None:
        bound = "a service TD is bound" if any(report.mr_service_td) else "no service TD"
        yield Line("TD", "MRSERVICETD", report.mr_service_td.hex(), bound)
    yield Line("TDX module", "TEE TCB SVN", report.tee_tcb_svn.hex(), _svn_words(report.tee_tcb_svn))
    if report.tee_tcb_svn2 is not None:
        words = "of the module that runs now: " + _svn_words(report.tee_tcb_svn2)
        yield Line("TDX module", "TEE TCB SVN 2", report.tee_tcb_svn2.hex(), words)
    yield Line("TDX module", "MRSEAM", report.mrseam.hex(), "the module's digest")
    yield Line("TDX module", "MRSIGNERSEAM", report.mrsignerseam.hex(), "its signer; zeros: Intel")
    yield Line("TDX module", "SEAM attributes", report.seam_attributes.hex(), "zeros: a production module")


def _enclave(group: str, report: EnclaveReport) -> Iterator[Line]:
    words = _flags(Attribute, report.attributes)
    unknown = unknown_enclave_attributes(report.attributes)
    debug = " · the host may read its memory" if report.attributes & Attribute.DEBUG else ""
    words += (f" · unknown bits {unknown:#x}" if unknown else "") + debug
    yield Line(group, "MRENCLAVE", report.mrenclave.hex(), "launch digest")
    yield Line(group, "MRSIGNER", report.mrsigner.hex(), "SHA-256 of the key that signed it")
    yield Line(group, "product id", str(report.isv_prod_id), "ISVPRODID, by its signer")
    yield Line(group, "SVN", str(report.isv_svn), "ISVSVN, by its signer")
    yield Line(group, "attributes", f"{report.attributes:016x}", words)
    yield Line(group, "XFRM", f"{report.xfrm:016x}", _flags(XfamBit, report.xfrm))
    yield Line(group, "MISCSELECT", f"{report.misc_select:08x}")
    yield Line(group, "CPU SVN", report.cpu_svn.hex())
    yield Line(group, "extended product id", report.isv_ext_prod_id.hex())
    yield Line(group, "family id", report.isv_family_id.hex())
    yield Line(group, "config id", report.config_id.hex(), "chosen at launch (KSS)")
    yield Line(group, "config SVN", str(report.config_svn))
    yield Line(group, "report data", report.report_data.hex(), "chosen by the enclave")


def _quoting_enclave(quote: Quote) -> Iterator[Line]:
    yield from _enclave("QE", quote.quoting_enclave.report)
    auth = quote.quoting_enclave.auth_data.hex()
    yield Line("QE", "auth data", auth, "hashed with the attestation key into the QE's report data")
    yield Line("signature", "attestation key", quote.attestation_key.hex(), "the QE vouches for it")
    yield Line("signature", "of the quote", quote.signature.hex(), "by the attestation key")
    yield Line("signature", "of the QE report", quote.quoting_enclave.signature.hex(), "by the PCK")


def _platform(pem: bytes) -> Iterator[Line]:
    pck, authority, root = load_pck_chain(pem)
    for certificate in (pck, authority, root):
        yield from _certificate(certificate)
    identity = read_identity(dict(pck.extensions).get(SGX_EXTENSION, b""))
    yield from _identity(identity)


def _identity(pck: PckIdentity) -> Iterator[Line]:
    yield Line("platform", "FMSPC", pck.fmspc.hex(), "family of platforms that TCB infos are about")
    yield Line("platform", "PPID", pck.ppid.hex(), "this platform, to Intel")
    yield Line("platform", "PCE id", pck.pce_id.hex())
    yield Line("platform", "CPU SVN", pck.cpu_svn.hex())
    components = " ".join(map(str, pck.components))
    yield Line("platform", "components", components, "SVNs that TCB levels ask for")
    yield Line("platform", "PCE SVN", str(pck.pce_svn))
    yield Line("platform", "SGX type", str(pck.sgx_type), _SGX_TYPES.get(pck.sgx_type, "unknown"))
    instance = "not said" if pck.platform_instance is None else pck.platform_instance.hex()
    yield Line("platform", "instance", instance, "this platform, as policies name it")
    yield Line("platform", "dynamic", _NO_OF[pck.dynamic_platform], "packages may be added later")
    yield Line("platform", "cached keys", _NO_OF[pck.cached_keys], "Intel keeps its platform keys")
    yield Line("platform", "SMT", _NO_OF[pck.smt], "two threads share a core")


def _certificate(certificate: Certificate) -> Iterator[Line]:
    days = f"{_day(certificate.not_before)} to {_day(certificate.not_after)}"
    yield Line(certificate.label, "subject", certificate.common_name, days)
    yield Line(certificate.label, "serial", f"{certificate.serial:x}")
    yield Line(certificate.label, "key", f"sha256:{certificate.spki_sha256.hex()}", "of its public key")


def _tcb_info(collateral: ParsedCollateral) -> Iterator[Line]:
    info = collateral.tcb_info
    yield Line("TCB info", "for", info.identifier, f"FMSPC {info.fmspc.hex()}, PCE id {info.pce_id.hex()}")
    yield Line("TCB info", "dates", _days(info.issued, info.next_update))
    yield Line("TCB info", "evaluation", str(info.evaluation), "tcbEvaluationDataNumber")
    yield Line("TCB info", "levels", str(len(info.levels)))
    for level in info.levels:
        svns = " ".join(map(str, level.sgx)) + f", PCE {level.pce_svn}"
        svns += f", TDX {' '.join(map(str, level.tdx))}" if level.tdx else ""
        words = f"{level.status} as of {_day(level.date)} {', '.join(level.advisories)}".rstrip()
        yield Line("TCB info", "level", svns, words)
    for module in info.module_identities:
        for isv in module.levels:
            words = f"{isv.status} as of {_day(isv.date)} {', '.join(isv.advisories)}".rstrip()
            yield Line("TCB info", module.identifier, f"SVN {isv.isv_svn}", words)


def _qe_identity(collateral: ParsedCollateral) -> Iterator[Line]:
    identity = collateral.qe_identity
    yield Line("QE identity", "for", identity.identifier)
    yield Line("QE identity", "dates", _days(identity.issued, identity.next_update))
    yield Line("QE identity", "evaluation", str(identity.evaluation), "tcbEvaluationDataNumber")
    yield Line("QE identity", "MRSIGNER", identity.mrsigner.hex())
    yield Line("QE identity", "product id", str(identity.isv_prod_id))
    mask = f"under the mask {identity.attributes_mask.hex()}"
    yield Line("QE identity", "attributes", identity.attributes.hex(), mask)
    mask = f"under the mask {identity.misc_select_mask:08x}"
    yield Line("QE identity", "MISCSELECT", f"{identity.misc_select:08x}", mask)
    for level in identity.levels:
        yield Line("QE identity", "level", f"SVN {level.isv_svn}", f"{level.status} as of {_day(level.date)}")


def _list(group: str, crl: RevocationList) -> Iterator[Line]:
    yield Line(group, "dates", _days(crl.issued, crl.next_update))
    yield Line(group, "number", "none" if crl.number is None else str(crl.number))
    yield Line(group, "revoked", f"{len(crl.serials)} certificates")


def _signers(collateral: ParsedCollateral) -> Iterator[Line]:
    seen = {one.der: one for one in (*collateral.tcb_chain, *collateral.qe_chain, *collateral.list_chain)}
    for certificate in seen.values():
        yield from _certificate(certificate)


def _attribute_words(value: int) -> str:
    words = [
        "debug: the host may read its memory" if value & UNDER_DEBUG else "debug NOT allowed",
        "SEPT_VE_DISABLE" if value & TdAttribute.SEPT_VE_DISABLE else "#VE on private memory possible",
        "may be migrated" if value & TdAttribute.MIGRATABLE else "migration NOT allowed",
    ]
    further = value & ~int(TdAttribute.SEPT_VE_DISABLE | TdAttribute.MIGRATABLE) & ~UNDER_DEBUG
    named = _flags(TdAttribute, further)
    unknown = further & ~int(TdAttribute(sum(TdAttribute)))
    return " · ".join(
        [*words, *([named] if named else []), *([f"unknown bits {unknown:#x}"] if unknown else [])]
    )


def _flags(bits: type[Attribute | TdAttribute | XfamBit], value: int) -> str:
    return " · ".join((bit.name or "").lower().replace("_", " ") for bit in bits if value & bit)


def _svn_words(svn: bytes) -> str:
    return f"module SVN {svn[0]}, major version {svn[1]}, late microcode {svn[2]}"


def _days(first: datetime, last: datetime) -> str:
    return f"{_day(first)} to {_day(last)}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
