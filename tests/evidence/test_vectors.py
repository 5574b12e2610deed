"""Real evidence from real hardware: parsed facts and verdicts as the vectors' index states them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from tests.evidence.vectors import (
    PRODUCTS,
    Row,
    authorities,
    certificates,
    needs_vectors,
    plain,
    rows,
    with_reports,
)
from wasmkeep.evidence import NO_LISTS_SEEN, UNBOUND, Policy, Rejected, verify
from wasmkeep.evidence.errors import Finding
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.snp import chain
from wasmkeep.evidence.snp.bits import GuestPolicyBit, abi_of, format_abi
from wasmkeep.evidence.snp.certificates import RevocationList, load_authority, load_endorsement
from wasmkeep.evidence.snp.endorsement import read_endorsement
from wasmkeep.evidence.snp.products import layout_of
from wasmkeep.evidence.snp.report import parse
from wasmkeep.evidence.snp.revocation import Revocation, RevocationStatus
from wasmkeep.evidence.snp.tcb import Tcb

pytestmark = needs_vectors

REFUSED_FOR = {
    "snp/milan-v2-debug": ("snp.policy.debug",),
    "snp/milan-v2-wrong-vcek": ("snp.signature",),
}


RULES = replace(plain().revocation, required=True)


def _revocation(
    authority: chain.AuthenticAuthority, crl: Callable[[], RevocationList] | None, at: datetime
) -> tuple[Revocation, tuple[Finding, ...]]:
    return chain.revocation(authority, crl, RULES, at, not_older_than=NO_LISTS_SEEN)


def _tcb(facts: dict[str, int]) -> Tcb:
    return Tcb(facts["bl"], facts["tee"], facts["snp"], facts["ucode"], facts.get("fmc"))


@pytest.mark.parametrize("row", with_reports())
def test_report_facts(row: str) -> None:
    expected = rows()[row].expected
    data = rows()[row].report
    assert data is not None
    report = parse(data)
    assert report.encode() == data
    assert report.version == expected["report_version"]
    assert report.policy == int(expected["policy"], 16)
    assert bool(report.policy & GuestPolicyBit.DEBUG) == expected["policy_debug"]
    assert bool(report.policy & GuestPolicyBit.MIGRATE_MA) == expected["policy_migrate_ma"]
    assert bool(report.policy & GuestPolicyBit.SMT) == expected["policy_smt"]
    assert format_abi(abi_of(report.policy)) == expected["policy_abi"]
    assert (report.guest_svn, report.vmpl) == (expected["guest_svn"], expected["vmpl"])
    assert report.platform_info == int(expected["platform_info"], 16)
    assert report.mask_chip_key == expected["mask_chip_key"]
    assert report.author_key_en == expected["author_key_en"]
    for field in ("measurement", "report_data", "host_data", "chip_id"):
        assert getattr(report, field).hex() == expected[field]
    layout = layout_of(expected["product"])
    for field in ("current", "reported", "committed", "launch"):
        assert Tcb.decode(getattr(report, f"{field}_tcb"), layout) == _tcb(expected[f"{field}_tcb"])
    if "cpuid_fam_mod_step" in expected:
        cpuid = (report.cpuid_family, report.cpuid_model, report.cpuid_stepping)
        assert bytes(part or 0 for part in cpuid).hex() == expected["cpuid_fam_mod_step"]


@pytest.mark.parametrize("row", [name for name in rows() if "vek_product_name" in rows()[name].expected])
def test_endorsement_facts(row: str) -> None:
    expected = rows()[row].expected
    identity = read_endorsement(load_endorsement(rows()[row].vcek, "VCEK"))
    assert identity.product_name == expected["vek_product_name"]
    assert identity.struct_version == expected["vek_struct_version"]
    assert identity.tcb == _tcb(expected["vek_tcb"])
    assert identity.hw_id is not None
    assert len(identity.hw_id) == expected["hwid_bytes"]


@pytest.mark.parametrize("row", with_reports())
def test_plain_verdict(row: str) -> None:
    """Accepted, or refused for exactly the reason the index gives."""
    vector = rows()[row]
    if vector.expected["policy_verdict"] == "accept":
        result = verify(vector.evidence(), plain(), at=vector.at, binding=UNBOUND, reference_values={})
        assert not result.simulated
        assert not result.bound
        assert result.product == vector.expected["product"]
        assert result.launch_digest.hex() == vector.expected["measurement"]
    else:
        with pytest.raises(Rejected) as caught:
            verify(vector.evidence(), plain(), at=vector.at, binding=UNBOUND, reference_values={})
        assert caught.value.checks == REFUSED_FOR[row]


@pytest.mark.parametrize("row", with_reports())
def test_the_default_policy_accepts_none_of_them(row: str) -> None:
    """None measured a keep; Milan is denied as well."""
    vector = rows()[row]
    with pytest.raises(Rejected) as caught:
        verify(vector.evidence(), Policy.default(), at=vector.at, binding=UNBOUND, reference_values={})
    if vector.expected["report_signature_valid"]:
        assert "snp.measurement" in caught.value.checks
        assert ("snp.generation" in caught.value.checks) == (vector.expected["product"] == "Milan")


def test_both_certificates_of_one_key_are_accepted() -> None:
    vector = rows()["snp/milan-v3-vcek"]
    reissued = certificates(vector.files["vcek-reissued.pem"])[0]
    evidence = vector.evidence()
    for certificate in (evidence.vcek, reissued):
        loaded = load_endorsement(certificate, "VCEK")
        key = chain.authenticate_key(loaded, _authority("Milan"))
        assert chain.dates((key.certificate,), vector.at) == ()


@pytest.mark.parametrize("product", PRODUCTS)
def test_roots_and_intermediates(product: str) -> None:
    expected = rows()["snp/ca-roots"].expected
    ask, ark, asvk = authorities(product)
    for der, name in ((ask, f"SEV-{product}"), (ark, f"ARK-{product}"), (asvk, f"SEV-VLEK-{product}")):
        loaded = load_authority(der, name)
        assert loaded.spki_sha256.hex() == expected[name]["spki_sha256"]
        assert loaded.serial == int(expected[name]["serial"], 16)
        assert loaded.common_name == name
    for intermediate, issues_vleks in ((ask, False), (asvk, True)):
        authority = chain.authenticate_authority(
            load_authority(ark, "ARK"), load_authority(intermediate, "ASK"), AMD_ROOTS
        )
        assert authority.root.product == product
        assert authority.issues_vleks == issues_vleks


def test_turin_chain() -> None:
    vector = rows()["snp/turin-vcek-chain"]
    ask, ark = certificates(vector.files["ask-ark.pem"])
    authority = chain.authenticate_authority(
        load_authority(ark, "ARK"), load_authority(ask, "ASK"), AMD_ROOTS
    )
    key = chain.authenticate_key(load_endorsement(vector.vcek, "VCEK"), authority)
    assert chain.dates((key.certificate, authority.ask, authority.ark), vector.at) == ()
    identity = read_endorsement(key.certificate)
    assert identity.product == "Turin"
    assert identity.tcb == _tcb(vector.expected["vek_tcb"])
    assert identity.hw_id is not None
    assert identity.hw_id.hex() == vector.expected["vek_extensions"]["hwid"]


@pytest.mark.parametrize("row", ["snp/milan-vcek-invalid-legacy", "snp/milan-vcek-invalid-new"])
def test_forged_vceks(row: str) -> None:
    vector = rows()[row]
    loaded = load_endorsement(vector.vcek, "VCEK")
    with pytest.raises(Rejected) as caught:
        chain.authenticate_key(loaded, _authority("Milan"))
    assert caught.value.checks == ("snp.chain.key",)
    hw_id = read_endorsement(loaded).hw_id
    assert hw_id is not None
    assert hw_id.hex() == vector.expected["vek_extensions"]["hwid"].removeprefix("0440")


def _list(vector: Row, authority: chain.AuthenticAuthority) -> Callable[[], RevocationList]:
    crl = vector.crl
    assert crl is not None
    return lambda: chain.authentic_list(crl, authority)


def test_revoked_intermediate() -> None:
    vector = rows()["snp/genoa-revoked-ask"]
    ark = load_authority(vector.read("ark.der"), "ARK")
    revoked = load_authority(vector.read("ask-revoked.der"), "ASK")
    authority = chain.authenticate_authority(ark, revoked, AMD_ROOTS)
    _, findings = _revocation(authority, _list(vector, authority), vector.at)
    assert [finding.check for finding in findings] == ["snp.crl.revoked"]

    status, findings = _revocation(_authority("Genoa"), _list(vector, _authority("Genoa")), vector.at)
    assert findings == ()
    assert status.status is RevocationStatus.FRESH


def test_a_list_out_of_date_is_not_a_list() -> None:
    """Expired means "unknown", never "not revoked"."""
    vector = rows()["snp/milan-v2-abi-1.51-crl"]
    crl = vector.expected["crl"]
    at = datetime.fromisoformat(vector.expected["verify_with_crl_at"])
    milan = _authority("Milan")
    status, findings = _revocation(milan, _list(vector, milan), at)
    assert (findings, status.issued) == ((), datetime.fromisoformat(crl["valid_from"]))
    _, findings = _revocation(
        _authority("Milan"), _list(vector, _authority("Milan")), datetime(2026, 11, 23, tzinfo=UTC)
    )
    assert [finding.check for finding in findings] == ["snp.crl.expired"]


def test_azure_binds_its_runtime_data() -> None:
    vector = rows()["snp/milan-v2-azure-vtpm"]
    wrapped = vector.read("hcl-report.bin")
    start = wrapped.index(b'{"keys"')
    runtime = wrapped[start : start + vector.expected["runtime_data_length"]]
    expected = sha256(runtime).digest().ljust(64, b"\0")
    result = verify(vector.evidence(), plain(), at=vector.at, binding=expected, reference_values={})
    assert result.bound


def test_vectors_are_where_they_are_expected() -> None:
    assert all(Path(path).exists() for row in rows().values() for path in row.files.values())


def _authority(product: str) -> chain.AuthenticAuthority:
    ask, ark, _ = authorities(product)
    return chain.authenticate_authority(load_authority(ark, "ARK"), load_authority(ask, "ASK"), AMD_ROOTS)


def test_an_older_reported_level_is_pointed_out() -> None:
    from wasmkeep.evidence.snp.explain import explain

    def said(name: str) -> bool:
        report = rows()[name].report
        assert report is not None
        return any("reported is below current" in line.meaning for line in explain(parse(report)))

    assert said("snp/milan-v3-reported-below-current")
    assert not said("snp/milan-v3-vcek")
