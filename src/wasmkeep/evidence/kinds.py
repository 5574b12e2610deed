"""What bytes are, by their content alone: names of files decide nothing, and neither does this.

Whatever is recognised here goes through the checks of its kind; what is known but cannot be judged is refused
by name, so that nobody mistakes "not supported" for "broken".
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Final

from wasmkeep.evidence import cbor
from wasmkeep.evidence.errors import Finding, Kind, Rejected

__all__ = ["MAX_SIZE", "EvidenceKind", "recognise", "unsupported"]

MAX_SIZE: Final = 1 << 20
"""Bytes; what is longer is `EvidenceKind.UNKNOWN`."""


class EvidenceKind(StrEnum):
    """A kind of file that has to do with evidence."""

    SNP_REPORT = "snp-report"
    SNP_EXTENDED_REPORT = "snp-extended-report"
    HCL_REPORT = "hcl-report"
    TDX_QUOTE = "tdx-quote"
    SGX_QUOTE = "sgx-quote"
    CMW_JSON = "cmw-json"
    CMW_CBOR = "cmw-cbor"
    SEV_CERTIFICATES = "sev-certificates"
    PEM = "pem"
    DER = "der"
    COLLATERAL_JSON = "collateral-json"
    NITRO = "nitro"
    CCA = "cca"
    TPM_QUOTE = "tpm-quote"
    TRUSTZONE = "trustzone"
    UNKNOWN = "unknown"


_REPORT_SIZE: Final = 1184
_TABLE_ENTRY_SIZE: Final = 24
_MAX_TABLE_ENTRIES: Final = 16
_TABLE_GUIDS: Final = tuple(
    bytes.fromhex(guid)
    for guid in (
        "63da758de6644564adc5f4b93be8accd",
        "a8074bc2a25a483eaae639c045a0b8a1",
        "4ab7b379bbac4fe4a02f05aef327c782",
        "c0b406a4a803495297433fb6014cd0ae",
        "92f81bc358114d3d97ffd19f88dc67ea",
    )
)
_TABLE_END: Final = bytes(_TABLE_ENTRY_SIZE)
_QUOTE_HEADER_SIZE: Final = 48
_INTEL_QE: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_QUOTE_VERSIONS: Final = range(3, 6)
_KEY_TYPES: Final = range(4)
_TEE_TDX: Final = b"\x81\0\0\0"
_TPM_MAGIC: Final = b"\xffTCG"
_COSE_SIGN1, _COSE_MAC0, _CCA_TAG, _CWT_TAG = 18, 17, 399, 61
_CCA_PLATFORM, _CCA_REALM = 44234, 44241
_PSA_CLAIMS: Final = {-75000, -75001, -75002, -75003, -75006, -75008, 2394, 2395, 2396}
_EAT_PROFILE: Final = 265
_NITRO_CLAIMS: Final = {"module_id", "pcrs", "digest"}
_COLLATERAL_MEMBERS: Final = {"tcb_info", "qe_identity"}


def recognise(data: bytes) -> EvidenceKind:
    """The kind of ``data``; never raises. A kind says what to read bytes as, not that they can be read."""
    if not data or len(data) > MAX_SIZE:
        return EvidenceKind.UNKNOWN
    start = data[:64].lstrip()
    if start.startswith(b"-----BEGIN "):
        return EvidenceKind.PEM
    if start[:1] in (b"{", b"["):
        return _json(data)
    return _binary(data) or _cbor(data)


def _json(data: bytes) -> EvidenceKind:
    try:
        members = json.loads(data)
    except (ValueError, RecursionError):
        # A collection that is cut or altered is one that cannot be read, not one that was not recognised.
        return EvidenceKind.CMW_JSON if b'"__cmwc_t"' in data[:64] else EvidenceKind.UNKNOWN
    if isinstance(members, dict) and members.keys() >= _COLLATERAL_MEMBERS:
        return EvidenceKind.COLLATERAL_JSON
    if isinstance(members, dict) and "__cmwc_t" in members:
        return EvidenceKind.CMW_JSON
    if isinstance(members, list) and 2 <= len(members) <= 3 and isinstance(members[0], str):
        return EvidenceKind.CMW_JSON
    return EvidenceKind.UNKNOWN


def _binary(data: bytes) -> EvidenceKind | None:
    from wasmkeep.evidence.sev.files import is_certificates
    from wasmkeep.evidence.snp.hcl import MAGIC

    if data.startswith(MAGIC):
        return EvidenceKind.HCL_REPORT
    if is_certificates(data):
        return EvidenceKind.SEV_CERTIFICATES
    if data.startswith(_TPM_MAGIC) or data[2:6] == _TPM_MAGIC:
        return EvidenceKind.TPM_QUOTE
    if _is_quote(data):
        return EvidenceKind.TDX_QUOTE if data[4:8] == _TEE_TDX else EvidenceKind.SGX_QUOTE
    if data[1:4] == b"\0\0\0" and len(data) >= _REPORT_SIZE:
        table = data[_REPORT_SIZE:]
        if not table:
            return EvidenceKind.SNP_REPORT
        if table.startswith(_TABLE_END) or _lists_certificates(table):
            return EvidenceKind.SNP_EXTENDED_REPORT
    if data[0] == 0x30 and len(data) > 2 and data[1] in (0x81, 0x82, 0x83):
        return EvidenceKind.DER
    return None


def _lists_certificates(table: bytes) -> bool:
    """One of the first entries is a certificate of AMD's; a cloud's own may stand before it."""
    head = range(0, _MAX_TABLE_ENTRIES * _TABLE_ENTRY_SIZE, _TABLE_ENTRY_SIZE)
    return any(table.startswith(_TABLE_GUIDS, at) for at in head)


def _is_quote(data: bytes) -> bool:
    """A DCAP quote's header: version, attestation key type, TEE type, …, QE vendor."""
    if len(data) < _QUOTE_HEADER_SIZE:
        return False
    if data[12:28] == _INTEL_QE:
        return True
    version, key_type = (int.from_bytes(data[at : at + 2], "little") for at in (0, 2))
    return version in _QUOTE_VERSIONS and key_type in _KEY_TYPES[2:] and data[5:8] == b"\0\0\0"


