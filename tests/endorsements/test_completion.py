"""From bare evidence to a verdict: what is asked for, from whom, and what its answers may decide."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from tests.endorsements.bodies import pem
from tests.endorsements.services import (
    VECTORS,
    Answer,
    Service,
    fmspc_of,
    genuine,
    intel_answers,
    running,
)
from tests.evidence import dcap_forge
from tests.evidence import forge as forged
from tests.evidence.forge import AT, REPORT_DATA, Forge
from wasmkeep import evidence
from wasmkeep.endorsements import (
    Addresses,
    CachedSource,
    Crl,
    FolderSource,
    Product,
    Vcek,
    VendorSource,
)
from wasmkeep.endorsements.claims import intel_platform_of
from wasmkeep.endorsements.completion import CompletedReport, complete_quote, complete_report
from wasmkeep.errors import HostRefused, InputError
from wasmkeep.evidence import Policy, Rejected
from wasmkeep.evidence.dcap.evidence import SgxEvidence, TdxEvidence
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.policy import RevocationPolicy
from wasmkeep.evidence.roots import INTEL_ROOTS
from wasmkeep.evidence.snp.evidence import SnpEvidence
from wasmkeep.evidence.snp.report import Report

EMPTY: dict[str, Answer] = {}


def kds_answers(
    forge: Forge,
    report: Report,
    *,
    product: Product = Product.GENOA,
    vcek: bytes | None = None,
    crl: bytes = b"",
) -> dict[str, Answer]:
    """A service that vouches for everything, under a root of its own."""
    named = Vcek.of_report(product, report.chip_id, report.reported_tcb.to_bytes(8, "little"))
    return {
        f"/{named.url_path}?{named.query}": (vcek or forge.cached("vcek"), {}),
        f"/vcek/v1/{product}/cert_chain": (pem(forge.cached("ask")) + pem(forge.cached("ark")), {}),
        f"/vcek/v1/{product}/crl": (crl or forge.cached("crl"), {}),
    }


def completed(service: Service, report: bytes, folder: Path, **more: bytes) -> CompletedReport:
    async def scenario() -> CompletedReport:
        async with VendorSource(Addresses(amd=service.url, intel=service.url)) as source:
            return await complete_report(CachedSource(source, folder), report, **more)

    return asyncio.run(scenario())


def verdict(
    found: SnpEvidence,
    policy: Policy,
    *,
    at: datetime = AT,
    retrieved: datetime | None = None,
    seen: dict[str, datetime] | None = None,
) -> evidence.AttestationResult:
    return evidence.verify(
        found,
        policy,
        at=at,
        binding=REPORT_DATA,
        reference_values={forged.MEASUREMENT: policy.runtime[0]},
        host_data=forged.HOST_DATA,
        crl_not_older_than=seen or {},
        crl_retrieved=retrieved,
    )


def refused(found: SnpEvidence, policy: Policy, **more: object) -> set[str]:
    with pytest.raises(Rejected) as rejected:
        verdict(found, policy, **more)  # type: ignore[arg-type]  # named arguments
    return {finding.check for finding in rejected.value.findings}


@pytest.fixture
def traps() -> Iterator[Service]:
    """Somebody whom nobody may ask."""
    with running(EMPTY) as service:
        yield service
        assert service.requests == []


def test_a_bare_report_is_completed_and_accepted(tmp_path: Path, forge: Forge) -> None:
    report = forged.report()
    with running(kds_answers(forge, report)) as service:
        found = completed(service, forge.sign(report), tmp_path)
        assert sorted(service.requests) == sorted(service.answers)
    assert verdict(found.evidence, forge.policy()).product == "Genoa"
    again = asyncio.run(complete_report(FolderSource(tmp_path), forge.sign(report)))
    assert again.evidence.chain == found.evidence.chain
    assert again.evidence.crl == found.evidence.crl
    assert again.crl_retrieved is not None


def test_another_address_never_changes_the_pinned_roots(tmp_path: Path, forge: Forge) -> None:
    report = forged.report()
    with running(kds_answers(forge, report)) as service:
        found = completed(service, forge.sign(report), tmp_path)
    assert refused(found.evidence, Policy.default()) == {"snp.root"}


def test_no_address_inside_evidence_or_a_certificate_is_asked(
    tmp_path: Path, forge: Forge, traps: Service
) -> None:
    where = [x509.UniformResourceIdentifier(f"{traps.url}/{name}") for name in ("issuer", "ocsp", "crl")]
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where[0]),
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where[1]),
        ]
    )
    points = x509.CRLDistributionPoints([x509.DistributionPoint([where[2]], None, None, None)])
    extra = ((access, False), (points, False))
    report = forged.report(report_data=traps.url.encode().ljust(64, b"\0"))
    answers = kds_answers(forge, report, vcek=forge.vcek(extra=extra))
    answers["/vcek/v1/Genoa/cert_chain"] = (pem(forge.ask(extra=extra)) + pem(forge.ark(extra=extra)), {})
    with running(answers) as service:
        found = completed(service, forge.sign(report), tmp_path)
        with contextlib.suppress(Rejected):  # of a binding that is another: only who is asked counts
            verdict(found.evidence, forge.policy())
        assert sorted(service.requests) == sorted(answers)


def test_a_report_that_does_not_say_what_made_it_is_asked_for_by_its_chip(
    tmp_path: Path, forge: Forge
) -> None:
    report = forged.version_2()
    with running(kds_answers(forge, report)) as service:
        completed(service, forge.sign(report), tmp_path)
        assert service.requests[0].startswith("/vcek/v1/Milan/")
    with running(EMPTY) as service, pytest.raises(HostRefused) as unknown:
        completed(service, forge.sign(report), tmp_path / "other")
    assert unknown.value.check == "endorsements.unknown"


def test_a_service_that_fails_is_not_asked_for_another_generation(tmp_path: Path, forge: Forge) -> None:
    with running(EMPTY) as service:
        service.fault = "429"
        with pytest.raises(HostRefused) as limited:
            completed(service, forge.sign(forged.version_2()), tmp_path)
        assert limited.value.check == "endorsements.rate_limited"
        assert len(service.requests) == 1


VLEK = 1 << 2


def test_a_vlek_comes_with_the_report_and_its_authority_is_fetched(tmp_path: Path, forge: Forge) -> None:
    report = forge.sign(forged.report(key_info=VLEK))
    answers = kds_answers(forge, forged.report())
    answers = {path.replace("/vcek/", "/vlek/"): answer for path, answer in answers.items()}
    with running(answers) as service:
        with pytest.raises(InputError) as missing:
            completed(service, report, tmp_path)
        assert missing.value.check == "endorsements.vlek"
        assert service.requests == []
        found = completed(service, report, tmp_path, certificate=b"a VLEK")
        assert service.requests == ["/vlek/v1/Genoa/cert_chain", "/vlek/v1/Genoa/crl"]
    assert found.evidence.vcek == b"a VLEK"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"chip_id": bytes(64)}, "endorsements.chip_masked"),
        ({"cpuid_family": 0x17}, "endorsements.product"),
        ({"reported_tcb": 0x0100_0000_0001_0000}, "endorsements.name"),
        ({"cpuid_family": 0x1A, "cpuid_model": 2}, "endorsements.name"),
    ],
    ids=["masked", "unknown processor", "reserved component", "long chip id of a Turin"],
)
def test_evidence_that_names_no_document_makes_no_request(
    tmp_path: Path, forge: Forge, traps: Service, changes: dict[str, object], check: str
) -> None:
    report = forge.sign(forged.report(**changes))
    with pytest.raises(InputError) as error:
        completed(traps, report, tmp_path)
    assert error.value.check == check


@pytest.mark.parametrize("data", [b"", b"\x03" * 100, bytes(1184)], ids=["nothing", "short", "zeros"])
def test_what_is_no_evidence_makes_no_request(tmp_path: Path, traps: Service, data: bytes) -> None:
    with pytest.raises(Rejected):
        completed(traps, data, tmp_path)
    with pytest.raises(Rejected):
        intel_platform_of(data)


def test_age_counts_from_retrieval_and_from_issue_where_that_is_unknown(forge: Forge) -> None:
    """The forged list was issued 30 days before."""
    policy = forge.policy(revocation=RevocationPolicy(max_age_days=10))
    found = forge.evidence()
    assert refused(found, policy) == {"snp.crl.too-old"}
    assert verdict(found, policy, retrieved=AT - timedelta(days=10)).bound
    assert refused(found, policy, retrieved=AT - timedelta(days=10, seconds=1)) == {"snp.crl.too-old"}


def test_a_list_retrieved_just_now_may_still_be_expired_or_an_older_one(forge: Forge) -> None:
    policy, found = forge.policy(), forge.evidence()
    assert verdict(found, policy, retrieved=AT).bound
    newer = {forge.pin: AT - timedelta(days=29)}
    assert refused(found, policy, retrieved=AT, seen=newer) == {"snp.crl.rollback"}
    late = AT + timedelta(days=301)
    assert refused(found, policy, at=late, retrieved=late) == {"snp.crl.expired"}


def test_revocation_is_by_issuer_and_serial(tmp_path: Path, forge: Forge) -> None:
    """The VCEK's serial on the list says nothing: the ASK issued the VCEK, and the ARK the list."""
    report, vcek = forged.report(), forge.vcek(serial_zero=False)
    for serials, checks in (((1,), set()), ((0x20002,), {"snp.crl.revoked"}), ((0x20003,), set())):
        answers = kds_answers(forge, report, vcek=vcek, crl=forge.crl(serials=serials))
        with running(answers) as service:
            found = completed(service, forge.sign(report), tmp_path / str(serials)).evidence
        if checks:
            assert refused(found, forge.policy()) == checks
        else:
            assert verdict(found, forge.policy()).bound


