"""Packets that travel encrypted: a launch secret (S-6.6, table 55), and pages on their way between platforms.

Header, 52 bytes: 00 flags u32 (bit 0: compressed, never here) · 04 IV[16] · 14 MAC[32]. The body is
AES-128-CTR(TEK, IV). MAC = HMAC-SHA-256(TIK, context u8 ‖ flags ‖ IV ‖ length of plaintext u32 ‖ length of
ciphertext u32 ‖ ciphertext ‖ for a launch secret: MEASURE[32] of that launch, without MNONCE).

Nothing in it says *where* in the guest it belongs: a host can place a packet at any address, twice, or never.
"""

from __future__ import annotations

import hmac
import struct
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.findings import malformed, unsupported, untrusted
from wasmkeep.evidence.sev.session import LaunchKeys, counter_mode

if TYPE_CHECKING:
    from wasmkeep.evidence.sev.measurement import ProvenLaunch

__all__ = [
    "DISK_PASSPHRASE",
    "HEADER_SIZE",
    "MAX_SECRET_SIZE",
    "Context",
    "SecretPacket",
    "open_secret",
    "open_transport",
    "seal_secret",
    "seal_transport",
    "secret_table",
]

HEADER_SIZE = 52
MAX_SECRET_SIZE = 0x5000
"""Bytes of plaintext that LAUNCH_SECRET takes."""
_UNIT = 16
_IV_SIZE, _MEASURE_SIZE = 16, 32
_HEADER = struct.Struct("<I 16s 32s")
_COMPRESSED = 1
_SECTION = "AMD 55766, 6.6 LAUNCH_SECRET, table 55"


class Context(IntEnum):
    """The first byte under a MAC. Of VMSA packets it is told differently: see `seal_transport`."""

    LAUNCH_SECRET = 1
    UPDATE_DATA = 2
    UPDATE_VMSA = 3


@dataclass(frozen=True, slots=True)
class SecretPacket:
    """``header`` is 52 bytes, ``data`` the ciphertext, a multiple of 16."""

    header: bytes
    data: bytes


def seal_secret(keys: LaunchKeys, iv: bytes, plaintext: bytes, launch: ProvenLaunch | bytes) -> SecretPacket:
    """A packet that only the launch with this measurement takes. ``iv`` is 16 fresh random bytes; ``launch``
    is the proven launch, or its MEASURE (32 bytes). ``ValueError`` for a plaintext that is not 16 to 20,480
    bytes in whole units of 16."""
    if len(plaintext) > MAX_SECRET_SIZE:
        raise ValueError(f"a launch secret has at most {MAX_SECRET_SIZE} bytes")
    return _seal(keys, iv, plaintext, Context.LAUNCH_SECRET, _measure_of(launch))


def open_secret(keys: LaunchKeys, packet: SecretPacket, launch: ProvenLaunch | bytes) -> bytes:
    """The firmware's side: the plaintext. Raises `Rejected`: ``sev.packet.size``, ``sev.packet.mac``,
    ``sev.packet.flags`` (checked in this order)."""
    if len(packet.data) > MAX_SECRET_SIZE:
        raise _size(packet)
    return _open(keys, packet, Context.LAUNCH_SECRET, _measure_of(launch))


def seal_transport(
    keys: LaunchKeys, iv: bytes, plaintext: bytes, context: int = Context.UPDATE_DATA
) -> SecretPacket:
    """A packet of SEND_UPDATE_DATA or SEND_UPDATE_VMSA. ``context`` is a parameter because sources disagree
    on that of a VMSA: the constant is 3, one firmware writes 2."""
    return _seal(keys, iv, plaintext, context, b"")


def open_transport(keys: LaunchKeys, packet: SecretPacket, context: int = Context.UPDATE_DATA) -> bytes:
    """The receiver's side. Raises `Rejected` as `open_secret` does."""
    return _open(keys, packet, context, b"")


DISK_PASSPHRASE = uuid.UUID("736869e5-84f0-4973-92ec-06879ce3da0b")
_TABLE = uuid.UUID("1e74f542-71dd-4d66-963e-ef4287ff173b")


def secret_table(entries: Iterable[tuple[uuid.UUID, bytes]]) -> bytes:
    """The table in which guest firmware looks secrets up by GUID: GUID ‖ length u32 of the table, then GUID ‖
    length u32 ‖ data each (lengths count the whole entry), zeros to a multiple of 16."""
    body = b"".join(guid.bytes_le + (20 + len(data)).to_bytes(4, "little") + data for guid, data in entries)
    table = _TABLE.bytes_le + (20 + len(body)).to_bytes(4, "little") + body
    return table + bytes(-len(table) % _UNIT)


def _measure_of(launch: ProvenLaunch | bytes) -> bytes:
    measure = launch if isinstance(launch, bytes) else launch.measurement.measure
    if len(measure) != _MEASURE_SIZE:
        raise ValueError("a MEASURE has 32 bytes, without MNONCE")
    return measure


def _seal(keys: LaunchKeys, iv: bytes, plaintext: bytes, context: int, measure: bytes) -> SecretPacket:
    if not plaintext or len(plaintext) % _UNIT or len(iv) != _IV_SIZE:
        raise ValueError("a packet carries a positive multiple of 16 bytes, under an IV of 16")
    data = counter_mode(keys.tek, iv, plaintext)
    return SecretPacket(_HEADER.pack(0, iv, _mac(keys, context, 0, iv, data, measure)), data)


def _open(keys: LaunchKeys, packet: SecretPacket, context: int, measure: bytes) -> bytes:
    if len(packet.header) != HEADER_SIZE or not packet.data or len(packet.data) % _UNIT:
        raise _size(packet)
    flags, iv, mac = _HEADER.unpack(packet.header)
    if not hmac.compare_digest(_mac(keys, context, flags, iv, packet.data, measure), mac):
        message = "the packet was not made for this launch, or was altered"
        required = "an HMAC under this launch's TIK"
        raise Rejected(untrusted("packet.mac", message, mac.hex(), required, _SECTION))
    if flags:
        message = "the packet is compressed" if flags == _COMPRESSED else "the packet has unknown flags"
        raise unsupported("packet.flags", message, f"{flags:#x}", "0", _SECTION)
    return counter_mode(keys.tek, iv, packet.data)


def _mac(keys: LaunchKeys, context: int, flags: int, iv: bytes, data: bytes, measure: bytes) -> bytes:
    size = len(data).to_bytes(4, "little")
    message = bytes((context,)) + flags.to_bytes(4, "little") + iv + size + size + data + measure
    return hmac.digest(keys.tik, message, "sha256")


def _size(packet: SecretPacket) -> Rejected:
    found = f"{len(packet.header)} and {len(packet.data)} bytes"
    required = f"a header of {HEADER_SIZE} bytes and whole units of {_UNIT}"
    return malformed("packet.size", "the packet has a wrong size", found, required, _SECTION)
