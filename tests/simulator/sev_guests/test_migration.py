"""A bare guest moves between two machines, through KVM's SEND and RECEIVE; and every way it may not."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.machines import machine
from tests.simulator.driving import run
from tests.simulator.sev.bench import OwnerAuthority
from tests.simulator.sev_guests.driving import (
    BARE,
    CODE,
    DOMAIN,
    EMULATED,
    MACHINE_CPU,
    NODBG,
    NOKS,
    NOSEND,
    PAGE,
    SEV,
    STORE,
    Tenant,
    certificates,
    injected,
)
from wasmkeep.evidence.sev import certificate
from wasmkeep.hardware.calls import IoctlRefused
from wasmkeep.hardware.machine_calls import CpuChoice
from wasmkeep.hardware.machine_guest import ExitKind
from wasmkeep.hardware.sev_commands import SevGuestState
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.simulated import Platform

MOVABLE = NODBG | NOKS
MEMORY = 4 * PAGE


@dataclass
class Pair:
    """Two machines with different roots; `here` was told that the other's is AMD's too."""

    here: Platform
    there: Platform


@asynccontextmanager
async def pair(*options: str) -> AsyncIterator[Pair]:
    elsewhere = machine(name="tests-elsewhere", product="naples", cpu=MACHINE_CPU)
    here = machine("--amd-root", elsewhere.root, *options, cpu=MACHINE_CPU)
    pair = Pair(await Platform.open(here.socket), await Platform.open(elsewhere.socket))
    try:
        yield pair
    finally:
        await pair.here.close()
        await pair.there.close()


async def sent(guest: SevGuest, target: Platform) -> tuple[int, bytes]:
    """SEND_START to `target`: policy and session."""
    to = await certificates(target)
    return await guest.send_start(to.pdh, to.pek + to.oca + to.cek, to.ask + to.ark)


async def packets(guest: SevGuest) -> list[tuple[bytes, bytes]]:
    return [await guest.send_update_data(gpa, PAGE) for gpa in range(0, MEMORY, PAGE)]


async def running(on: Platform, cpu: CpuChoice, policy: int = MOVABLE) -> SevGuest:
    """A guest that came out once, and has a number of its own in memory."""
    tenant = await Tenant.of(on, policy)
    guest = await on.create_sev_guest(MEMORY, cpu=cpu)
    await guest.launch_start(policy, tenant.certificate, tenant.session())
    sealed = tenant.secret(STORE, tenant.proven(await guest.launch_measure()))
    await guest.launch_secret(sealed.header, CODE, sealed.data)
    await guest.set_entry(CODE)
    await guest.launch_finish()
    assert (await guest.run()).kind is ExitKind.OUTPUT
    return guest


async def refused_with(action: object) -> int:
    with pytest.raises(FirmwareError) as refused:
        await action  # type: ignore[misc]
    return refused.value.status


@pytest.mark.parametrize(("cpu", "other"), [(0, 0), (1, 1), (0, 1), (1, 0)])
def test_a_guest_goes_on_where_it_arrives(cpu: int, other: int) -> None:
    if MACHINE_CPU != "kvm":
        pytest.skip("/dev/kvm is not here or not permitted")

    async def test() -> None:
        async with pair() as two:
            guest = await running(two.here, CpuChoice(cpu))
            arrived = await two.there.create_sev_guest(MEMORY, cpu=CpuChoice(other))
            policy, session = await sent(guest, two.there)
            assert policy == MOVABLE
            pdh, _ = await two.here.pdh_cert_export()
            await arrived.receive_start(policy, pdh, session)
            travelling = await packets(guest)
            for number, (header, data) in enumerate(travelling):
                await arrived.receive_update_data(header, number * PAGE, data)
                assert STORE not in data
                assert STORE not in await arrived.host_read(number * PAGE, PAGE)
            state = await guest.vcpu_state()
            await guest.send_finish()
            with pytest.raises(IoctlRefused) as refused:
                await guest.run()
            assert refused.value.number == errno.EPERM
            with pytest.raises(IoctlRefused):
                await arrived.run()
            await arrived.receive_finish()
            await arrived.set_vcpu_state(state)
            for _ in range(3):
                assert (await arrived.run()).kind is ExitKind.OUTPUT
            assert (await arrived.registers()).general["rax"] == 0x11223344
            assert (await arrived.guest_status()).state == SevGuestState.RUNNING
            assert (await guest.guest_status()).state == SevGuestState.SENT
            here, there = await guest.host_read(CODE, 16), await arrived.host_read(CODE, 16)
            assert here != there
            await guest.close()
            await arrived.close()

    run(test())


@BARE
def test_a_journey_that_is_cancelled_ends_at_home(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with pair() as two, await running(two.here, cpu) as guest:
            await sent(guest, two.there)
            await packets(guest)
            await guest.send_cancel()
            assert (await guest.guest_status()).state == SevGuestState.RUNNING
            assert (await guest.run()).kind is ExitKind.OUTPUT
            assert await refused_with(guest.send_update_data(0, PAGE)) == SevStatus.INVALID_GUEST_STATE

    run(test())


@pytest.mark.parametrize("cpu", [EMULATED])
def test_a_policy_says_who_may_not_leave(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with pair() as two:
            async with await running(two.here, cpu, MOVABLE | NOSEND) as guest:
                assert await refused_with(sent(guest, two.there)) == SevStatus.POLICY_FAILURE
                assert (await guest.run()).kind is ExitKind.OUTPUT
            async with await running(two.here, cpu, MOVABLE | DOMAIN) as guest:  # another owner's platform
                assert await refused_with(sent(guest, two.there)) in (
                    SevStatus.POLICY_FAILURE,
                    SevStatus.BAD_SIGNATURE,
                    SevStatus.INVALID_CERTIFICATE,
                )
            async with await running(two.here, cpu, MOVABLE | SEV) as guest:  # whose root it was told of
                await sent(guest, two.there)
            async with await running(two.there, cpu, MOVABLE | SEV) as guest:  # a root nobody told it of
                assert await refused_with(sent(guest, two.here)) in (
                    SevStatus.POLICY_FAILURE,
                    SevStatus.BAD_SIGNATURE,
                    SevStatus.INVALID_CERTIFICATE,
                )

    run(test())


@pytest.mark.parametrize("cpu", [EMULATED])
def test_within_a_domain_a_guest_moves(cpu: CpuChoice) -> None:
    owner = OwnerAuthority()

    async def taken(on: Platform) -> None:
        await on.pek_gen()
        request = certificate.parse(await on.pek_csr(), "PEK")
        await on.pek_cert_import(owner.sign(request).encode(), owner.certificate.encode())

    async def test() -> None:
        async with pair("--slots", "20", "--min-sev-asid", "11") as two:
            for on in (two.here, two.there):
                await taken(on)
            async with await running(two.here, cpu, MOVABLE | DOMAIN) as guest:
                policy, session = await sent(guest, two.there)
                async with await two.there.create_sev_guest(MEMORY, cpu=cpu) as arrived:
                    pdh, _ = await two.here.pdh_cert_export()
                    await arrived.receive_start(policy, pdh, session)
            await two.there.pek_gen()

    run(test())


@pytest.mark.parametrize("cpu", [EMULATED])
def test_what_was_touched_on_the_way_does_not_arrive(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with pair() as two, await running(two.here, cpu) as guest:
            policy, session = await sent(guest, two.there)
            pdh, _ = await two.here.pdh_cert_export()
            header, data = (await packets(guest))[1]
            other_pdh, _ = await two.there.pdh_cert_export()
            starts = {
                "a weaker policy": (policy & ~NODBG, pdh, session),
                "another session": (policy, pdh, session[:16] + bytes(32) + session[48:]),
                "another sender": (policy, other_pdh, session),
            }
            for start in starts.values():
                async with await two.there.create_sev_guest(MEMORY, cpu=cpu) as arrived:
                    assert await refused_with(arrived.receive_start(*start)) == SevStatus.BAD_MEASUREMENT
            async with await two.there.create_sev_guest(MEMORY, cpu=cpu) as arrived:
                await arrived.receive_start(policy, pdh, session)
                altered = bytes([data[0] ^ 1]) + data[1:]
                action = arrived.receive_update_data(header, PAGE, altered)
                assert await refused_with(action) == SevStatus.BAD_MEASUREMENT
                await arrived.receive_update_data(header, PAGE, data)
            async with await two.here.create_sev_guest(MEMORY, cpu=cpu) as arrived:  # a wrong target
                assert (
                    await refused_with(arrived.receive_start(policy, pdh, session))
                    == SevStatus.BAD_MEASUREMENT
                )

    run(test())


@pytest.mark.parametrize("cpu", [EMULATED])
def test_a_packet_of_another_journey_does_not_arrive(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with pair() as two, await running(two.here, cpu) as guest:
            await sent(guest, two.there)
            old = (await packets(guest))[0]
            await guest.send_cancel()
            policy, session = await sent(guest, two.there)
            pdh, _ = await two.here.pdh_cert_export()
            async with await two.there.create_sev_guest(MEMORY, cpu=cpu) as arrived:
                await arrived.receive_start(policy, pdh, session)
                action = arrived.receive_update_data(old[0], 0, old[1])
                assert await refused_with(action) == SevStatus.BAD_MEASUREMENT

    run(test())


@pytest.mark.parametrize("cpu", [EMULATED])
def test_a_guest_that_was_injected_is_movable_only_as_its_owner_said(cpu: CpuChoice) -> None:
    """The default policy of this project's tenants has NOSEND."""

    async def test() -> None:
        async with pair() as two, await injected(two.here, await Tenant.of(two.here), cpu) as guest:
            assert await refused_with(sent(guest, two.there)) == SevStatus.POLICY_FAILURE

    run(test())
