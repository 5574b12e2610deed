"""Evidence of another chip, TCB, root or time than the policy takes: refused by name, with nothing sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from tests.hostile.lying_host import (
    REPORT,
    Liar,
    Offering,
    deploy_to_liar,
    policy_for,
    refused,
)
from tests.machines import STATE, BootedMachine, machine
from wasmkeep.endorsements import Crl, Document, FolderSource, Vcek
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.snp import report as snp_report
from wasmkeep.evidence.snp import signatures
from wasmkeep.simulator.products import PRODUCTS
from wasmkeep.simulator.roots import load_or_create
from wasmkeep.tenant import appraisal
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.host_api import KeepCreated
from wasmkeep.tenant.state import TenantState

DEBUG = 1 << 19


def test_a_chip_that_is_not_listed_and_only_where_chips_are_listed() -> None:
    hardware = machine()
    other = machine(name="tests-other")
    listed = policy_for(other, chips_allow=frozenset({hardware.chip_id}))
    liar = Liar()
    refused(deploy_to_liar(liar, on=other, policy=listed), liar, "snp.chip.allow")
    assert deploy_to_liar(on=other, policy=policy_for(other)).outcome is not None
    own = policy_for(other, chips_allow=frozenset({other.chip_id}))
    assert deploy_to_liar(on=other, policy=own).outcome is not None


def test_a_denied_chip() -> None:
    hardware = machine()
    liar = Liar()
    policy = policy_for(hardware, chips_deny=frozenset({hardware.chip_id}))
    refused(deploy_to_liar(liar, policy=policy), liar, "snp.chip.deny")


def test_a_masked_chip_has_no_certificate_to_ask_for() -> None:
    """Refused as evidence, also by a policy that accepts it of evidence with its certificates at hand."""
    masked = machine("--mask-chip-id")
    for policy in (
        policy_for(masked),
        policy_for(masked, masked_chip_id=True),
        policy_for(masked, chips_allow=frozenset({masked.chip_id})),
    ):
        liar = Liar()
        result = deploy_to_liar(liar, on=masked, policy=policy)
        refused(result, liar, "snp.chip.masked")
        assert isinstance(result.error, Rejected)


def test_a_clouds_key_has_no_certificate_to_ask_for() -> None:
    """Nor has a deployment one that the policy would accept of evidence with its certificates at hand."""
    cloud = machine("--vlek", "CN=cc.cloud.example", name="tests-cloud")
    for policy in (policy_for(cloud), policy_for(cloud, signers=("vcek", "vlek"))):
        liar = Liar()
        result = deploy_to_liar(liar, on=cloud, policy=policy)
        refused(result, liar, "snp.signer")
        assert isinstance(result.error, Rejected)


def test_a_report_without_a_signature() -> None:
    unsigned = machine("--mask-chip-key")
    liar = Liar()
    result = deploy_to_liar(liar, on=unsigned)
    assert result.error is not None
    assert not result.accepted_evidence
    assert liar.from_tenant == []


def test_an_older_tcb() -> None:
    older = machine("--reported-tcb", "0100000000000001")
    liar = Liar()
    refused(deploy_to_liar(liar, on=older), liar, "snp.tcb.minimum")


def test_an_older_report_version_does_not_hide_fields() -> None:
    older = machine("--report-version", "2")
    liar = Liar()
    refused(deploy_to_liar(liar, on=older), liar, "snp.report.floor")


def test_a_newer_report_version_is_read() -> None:
    assert deploy_to_liar(on=machine("--report-version", "5")).outcome is not None


def test_a_denied_generation() -> None:
    milan = machine(product="milan")
    liar = Liar()
    refused(deploy_to_liar(liar, on=milan), liar, "snp.generation")


def test_another_generation_works_where_the_policy_allows_it() -> None:
    assert deploy_to_liar(on=machine(product="turin")).outcome is not None


def test_a_self_made_root() -> None:
    other = machine(name="tests-other")
    liar = Liar()
    refused(deploy_to_liar(liar, on=other, policy=policy_for(machine())), liar, "snp.root")


def test_a_simulated_machine_under_a_policy_for_real_ones() -> None:
    liar = Liar()
    policy = replace(policy_for(machine()), simulated=None)
    refused(deploy_to_liar(liar, policy=policy), liar, "snp.root")
    assert machine().root not in {f"sha256:{pin.hex()}" for pin in AMD_ROOTS}


@dataclass
class Substituting(FolderSource):
    """Endorsements of one machine, but for one kind of document, which comes from another."""

    folder: Path
    other: Path
    kind: type[Document]

    async def fetch(self, document: Document, /) -> bytes:
        place = self.other if isinstance(document, self.kind) else self.folder
        if isinstance(document, Vcek) and place is self.other:
            (found,) = sorted((place / document.url_path).parent.glob("*/*.der"))[:1]
            return found.read_bytes()
        return FolderSource(place).read(document)


def test_a_vcek_of_another_chip() -> None:
    hardware, other = machine(), machine(name="tests-other")
    deploy_to_liar(on=other, policy=policy_for(other))  # so that its VCEK exists
    liar = Liar()
    result = deploy_to_liar(liar, endorsements=Substituting(hardware.kds, other.kds, Vcek))
    refused(result, liar, "snp.chain.key")


def test_a_revocation_list_of_another_root() -> None:
    hardware, other = machine(), machine(name="tests-other")
    liar = Liar()
    result = deploy_to_liar(liar, endorsements=Substituting(hardware.kds, other.kds, Crl))
    assert result.error is not None
    assert any(check.startswith("snp.crl") for check in result.checks)
    assert liar.from_tenant == []


def test_a_revoked_intermediate() -> None:
    revoked = machine("--revoke-ask", name="tests-revoked")
    liar = Liar()
    result = deploy_to_liar(liar, on=revoked)
    assert any("revoked" in check for check in result.checks), result.checks
    assert liar.from_tenant == []


def test_an_expired_revocation_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        appraisal.Appraiser.__init__,
        "__kwdefaults__",
        {"state": None, "clock": lambda: datetime.now(UTC) + timedelta(days=800)},
    )
    liar = Liar()
    result = deploy_to_liar(liar)
    assert any(check.startswith("snp.crl") for check in result.checks), result.checks
    assert liar.from_tenant == []


def test_an_older_list_after_a_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = TenantState(tmp_path)
    state.saw_crl(machine().root, datetime.now(UTC) + timedelta(days=1))
    monkeypatch.setattr(appraisal, "TenantState", lambda: state)
    liar = Liar()
    result = deploy_to_liar(liar)
    assert any(check.startswith("snp.crl") for check in result.checks), result.checks
    assert liar.from_tenant == []


# Reports that the machine's own chip signed, about a keep that is not the tenant's.


def signed_again(hardware: BootedMachine, message: bytes, **change: object) -> bytes:
    """The offer with another report, genuinely signed by this machine's chip."""
    identity = load_or_create(STATE, "tests", PRODUCTS[hardware.product], lambda _: None)
    report = snp_report.parse(message[REPORT:])._replace(**change)  # type: ignore[arg-type]
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    der = identity.chip.vcek(report.reported_tcb).sign(report.signed_part(), ec.ECDSA(hashes.SHA384()))
    return message[:REPORT] + report.signed_part() + signatures.encode_signature(der)


