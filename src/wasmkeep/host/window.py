"""The shared window, as the host reads and writes it: bytes in, what the keep asks for out. No I/O.

Layout and fields: ``docs/host-interface.md``; the window begins with the GHCB page. All integers are
little-endian. A keep may be hostile to its host too, so each field is read once, checked, and anything the
interface does not have ends the keep.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from wasmkeep.hardware import ghcb
from wasmkeep.host.endings import EndKeep, misbehaved

__all__ = [
    "DATA_SIZE",
    "WINDOW_SIZE",
    "Exchange",
    "GuestMessage",
    "KeepExit",
    "Last",
    "Refusal",
    "answer_guest_message",
    "deliver",
    "read_exit",
    "write_hints",
]

WINDOW_GPA = 0x20_0000
WINDOW_SIZE = 0x10_0000
CONTROL = 0x1000
REQUEST = 0x2000
RESPONSE = 0x3000
PAGE = 0x1000
DATA = 0x1_0000
DATA_SIZE = WINDOW_SIZE - DATA
"""Bytes of the data area: the most one message can be."""

FOREVER = 2**64 - 1

# Port 0x10 (bits 31:16), a 64-bit address (bit 9), 8 bits (bit 4), OUT (bit 0 clear).
_OUT_PORT_10 = 0x0010_0210

_INCOMING_LENGTH = CONTROL + 0x100
_NONCE = CONTROL + 0x200
_TENANT_KEY_DIGEST = CONTROL + 0x220
_TSC_KHZ = CONTROL + 0x240


class Operation(IntEnum):
    """What a keep asks of its host by a port write."""

    EXCHANGE = 1
    END = 2
    REFUSE = 3


@dataclass(frozen=True, slots=True)
class Exchange:
    """``message`` (may be empty) is for the tenant; then wait ``wait`` nanoseconds for one from there.

    ``wait`` 0 takes only what is already here; None is as long as it takes.
    """

    message: bytes
    wait: int | None


@dataclass(frozen=True, slots=True)
class Last:
    """The keep's last message; it is done."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """The keep refuses to go on. ``code`` and ``detail`` are public; ``detail`` is an address or 0."""

    message: bytes
    code: int
    detail: int


@dataclass(frozen=True, slots=True)
class GuestMessage:
    """A sealed request to the secure processor stands in the request page of the window."""

    request_gpa: int = WINDOW_GPA + REQUEST
    response_gpa: int = WINDOW_GPA + RESPONSE


KeepExit = Exchange | Last | Refusal | GuestMessage


def read_exit(window: memoryview, tee: str = "snp") -> KeepExit:
    """What the keep asked for by this exit. Raises ``EndKeep`` for anything the interface does not have.

    A guest of plain SEV has no GHCB: its port write is all there is to see of the exit. One of SEV-ES has no
    guest messages.
    """
    if tee == "sev":
        return _read_control(window)
    page = bytes(window[:PAGE])
    version, usage = struct.unpack_from("<HI", page, ghcb.PROTOCOL_VERSION)
    if version != 2 or usage != 0:
        raise EndKeep(misbehaved(f"GHCB protocol {version}, usage {usage}"))
    code, info1, info2 = struct.unpack_from("<QQQ", page, ghcb.SW_EXITCODE)
    if code == ghcb.EXIT_GUEST_REQUEST and tee == "snp":
        message = GuestMessage()
        _require_valid(page, ghcb.SW_EXITCODE, ghcb.SW_EXITINFO1, ghcb.SW_EXITINFO2)
        if (info1, info2) != (message.request_gpa, message.response_gpa):
            raise EndKeep(misbehaved(f"guest message at {info1:#x}, {info2:#x}"))
        return message
    if code != ghcb.EXIT_IOIO:
        raise EndKeep(misbehaved(f"exit code {code:#x}"))
    _require_valid(page, ghcb.SW_EXITCODE, ghcb.SW_EXITINFO1, ghcb.SW_EXITINFO2, ghcb.RAX)
    if info1 != _OUT_PORT_10 or info2 != 0:
        raise EndKeep(misbehaved(f"port access {info1:#x}, {info2:#x}"))
    return _read_control(window)


def _read_control(window: memoryview) -> KeepExit:
    operation, length, wait, code, detail = struct.unpack_from("<IIQI", window, CONTROL) + struct.unpack_from(
        "<Q", window, CONTROL + 0x14
    )
    if length > DATA_SIZE:
        raise EndKeep(misbehaved(f"a message of {length} bytes"))
    message = bytes(window[DATA : DATA + length])
    if operation == Operation.EXCHANGE:
        return Exchange(message, None if wait == FOREVER else wait)
    if operation == Operation.END:
        return Last(message)
    if operation == Operation.REFUSE:
        return Refusal(message, code, detail)
    raise EndKeep(misbehaved(f"operation {operation}"))


def _require_valid(page: bytes, *fields: int) -> None:
    expected = sum(1 << (field // 8) for field in fields)
    valid = int.from_bytes(page[ghcb.VALID_BITMAP : ghcb.VALID_BITMAP + ghcb.VALID_BITMAP_SIZE], "little")
    if valid != expected:
        raise EndKeep(misbehaved(f"GHCB valid bitmap {valid:#x}"))


def deliver(window: memoryview, message: bytes) -> None:
    """Answer an exchange: ``message`` from the tenant, at most ``DATA_SIZE`` bytes; empty where none came."""
    if len(message) > DATA_SIZE:
        raise ValueError(f"a message of {len(message)} bytes does not fit the window")
    window[DATA : DATA + len(message)] = message
    struct.pack_into("<I", window, _INCOMING_LENGTH, len(message))
    _answer(window, 0)


def answer_guest_message(window: memoryview, exitinfo2: int) -> None:
    """Answer a guest message; ``exitinfo2`` is the secure processor's (low 32 bits) and the host's status."""
    _answer(window, exitinfo2)


def _answer(window: memoryview, exitinfo2: int) -> None:
    # SW_EXITINFO1 0: done, no exception to raise (AMD 56421, section 4.1).
    struct.pack_into("<QQ", window, ghcb.SW_EXITINFO1, 0, exitinfo2)


def write_hints(window: memoryview, nonce: bytes, tenant_key_digest: bytes, tsc_khz: int) -> None:
    """Before the start: nonce and SHA-256 of the tenant's key (32 bytes each), and the TSC's rate in kHz.

    All three are hints: evidence binds the first two, and the keep checks the third for sense.
    """
    if len(nonce) != 32 or len(tenant_key_digest) != 32:
        raise ValueError("nonce and key digest are 32 bytes each")
    window[_NONCE : _NONCE + 32] = nonce
    window[_TENANT_KEY_DIGEST : _TENANT_KEY_DIGEST + 32] = tenant_key_digest
    struct.pack_into("<Q", window, _TSC_KHZ, tsc_khz)
