"""Facts of SEV-SNP rows, under the index's names, each computed by `wasmkeep.evidence` from the files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from tests.vectors_conformance.material import HCL_OFFSET, Material
from tests.vectors_conformance.outcome import Facts, NotCheckable
from wasmkeep.evidence import Rejected
from wasmkeep.evidence.roots import AMD_ROOTS, Root
from wasmkeep.evidence.snp import chain, signatures
from wasmkeep.evidence.snp.bits import GuestPolicyBit, abi_of, format_abi
from wasmkeep.evidence.snp.certificates import Authority, RevocationList
from wasmkeep.evidence.snp.endorsement import OID, read_endorsement
from wasmkeep.evidence.snp.products import layout_of, line_of
from wasmkeep.evidence.snp.report import SIGNED_SIZE, Report, SigningKey, parse
from wasmkeep.evidence.snp.tcb import Tcb

__all__ = ["facts_of"]

_TCBS = ("current", "reported", "committed", "launch")


def facts_of(material: Material, roots: Mapping[bytes, Root] = AMD_ROOTS) -> Facts:
    """Everything that can be said of a row's files. ``roots`` are those a chain may end at."""
    return {
        **_authority_facts(material, roots),
        **_list_facts(material, roots),
        **_endorsement_facts(material, roots),
        **_report_facts(material),
        **_wrapping_facts(material),
        **{one.common_name: _certificate(one, material) for one in _every_authority(material)},
    }


def _holds(claim: Callable[[], object]) -> bool:
    """Whether a claim about a signature holds: False where a check refuses it."""
    try:
        claim()
    except (Rejected, InvalidSignature, ValueError):
        return False
    return True


def _report_facts(material: Material) -> Facts:
    if material.report is None:
        return {}
    data = material.report

    def field(name: str) -> Callable[[], object]:
        return lambda: getattr(parse(data), name)

    def bit(one: GuestPolicyBit) -> Callable[[], bool]:
        return lambda: bool(parse(data).policy & one)

    def tcb(name: str) -> Tcb:
        return Tcb.decode(getattr(parse(data), f"{name}_tcb"), layout_of(_product(material, parse(data))))

    def tcb_parts(name: str) -> Callable[[], object]:
        return lambda: _tcb(tcb(name))

    def identity_tcb() -> Tcb:
        return read_endorsement(material.endorsement).tcb

    return {
        **{name: field(name) for name in Report._fields},
        **{f"policy_{(one.name or '').lower()}": bit(one) for one in GuestPolicyBit},
        **{f"{name}_tcb": tcb_parts(name) for name in _TCBS},
        **{name: field(name) for name in ("mask_chip_key", "author_key_en", "signing_key", "chip_id_masked")},
        "report_version": field("version"),
        "product": lambda: _product(material, parse(data)),
        "signed_by": lambda: SigningKey(parse(data).signing_key).name,
        "policy_abi": lambda: format_abi(abi_of(parse(data).policy)),
        "current_version": lambda: ".".join(map(str, parse(data).current_version)),
        "committed_version": lambda: ".".join(map(str, parse(data).committed_version)),
        "cpuid_fam_mod_step": lambda: _cpuid(parse(data)),
        "report_signature_valid": lambda: _holds(lambda: _check_signature(material, data)),
        "vek_tcb_equals_reported_tcb": lambda: identity_tcb() == tcb("reported"),
        "hwid_matches_chip_id": lambda: _same_chip(material, parse(data)),
    }


def _check_signature(material: Material, data: bytes) -> None:
    report = parse(data)
    key = material.endorsement.key
    signatures.verify(key, report.signature_r, report.signature_s, data[:SIGNED_SIZE])


def _cpuid(report: Report) -> bytes:
    return bytes(part or 0 for part in (report.cpuid_family, report.cpuid_model, report.cpuid_stepping))


def _product(material: Material, report: Report) -> str:
    """By the report's CPUID, by the certificate where the version has none."""
    if report.cpuid_family is not None and report.cpuid_model is not None:
        line = line_of(report.cpuid_family, report.cpuid_model)
        if line is not None:
            return line.product
    return read_endorsement(material.endorsement).product


def _same_chip(material: Material, report: Report) -> bool | None:
    """None for a VLEK, which names no chip."""
    hw_id = read_endorsement(material.endorsement).hw_id
    return None if hw_id is None else hw_id.ljust(64, b"\0") == report.chip_id


def _wrapping_facts(material: Material) -> Facts:
    """Of Azure's wrapping: the runtime data that the report binds."""
    wrapped, report = material.wrapped, material.report
    if wrapped is None or report is None or b'{"keys"' not in wrapped:
        return {}
    runtime = wrapped[wrapped.index(b'{"keys"') :].partition(b"\0")[0]
    digest = sha256(runtime).digest()
    return {
        "report_offset": lambda: HCL_OFFSET,
        "runtime_data_length": lambda: len(runtime),
        "runtime_data_sha256": lambda: digest,
        "runtime_data_bound_by_report_data": lambda: parse(report).report_data == digest.ljust(64, b"\0"),
    }