def test_the_control_a_report_signed_again_unchanged_is_accepted() -> None:
    assert deploy_to_liar(Offering(lambda message: signed_again(machine(), message))).outcome is not None


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"vmpl": 3}, "snp.vmpl"),
        ({"vmpl": 0xFFFFFFFF}, "snp.vmpl"),
        ({"policy": 0x30000 | DEBUG}, "snp.policy.debug"),
        ({"policy": 0x10000}, "snp.policy.reserved"),
        ({"policy": 0x30000 | 1 << 40}, "snp.policy.unknown"),
        ({"measurement": bytes(48)}, "snp.measurement"),
        ({"host_data": bytes(32)}, "snp.host-data"),
        ({"report_data": bytes(64)}, "snp.report-data"),
        ({"platform_info": 1}, "snp.platform.alias-check"),
        ({"platform_info": 0x25 | 1 << 50}, "snp.platform.unknown"),
        ({"current_minor": 0, "committed_minor": 0}, "snp.abi"),
        ({"launch_tcb": 0}, "snp.tcb.launch"),
    ],
)
def test_a_genuinely_signed_report_that_says_something_else(change: dict[str, object], check: str) -> None:
    liar = Offering(lambda message: signed_again(machine(), message, **change))
    refused(deploy_to_liar(liar), liar, check)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"chip_id": bytes(64)}, "snp.chip.masked"),
        ({"key_info": 1 << 2}, "snp.signer"),
        ({"cpuid_family": 0xFF}, "snp.product"),
        ({"reported_tcb": 1 << 16}, "snp.tcb.reserved"),
        ({"cpuid_family": 0x1A, "cpuid_model": 0x02, "reported_tcb": 0}, "snp.chip.size"),
    ],
)
def test_a_report_that_names_no_certificate_is_refused_evidence(
    change: dict[str, object], check: str
) -> None:
    """It is the host's doing, signed or not, and never an error in a file of the user's."""

    def altered(message: bytes) -> bytes:
        return message[:REPORT] + snp_report.parse(message[REPORT:])._replace(**change).encode()  # type: ignore[arg-type]

    liar = Offering(altered)
    result = deploy_to_liar(liar)
    refused(result, liar, check)
    assert isinstance(result.error, Rejected)


def test_a_hint_of_no_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of version 2 does not say what it is from; the host's word for it is checked."""
    created = HostClient._created

    def elsewhere(self: HostClient, connection: ClientConnection) -> KeepCreated:
        return replace(created(self, connection), product="../x")

    monkeypatch.setattr(HostClient, "_created", elsewhere)
    liar = Liar()
    result = deploy_to_liar(liar, on=machine("--report-version", "2"))
    refused(result, liar, "snp.product")
    assert isinstance(result.error, Rejected)


def test_the_certificate_of_the_signing_chip_for_a_report_about_another() -> None:
    hardware = machine()

    class OneChip(FolderSource):
        """Hands out the machine's own VCEK, whichever is asked for."""

        async def fetch(self, document: Document, /) -> bytes:
            if isinstance(document, Vcek):
                document = replace(document, hwid=hardware.chip_id)
            return self.read(document)

    liar = Offering(lambda message: signed_again(hardware, message, chip_id=b"\1" * 64))
    refused(deploy_to_liar(liar, endorsements=OneChip(hardware.kds)), liar, "snp.chip.certificate")
