"""A SEV guest as its host drives it: KVM's commands by name, whoever performs them.

`SevGuest` (`sev_guest_vm`) is one of the simulated machine, `BareVm` (`bare_vm`) one of this computer's
``/dev/kvm``. Addresses are guest-physical. Refusals are `FirmwareError` or `IoctlRefused`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from wasmkeep.hardware import kvm_sev_calls
from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.calls import Call
from wasmkeep.hardware.kvm_sev_calls import GuestStatus
from wasmkeep.hardware.machine_calls import View

__all__ = ["Registers", "SevGuestCommands", "VcpuState"]

_GENERAL = tuple(field[0] for field in k.Regs._fields_)
_VECTORS = 16


@dataclass(frozen=True, slots=True)
class Registers:
    """What a hypervisor sees of a vCPU at an exit: `general` by name, with `rip` and `rflags`; `vectors` are
    ymm0 to ymm15, 32 bytes each.
    """

    general: dict[str, int]
    vectors: tuple[bytes, ...]

    @classmethod
    def of(cls, regs: k.Regs, xsave: bytes) -> Registers:
        vectors = tuple(
            xsave[k.XSAVE_XMM + at : k.XSAVE_XMM + at + 16]
            + xsave[k.XSAVE_YMM_HIGH + at : k.XSAVE_YMM_HIGH + at + 16]
            for at in range(0, 16 * _VECTORS, 16)
        )
        return cls({name: getattr(regs, name) for name in _GENERAL}, vectors)


@dataclass(frozen=True, slots=True)
class VcpuState:
    """What moves with a guest that has no SEV-ES: ``kvm_regs``, ``kvm_sregs``, ``kvm_xsave``.

    Complete at an output, a halt or an interruption; after an input or MMIO the access is still pending.
    """

    regs: bytes
    sregs: bytes
    xsave: bytes


class SevGuestCommands(ABC):
    @abstractmethod
    async def _perform(self, *calls: Call) -> tuple[bytes, ...]:
        """In order; the last one's memory afterwards. Raises what the first refused one is refused with."""

    @abstractmethod
    def _uaddr(self, gpa: int) -> int:
        """Where this host has guest memory mapped."""

    @abstractmethod
    async def host_write(self, gpa: int, data: bytes, view: View = View.HYPERVISOR) -> None:
        """Into guest memory, as the host's own stores."""

    # Launch (SEV API 0.24, 6.2 to 6.7)

    async def launch_start(
        self, policy: int, owner_certificate: bytes = b"", session: bytes = b"", *, handle: int = 0
    ) -> int:
        """The firmware's handle. `owner_certificate` 2084 and `session` 128 bytes, or the guest has no owner;
        `handle` names a guest to share the memory key with.
        """
        call = kvm_sev_calls.launch_start(policy, owner_certificate, session, handle=handle)
        return kvm_sev_calls.decode_handle(await self._perform(call))

    async def launch_update_data(self, gpa: int, data: bytes) -> None:
        """Put `data` there, measure it, and encrypt it in place. Whole blocks of 16 bytes."""
        await self.host_write(gpa, data)
        await self._perform(kvm_sev_calls.launch_update_data(self._uaddr(gpa), len(data)))

    async def launch_update_vmsa(self) -> None:
        """Measure and encrypt the vCPU's initial state (SEV-ES)."""
        await self._perform(kvm_sev_calls.launch_update_vmsa())

    async def launch_measure(self) -> bytes:
        """MEASURE[32] ‖ MNONCE[16]."""
        return kvm_sev_calls.decode_measurement(await self._perform(kvm_sev_calls.launch_measure()))

    async def launch_secret(self, header: bytes, gpa: int, data: bytes) -> None:
        """Inject a packet of the owner's: `header` 52 bytes, `data` its ciphertext."""
        await self._perform(kvm_sev_calls.launch_secret(header, self._uaddr(gpa), data))

    async def launch_finish(self) -> None:
        """From now on it may run, and nothing more is measured or injected."""
        await self._perform(kvm_sev_calls.launch_finish())

    # Migration (SEV API 0.24, 6.8 to 6.17)

    async def send_start(
        self, pdh: bytes, platform_certificates: bytes, amd_certificates: bytes
    ) -> tuple[int, bytes]:
        """To the platform with this PDH, PEK ‖ OCA ‖ CEK, ASK ‖ ARK: the policy, and the session for it."""
        call = kvm_sev_calls.send_start(pdh, platform_certificates, amd_certificates)
        return kvm_sev_calls.decode_send_start(await self._perform(call))

    async def send_update_data(self, gpa: int, size: int) -> tuple[bytes, bytes]:
        """Header and ciphertext of `size` bytes inside one page."""
        call = kvm_sev_calls.send_update_data(self._uaddr(gpa), size)
        return kvm_sev_calls.decode_packet(await self._perform(call))

    async def send_finish(self) -> None:
        """The guest is gone from here: it runs no more."""
        await self._perform(kvm_sev_calls.send_finish())

    async def send_cancel(self) -> None:
        await self._perform(kvm_sev_calls.send_cancel())

    async def receive_start(self, policy: int, pdh: bytes, session: bytes, *, handle: int = 0) -> int:
        """`pdh` is the sending platform's. The firmware's handle."""
        call = kvm_sev_calls.receive_start(policy, pdh, session, handle=handle)
        return kvm_sev_calls.decode_handle(await self._perform(call))

    async def receive_update_data(self, header: bytes, gpa: int, data: bytes) -> None:
        await self._perform(kvm_sev_calls.receive_update_data(header, self._uaddr(gpa), data))

    async def receive_finish(self) -> None:
        await self._perform(kvm_sev_calls.receive_finish())

    # A guest that is there

    async def guest_status(self) -> GuestStatus:
        return kvm_sev_calls.decode_guest_status(await self._perform(kvm_sev_calls.guest_status()))

    async def attestation_report(self, mnonce: bytes) -> bytes:
        """208 bytes, signed by the PEK; `mnonce` 16 bytes, the caller's."""
        call = kvm_sev_calls.attestation_report(mnonce)
        return kvm_sev_calls.decode_attestation_report(await self._perform(call))

    async def dbg_decrypt(self, gpa: int, size: int) -> bytes:
        """Guest memory as the guest sees it; refused by a policy with NODBG."""
        return (await self._perform(kvm_sev_calls.dbg_decrypt(self._uaddr(gpa), size)))[2]

    async def dbg_encrypt(self, gpa: int, data: bytes) -> None:
        """Write as the guest would."""
        await self._perform(kvm_sev_calls.dbg_encrypt(self._uaddr(gpa), data))