def _endorsement_facts(material: Material, roots: Mapping[bytes, Root]) -> Facts:
    if not material.endorsements:
        return {}
    certificate = material.endorsement

    def chain_valid() -> None:
        chain.authenticate_key(certificate, _authority(material, roots))

    return {
        "chain_valid": lambda: _holds(chain_valid),
        "product": lambda: read_endorsement(certificate).product,
        "vek_issuer": lambda: _name(certificate.issuer),
        "vek_subject": lambda: certificate.common_name,
        "vek_validity": lambda: [certificate.not_before, certificate.not_after],
        "vek_serial": lambda: certificate.serial,
        "vek_tcb": lambda: _tcb(read_endorsement(certificate).tcb),
        "vek_product_name": lambda: read_endorsement(certificate).product_name,
        "vek_struct_version": lambda: read_endorsement(certificate).struct_version,
        "vek_csp_id": lambda: read_endorsement(certificate).csp_id,
        "csp_id": lambda: read_endorsement(certificate).csp_id,
        "hwid": lambda: _raw_hardware_id(material),
        "hwid_bytes": lambda: _size(_raw_hardware_id(material)),
        "vek_extensions": lambda: _extensions(material),
        "reissued_vcek_same_public_key": lambda: _reissued(material, roots),
        "reissued_vlek_same_public_key": lambda: _reissued(material, roots),
    }


def _size(value: bytes | None) -> int | None:
    return None if value is None else len(value)


def _raw_hardware_id(material: Material) -> bytes | None:
    """The extension's value as it stands, with an inner tag where it has one."""
    return dict(material.endorsement.extensions).get(OID["hwID"])


def _reissued(material: Material, roots: Mapping[bytes, Root]) -> bool:
    """The second certificate is another one, for the same key, and genuine."""
    if len(material.endorsements) < 2:
        raise NotCheckable("the row has one certificate")
    first, *others = material.endorsements
    for other in others:
        chain.authenticate_key(other, _authority(material, roots))
    numbers = first.key.public_numbers()
    return all(other.key.public_numbers() == numbers and other.der != first.der for other in others)


def _extensions(material: Material) -> Mapping[str, object]:
    """AMD's extensions as they stand, by name; the reserved components too."""
    identity = read_endorsement(material.endorsement)
    names = {oid: name for name, oid in OID.items()}
    reserved = {
        names[oid]: value[-1]
        for oid, value in material.endorsement.extensions
        if names.get(oid, "").startswith("spl")
    }
    return {
        "structVersion": identity.struct_version,
        "productName": identity.product_name,
        "hwid": _raw_hardware_id(material),
        "cspid": identity.csp_id,
        **_tcb(identity.tcb),
        **reserved,
    }


def _authority(material: Material, roots: Mapping[bytes, Root]) -> chain.AuthenticAuthority:
    return chain.authenticate_authority(material.root, material.intermediate, roots)


def _authority_facts(material: Material, roots: Mapping[bytes, Root]) -> Facts:
    return {
        "ark_spki_sha256": lambda: material.root.spki_sha256,
        "ask_spki_sha256": lambda: material.intermediate.spki_sha256,
        "ask_serial": lambda: material.intermediate.serial,
        "ask_signature_valid_under_ark": lambda: _holds(lambda: _authority(material, roots)),
    }


def _certificate(one: Authority, material: Material) -> Callable[[], object]:
    """What a row of roots says of each: its key, its serial, its dates, and who signed it."""
    return lambda: {
        "spki_sha256": one.spki_sha256,
        "serial": one.serial,
        "validity": [one.not_before, one.not_after],
        "signed_by_ark": any(_issued(one, root) for root in material.roots),
    }


def _issued(one: Authority, root: Authority) -> bool:
    return _holds(lambda: chain.authenticate_authority(root, one, AMD_ROOTS))


def _every_authority(material: Material) -> list[Authority]:
    """The row's own last, so that of two with one name its own is what is compared."""
    return [*reversed(material.intermediates), *reversed(material.roots)]


def _list_facts(material: Material, roots: Mapping[bytes, Root]) -> Facts:
    crl = material.crl
    if crl is None:
        return {}

    def listed() -> RevocationList:
        return chain.authentic_list(crl, _authority(material, roots))

    def on_list(certificate: Authority) -> bool:
        return certificate.issuer == listed().issuer and certificate.serial in listed().serials

    def current() -> Authority:
        """The newest intermediate of the same name."""
        own = material.intermediate
        named = [one for one in material.intermediates if one.subject == own.subject and one.der != own.der]
        if not named:
            raise NotCheckable("no newer intermediate is here")
        return max(named, key=lambda one: one.not_before)

    def summary() -> Mapping[str, object]:
        return {
            "valid_from": listed().issued,
            "valid_to": listed().next_update,
            "revoked_serials": sorted(listed().serials),
            "signature_valid_under_ark": _holds(listed),
        }

    return {
        "crl": summary,
        "ask_serial_on_crl": lambda: on_list(material.intermediate),
        "current_ask_serial": lambda: current().serial,
        "current_ask_on_crl": lambda: on_list(current()),
    }


def _name(name: x509.Name) -> str:
    return str(name.get_attributes_for_oid(x509.OID_COMMON_NAME)[0].value)


def _tcb(tcb: Tcb) -> Mapping[str, int]:
    parts = {"bl": tcb.bootloader, "tee": tcb.tee, "snp": tcb.snp, "ucode": tcb.microcode}
    return parts if tcb.fmc is None else {"fmc": tcb.fmc, **parts}