def test_no_list_in_date_is_a_refusal_and_allowing_it_is_named(forge: Forge) -> None:
    bare = forge.evidence(crl=None)
    assert refused(bare, forge.policy()) == {"snp.crl.missing"}
    result = verdict(bare, forge.policy(revocation=RevocationPolicy(required=False)))
    assert "no-revocation-list" in {lost.what for lost in result.lost_protections}


def test_a_folders_times_are_when_its_files_were_retrieved(tmp_path: Path, forge: Forge) -> None:
    report = forged.report()
    with running(kds_answers(forge, report)) as service:
        completed(service, forge.sign(report), tmp_path)
    moment = (AT - timedelta(days=20)).timestamp()
    os.utime(tmp_path / Crl(Product.GENOA).file_path, (moment, moment))
    found = asyncio.run(complete_report(FolderSource(tmp_path), forge.sign(report)))
    assert found.crl_retrieved == AT - timedelta(days=20)
    strict = forge.policy(revocation=RevocationPolicy(max_age_days=19))
    assert refused(found.evidence, strict, retrieved=found.crl_retrieved) == {"snp.crl.too-old"}


QUOTES = ("tdx/v4-uptodate", "tdx/v5-uptodate", "sgx/v3-debug-processor-ca", "sgx/v3-outofdate-platform-ca")


