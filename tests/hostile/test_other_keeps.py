"""A host that offers another keep than the one asked for: refused by name, with nothing sent."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.hostile.lying_host import (
    REPORT,
    Attempt,
    Launching,
    Liar,
    Offering,
    attempt,
    deploy_to_liar,
    images_of,
    lying_host,
    policy_for,
    prepared,
    refused,
)
from tests.machines import machine
from wasmkeep.host.tap import LaunchOrder
from wasmkeep.image import MachineKind, read_image
from wasmkeep.tenant.client import HostClient
from wasmkeep.tenant.host_api import KeepRequest

DEBUG = 1 << 19
MIGRATION_AGENT = 1 << 18


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
    other = images_of(MachineKind.SNP).prepare(memory, "snp")
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


def test_a_deployment_never_accepts_just_any_image() -> None:
    policy = replace(policy_for(machine()), any_measurement=True, runtime=())
    liar = Launching(altered_text)
    result = deploy_to_liar(liar, policy=policy)
    assert result.checks == {"policy.measurement"}
    assert liar.from_tenant == []
