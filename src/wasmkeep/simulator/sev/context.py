"""What the firmware knows: the platform's state and identity, and its guests by handle."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Protocol

from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.packet import Context
from wasmkeep.evidence.sev.session import LaunchKeys
from wasmkeep.hardware.psp_sev import FirmwareCommand
from wasmkeep.hardware.sev_commands import SevGuestState, SevPlatformState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.chip import Chip
from wasmkeep.simulator.key_slots import KeySlots
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.products import SevVersion
from wasmkeep.simulator.sev.identity import PlatformIdentity
from wasmkeep.simulator.sev.states import next_guest_state
from wasmkeep.simulator.sev.transfers import store
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.system_memory import SystemMemory

_HANDLES = 1 << 32
NO_DIGEST = bytes(32)  # of a guest that arrived: its launch was measured elsewhere


class RunningDigest(Protocol):
    """A digest of what was launched so far."""

    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


@dataclass(slots=True)
class SevGuest:
    """One guest context. `keys` are TEK and TIK of the launch or of the journey, None once erased."""

    handle: int
    policy: GuestPolicy
    state: SevGuestState
    memory_key: MemoryKey = field(repr=False)
    keys: LaunchKeys | None = field(default=None, repr=False)
    asid: int = 0
    measured: RunningDigest | None = field(default=None, repr=False)
    measure: bytes = b""  # MEASURE, once LAUNCH_MEASURE made it

    @property
    def es(self) -> bool:
        return self.has(GuestPolicyBit.ES)

    @property
    def launch_digest(self) -> bytes:
        """LD, 32 bytes, of what was launched so far."""
        return NO_DIGEST if self.measured is None else self.measured.digest()

    def has(self, bit: GuestPolicyBit) -> bool:
        return bool(self.policy.bits & bit)

    def after(self, command: FirmwareCommand) -> SevGuestState:
        """The state that `command` leads to. INVALID_GUEST_STATE where it is not legal now."""
        return next_guest_state(command, self.state)

    def require_active(self) -> None:
        require(self.asid != 0, SevStatus.INACTIVE)

    def transport_keys(self) -> LaunchKeys:
        """TEK and TIK. Every state whose commands use them has them."""
        if self.keys is None:
            raise Refused(SevStatus.INVALID_GUEST_STATE)
        return self.keys


@dataclass(slots=True)
class FirmwareContext:
    """`amd_roots` are SPKI digests of the ARKs that SEND_START takes for AMD's, 32 bytes each.

    `vmsa_context` is the first byte under the MAC of a VMSA's packet, on which sources disagree (SEV.md E-2).
    """

    chip: Chip = field(repr=False)
    version: SevVersion
    slots: KeySlots
    amd_roots: Set[bytes] = frozenset()
    vmsa_context: int = Context.UPDATE_VMSA
    state: SevPlatformState = SevPlatformState.UNINIT
    es: bool = False
    nv_address: int | None = None  # where INIT_EX keeps the persistent state
    guests: dict[int, SevGuest] = field(default_factory=dict)
    _identity: PlatformIdentity | None = field(default=None, init=False)
    _last_handle: int = field(default=0, init=False)

    @property
    def identity(self) -> PlatformIdentity:
        """OCA, PEK and PDH of an initialised platform."""
        if self._identity is None:
            raise Refused(SevStatus.INVALID_PLATFORM_STATE)
        return self._identity

    @property
    def has_identity(self) -> bool:
        return self._identity is not None

    def adopt(self, identity: PlatformIdentity, memory: SystemMemory) -> None:
        """Be this platform from now on; what INIT_EX gave the firmware to remember it in is written first."""
        if self.nv_address is not None:
            store(memory, (self.nv_address, identity.seal(self.chip)))
        self._identity = identity

    def forget_identity(self) -> None:
        self._identity = None

    def guest(self, handle: int) -> SevGuest:
        """Raises `Refused` (INVALID_GUEST)."""
        found = self.guests.get(handle)
        if found is None:
            raise Refused(SevStatus.INVALID_GUEST)
        return found

    def new_handle(self) -> int:
        """A handle that no living guest has, and no dead one had lately; never 0."""
        while True:
            self._last_handle = (self._last_handle + 1) % _HANDLES
            if self._last_handle and self._last_handle not in self.guests:
                return self._last_handle

    def remove(self, guest: SevGuest) -> None:
        """End a guest: key, digest and packets' keys go with it; its slot, if it has one, is left dirty."""
        if guest.asid:
            self.slots.deactivate(guest.asid)
            guest.asid = 0
        guest.keys = None
        guest.state = SevGuestState.UNINIT
        self.guests.pop(guest.handle, None)
