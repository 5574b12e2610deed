"""A host that offers another keep than the one asked for: refused by name, with nothing sent."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from tests.hostile.lying_host import (
    Attempt,
    Liar,
    attempt,
    deploy_to_liar,
    images_of,
    lying_host,
    policy_for,
    prepared,
)
from tests.machines import STATE, BootedMachine, machine
from wasmkeep.endorsements import Crl, Document, FolderSource, Vcek
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.snp import report as snp_report
from wasmkeep.evidence.snp import signatures
from wasmkeep.host.tap import LaunchOrder
from wasmkeep.image import MachineKind, read_image
from wasmkeep.simulator.products import PRODUCTS
from wasmkeep.simulator.roots import load_or_create
from wasmkeep.tenant import appraisal
from wasmkeep.tenant.client import HostClient, KeepCreated, KeepRequest
from wasmkeep.tenant.state import TenantState

DEBUG = 1 << 19
MIGRATION_AGENT = 1 << 18
REPORT = 1288


class Launching(Liar):
    """Launches something else than was asked for."""

    def __init__(self, change: Callable[[LaunchOrder], LaunchOrder]) -> None:
        super().__init__()
        self._change = change

    def relaunch(self, order: LaunchOrder) -> LaunchOrder:
        return self._change(order)


class Offering(Liar):
    """Changes the offer."""

    def __init__(self, change: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._change = change

    def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
        return (self._change(message),) if index == 0 else (message,)


def refused(result: Attempt, liar: Liar, check: str) -> None:
    assert check in result.checks, result.error
    assert not result.accepted_evidence
    assert liar.from_tenant == [], "nothing is sent to a keep that was refused"
    assert result.stdout == b""


def test_a_debug_guest() -> None:
    liar = Launching(lambda order: replace(order, policy=order.policy | DEBUG))
    refused(deploy_to_liar(liar), liar, "snp.policy.debug")


def test_a_guest_that_a_migration_agent_may_move() -> None:
    liar = Launching(lambda order: replace(order, policy=order.policy | MIGRATION_AGENT))
    result = deploy_to_liar(liar)
    assert result.error is not None
    assert not result.accepted_evidence
    assert liar.from_tenant == []


def altered_text(order: LaunchOrder) -> LaunchOrder:
    regions = list(order.regions)
    place = max(range(len(regions)), key=lambda i: len(regions[i].data))
    region = regions[place]
    data = bytearray(region.data)
    data[-1] ^= 1
    regions[place] = replace(region, data=bytes(data))  # type: ignore[type-var]
    return replace(order, regions=tuple(regions))


def test_another_image() -> None:
    liar = Launching(altered_text)
    refused(deploy_to_liar(liar), liar, "snp.measurement")


def test_another_image_under_the_same_name() -> None:
    elf = read_image(MachineKind.SNP)
    name = b"wasmkeep-receipt-v1"
    assert elf.count(name) == 1
    liar = Liar()
    result = deploy_to_liar(
        liar, images=images_of(MachineKind.SNP, elf.replace(name, b"wasmkeep-receipt-v2"))
    )
    refused(result, liar, "snp.measurement")


def test_another_initial_state_of_the_processor() -> None:
    def elsewhere(order: LaunchOrder) -> LaunchOrder:
        vmsa = bytearray(order.vmsa)
        vmsa[0x330] ^= 1  # rsi, which the keep does not look at
        return replace(order, vmsa=bytes(vmsa))

    liar = Launching(elsewhere)
    refused(deploy_to_liar(liar), liar, "snp.measurement")


def test_more_memory_than_asked_for() -> None:
    goods = replace(prepared(), keep_memory=prepared().keep_memory * 2)

    class Enlarging(Liar):
        def relaunch(self, order: LaunchOrder) -> LaunchOrder:
            return images_order(order, goods.keep_memory)

    liar = Enlarging()
    refused(deploy_to_liar(liar), liar, "snp.measurement")


def images_order(order: LaunchOrder, memory: int) -> LaunchOrder:
    other = images_of(MachineKind.SNP).prepare(memory)
    return replace(order, regions=other.regions, vmsa=other.vmsa, memory=memory)


def test_host_data_of_its_own_choice_is_refused_by_the_keep() -> None:
    liar = Launching(lambda order: replace(order, host_data=hashlib.sha256(b"the host's key").digest()))
    result = deploy_to_liar(liar)
    assert result.error is not None
    assert liar.from_tenant == []
    assert liar.from_keep == [], "the keep made no offer"


def test_host_data_and_hint_of_its_own_choice_are_refused_by_the_tenant() -> None:
    digest = hashlib.sha256(b"the host's key").digest()
    liar = Launching(lambda order: replace(order, host_data=digest, tenant_key_digest=digest))
    result = deploy_to_liar(liar)
    refused(result, liar, "snp.host-data")
    refused(result, liar, "snp.report-data")


def test_a_nonce_of_its_own_choice() -> None:
    liar = Launching(lambda order: replace(order, nonce=bytes(32)))
    refused(deploy_to_liar(liar), liar, "snp.report-data")


@pytest.mark.parametrize("khz", [0, 499_999, 10_000_001, (1 << 64) - 1])
def test_an_impossible_clock_is_refused_by_the_keep(khz: int) -> None:
    liar = Launching(lambda order: replace(order, tsc_khz=khz))
    result = deploy_to_liar(liar)
    assert result.error is not None
    assert liar.from_keep == []


def test_evidence_of_an_earlier_session() -> None:
    recorder = Liar()
    assert deploy_to_liar(recorder).outcome is not None
    liar = Offering(lambda _: recorder.from_keep[0])
    refused(deploy_to_liar(liar), liar, "snp.report-data")


def test_the_report_of_an_earlier_session_with_todays_keys() -> None:
    recorder = Liar()
    deploy_to_liar(recorder)
    old = recorder.from_keep[0][REPORT:]
    liar = Offering(lambda message: message[:REPORT] + old)
    refused(deploy_to_liar(liar), liar, "snp.report-data")


@pytest.mark.parametrize(("start", "size"), [(4, 1216), (1220, 32)])
def test_a_key_of_the_hosts_in_the_keeps_place(start: int, size: int) -> None:
    recorder = Liar()
    deploy_to_liar(recorder)
    own = recorder.from_keep[0][start : start + size]
    liar = Offering(lambda message: message[:start] + own + message[start + size :])
    refused(deploy_to_liar(liar), liar, "snp.report-data")


def test_a_replayed_launch_opens_nothing_and_repeats_no_record() -> None:
    recorder = Liar()
    assert deploy_to_liar(recorder).outcome is not None
    order = recorder.orders[0]

    class Replaying(Liar):
        """Launches the recorded order again and answers with the recorded messages."""

        def relaunch(self, _: LaunchOrder) -> LaunchOrder:
            return order

        def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
            return (recorder.from_keep[0],) if index == 0 else (message,)

        def alter_to_keep(self, index: int, message: bytes) -> Sequence[bytes]:
            return (recorder.from_tenant[index],)

    liar = Replaying()
    refused(deploy_to_liar(liar), liar, "snp.report-data")

    async def replay_to_the_keep_alone() -> list[bytes]:
        """Without any tenant: the host itself connects, and plays the tenant's recorded part."""
        async with lying_host(liar) as running, HostClient(running.url, running.token) as client:
            again = KeepRequest(
                tee="snp",
                image="wasmkeep 0.1.0",
                memory=order.memory,
                nonce=order.nonce,
                tenant_key_digest=order.tenant_key_digest,
            )
            async with client.session(again) as (_, channel):
                await channel.receive()
                for message in recorder.from_tenant:
                    await channel.send(message)
                from wasmkeep.errors import WasmkeepError

                try:
                    while await channel.receive() is not None:
                        pass
                except WasmkeepError:
                    pass
        return liar.from_keep

    answers = asyncio.run(replay_to_the_keep_alone())
    fresh = answers[-1]
    assert fresh[:4] == recorder.from_keep[0][:4], "another offer"
    assert fresh[4:1284] != recorder.from_keep[0][4:1284], "with other keys"
    assert all(len(message) == len(fresh) for message in answers), "and no record after it"