@pytest.mark.skipif(not VECTORS.is_dir(), reason="no vectors beside the checkout")
@pytest.mark.parametrize("row", QUOTES)
def test_a_genuine_quote_is_completed(tmp_path: Path, row: str) -> None:
    quote, expected = (VECTORS / row / "quote.bin").read_bytes(), genuine(row)
    platform = intel_platform_of(quote)
    assert platform.fmspc == fmspc_of(expected)
    answers = intel_answers(
        expected, tee=platform.tee, fmspc=platform.fmspc, ca=platform.authority, pccs=True
    )

    async def scenario(service: Service) -> None:
        async with VendorSource(Addresses(intel=service.url)) as source:
            found = await complete_quote(CachedSource(source, tmp_path), quote)
        assert (found.quote, found.collateral) == (quote, expected)
        assert await complete_quote(FolderSource(tmp_path), quote) == found

    with running(answers) as service:
        asyncio.run(scenario(service))
        assert sorted(service.requests) == sorted(answers)


@pytest.mark.skipif(not VECTORS.is_dir(), reason="no vectors beside the checkout")
@pytest.mark.parametrize("which", ["PCK", "root"])
def test_an_older_list_of_intels_than_one_seen_is_refused(which: str) -> None:
    row = "tdx/v4-uptodate"
    found = TdxEvidence((VECTORS / row / "quote.bin").read_bytes(), genuine(row))
    at = datetime(2025, 7, 1, tzinfo=UTC)

    def judged(seen: dict[str, datetime]) -> evidence.AttestationResult:
        return evidence.verify(
            found,
            plain(),
            at=at,
            binding=evidence.UNBOUND,
            reference_values={},
            crl_not_older_than=seen,
        )

    issued = judged({}).lists_issued
    assert len(issued) == 2
    assert next(iter(INTEL_ROOTS.values())).pin in issued
    pins = {"root": next(iter(INTEL_ROOTS.values())).pin}
    pins["PCK"] = next(pin for pin in issued if pin != pins["root"])
    assert judged(issued).lists_issued == issued, "the newest seen is new enough"
    with pytest.raises(Rejected) as rejected:
        judged({pins[which]: issued[pins[which]] + timedelta(seconds=1)})
    assert {finding.check for finding in rejected.value.findings} == {"dcap.crl.rollback"}


@pytest.mark.parametrize("machine", [dcap_forge.tdx(), dcap_forge.sgx()], ids=["tdx", "sgx"])
def test_another_address_never_changes_the_pinned_root_of_intels(
    tmp_path: Path, machine: dcap_forge.Machine
) -> None:
    """The service vouches for everything, under a root of its own."""
    quote = machine.quote()
    platform = intel_platform_of(quote)
    answers = intel_answers(
        machine.collateral(), tee=platform.tee, fmspc=platform.fmspc, ca=platform.authority
    )

    async def scenario(service: Service) -> TdxEvidence | SgxEvidence:
        async with VendorSource(Addresses(intel=service.url)) as source:
            return await complete_quote(CachedSource(source, tmp_path), quote)

    with running(answers) as service:
        found = asyncio.run(scenario(service))

    def judged(policy: Policy) -> evidence.AttestationResult:
        return evidence.verify(found, policy, at=dcap_forge.AT, binding=evidence.UNBOUND, reference_values={})

    assert judged(machine.policy()).simulated
    with pytest.raises(Rejected) as rejected:
        judged(plain())
    assert "dcap.root" in {finding.check for finding in rejected.value.findings}