def _cbor(data: bytes) -> EvidenceKind:
    try:
        item = cbor.outline(data)
    except cbor.NotCbor:
        return EvidenceKind.UNKNOWN
    if isinstance(item, dict):
        if _CCA_PLATFORM in item and _CCA_REALM in item:
            return EvidenceKind.CCA
        return EvidenceKind.CMW_CBOR if "__cmwc_t" in item or _records(item) else EvidenceKind.UNKNOWN
    if isinstance(item, list) and len(item) in (2, 3) and _is_record(item):
        return EvidenceKind.CMW_CBOR
    return _token(item)


def _records(item: dict[cbor.Item, cbor.Item]) -> bool:
    return bool(item) and all(_is_record(value) for value in item.values())


def _is_record(item: cbor.Item) -> bool:
    """Media type (text) or content format (integer), then bytes."""
    if not isinstance(item, list) or not 2 <= len(item) <= 3:
        return False
    named = isinstance(item[0], int) or (isinstance(item[0], str) and "/" in item[0])
    return named and isinstance(item[1], bytes)


def _token(item: cbor.Item) -> EvidenceKind:
    """A COSE message (RFC 9052) by the claims inside, or a CCA token by its tag."""
    while isinstance(item, cbor.Tagged):
        if item.number == _CCA_TAG:
            return EvidenceKind.CCA
        if item.number not in (_COSE_SIGN1, _COSE_MAC0, _CWT_TAG):
            return EvidenceKind.UNKNOWN
        item = item.item
    if not isinstance(item, list) or len(item) != 4 or not isinstance(item[2], bytes):
        return EvidenceKind.UNKNOWN
    try:
        claims = cbor.outline(item[2])
    except cbor.NotCbor:
        return EvidenceKind.UNKNOWN
    if not isinstance(claims, dict):
        return EvidenceKind.UNKNOWN
    if claims.keys() >= _NITRO_CLAIMS:
        return EvidenceKind.NITRO
    profile = str(claims.get(_EAT_PROFILE, ""))
    if "cca" in profile.lower():
        return EvidenceKind.CCA
    if "psa" in profile.lower() or not _PSA_CLAIMS.isdisjoint(claims):
        return EvidenceKind.TRUSTZONE
    return EvidenceKind.UNKNOWN


_NOT_YET = "known, not supported yet"
_NOT_A_TEE = "not a TEE"
_REASONS: Final = {
    EvidenceKind.NITRO: (_NOT_YET, "an AWS Nitro Enclaves attestation document", "AWS Nitro Enclaves"),
    EvidenceKind.CCA: (_NOT_YET, "an Arm CCA attestation token", "Arm CCA, draft-ffm-rats-cca-token"),
    EvidenceKind.TPM_QUOTE: (_NOT_A_TEE, "a TPM's attestation (quote)", "TPM 2.0 part 2, 10.12"),
    EvidenceKind.TRUSTZONE: (_NOT_A_TEE, "a TrustZone attestation token (PSA)", "RFC 9783"),
}
_MEANINGS: Final = {
    EvidenceKind.TPM_QUOTE: "a TPM tells what was booted; the owner of the machine still reads all memory",
    EvidenceKind.TRUSTZONE: "TrustZone keeps a vendor's secure world; it does not encrypt memory against "
    "the owner of the machine",
}


def unsupported(kind: EvidenceKind) -> Rejected:
    """The refusal of a kind that this version knows and does not judge: ``platform.unsupported`` ("known, not
    supported yet") or ``platform.not-a-tee``. ``ValueError`` for a kind that is neither."""
    if kind not in _REASONS:
        raise ValueError(f"{kind} is not one of the kinds that are known and not judged")
    reason, what, section = _REASONS[kind]
    supported = "SEV-SNP, SEV, SEV-ES, TDX, SGX"
    if reason == _NOT_YET:
        advice = "ask for evidence of a platform that is supported"
        return Rejected(
            Finding(
                "platform.unsupported", Kind.UNSUPPORTED, f"{what}: {reason}", str(kind), supported, section,
                "it may be genuine; nothing of it was checked", advice,
            )
        )  # fmt: skip
    advice = "ask for evidence of a trusted execution environment"
    return Rejected(
        Finding(
            "platform.not-a-tee", Kind.UNSUPPORTED, f"{what}: {reason}", str(kind), supported, section,
            _MEANINGS[kind], advice,
        )
    )  # fmt: skip
