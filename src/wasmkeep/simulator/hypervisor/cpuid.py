"""What the hypervisor says a guest's processor is: the table that a host sets with KVM_SET_CPUID2."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wasmkeep.simulator.memory_controller import C_BIT_POSITION

Leaf = tuple[int, int, int, int]  # EAX, EBX, ECX, EDX
Cpuid = Callable[[int, int], Leaf]  # leaf and subleaf → registers; a host may say anything

_VENDOR = (0x6874_7541, 0x444D_4163, 0x6974_6E65)  # "AuthenticAMD" in EBX, ECX, EDX
_SIGNATURE = 0x00A0_0F11  # family 19h, model 01h
_FEATURES_ECX = 1 << 0 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 23 | 1 << 25 | 1 << 31
_FEATURES_EDX = 0x0789_81BF & ~(1 << 9)  # no APIC
_EXTENDED_EDX = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29  # SYSCALL, NX, 1 GiB pages, RDTSCP, long mode
_SEV, _SEV_ES = 1 << 1, 1 << 3
_ADDRESS_SIZES = 48 << 8 | 48
MAX_LEAF, MAX_EXTENDED_LEAF = 0xD, 0x8000_001F


def honest(*, slots: int = 15, min_sev_asid: int = 1) -> Cpuid:
    """What this machine really is. The features are those of the emulator, less the host's devices."""
    table: Mapping[int, Leaf] = {
        0: (MAX_LEAF, *_VENDOR),
        1: (_SIGNATURE, 1 << 16, _FEATURES_ECX, _FEATURES_EDX),
        0x8000_0000: (MAX_EXTENDED_LEAF, *_VENDOR),
        0x8000_0001: (_SIGNATURE, 0, 0, _EXTENDED_EDX),
        0x8000_0008: (_ADDRESS_SIZES, 0, 0, 0),
        0x8000_001F: (_SEV | _SEV_ES, C_BIT_POSITION | 1 << 6, slots, min_sev_asid),
    }

    def answer(leaf: int, subleaf: int) -> Leaf:  # noqa: ARG001 - no leaf here has several
        return table.get(leaf, (0, 0, 0, 0))

    return answer
