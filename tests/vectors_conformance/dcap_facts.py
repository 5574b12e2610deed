"""Facts of TDX and SGX rows, under the index's names: parsed and evaluated by `wasmkeep.evidence`, signatures
by `cryptography` over the ranges that its parser gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.vectors_conformance.outcome import Facts, NotCheckable
from wasmkeep.evidence.dcap import collateral as parsed_collateral
from wasmkeep.evidence.dcap import tcb
from wasmkeep.evidence.dcap.certificates import Certificate, is_issued_by, load_chain
from wasmkeep.evidence.dcap.collateral import ParsedCollateral
from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.evidence import Collateral
from wasmkeep.evidence.dcap.pck import SGX_EXTENSION, PckIdentity, read_identity
from wasmkeep.evidence.dcap.quote import Quote, parse
from wasmkeep.evidence.dcap.tcb_info import IsvLevel, TcbLevel
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["facts_of"]

_NO_LEVEL = "no matching level"
_SGX_DEBUG = 1 << 1
_TD_DEBUG, _TD_SEPT_VE_DISABLE = 1 << 0, 1 << 28
_KEY_PREFIX = b"\x04"


@dataclass(frozen=True)
class _Case:
    """A row's quote and collateral, each part read when it is asked for."""

    data: bytes
    given: Collateral | None

    @property
    def raw(self) -> Collateral:
        if self.given is None:
            raise NotCheckable("the row has no collateral")
        return self.given

    @cached_property
    def quote(self) -> Quote:
        return parse(self.data)

    @cached_property
    def collateral(self) -> ParsedCollateral:
        return parsed_collateral.parse(self.raw)

    @cached_property
    def pck_chain(self) -> tuple[Certificate, ...]:
        text = self.quote.quoting_enclave.pck_chain.rstrip(b"\0").decode("ascii")
        return load_chain(text, "PCK", "PCK authority", "Intel root")

    @cached_property
    def pck(self) -> PckIdentity:
        return read_identity(dict(self.pck_chain[0].extensions)[SGX_EXTENSION])

    @property
    def td(self) -> TdReport | None:
        return self.quote.body if isinstance(self.quote.body, TdReport) else None

    @property
    def enclave(self) -> EnclaveReport | None:
        return self.quote.body if isinstance(self.quote.body, EnclaveReport) else None

    @cached_property
    def levels(self) -> tcb.Levels:
        """What each part reaches by itself, also where another reaches nothing."""
        svn = self.quote.quoting_enclave.report.isv_svn
        info, identity = self.collateral.tcb_info, self.collateral.qe_identity
        return tcb.reached(self.pck, info, identity, svn, self.td)

    @cached_property
    def verdict(self) -> tcb.TcbVerdict | None:
        return tcb.converged(self.levels, self.pck, self.collateral.tcb_info, self.td)


def facts_of(quote: bytes, collateral: Collateral | None) -> Facts:
    """Everything that can be said of a row's files."""
    case = _Case(quote, collateral)
    return {
        **_body_facts(case),
        **_quote_facts(case),
        **_signature_facts(case),
        **_collateral_facts(case),
        **_level_facts(case),
    }


def _body_facts(case: _Case) -> Facts:
    names = {field.name for kind in (TdReport, EnclaveReport) for field in fields(kind)}

    def field(name: str) -> Callable[[], object]:
        return lambda: getattr(case.quote.body, name)

    def debug() -> bool:
        return bool(case.quote.body.attributes & (_TD_DEBUG if case.td else _SGX_DEBUG))

    def service_td() -> bool | None:
        service = None if case.td is None else case.td.mr_service_td
        return None if service is None else any(service)

    return {
        **{name: field(name) for name in names},
        "tdattributes": field("attributes"),
        "td_attributes": field("attributes"),
        "mr_config_id": field("mrconfigid"),
        "mr_owner": field("mrowner"),
        "mr_owner_config": field("mrownerconfig"),
        "mr_servicetd": field("mr_service_td"),
        "mr_servicetd_nonzero": service_td,
        "septve_disable": lambda: bool(case.quote.body.attributes & _TD_SEPT_VE_DISABLE),
        "debug": debug,
        "tee": lambda: "SGX" if case.td is None else f"TDX {case.td.version} report",
    }


def _quote_facts(case: _Case) -> Facts:
    return {
        "quote_version": lambda: case.quote.header.version,
        "trailing_bytes": lambda: case.quote.trailing,
        "fmspc": lambda: case.pck.fmspc,
        "pce_id": lambda: case.pck.pce_id,
        "ppid": lambda: case.pck.ppid,
        "pcesvn": lambda: case.pck.pce_svn,
        "pck_tcb_components": lambda: list(case.pck.components),
        "pck_ca": lambda: _name(case.pck_chain[0].issuer),
        "pck_validity": lambda: [case.pck_chain[0].not_before, case.pck_chain[0].not_after],
        "pck_root_spki_sha256": lambda: case.pck_chain[-1].spki_sha256,
    }


