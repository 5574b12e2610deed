"""What an exit shows of a vCPU: everything and freely changeable without SEV-ES, nothing with it."""

from __future__ import annotations

import errno

import pytest

from tests.machines import machine
from tests.simulator.driving import run
from tests.simulator.machine.bare import Computer
from tests.threats.bare import (
    EMULATED_ES,
    SECRET,
    Kind,
    errno_of,
    image,
    opened,
    without_owner,
)
from wasmkeep.errors import SystemFailure
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.kvm_structures import Regs
from wasmkeep.hardware.machine_calls import CpuChoice, ExitReason
from wasmkeep.hardware.machine_guest import ExitKind
from wasmkeep.hardware.sev_guest_commands import Registers, VcpuState
from wasmkeep.hardware.sev_guest_vm import SevGuest

HELD_AT = 0x3000
# mov eax, cr4 · or ax, 200h · mov cr4, eax (OSFXSR, which SSE needs) · mov ebx, [2000h] ·
# movups xmm5, [2004h] · hlt · mov [3000h], bl · hlt
HOLD_SECRET = bytes.fromhex(
    "0f 20 e0  0d 00 02  0f 22 e0  66 8b 1e 00 20  0f 10 2e 04 20  f4  88 1e 00 30  f4"
)


async def looked(guest: SevGuest) -> Registers:
    assert (await guest.run()).kind is ExitKind.HALTED
    return await guest.registers()


async def changed(guest: SevGuest) -> None:
    """Put another value into the guest's RBX."""
    state = await guest.vcpu_state()
    regs = Regs.from_buffer_copy(state.regs)
    regs.rbx = 0x21
    await guest.set_vcpu_state(VcpuState(bytes(regs), state.sregs, state.xsave))


def attacked(kind: Kind) -> None:
    """The hypervisor finds the secret in the registers, and another value takes effect."""

    async def whole() -> None:
        contents = image(HOLD_SECRET) | {HELD_AT: bytes(4096)}
        async with opened(machine()) as platform, without_owner(platform, kind, contents) as guest:
            registers = await looked(guest)
            assert registers.general["rbx"] == int.from_bytes(SECRET[:4], "little")
            assert registers.vectors[5][:16] == SECRET[4:20]
            before = await guest.host_read(HELD_AT, 16)
            await changed(guest)
            assert (await guest.run()).kind is ExitKind.HALTED
            assert await guest.host_read(HELD_AT, 16) != before
            if kind.vm_type is VmType.DEFAULT:
                assert await guest.host_read(HELD_AT, 1) == b"!"

    run(whole())


def protected(kind: Kind) -> None:
    async def whole() -> None:
        contents = image(HOLD_SECRET) | {HELD_AT: bytes(4096)}
        async with opened(machine()) as platform, without_owner(platform, kind, contents) as guest:
            for look in (looked(guest), guest.vcpu_state(), changed(guest)):
                with pytest.raises(SystemFailure) as refusal:
                    await look
                assert errno_of(refusal) == errno.EINVAL
            with pytest.raises(SystemFailure) as refusal:
                await guest.set_entry(0)  # nor is there another way to begin again
            assert errno_of(refusal) == errno.EBUSY
            assert (await guest.run()).kind is ExitKind.HALTED

    run(whole())


def test_register_state_at_an_exit() -> None:
    """Not encrypted, and with plain SEV: seen and changed. With SEV-ES: neither, nor behind KVM's back."""
    for cpu in (CpuChoice.EMULATED, *((CpuChoice.OWN,) if machine().cpu == "kvm" else ())):
        attacked(Kind(VmType.DEFAULT, cpu))
        attacked(Kind(VmType.SEV, cpu))
    protected(EMULATED_ES)
    _state_in_dram(es=False)
    _state_in_dram(es=True)


def _state_in_dram(*, es: bool) -> None:
    """The whole of DRAM, where the VMSA is: it holds the registers as ciphertext, and no other state runs."""
    computer = Computer()
    with computer.guest(image(HOLD_SECRET) | {HELD_AT: bytes(4096)}, es=es) as guest:
        assert guest.cpu.run().exit_reason == ExitReason.HLT
        held = guest.cpu.block.save.encode()
        vmsa = guest.cpu.block.vmsa
        assert (SECRET[:4] in held) is not es
        assert SECRET[:4] not in computer.dram.read(vmsa, 4096)
        stored = computer.dram.read(vmsa, 4096)
        computer.dram.write(vmsa, stored[:0x310] + bytes((stored[0x310] ^ 1,)) + stored[0x311:])
        left = guest.cpu.run().exit_reason
        assert (left == ExitReason.HLT) is not es
        assert (left == ExitReason.FAIL_ENTRY) is es
