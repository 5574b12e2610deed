"""The shipped policy ``plain`` decides over the real evidence as its index says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from tests.evidence.vectors import FOLDER, accepted, needs_vectors, rows, with_reports
from wasmkeep.evidence import UNBOUND, AttestationResult, Policy, Rejected, verify
from wasmkeep.evidence.dcap.collateral_json import decode
from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.policy import SUPPORTED_PLATFORMS
from wasmkeep.evidence.sev.bits import GuestPolicyBit as SevGuestPolicyBit

TODAY = datetime(2026, 11, 23, tzinfo=UTC)
CHECKS = {
    # the index's words for a refusal → the check that refuses
    "Debug mode is enabled": "attributes.debug",
    "No matching TCB level found": "dcap.tcb.level",
    "Invalid MR service TD": "tdx.service-td",
    "SEPT_VE_DISABLE is not enabled": "tdx.attributes.sept-ve",
    "debug allowed": "snp.policy.debug",
    "report not signed by this VCEK": "snp.signature",
}


@cache
def quotes() -> dict[str, dict[str, Any]]:  # Any: JSON
    index = FOLDER / "index.json"
    if not index.exists():
        return {}
    found = json.loads(index.read_text())
    return {row["row"]: row["expected"] for row in found if row["technology"] in ("tdx", "sgx")}


def judge(row: str, policy: Policy, at: datetime) -> AttestationResult:
    folder = FOLDER / row
    kind = TdxEvidence if row.startswith("tdx") else SgxEvidence
    evidence = kind((folder / "quote.bin").read_bytes(), decode((folder / "collateral.json").read_bytes()))
    return verify(evidence, policy, at=at, binding=UNBOUND, reference_values={})


@needs_vectors
@pytest.mark.parametrize("row", sorted(quotes()))
def test_quotes(row: str) -> None:
    expected = quotes()[row]
    at, verdict = datetime.fromisoformat(expected["verify_at"]), expected["policy_verdict"]
    allowed = re.fullmatch(r"accept only if policy allows (\w+)", verdict)
    if verdict == "accept at verify_at":
        assert judge(row, plain(), at).reference is None
        return
    with pytest.raises(Rejected) as caught:
        judge(row, plain(), at)
    if allowed is None:
        assert any(check.endswith(CHECKS[verdict.removeprefix("reject: ")]) for check in caught.value.checks)
        return
    assert caught.value.checks == ("dcap.tcb.status",)
    policy, status = plain(), allowed[1]
    policy = replace(
        policy,
        tdx=replace(policy.tdx, tcb_statuses=("UpToDate", status)),
        sgx=replace(policy.sgx, tcb_statuses=("UpToDate", status)),
    )
    assert judge(row, policy, at).tcb == status


@needs_vectors
@pytest.mark.parametrize("row", sorted(quotes()))
def test_quotes_today(row: str) -> None:
    with pytest.raises(Rejected) as caught:
        judge(row, plain(), TODAY)
    assert "dcap.collateral.expired" in caught.value.checks


@needs_vectors
@pytest.mark.parametrize("row", sorted(with_reports()))
def test_reports(row: str) -> None:
    vector = rows()[row]
    if row in accepted():
        verify(vector.evidence(), plain(), at=vector.at, binding=UNBOUND, reference_values={})
        return
    with pytest.raises(Rejected) as caught:
        verify(vector.evidence(), plain(), at=vector.at, binding=UNBOUND, reference_values={})
    assert caught.value.checks == (CHECKS[vector.expected["policy_verdict"].removeprefix("reject: ")],)


@needs_vectors
def test_a_list_that_is_out_of_date_is_refused_by_name() -> None:
    """Most reports come without a list, which is accepted; what comes must be in date."""
    vector = rows()["snp/milan-v2-abi-1.51-crl"]
    with pytest.raises(Rejected) as caught:
        verify(vector.evidence(), plain(), at=TODAY, binding=UNBOUND, reference_values={})
    assert caught.value.checks == ("snp.crl.expired",)


def test_it_is_of_every_platform_and_asks_for_no_debugging() -> None:
    policy = plain()
    assert (policy.name, policy.platforms) == ("plain", SUPPORTED_PLATFORMS)
    assert not policy.sev.guest_allow & SevGuestPolicyBit.NODBG
    assert (policy.tdx.tcb_statuses, policy.sgx.tcb_statuses) == (("UpToDate",), ("UpToDate",))
    assert not any((policy.tdx.debug, policy.tdx.service_td, policy.tdx.sept_ve, policy.sgx.debug))
