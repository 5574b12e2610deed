"""A keep's launch under SEV and SEV-ES in one go: measured, told its secret, run; and begun ahead."""

from __future__ import annotations

import asyncio
import errno

import pytest

from tests.simulator import tiny
from tests.simulator.driving import EITHER, platform, run
from tests.simulator.sev_guests.driving import ES, POLICY, Tenant
from tests.simulator.tiny import CODE, MEMORY, PAGE, Region
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.measurement import launch_digest
from wasmkeep.hardware.calls import IoctlRefused
from wasmkeep.hardware.machine_calls import ExitReason
from wasmkeep.hardware.machine_guest import Exit, ExitKind
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.simulated import Platform

KINDS = pytest.mark.parametrize("kind", ["sev", "sev-es"])
SLOT = 0x1_3000
SEV_FEATURES = 0x3B0


def vmsa(cpu: str) -> bytes:
    page = bytearray(tiny.vmsa(cpu))
    page[SEV_FEATURES] = 0
    return bytes(page)


def regions(cpu: str, program: tiny.Program = tiny.EXIT_FOREVER) -> list[Region]:
    laid = [each for each in tiny.launch_regions(program, cpu) if each.page_type != tiny.SECRETS_PAGE]
    return [Region(SLOT, PAGE, tiny.NORMAL, bytes(PAGE)), *laid]


def expected(cpu: str, kind: str) -> bytes:
    contents = [each.data or bytes(each.size) for each in regions(cpu)]
    return launch_digest(contents, [vmsa(cpu)] if kind == "sev-es" else [])


async def tenant_of(on: Platform, kind: str) -> Tenant:
    return await Tenant.of(on, POLICY | (ES if kind == "sev-es" else 0))


async def launched(on: Platform, kind: str, tenant: Tenant, laid: list[Region] | None = None) -> SevGuest:
    cpu = on.description.cpu
    return await on.launch_sev(
        kind,
        MEMORY,
        laid or regions(cpu),
        vmsa(cpu),
        policy=tenant.policy,
        owner_certificate=tenant.certificate,
        session=tenant.session(),
    )


@EITHER
@KINDS
def test_a_keep_is_measured_then_told_its_secret_and_runs(cpu: str, kind: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            tenant = await tenant_of(on, kind)
            async with await launched(on, kind, tenant) as guest:
                launch = tenant.proven(guest.measurement, expected(cpu, kind))
                before = await guest.host_read(SLOT, 128)
                sealed = tenant.secret(b"s" * 128, launch)
                await guest.inject(sealed.header, sealed.data, SLOT)
                assert await guest.host_read(SLOT, 128) not in (before, b"s" * 128, sealed.data)
                await guest.finish()
                for _ in range(5):
                    assert await guest.run() == Exit(ExitKind.VMGEXIT, ExitReason.IO)
                guest.window[:5] = b"hello"
                assert await guest.host_read(0x20_0000, 5) == b"hello"
                await guest.host_write(0x20_0000, b"HELLO")
                assert bytes(guest.window[:5]) == b"HELLO"
                assert tiny.elf(tiny.EXIT_FOREVER.linux)[:64] not in await guest.host_read(CODE, PAGE)

    run(test())


@EITHER
@KINDS
def test_another_image_or_state_measures_otherwise(cpu: str, kind: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            tenant = await tenant_of(on, kind)
            spoilt = [*regions(cpu), Region(0x40_0000, PAGE, tiny.NORMAL, bytes(PAGE))]
            async with await launched(on, kind, tenant, spoilt) as guest:
                with pytest.raises(Rejected):
                    tenant.proven(guest.measurement, expected(cpu, kind))

    run(test())


@EITHER
@KINDS
def test_the_hypervisor_sees_registers_of_plain_sev_only(cpu: str, kind: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, kind, await tenant_of(on, kind)) as guest:
            await guest.finish()
            await guest.run()
            if (cpu, kind) == ("kvm", "sev"):
                assert (await guest.registers()).general["rip"] == CODE + 2
                return
            with pytest.raises(IoctlRefused) as refused:
                await guest.registers()
            expected = errno.EINVAL if kind == "sev-es" else errno.EOPNOTSUPP
            assert refused.value.number == expected

    run(test())


@EITHER
@KINDS
def test_a_state_is_changed_by_nobody_once_it_is_measured(cpu: str, kind: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, kind, await tenant_of(on, kind)) as guest:
            if kind == "sev":  # where nothing measures it
                await guest.set_vmsa(vmsa(cpu))
                return
            with pytest.raises(IoctlRefused) as refused:
                await guest.set_vmsa(vmsa(cpu))
            assert refused.value.number == errno.EBUSY

    run(test())


@EITHER
@KINDS
def test_another_port_ends_a_keep_and_shows_where_under_plain_sev(cpu: str, kind: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            laid = regions(cpu, tiny.WRONG_PORT)
            async with await launched(on, kind, await tenant_of(on, kind), laid) as guest:
                await guest.finish()
                end = await guest.run()
                assert end.kind is ExitKind.SHUTDOWN
                assert (end.rip is not None) is ((cpu, kind) == ("kvm", "sev"))

    run(test())


@EITHER
@KINDS
def test_a_launch_that_fails_leaves_nothing_and_says_why(cpu: str, kind: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            tenant, other = await tenant_of(on, kind), await tenant_of(on, kind)
            tenant.keys = other.keys
            with pytest.raises(FirmwareError) as refused:
                await on.launch_sev(
                    kind,
                    MEMORY,
                    regions(cpu),
                    vmsa(cpu),
                    policy=tenant.policy,
                    owner_certificate=tenant.certificate,
                    session=other.session(),
                )
            assert (refused.value.command, refused.value.status) == (
                "LAUNCH_START",
                SevStatus.BAD_MEASUREMENT,
            )
            async with asyncio.timeout(30):
                while (await on.sev_status()).guest_count:  # noqa: ASYNC110 - the machine tells nobody
                    await asyncio.sleep(0.01)

    run(test())


@EITHER
def test_a_refused_finish_is_the_first_runs_error(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on, await launched(on, "sev", await tenant_of(on, "sev")) as guest:
            await guest.launch_finish()
            await guest.finish()
            with pytest.raises(FirmwareError, match="LAUNCH_FINISH"):
                await guest.run()

    run(test())


@EITHER
@KINDS
def test_the_next_launch_is_begun_up_to_what_its_tenant_says(cpu: str, kind: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            tenant = await tenant_of(on, kind)
            async with await launched(on, kind, tenant):
                on.begin_next()
                shell = on._spare
                assert shell is not None
                async with await launched(on, kind, await tenant_of(on, kind)) as guest:
                    assert guest._connection is shell.connection
                    await guest.finish()
                    assert (await guest.run()).kind is ExitKind.VMGEXIT
                on.begin_next()
                assert on._spare is not None
                other = "sev" if kind == "sev-es" else "sev-es"
                async with await launched(on, other, await tenant_of(on, other)):
                    assert on._spare is None

    run(test())
