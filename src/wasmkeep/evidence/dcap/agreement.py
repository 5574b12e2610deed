"""Whether dcap-qvl and this verifier read the same: every field of a quote, every claim about levels."""

from __future__ import annotations

import struct
from typing import Any

from wasmkeep.evidence.dcap import qvl
from wasmkeep.evidence.dcap.collateral import ParsedCollateral
from wasmkeep.evidence.dcap.pck import PckIdentity
from wasmkeep.evidence.dcap.quote import Quote
from wasmkeep.evidence.dcap.tcb import TcbVerdict
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["differing_claims", "differing_fields"]

_FLAGS = {True: "True", False: "False", None: "Undefined"}


def differing_fields(data: bytes, quote: Quote, pck: PckIdentity) -> list[str]:
    """Names of fields that dcap-qvl reads differently; all of them where it cannot read the quote."""
    ours = {"header": _header(quote), "report": _body(quote), "pck": _pck(pck)}
    theirs = qvl.read(data, ours)
    if theirs is None:
        return ["the whole quote"]
    return [
        f"{part}.{name}"
        for part, fields in ours.items()
        for name, value in fields.items()
        if theirs[f"{part}.{name}"] != value
    ]


def differing_claims(
    claims: dict[str, Any], pck: PckIdentity, collateral: ParsedCollateral, tcb: TcbVerdict | None
) -> list[str]:
    """Names of claims, of an accepted quote, that differ from what was found here."""
    if tcb is None:
        return ["tcb.status"]
    theirs_tcb, platform, quoting_enclave = claims["tcb"], claims["platform"], claims["qe"]
    level = platform["tcb_level"]["tcb"]
    compared: dict[str, tuple[object, object]] = {
        "tcb.status": (theirs_tcb["status"], tcb.status),
        "tcb.advisory_ids": (set(theirs_tcb["advisory_ids"]), set(tcb.advisories)),
        "tcb.eval_data_number": (theirs_tcb["eval_data_number"], collateral.evaluation),
        "platform.sgxtcbcomponents": (_svns(level["sgxtcbcomponents"]), tcb.platform.sgx),
        "platform.tdxtcbcomponents": (_svns(level["tdxtcbcomponents"]), tcb.platform.tdx),
        "platform.pcesvn": (level["pcesvn"], tcb.platform.pce_svn),
        "platform.dynamic_platform": (platform["pck"]["dynamic_platform"], _FLAGS[pck.dynamic_platform]),
        "platform.cached_keys": (platform["pck"]["cached_keys"], _FLAGS[pck.cached_keys]),
        "platform.smt_enabled": (platform["pck"]["smt_enabled"], _FLAGS[pck.smt]),
        "platform.pck_crl_num": (platform["pck_crl_num"], collateral.pck_list.number),
        "platform.root_ca_crl_num": (platform["root_ca_crl_num"], collateral.root_list.number),
        "qe.isvsvn": (quoting_enclave["tcb_level"]["tcb"]["isvsvn"], tcb.quoting_enclave.isv_svn),
        "qe.tcbStatus": (quoting_enclave["tcb_level"]["tcbStatus"], tcb.quoting_enclave.status),
    }
    return [name for name, (theirs, ours) in compared.items() if theirs != ours]


def _svns(components: list[dict[str, int]]) -> bytes:
    return bytes(component["svn"] for component in components)


def _header(quote: Quote) -> dict[str, object]:
    header = quote.header
    return {
        "version": header.version,
        "attestation_key_type": header.key_type,
        "tee_type": header.tee_type,
        "qe_svn": header.qe_svn,
        "pce_svn": header.pce_svn,
        "qe_vendor_id": header.qe_vendor,
        "user_data": header.user_data,
    }


def _body(quote: Quote) -> dict[str, object]:
    body = quote.body
    if not isinstance(body, TdReport):
        return {
            "cpu_svn": body.cpu_svn,
            "attributes": body.attributes_bytes,
            "mr_enclave": body.mrenclave,
            "mr_signer": body.mrsigner,
            "report_data": body.report_data,
        }
    return {
        "tee_tcb_svn": body.tee_tcb_svn,
        "mr_seam": body.mrseam,
        "mr_signer_seam": body.mrsignerseam,
        "seam_attributes": body.seam_attributes,
        "td_attributes": struct.pack("<Q", body.attributes),
        "xfam": struct.pack("<Q", body.xfam),
        "mr_td": body.mrtd,
        "mr_config_id": body.mrconfigid,
        "mr_owner": body.mrowner,
        "mr_owner_config": body.mrownerconfig,
        "rt_mr0": body.rtmr0,
        "rt_mr1": body.rtmr1,
        "rt_mr2": body.rtmr2,
        "rt_mr3": body.rtmr3,
        "report_data": body.report_data,
        "tee_tcb_svn2": body.tee_tcb_svn2,
        "mr_service_td": body.mr_service_td,
    }


def _pck(pck: PckIdentity) -> dict[str, object]:
    return {
        "ppid": pck.ppid,
        "cpu_svn": pck.cpu_svn,
        "pce_svn": pck.pce_svn,
        "pce_id": pck.pce_id,
        "fmspc": pck.fmspc,
        "sgx_type": pck.sgx_type,
        "platform_instance_id": pck.platform_instance,
    }
