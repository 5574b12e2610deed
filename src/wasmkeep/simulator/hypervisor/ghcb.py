"""The GHCB as the hypervisor finds it and answers in it ("SEV-ES Guest-Hypervisor Communication Block
Standardization", AMD 56421; SEV.md B.2 to B.4): the page, and the protocol of its MSR.

Only what the guest marked valid counts; after the answer only what the hypervisor gives is.
"""

from __future__ import annotations

from wasmkeep.hardware import ghcb as layout
from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.simulator.hypervisor.cpuid import Cpuid
from wasmkeep.simulator.memory_controller import C_BIT_POSITION

FIELDS = {"rax": layout.RAX, "rcx": 0x308, "rdx": 0x310, "rbx": 0x318, "sw_exitcode": layout.SW_EXITCODE}
FIELDS |= {"sw_exitinfo1": layout.SW_EXITINFO1, "sw_exitinfo2": layout.SW_EXITINFO2, "sw_scratch": 0x3A8}
_VERSIONS = (1, 2)
SHARED_BUFFER, SHARED_BUFFER_SIZE = 0x800, 2032

# Events beyond the exit codes of the processor.
MMIO_READ, MMIO_WRITE = 0x8000_0001, 0x8000_0002
HYPERVISOR_FEATURES, TERMINATION = 0x8000_FFFD, 0x8000_FFFE

# SW_EXITINFO1 of an answer, and with MALFORMED the reason in SW_EXITINFO2.
DONE, EXCEPTION, MALFORMED = 0, 1, 2
BAD_USAGE, BAD_SCRATCH, MISSING_INPUT, INVALID_INPUT, INVALID_EVENT = 2, 3, 4, 5, 6
_GENERAL_PROTECTION = 1 << 31 | 1 << 11 | 3 << 8 | 13  # valid, with error code, exception, #GP


class Malformed(Exception):
    """The guest's request is refused, with this reason."""

    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


class Ghcb:
    """A copy of the page, taken once."""

    def __init__(self, page: bytes) -> None:
        self._page = bytearray(page)

    def __getitem__(self, name: str) -> int:
        return self._quadword(FIELDS[name])

    def __setitem__(self, name: str, value: int) -> None:
        at = FIELDS[name]
        self._page[at : at + 8] = (value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little")
        self._page[layout.VALID_BITMAP + at // 64] |= 1 << at // 8 % 8

    def has(self, *names: str) -> bool:
        """Whether the guest gave all of these."""
        return all(
            self._page[layout.VALID_BITMAP + FIELDS[name] // 64] >> FIELDS[name] // 8 % 8 & 1
            for name in names
        )

    @property
    def is_standard(self) -> bool:
        version = int.from_bytes(self._page[layout.PROTOCOL_VERSION : layout.PROTOCOL_VERSION + 2], "little")
        usage = int.from_bytes(self._page[layout.USAGE : layout.USAGE + 4], "little")
        return version in _VERSIONS and usage == 0

    def scratch(self, gpa: int, size: int) -> int | None:
        """Where in the page the scratch area lies, of a GHCB at `gpa`; None outside its shared buffer."""
        at = self["sw_scratch"] - gpa
        inside = SHARED_BUFFER <= at <= SHARED_BUFFER + SHARED_BUFFER_SIZE - size
        return at if inside and self.has("sw_scratch") else None

    def bytes_at(self, at: int, size: int) -> bytes:
        return bytes(self._page[at : at + size])

    def put(self, at: int, data: bytes) -> None:
        self._page[at : at + len(data)] = data

    def begin_answer(self) -> None:
        """Nothing is valid any more, and the event is done."""
        end = layout.VALID_BITMAP + layout.VALID_BITMAP_SIZE
        self._page[layout.VALID_BITMAP : end] = bytes(layout.VALID_BITMAP_SIZE)
        self["sw_exitinfo1"] = self["sw_exitinfo2"] = DONE

    def malformed(self, reason: int) -> None:
        self.begin_answer()
        self["sw_exitinfo1"], self["sw_exitinfo2"] = MALFORMED, reason

    def raise_protection_fault(self) -> None:
        self.begin_answer()
        self["sw_exitinfo1"], self["sw_exitinfo2"] = EXCEPTION, _GENERAL_PROTECTION

    def encode(self) -> bytes:
        """The page's 4096 bytes."""
        return bytes(self._page[:PAGE])

    def _quadword(self, at: int) -> int:
        return int.from_bytes(self._page[at : at + 8], "little")


# The MSR protocol: the low 12 bits are what is asked, or answered.
MSR_CODE = 0xFFF
_INFO_REQUEST, _INFO, _CPUID_REQUEST, _CPUID = 0x002, 0x001, 0x004, 0x005
_PREFERRED_REQUEST, _PREFERRED, _REGISTER_REQUEST, _REGISTERED = 0x010, 0x011, 0x012, 0x013
_FEATURES_REQUEST, _FEATURES = 0x080, 0x081
_TERMINATE = 0x100
_NO_PREFERENCE = 0xF_FFFF_FFFF_FFFF


def msr_answer(request: int, cpuid: Cpuid) -> int | None:
    """What the hypervisor puts into the MSR; None where it knows no answer."""
    code, high = request & MSR_CODE, request >> 32
    if code == _INFO_REQUEST:
        return max(_VERSIONS) << 48 | min(_VERSIONS) << 32 | C_BIT_POSITION << 24 | _INFO
    if code == _CPUID_REQUEST:
        register = request >> 30 & 3
        return cpuid(high, 0)[register] << 32 | register << 30 | _CPUID
    if code == _PREFERRED_REQUEST:
        return _NO_PREFERENCE << 12 | _PREFERRED
    if code == _REGISTER_REQUEST:
        return request & ~MSR_CODE | _REGISTERED
    if code == _FEATURES_REQUEST:
        return _FEATURES
    return None


def termination(request: int) -> tuple[int, int] | None:
    """Reason set and reason of a guest that asks to be ended; None where it asks something else."""
    if request & MSR_CODE != _TERMINATE:
        return None
    return request >> 12 & 0xF, request >> 16 & 0xFF
