"""A host's buffers: length queries, lengths that must be exact, and outputs that are written whole or not."""

from __future__ import annotations

from collections.abc import Callable

from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.packet import MAX_SECRET_SIZE, SecretPacket
from wasmkeep.hardware.sev_commands import PACKET_HEADER_SIZE, SevDataPacket
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.structures import Structure
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.system_memory import ENCRYPTION_BLOCK, SystemMemory

_PACKET_STATUS = {
    "sev.packet.size": SevStatus.INVALID_LENGTH,
    "sev.packet.mac": SevStatus.BAD_MEASUREMENT,
    "sev.packet.flags": SevStatus.UNSUPPORTED,
}


class LengthNeeded(Refused):
    """INVALID_LENGTH, and the buffer says what is needed: `lengths` by field."""

    def __init__(self, lengths: dict[str, int]) -> None:
        super().__init__(SevStatus.INVALID_LENGTH)
        self.lengths = lengths


def require_room(buffer: Structure, **needed: int) -> None:
    """Refuse with `LengthNeeded` unless each field of `buffer` is at least what is needed."""
    if any(getattr(buffer, field) < size for field, size in needed.items()):
        raise LengthNeeded(needed)


def require_length(length: int, *allowed: int) -> None:
    require(length in allowed, SevStatus.INVALID_LENGTH)


def require_blocks(address: int, length: int) -> None:
    """A private range: INVALID_ADDRESS, then INVALID_LENGTH, unless it is whole encryption blocks."""
    require(address % ENCRYPTION_BLOCK == 0, SevStatus.INVALID_ADDRESS)
    require(length > 0 and length % ENCRYPTION_BLOCK == 0, SevStatus.INVALID_LENGTH)


def require_packet(buffer: SevDataPacket) -> None:
    """The lengths of a packet that comes in: all INVALID_LENGTH."""
    require_length(buffer.hdr_len, PACKET_HEADER_SIZE)
    require_length(buffer.guest_len, buffer.trans_len)
    require_packet_length(buffer.guest_len)


def require_packet_length(length: int) -> None:
    in_range = ENCRYPTION_BLOCK <= length <= MAX_SECRET_SIZE
    require(in_range and length % ENCRYPTION_BLOCK == 0, SevStatus.INVALID_LENGTH)


def open_packet(
    buffer: SevDataPacket, memory: SystemMemory, open_with: Callable[[SecretPacket], bytes]
) -> bytes:
    """The plaintext of a packet, copied once. BAD_MEASUREMENT; UNSUPPORTED for a compressed one."""
    header = memory.read(buffer.hdr_address, buffer.hdr_len)
    packet = SecretPacket(header, memory.read(buffer.trans_address, buffer.trans_len))
    try:
        return open_with(packet)
    except Rejected as error:
        raise Refused(_PACKET_STATUS[error.findings[0].check]) from error


def store(memory: SystemMemory, *outputs: tuple[int, bytes]) -> None:
    """Write each (address, bytes); none where one is not memory (INVALID_ADDRESS)."""
    for address, data in outputs:
        memory.read(address, len(data))
    for address, data in outputs:
        memory.write(address, data)
