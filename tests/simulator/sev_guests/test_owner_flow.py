"""The talk's flow through drivers and machine, on both CPUs: measured empty, then told what it is."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from tests.simulator.driving import guests_left, run
from tests.simulator.sev_guests.driving import (
    ADD,
    BARE,
    CODE,
    EMPTY,
    ES,
    KVM,
    MEMORY,
    NODBG,
    PAGE,
    POLICY,
    Tenant,
    bare_platform,
    injected,
    started,
)
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev import report
from wasmkeep.evidence.sev.measurement import launch_digest
from wasmkeep.hardware.calls import IoctlRefused
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.machine_calls import CpuChoice, ExitReason
from wasmkeep.hardware.machine_guest import Exit, ExitKind
from wasmkeep.hardware.sev_commands import SevGuestState
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus

SEVEN = Exit(ExitKind.OUTPUT, ExitReason.IO, port=0x3F8, size=1, data=b"\x07")


@BARE
def test_nothing_is_measured_and_seven_comes_out(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            seen = []
            for _ in range(2):
                async with await injected(on, tenant, cpu) as guest:
                    assert await guest.run() == SEVEN
                    assert (await guest.run()).kind is ExitKind.HALTED
                    seen.append(await guest.host_read(CODE, 16))
                tenant = await Tenant.of(on)
            assert seen[0] != seen[1]
            assert ADD not in seen

    run(test())


@BARE
def test_what_is_launched_is_what_is_measured_and_runs(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            async with await started(on, tenant, cpu) as guest:
                parts = [(0x5010, b"\x5a" * 48), (CODE, ADD), (0x5000, bytes(16)), (0x6FF0, b"\xa5" * 32)]
                for gpa, data in parts:
                    await guest.launch_update_data(gpa, data)
                digest = launch_digest([data for _, data in parts])
                assert digest != EMPTY
                measured = await guest.launch_measure()
                tenant.proven(measured, digest)
                with pytest.raises(Rejected):
                    tenant.proven(measured, EMPTY)
                with pytest.raises(FirmwareError) as refused:
                    await guest.launch_measure()
                assert refused.value.status == SevStatus.INVALID_GUEST_STATE
                await guest.set_entry(CODE)
                await guest.launch_finish()
                assert await guest.run() == SEVEN

    run(test())


@BARE
def test_a_long_launch_is_measured_like_many_short_ones(cpu: CpuChoice) -> None:
    data = bytes(range(251)) * 10_000  # about 2.4 MiB, of whole blocks
    data = data[: len(data) // 16 * 16]

    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            async with await started(on, tenant, cpu, memory=4 << 20) as guest:
                await guest.launch_update_data(0x1230, data)
                tenant.proven(await guest.launch_measure(), launch_digest([data]))
                assert data[:16] not in await guest.host_read(0, 4 << 20)

    run(test())


@BARE
def test_a_guest_runs_after_launch_finish_and_not_before(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            async with await started(on, tenant, cpu) as guest:
                states = [SevGuestState.LUPDATE, SevGuestState.LSECRET]
                for state, step in zip(states, (guest.launch_measure, guest.launch_finish), strict=True):
                    assert (await guest.guest_status()).state == state
                    with pytest.raises(IoctlRefused) as refused:
                        await guest.run()
                    assert refused.value.number == errno.EPERM
                    await step()
                status = await guest.guest_status()
                assert (status.state, status.policy) == (SevGuestState.RUNNING, POLICY)

    run(test())


Alter = Callable[[bytes, bytes], tuple[bytes, bytes]]
BAD_SECRETS: dict[str, tuple[Alter, SevStatus]] = {
    "a bit of the ciphertext": (lambda h, d: (h, bytes([d[0] ^ 1]) + d[1:]), SevStatus.BAD_MEASUREMENT),
    "a bit of the IV": (lambda h, d: (h[:4] + bytes([h[4] ^ 1]) + h[5:], d), SevStatus.BAD_MEASUREMENT),
    "a bit of the MAC": (lambda h, d: (h[:-1] + bytes([h[-1] ^ 1]), d), SevStatus.BAD_MEASUREMENT),
    "flags": (lambda h, d: (b"\1" + h[1:], d), SevStatus.BAD_MEASUREMENT),
    "a short header": (lambda h, d: (h[:-1], d), SevStatus.INVALID_LENGTH),
    "half a block": (lambda h, d: (h, d[:-8]), SevStatus.INVALID_LENGTH),
}


@BARE
@pytest.mark.parametrize("name", BAD_SECRETS)
def test_a_packet_that_was_touched_is_refused(cpu: CpuChoice, name: str) -> None:
    alter, status = BAD_SECRETS[name]

    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            async with await started(on, tenant, cpu) as guest:
                sealed = tenant.secret(ADD + bytes(16), tenant.proven(await guest.launch_measure()))
                before = await guest.host_read(CODE, PAGE)
                header, data = alter(sealed.header, sealed.data)
                with pytest.raises(FirmwareError) as refused:
                    await guest.launch_secret(header, CODE, data)
                assert (refused.value.command, refused.value.status) == ("LAUNCH_SECRET", status)
                assert await guest.host_read(CODE, PAGE) == before

    run(test())


@BARE
def test_a_packet_is_for_one_launch(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            async with await started(on, tenant, cpu) as mine, await started(on, tenant, cpu) as other:
                sealed = tenant.secret(ADD, tenant.proven(await mine.launch_measure()))
                tenant.proven(await other.launch_measure())
                with pytest.raises(FirmwareError) as refused:
                    await other.launch_secret(sealed.header, CODE, sealed.data)
                assert refused.value.status == SevStatus.BAD_MEASUREMENT
                await mine.launch_secret(sealed.header, CODE, sealed.data)

    run(test())


@BARE
def test_a_secret_lies_where_the_host_puts_it(cpu: CpuChoice) -> None:
    """The MAC does not cover the address: whoever injects chooses, and may do it twice."""

    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            async with await started(on, tenant, cpu) as guest:
                sealed = tenant.secret(ADD, tenant.proven(await guest.launch_measure()))
                for gpa in (0x2340, 0x4000):
                    await guest.launch_secret(sealed.header, gpa, sealed.data)
                await guest.set_entry(0x2340)
                await guest.launch_finish()
                assert await guest.run() == SEVEN
                await guest.set_entry(0x4000)
                assert await guest.run() == SEVEN
                with pytest.raises(FirmwareError) as refused:
                    await guest.launch_secret(sealed.header, CODE, sealed.data)
                assert refused.value.status == SevStatus.INVALID_GUEST_STATE

    run(test())


BAD_STARTS = {
    "another policy than the session's": SevStatus.BAD_MEASUREMENT,
    "another session": SevStatus.BAD_MEASUREMENT,
    "half a session": SevStatus.INVALID_LENGTH,
    "half a certificate": SevStatus.INVALID_LENGTH,
    "a certificate that is none": SevStatus.INVALID_CERTIFICATE,
    "a newer API": SevStatus.POLICY_FAILURE,
    "reserved bits": SevStatus.POLICY_FAILURE,
}


@pytest.mark.parametrize("cpu", [KVM])
@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_launch_that_cannot_start_leaves_nothing(cpu: CpuChoice, name: str) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            policy = {"a newer API": POLICY | 56 << 24 | 1 << 16, "reserved bits": POLICY | 1 << 6}
            tenant = await Tenant.of(on, policy.get(name, POLICY))
            certificate, session = tenant.certificate, tenant.session()
            arguments = {
                "another policy than the session's": (POLICY & ~NODBG, certificate, session),
                "another session": (POLICY, certificate, (await Tenant.of(on)).session()),
                "half a session": (POLICY, certificate, session[:64]),
                "half a certificate": (POLICY, certificate[:1000], session),
                "a certificate that is none": (POLICY, bytes(2084), session),
            }.get(name, (tenant.policy, certificate, session))
            guest = await on.create_sev_guest(MEMORY, cpu=cpu)
            with pytest.raises(FirmwareError) as refused:
                await guest.launch_start(*arguments)
            assert refused.value.status == BAD_STARTS[name]
            assert (await on.sev_status()).guest_count == 0
            assert (await guest.guest_status()).state == SevGuestState.UNINIT
            await guest.launch_start(POLICY)  # and another try may succeed
            await guest.close()
            await guests_left(on, 0)

    run(test())


@pytest.mark.parametrize("cpu", [KVM])
def test_a_policy_and_its_vm_agree_on_es(cpu: CpuChoice) -> None:
    """KVM binds a guest to a slot of its VM's range, and the firmware knows which range is whose."""

    async def test() -> None:
        async with bare_platform() as on:
            async with await on.create_sev_guest(MEMORY, cpu=cpu) as guest:
                with pytest.raises(FirmwareError) as refused:
                    await guest.launch_start(POLICY | ES)
                assert refused.value.status == SevStatus.INVALID_ASID
            async with await on.create_sev_guest(8 << 20, VmType.SEV_ES, cpu=cpu, window=True) as guest:
                with pytest.raises(FirmwareError) as refused:
                    await guest.launch_start(POLICY)
                assert refused.value.status == SevStatus.INVALID_ASID
                await guest.launch_start(POLICY | ES)
            assert (await on.sev_status()).guest_count == 0

    run(test())


