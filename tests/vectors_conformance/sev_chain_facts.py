"""Facts of SEV certificate chains, under the index's names, each computed by `wasmkeep.evidence`."""

from __future__ import annotations

from collections.abc import Callable

from tests.vectors_conformance.index import UnusableIndex, VectorRow
from tests.vectors_conformance.outcome import Facts
from wasmkeep.evidence import Rejected
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.sev import ca_certificate, certificate, chain, files
from wasmkeep.evidence.sev.certificate import Algorithm, Certificate, Usage
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.evidence.snp import signatures

__all__ = ["PARTS", "authority_facts", "chain_facts", "platform_of"]

PARTS = ("ark", "ask", "cek", "pek", "oca", "pdh")
_PLATFORM_PARTS = PARTS[2:]
_RSA_HASHES = {Algorithm.RSA_SHA256: "sha256", Algorithm.RSA_SHA384: "sha384"}
_EC_HASHES = {Algorithm.ECDSA_SHA256: "sha256", Algorithm.ECDSA_SHA384: "sha384"}


def platform_of(row: VectorRow) -> PlatformCertificates:
    """The six certificates of a platform: in six files, or in others, by what they are."""
    found = {part: row.file(f"{part}.cert") for part in PARTS}
    if all(found.values()):
        return PlatformCertificates(**{part: file.data for part, file in found.items() if file is not None})
    parsed = [one for file in row.files for one in files.parse_all(file.data)]
    platform, missing = files.assemble(parsed)
    if platform is None:
        raise UnusableIndex(f"the row lacks {', '.join(missing)}")
    return platform


def authority_facts(ark_data: bytes, ask_data: bytes) -> Facts:
    """Of a root and its intermediate."""
    ark, ask = ca_certificate.parse(ark_data, "ARK"), ca_certificate.parse(ask_data, "ASK")
    return {
        "ark_self_signed": lambda: ark.signed_by(ark),
        "ark_signs_ask": lambda: ask.signed_by(ark),
        "ark_spki_sha256": lambda: ark.spki_sha256,
        "ask_spki_sha256": lambda: ask.spki_sha256,
        "ark_key_id": lambda: ark.key_id,
        "ask_key_id": lambda: ask.key_id,
        "rsa_bits": lambda: ark.bits if ark.bits == ask.bits else None,
    }


def chain_facts(platform: PlatformCertificates) -> Facts:
    """Of a platform: each link apart, and the chain as `chain.authenticate` sees it."""
    parsed = {part: certificate.parse(getattr(platform, part), part.upper()) for part in _PLATFORM_PARTS}
    cek, pek, oca, pdh = (parsed[part] for part in _PLATFORM_PARTS)
    ask = ca_certificate.parse(platform.ask, "ASK")

    def valid() -> bool:
        try:
            chain.authenticate(platform, AMD_ROOTS)
        except Rejected:
            return False
        return True

    return {
        **authority_facts(platform.ark, platform.ask),
        "chain_valid": valid,
        "ask_signs_cek": lambda: cek.signed_by(Usage.ASK, ask.key),
        "oca_self_signed": lambda: oca.signed_by(Usage.OCA, oca.key),
        "oca_signs_pek": lambda: pek.signed_by(Usage.OCA, oca.key),
        "cek_signs_pek": lambda: pek.signed_by(Usage.CEK, cek.key),
        "pek_signs_pdh": lambda: pdh.signed_by(Usage.PEK, pek.key),
        "rsa_pss_hash": lambda: _RSA_HASHES[cek.slots[0].algorithm],
        "curve": _curve(cek),
        "ecdsa_hash": lambda: _EC_HASHES[next(slot for slot in pdh.slots if not slot.empty).algorithm],
        "firmware_api_version": lambda: {
            part: ".".join(map(str, one.api_version)) for part, one in parsed.items()
        },
        "generation": lambda: chain.authenticate(platform, AMD_ROOTS).generation,
    }


def _curve(one: Certificate) -> Callable[[], str]:
    return lambda: "P-384" if signatures.decode_key(one.key_bytes).curve.key_size == 384 else "another"
