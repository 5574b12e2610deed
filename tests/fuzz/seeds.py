"""Examples that fuzzing starts from: real evidence where it is beside the repository, small made-up ones
elsewhere."""

from __future__ import annotations

import base64
from datetime import datetime
from functools import cache

from tests.evidence import dcap_rows
from tests.evidence.vectors import (
    FOLDER,
    PRODUCTS,
    SEV_CHAINS,
    SEV_PARTS,
    accepted,
    authorities,
    rows,
    sev_chain,
    with_reports,
)
from wasmkeep.evidence import Collateral, SgxEvidence, SnpEvidence, TdxEvidence, cmw
from wasmkeep.evidence.dcap import certificates, collateral_json, quote
from wasmkeep.evidence.dcap.pck import SGX_EXTENSION
from wasmkeep.evidence.pem import encode_certificate
from wasmkeep.evidence.snp import table

_HERE = (FOLDER / "index.json").exists()
_SMALL_CBOR = bytes.fromhex("a2636b6579824101187f646e616d65f6")


@cache
def snp_evidence() -> SnpEvidence | None:
    """One accepted row's evidence."""
    names = accepted()
    return rows()[names[0]].evidence() if names else None


@cache
def quote_evidence() -> tuple[TdxEvidence | SgxEvidence, datetime] | None:
    """One accepted row's evidence, and when it holds."""
    for name, row in dcap_rows.rows().items():
        if row.expected["policy_verdict"].startswith("accept at"):
            return dcap_rows.evidence_of(dcap_rows.rows()[name]), row.at
    return None


def reports() -> list[bytes]:
    return [report for name in with_reports() if (report := rows()[name].report)]


def endorsements() -> list[bytes]:
    return [rows()[name].vcek for name in with_reports()]


def authority_chains() -> list[tuple[bytes, bytes, bytes]]:
    return [authorities(product) for product in PRODUCTS] if _HERE else []


def sev_authorities() -> list[bytes]:
    return [getattr(sev_chain(name), part) for name in SEV_CHAINS for part in ("ark", "ask")] if _HERE else []


def sev_certificates() -> list[bytes]:
    return [getattr(sev_chain(name), part) for name in SEV_CHAINS for part in SEV_PARTS[2:]] if _HERE else []


def amd_authorities() -> list[bytes]:
    return [der for chain in authority_chains() for der in chain]


def amd_lists() -> list[bytes]:
    return [crl for row in rows().values() if (crl := row.crl)]


def tables() -> list[bytes]:
    made = [table.encode(table.CertificateTable(vcek=b"\x30\x00", ask=b"\x30\x01\x00"))]
    own = snp_evidence()
    if own is not None:
        made.append(table.encode(table.CertificateTable(vcek=own.vcek, ask=own.chain[0], ark=own.chain[1])))
    return made


def quotes() -> list[bytes]:
    return [dcap_rows.evidence_of(row).quote for row in dcap_rows.rows().values()]


def _materials() -> list[Collateral]:
    found = [dcap_rows.evidence_of(row).collateral for row in dcap_rows.rows().values()]
    return [material for material in found if material is not None]


def collaterals() -> list[bytes]:
    return [collateral_json.encode(material) for material in _materials()]


def tcb_infos() -> list[bytes]:
    return [material.tcb_info.encode() for material in _materials()]


def identities() -> list[bytes]:
    return [material.qe_identity.encode() for material in _materials()]


def intel_lists() -> list[bytes]:
    return [crl for material in _materials() for crl in (material.pck_crl, material.root_ca_crl)]


def intel_chains() -> list[bytes]:
    return [quote.parse(data).quoting_enclave.pck_chain for data in quotes()]


def pck_extensions() -> list[bytes]:
    found = []
    for chain in intel_chains():
        text = chain.rstrip(b"\0").decode("ascii")
        leaf = certificates.load_chain(text, "PCK", "PCK authority", "Intel root")[0]
        found.append(dict(leaf.extensions)[SGX_EXTENSION])
    return found


def collections() -> list[bytes]:
    found = [_SMALL_CBOR]
    evidence: list[SnpEvidence | TdxEvidence | SgxEvidence] = []
    own, with_quote = snp_evidence(), quote_evidence()
    if own is not None:
        evidence.append(own)
    if with_quote is not None:
        evidence.append(with_quote[0])
    for one in evidence:
        found += [cmw.encode(cmw.EvidenceCollection(one), form) for form in cmw.Form]
    return found


def pem_texts() -> list[bytes]:
    return [b"".join(encode_certificate(der).encode() for der in chain) for chain in authority_chains()] or [
        encode_certificate(b"\x30\x00").encode()
    ]


def tokens() -> list[bytes]:
    head = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"eat+jwt"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(b'{"iat":1,"eat_profile":"tag:github.com,2023:veraison/ear"}').rstrip(
        b"="
    )
    return [b".".join((head, body, b"A" * 86)), bytes.fromhex("d28443a10127a0413058") + b"@" + bytes(64)]


def policies() -> list[bytes]:
    return [
        b'platforms = ["snp", "tdx"]\nruntime = ["wasmkeep 0.1.0"]\n',
        b'platforms = ["sgx"]\n[snp]\ngenerations = ["Genoa"]\n[snp.minimum_tcb.Genoa]\nsnp = 23\n',
    ]


def anything() -> list[bytes]:
    return [*reports(), *quotes(), *collections(), *tokens(), *pem_texts()]