def _signature_facts(case: _Case) -> Facts:
    def binds() -> bool:
        enclave = case.quote.quoting_enclave
        digest = sha256(case.quote.attestation_key + enclave.auth_data).digest()
        return enclave.report.report_data == digest.ljust(64, b"\0")

    def of_quote() -> bool:
        return _verifies(case.quote.attestation_key, case.quote.signature, case.quote.signed_part)

    def of_enclave() -> bool:
        enclave = case.quote.quoting_enclave
        return _verifies(case.pck_chain[0].key, enclave.signature, enclave.report.encode())

    def of_tcb_info() -> bool:
        key = case.collateral.tcb_chain[0].key
        return _verifies(key, case.raw.tcb_info_signature, case.raw.tcb_info.encode())

    def of_identity() -> bool:
        key = case.collateral.qe_chain[0].key
        return _verifies(key, case.raw.qe_identity_signature, case.raw.qe_identity.encode())

    return {
        "quote_signature_valid": of_quote,
        "qe_report_signature_valid": of_enclave,
        "qe_report_binds_attestation_key": binds,
        "pck_chain_signatures_valid": lambda: _chained(case.pck_chain),
        "tcb_info_signature_valid": of_tcb_info,
        "qe_identity_signature_valid": of_identity,
        "signer_chains_valid": lambda: (
            _chained(case.collateral.tcb_chain) and _chained(case.collateral.qe_chain)
        ),
        "root_crl_signature_valid": lambda: _signed(case.raw.root_ca_crl, case.collateral.list_chain[-1]),
        "pck_crl_signature_valid": lambda: _signed(case.raw.pck_crl, case.collateral.list_chain[0]),
    }


def _collateral_facts(case: _Case) -> Facts:
    def revoked() -> bool:
        crl, pck = case.collateral.pck_list, case.pck_chain[0]
        return crl.issuer == pck.issuer and pck.serial in crl.serials

    return {
        "pck_crl_issuer_matches": lambda: case.collateral.pck_list.issuer == case.pck_chain[0].issuer,
        "pck_revoked": revoked,
        "fmspc_match": lambda: case.collateral.tcb_info.fmspc == case.pck.fmspc,
        "pceid_match": lambda: case.collateral.tcb_info.pce_id == case.pck.pce_id,
        "qe_mrsigner_match": lambda: (
            case.quote.quoting_enclave.report.mrsigner == case.collateral.qe_identity.mrsigner
        ),
        "tcb_evaluation_data_number": lambda: case.collateral.evaluation,
        "collateral_valid_from": lambda: max(issued for _, issued, _ in case.collateral.dated),
        "collateral_valid_to": lambda: min(until for _, _, until in case.collateral.dated),
    }


def _level_facts(case: _Case) -> Facts:
    def status(level: TcbLevel | IsvLevel | None) -> str:
        return _NO_LEVEL if level is None else level.status.value

    def date() -> datetime | None:
        return None if case.levels.platform is None else case.levels.platform.date

    def module() -> str | None:
        return status(case.levels.module) if case.levels.module_counts else None

    return {
        "platform_tcb_level": lambda: status(case.levels.platform),
        "tcb_level_date": date,
        "tdx_module_level": module,
        "qe_level": lambda: status(case.levels.quoting_enclave),
        "status": lambda: _NO_LEVEL if case.verdict is None else case.verdict.status.value,
        "advisory_ids": lambda: [] if case.verdict is None else list(case.verdict.advisories),
    }


def _verifies(key: bytes, signature: bytes, signed: bytes) -> bool:
    """ECDSA P-256 with SHA-256; key and signature as two big-endian numbers of 32 bytes."""
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _KEY_PREFIX + key)
        public.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _chained(chain: tuple[Certificate, ...]) -> bool:
    """Each was issued by the next, and the last by itself."""
    issuers = (*chain[1:], chain[-1])
    return all(is_issued_by(one, issuer) for one, issuer in zip(chain, issuers, strict=True))


def _signed(crl: bytes, issuer: Certificate) -> bool:
    loaded = x509.load_der_x509_crl(crl)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _KEY_PREFIX + issuer.key)
    return loaded.is_signature_valid(key) and loaded.issuer == issuer.subject


def _name(name: x509.Name) -> str:
    return str(name.get_attributes_for_oid(x509.OID_COMMON_NAME)[0].value)
