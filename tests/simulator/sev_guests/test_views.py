"""What somebody other than the guest sees and does, memory, registers, exits; and the same unencrypted."""

from __future__ import annotations

import asyncio
import errno
import struct

import pytest

from tests.simulator.driving import run
from tests.simulator.sev_guests.driving import (
    ADD,
    BARE,
    CODE,
    KVM,
    MEMORY,
    ONLY_EMULATED,
    PAGE,
    SPIN,
    STORE,
    Tenant,
    bare_platform,
    injected,
    started,
)
from wasmkeep.hardware.calls import IoctlRefused
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.machine_calls import CpuChoice, View
from wasmkeep.hardware.machine_guest import ExitKind
from wasmkeep.hardware.sev_guest_vm import SevGuest
from wasmkeep.hardware.simulated import Platform

EVERY_VIEW = pytest.mark.parametrize("view", View, ids=lambda view: view.name)


async def plain(on: Platform, cpu: CpuChoice, program: bytes) -> SevGuest:
    """The unprotected setting: the host itself puts the program there."""
    guest = await on.create_sev_guest(MEMORY, VmType.DEFAULT, cpu=cpu)
    await guest.host_write(CODE, program)
    await guest.set_entry(CODE)
    return guest


@BARE
@EVERY_VIEW
def test_an_unencrypted_guest_is_an_open_book(cpu: CpuChoice, view: View) -> None:
    async def test() -> None:
        async with bare_platform() as on, await plain(on, cpu, STORE) as guest:
            await guest.run()
            assert await guest.host_read(CODE, 16, view) == STORE
            assert await guest.host_read(0x3000, 4, view) == b"\x44\x33\x22\x11"
            await guest.host_write(CODE + 2, b"\x88\x77\x66\x55", view)  # another number to store
            await guest.set_entry(CODE)
            await guest.run()
            assert await guest.host_read(0x3000, 4, view) == b"\x88\x77\x66\x55"

    run(test())


@BARE
@EVERY_VIEW
def test_nobody_else_reads_an_encrypted_guest(cpu: CpuChoice, view: View) -> None:
    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on)
            async with (
                await injected(on, tenant, cpu, STORE) as first,
                await injected(on, tenant, cpu, STORE) as second,
            ):
                for guest in (first, second):
                    await guest.run()
                seen = [await guest.host_read(0, MEMORY, view) for guest in (first, second)]
                for memory in seen:
                    assert STORE not in memory
                    assert b"\x44\x33\x22\x11" not in memory
                assert seen[0][CODE : CODE + 16] != seen[1][CODE : CODE + 16]
                assert seen[0][CODE : CODE + 16] != seen[0][0x3000:0x3010]

    run(test())