@BARE
def test_a_report_says_what_was_launched_and_is_the_platforms(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            async with await injected(on, tenant, cpu) as guest:
                made = report.parse(await guest.attestation_report(b"n" * 16))
                assert (made.digest, made.policy) == (EMPTY, POLICY)
                made.verify(tenant.platform.pek.public_key, b"n" * 16)

    run(test())


@BARE
def test_a_debugger_sees_a_guest_that_allows_it_and_no_other(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            open_tenant = await Tenant.of(on, POLICY & ~NODBG)
            async with await injected(on, open_tenant, cpu) as guest:
                assert await guest.dbg_decrypt(CODE, 16) == ADD
                assert await guest.dbg_decrypt(CODE + 3, 9) == ADD[3:12]
                await guest.dbg_encrypt(CODE + 3, b"\x05")  # add al, 5
                await guest.set_entry(CODE)
                assert (await guest.run()).data == b"\x08"
                across = await guest.dbg_decrypt(0x2FF8, 16)
                await guest.dbg_encrypt(0x2FF8, b"sixteen bytes...")
                assert await guest.dbg_decrypt(0x2FF8, 16) == b"sixteen bytes..." != across
            async with await injected(on, await Tenant.of(on), cpu) as guest:
                for attempt in (guest.dbg_decrypt(CODE, 16), guest.dbg_encrypt(CODE, ADD)):
                    with pytest.raises(FirmwareError) as refused:
                        await attempt
                    assert refused.value.status == SevStatus.POLICY_FAILURE

    run(test())


@pytest.mark.parametrize("cpu", [KVM])
def test_a_key_is_shared_only_where_the_policy_lets_it(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            sharing = 1  # NODBG alone
            async with (
                await on.create_sev_guest(MEMORY, cpu=cpu) as first,
                await on.create_sev_guest(MEMORY, cpu=cpu) as second,
            ):
                handle = await first.launch_start(sharing)
                assert await second.launch_start(sharing, handle=handle) != handle
            async with (
                await on.create_sev_guest(MEMORY, cpu=cpu) as first,
                await on.create_sev_guest(MEMORY, cpu=cpu) as second,
            ):
                handle = await first.launch_start(POLICY)
                with pytest.raises(FirmwareError) as refused:
                    await second.launch_start(POLICY, handle=handle)
                assert refused.value.status == SevStatus.POLICY_FAILURE

    run(test())