def test_two_tenants_swapped() -> None:
    class Swapping(Liar):
        """Gives each of two tenants what the other's keep says."""

        def __init__(self) -> None:
            super().__init__()
            self._offers: list[tuple[str, bytes]] = []
            self._both = asyncio.Event()

        async def to_tenant(self, keep: str, message: bytes) -> Sequence[bytes]:
            self.from_keep.append(message)
            self._offers.append((keep, message))
            if len({name for name, _ in self._offers}) == 2:
                self._both.set()
            await self._both.wait()
            return (next(text for name, text in self._offers if name != keep),)

    async def whole() -> tuple[Attempt, Attempt, Liar]:
        liar = Swapping()
        async with lying_host(liar) as running:
            policy = policy_for(machine())
            one, other = await asyncio.gather(attempt(running, policy), attempt(running, policy))
        return one, other, liar

    one, other, liar = asyncio.run(whole())
    refused(one, liar, "snp.report-data")
    refused(other, liar, "snp.report-data")


def test_a_tenants_delivery_given_to_another_keep() -> None:
    class Redirecting(Liar):
        """Lets both tenants verify their own keeps, then swaps what they deliver."""

        def __init__(self) -> None:
            super().__init__()
            self._sent: dict[str, bytes] = {}
            self._both = asyncio.Event()

        async def to_keep(self, keep: str, message: bytes) -> Sequence[bytes]:
            self._sent[keep] = message
            if len(self._sent) == 2:
                self._both.set()
            await self._both.wait()
            return (next(text for name, text in self._sent.items() if name != keep),)

    async def whole() -> tuple[Attempt, Attempt]:
        async with lying_host(Redirecting()) as running:
            policy = policy_for(machine())
            one, other = await asyncio.gather(attempt(running, policy), attempt(running, policy))
        return one, other

    for result in asyncio.run(whole()):
        assert result.accepted_evidence
        assert not result.launched
        assert result.stdout == b""
        assert result.error is not None


# Platforms that are not what the policy asks for.


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
    report = replace(snp_report.parse(message[REPORT:]), **change)  # type: ignore[arg-type]
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
        return message[:REPORT] + replace(snp_report.parse(message[REPORT:]), **change).encode()  # type: ignore[arg-type]

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


def test_a_deployment_never_accepts_just_any_image() -> None:
    policy = replace(policy_for(machine()), any_measurement=True, runtime=())
    liar = Launching(altered_text)
    result = deploy_to_liar(liar, policy=policy)
    assert result.checks == {"policy.measurement"}
    assert liar.from_tenant == []