@BARE
def test_the_same_at_two_addresses_differs(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on, await started(on, await Tenant.of(on), cpu) as guest:
            await guest.launch_update_data(0x2000, b"A" * 32)
            await guest.launch_update_data(0x5000, b"A" * 32)
            blocks = [await guest.host_read(gpa, 16) for gpa in (0x2000, 0x2010, 0x5000)]
            assert len(set(blocks)) == 3

    run(test())


@BARE
def test_what_the_host_writes_into_private_memory_is_taken_for_ciphertext(cpu: CpuChoice) -> None:
    """Garbage in its own block and nowhere else; and what was read there before is understood again."""

    async def test() -> None:
        async with bare_platform() as on:
            tenant = await Tenant.of(on, policy=2)  # with a debugger, to see what the guest sees
            async with await started(on, tenant, cpu) as guest:
                await guest.launch_update_data(0x2000, b"A" * 48)
                before = await guest.host_read(0x2000, 48)
                await guest.host_write(0x2010, b"B" * 16)
                seen = await guest.dbg_decrypt(0x2000, 48)
                assert seen[:16] == seen[32:] == b"A" * 16
                assert seen[16:32] not in (b"A" * 16, b"B" * 16)
                assert await guest.host_read(0x2010, 16) == b"B" * 16
                await guest.host_write(0x2010, before[16:32], View.DEVICE)
                assert await guest.dbg_decrypt(0x2000, 48) == b"A" * 48

    run(test())


@BARE
def test_what_nobody_encrypted_is_garbage_to_the_guest(cpu: CpuChoice) -> None:
    """The host puts a program into memory, and does not have it launched: it does not run."""

    async def test() -> None:
        async with bare_platform() as on, await started(on, await Tenant.of(on), cpu) as guest:
            await guest.host_write(CODE, ADD * 64)
            await guest.launch_measure()
            await guest.set_entry(CODE)
            await guest.launch_finish()
            assert (await guest.host_read(CODE, 16)) == ADD
            running = asyncio.ensure_future(guest.run())
            done, _ = await asyncio.wait([running], timeout=1)
            if done:
                out = await running
                assert (out.port, out.data) != (0x3F8, b"\x07")

    run(test())


@BARE
def test_without_sev_es_the_hypervisor_has_every_register(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on, await injected(on, await Tenant.of(on), cpu, STORE) as guest:
            await guest.run()
            registers = await guest.registers()
            assert registers.general["rax"] == 0x11223344
            assert len(registers.vectors) == 16
            state = await guest.vcpu_state()
            regs = bytearray(state.regs)
            struct.pack_into("<Q", regs, 0, 0x55)  # rax
            await guest.set_vcpu_state(type(state)(bytes(regs), state.sregs, state.xsave))
            assert (await guest.registers()).general["rax"] == 0x55

    run(test())


@ONLY_EMULATED
def test_with_sev_es_the_hypervisor_has_none(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on, await on.create_sev_guest(MEMORY, VmType.SEV_ES, cpu=cpu) as guest:
            with pytest.raises(IoctlRefused) as refused:
                await guest.registers()
            assert refused.value.number == errno.EINVAL

    run(test())


@BARE
def test_a_looping_guest_is_interrupted_and_looked_at_and_goes_on(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on, await injected(on, await Tenant.of(on), cpu, SPIN) as guest:
            for _ in range(3):
                running = asyncio.ensure_future(guest.run())
                await asyncio.sleep(0.05)
                assert not running.done()
                await guest.interrupt()
                assert (await running).kind is ExitKind.INTERRUPTED
                assert (await guest.registers()).general["rip"] == CODE
            running = asyncio.ensure_future(guest.run())
            await asyncio.sleep(0.05)
            assert len(await guest.host_read(CODE, PAGE)) == PAGE  # looking interrupts as well
            assert (await running).kind is ExitKind.INTERRUPTED
            running = asyncio.ensure_future(guest.run())
            await asyncio.sleep(0.05)
            await guest.close()
            assert (await running).kind is ExitKind.ENDED

    run(test())


# in al, 0x20; out 0x21, al; mov al, [ds:0]: MMIO at 0x10000 and on, where this guest has no memory
ASK = bytes.fromhex("e420 e621 b80010 8ed8 a00000 e622 c606010077 f4").ljust(32, b"\xf4")


@BARE
def test_inputs_are_answered_by_the_next_run(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on, await plain(on, cpu, ASK) as guest:
            asked = await guest.run()
            assert (asked.kind, asked.port, asked.size) == (ExitKind.INPUT, 0x20, 1)
            assert (await guest.run(b"\x5a")).data == b"\x5a"
            load = await guest.run()
            assert (load.kind, load.gpa, load.size, load.data) == (ExitKind.MMIO, 0x1_0000, 1, b"")
            assert (await guest.run(b"\xa5")).data == b"\xa5"
            store = await guest.run()
            assert (store.kind, store.gpa, store.data) == (ExitKind.MMIO, 0x1_0001, b"\x77")
            assert (await guest.run()).kind is ExitKind.HALTED

    run(test())


# mov ax, 0x2211; out dx, ax …: words and double words; then a string of three bytes
WIDE = bytes.fromhex("bae803 b81122 ef 66b804030201 66ef be0006 b90300 f36e f4").ljust(32, b"\xf4")


@pytest.mark.parametrize("cpu", [KVM])
def test_ports_take_words_and_strings(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform() as on, await plain(on, cpu, WIDE) as guest:
            await guest.host_write(0x600, b"abc")
            assert (await guest.run()).data == b"\x11\x22"
            assert (await guest.run()).data == b"\x04\x03\x02\x01"
            out = b""
            while (came := await guest.run()).kind is ExitKind.OUTPUT:
                assert (came.port, came.size) == (0x3E8, 1)
                out += came.data
            assert out == b"abc"

    run(test())


@BARE
def test_a_dead_guest_says_where_it_died_and_stays_dead(cpu: CpuChoice) -> None:
    crash = bytes.fromhex("0f0b").ljust(16, b"\xf4")  # ud2, and no handler: all of memory is zero

    async def test() -> None:
        async with (
            bare_platform() as on,
            await on.create_sev_guest(PAGE * 2, VmType.DEFAULT, cpu=cpu) as guest,
        ):
            await guest.host_write(CODE, crash)
            await guest.set_entry(CODE)
            state = await guest.vcpu_state()
            sregs = type(state)(state.regs, _without_interrupt_table(state.sregs), state.xsave)
            await guest.set_vcpu_state(sregs)
            first = await guest.run()
            assert first.kind is ExitKind.SHUTDOWN
            assert await guest.run() == first

    run(test())


def _without_interrupt_table(sregs: bytes) -> bytes:
    from wasmkeep.hardware.kvm_structures import Sregs

    changed = Sregs.from_buffer_copy(sregs)
    changed.idt.limit = 0
    return bytes(changed)
