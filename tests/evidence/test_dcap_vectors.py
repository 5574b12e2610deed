"""Every real TDX and SGX quote: every fact that is known of it, and the verdict to expect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evidence.dcap_rows import at, collateral_of, evidence_of, rows
from tests.evidence.vectors import Row, needs_vectors
from wasmkeep.evidence import UNBOUND, AttestationResult, Policy, Rejected, TdxEvidence, verify
from wasmkeep.evidence.dcap import agreement, chain, collateral, qvl, tcb
from wasmkeep.evidence.dcap.certificates import Certificate
from wasmkeep.evidence.dcap.enclave_report import EnclaveReport
from wasmkeep.evidence.dcap.pck import SGX_EXTENSION, PckIdentity, read_identity
from wasmkeep.evidence.dcap.quote import INTEL_QE_VENDOR, Quote, parse
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.roots import INTEL_ROOTS
from wasmkeep.evidence.tdx.bits import TdAttribute
from wasmkeep.evidence.tdx.report import TdReport

pytestmark = needs_vectors

REFUSED_FOR = {
    "No matching TCB level found": "dcap.tcb.level",
    "SEPT_VE_DISABLE is not enabled": "tdx.attributes.sept-ve",
    "Invalid MR service TD": "tdx.service-td",
}


def pck_of(quote: Quote) -> tuple[tuple[Certificate, ...], PckIdentity]:
    certificates = chain.load_pck_chain(quote.quoting_enclave.pck_chain)
    return certificates, read_identity(dict(certificates[0].extensions)[SGX_EXTENSION])


def judge(row: Row, policy: Policy, when: str) -> AttestationResult:
    return verify(evidence_of(row), policy, at=at(when), binding=UNBOUND, reference_values={})


def allowing(policy: Policy, status: str) -> Policy:
    return replace(
        policy,
        tdx=replace(policy.tdx, tcb_statuses=("UpToDate", status)),
        sgx=replace(policy.sgx, tcb_statuses=("UpToDate", status)),
    )


@pytest.mark.parametrize("name", rows())
def test_the_quote_is_read_to_the_byte(name: str) -> None:
    row, expected = rows()[name], rows()[name].expected
    data = row.read("quote.bin")
    quote = parse(data)
    assert quote.encode() == data[: len(data) - quote.trailing]
    assert quote.trailing == expected["trailing_bytes"]
    assert quote.header.version == expected["quote_version"]
    assert quote.header.qe_vendor == INTEL_QE_VENDOR
    if isinstance(quote.body, TdReport):
        assert expected["tee"] == f"TDX {quote.body.version} report"
    else:
        assert expected["tee"] == "SGX"


@pytest.mark.parametrize("name", [name for name in rows() if name.startswith("tdx/")])
def test_what_a_trust_domain_says(name: str) -> None:
    row, expected = rows()[name], rows()[name].expected
    body = parse(row.read("quote.bin")).body
    assert isinstance(body, TdReport)
    assert body.attributes == int(expected["tdattributes"], 16)
    assert bool(body.attributes & TdAttribute.DEBUG) is expected["debug"]
    assert bool(body.attributes & TdAttribute.SEPT_VE_DISABLE) is expected["septve_disable"]
    assert body.tee_tcb_svn.hex() == expected["tee_tcb_svn"]
    for field in ("mrtd", "mrseam", "report_data"):
        assert getattr(body, field).hex() == expected[field]
    if "mr_servicetd_nonzero" in expected:
        assert body.mr_service_td is not None
        assert any(body.mr_service_td) is expected["mr_servicetd_nonzero"]


@pytest.mark.parametrize("name", [name for name in rows() if name.startswith("sgx/")])
def test_what_an_enclave_says(name: str) -> None:
    row, expected = rows()[name], rows()[name].expected
    body = parse(row.read("quote.bin")).body
    assert isinstance(body, EnclaveReport)
    assert body.attributes == int(expected["attributes"], 16)
    assert body.mrenclave.hex() == expected["mrenclave"]
    assert body.mrsigner.hex() == expected["mrsigner"]
    assert (body.isv_prod_id, body.isv_svn) == (expected["isvprodid"], expected["isvsvn"])


@pytest.mark.parametrize("name", rows())
def test_what_the_platform_is_and_which_levels_it_reaches(name: str) -> None:
    row, expected = rows()[name], rows()[name].expected
    quote = parse(row.read("quote.bin"))
    (leaf, authority, root), pck = pck_of(quote)
    assert root.spki_sha256.hex() == expected["pck_root_spki_sha256"]
    assert root.spki_sha256 in INTEL_ROOTS
    assert authority.common_name == expected["pck_ca"]
    assert [f"{leaf.not_before:%Y-%m-%d}", f"{leaf.not_after:%Y-%m-%d}"] == expected["pck_validity"]
    assert pck.fmspc.hex() == expected["fmspc"]
    assert (list(pck.components), pck.pce_svn) == (expected["pck_tcb_components"], expected["pcesvn"])

    material = collateral.parse(collateral_of(row))
    body = quote.body if isinstance(quote.body, TdReport) else None
    level = tcb.platform_level(pck, material.tcb_info, body.tee_tcb_svn if body else None)
    assert (level.status if level else "no matching level") == expected["platform_tcb_level"]
    assert (level and f"{level.date:%Y-%m-%dT%H:%M:%SZ}") == expected["tcb_level_date"]
    if "tdx_module_level" in expected and body is not None:
        module = tcb.module_level(material.tcb_info, body.tee_tcb_svn)
        assert module is not None
        assert module.status == expected["tdx_module_level"]
    enclave = tcb.isv_level_of(material.qe_identity.levels, quote.quoting_enclave.report.isv_svn)
    assert enclave is not None
    assert enclave.status == expected["qe_level"]
    first = max(issued for _, issued, _ in material.dated)
    assert first == at(expected["collateral_valid_from"])
    assert min(until for _, _, until in material.dated) == at(expected["collateral_valid_to"])


@pytest.mark.parametrize("name", rows())
def test_the_other_verifier_reads_the_same(name: str) -> None:
    row, expected = rows()[name], rows()[name].expected
    data, quote = row.read("quote.bin"), parse(row.read("quote.bin"))
    assert agreement.differing_fields(data, quote, pck_of(quote)[1]) == []
    opinion = qvl.ask(data, collateral_of(row), at(expected["verify_at"]), None)
    assert opinion.refused == expected.get("rejected_with", "")


@pytest.mark.parametrize("name", rows())
def test_the_verdict(name: str) -> None:
    row, expected = rows()[name], rows()[name].expected
    verdict, when = expected["policy_verdict"], expected["verify_at"]
    if verdict == "accept at verify_at":
        result = judge(row, plain(), when)
    elif verdict.startswith("accept only if policy allows "):
        with pytest.raises(Rejected) as refused:
            judge(row, plain(), when)
        assert refused.value.checks == ("dcap.tcb.status",)
        result = judge(row, allowing(plain(), verdict.rpartition(" ")[2]), when)
    else:
        with pytest.raises(Rejected) as refused:
            judge(row, plain(), when)
        tee = name.partition("/")[0]
        check = REFUSED_FOR.get(expected["rejected_with"], f"{tee}.attributes.debug")
        assert check in refused.value.checks
        assert set(refused.value.checks) <= {
            *REFUSED_FOR.values(),
            f"{tee}.attributes.debug",
            "dcap.tcb.status",
        }
        return
    facts = result.tdx or result.sgx
    assert facts is not None
    assert (result.tcb, set(facts.tcb.advisories)) == (expected["status"], set(expected["advisory_ids"]))
    assert not result.simulated
    assert result.root.name == "Intel SGX Root CA"


@pytest.mark.parametrize("name", rows())
def test_today_every_collateral_is_out_of_date(name: str) -> None:
    assert rows()[name].expected["verdict_at_2026-11-23"] == "reject: collateral expired"
    with pytest.raises(Rejected) as refused:
        judge(rows()[name], allowing(plain(), "OutOfDate"), "2026-11-23T00:00:00+00:00")
    assert "dcap.collateral.expired" in refused.value.checks
    assert "dcap.refused" not in refused.value.checks


def test_without_collateral_nothing_is_accepted_and_the_body_is_judged_all_the_same() -> None:
    row = rows()["tdx/v4-debug"]
    evidence = TdxEvidence(row.read("quote.bin"))
    with pytest.raises(Rejected) as refused:
        verify(evidence, plain(), at=at(row.expected["verify_at"]), binding=UNBOUND, reference_values={})
    assert refused.value.checks == ("dcap.collateral.missing", "tdx.attributes.debug")
