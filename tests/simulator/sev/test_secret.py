"""LAUNCH_SECRET: an owner's packet, its checks, and what its MAC does not cover."""

from __future__ import annotations

import hmac
import os

import pytest

from tests.simulator.sev.bench import NOWHERE, PAGE, POLICY, Bench, Owner
from wasmkeep.evidence.sev import packet
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_status import SevStatus

LENGTH, ADDRESS, MAC = SevStatus.INVALID_LENGTH, SevStatus.INVALID_ADDRESS, SevStatus.BAD_MEASUREMENT


class Measured:
    """A measured launch, and a right packet for it."""

    def __init__(self) -> None:
        self.bench, self.owner = Bench(), Owner()
        self.handle = self.bench.activated(POLICY, self.owner)
        self.measure = self.bench.measured(self.handle).measure
        self.packet = self.owner.secret(bytes(range(64)), self.measure)
        self.place = self.bench.memory.pages(8)

    def fields(self, **changes: int) -> dict[str, int]:
        plain = self.bench.packet_fields(self.handle, self.packet.header, self.place, self.packet.data)
        return {**plain, **changes}

    def refused(self, **changes: int) -> SevStatus:
        return self.bench.refused(Command.LAUNCH_SECRET, **self.fields(**changes))


BAD_LENGTHS = {
    "a shorter header": {"hdr_len": 51},
    "a longer header": {"hdr_len": 53},
    "unequal lengths": {"guest_len": 48},
    "no bytes": {"guest_len": 0, "trans_len": 0},
    "part of a block": {"guest_len": 63, "trans_len": 63},
    "more than a packet carries": {"guest_len": 0x5010, "trans_len": 0x5010},
}


@pytest.mark.parametrize("name", BAD_LENGTHS)
def test_a_packet_has_right_lengths(name: str) -> None:
    at = Measured()
    assert at.refused(**BAD_LENGTHS[name]) is LENGTH
    at.bench.ok(Command.LAUNCH_FINISH, handle=at.handle)
    assert at.refused(**BAD_LENGTHS[name]) is LENGTH  # asked before the state
    assert at.refused() is SevStatus.INVALID_GUEST_STATE


def test_a_packet_goes_into_memory_of_an_active_guest() -> None:
    at = Measured()
    assert at.refused(guest_address=at.place + 8) is ADDRESS
    assert at.refused(guest_address=NOWHERE) is ADDRESS
    assert at.refused(hdr_address=NOWHERE) is ADDRESS
    assert at.refused(trans_address=NOWHERE) is ADDRESS
    at.bench.ok(Command.DEACTIVATE, handle=at.handle)
    assert at.refused() is SevStatus.INACTIVE


@pytest.mark.parametrize(
    "part", ["flags", "IV", "MAC", "ciphertext", "another launch", "another owner", "length"]
)
def test_a_packet_for_another_launch_or_altered_is_refused(part: str) -> None:
    at = Measured()
    header, data = bytearray(at.packet.header), bytearray(at.packet.data)
    if part in ("flags", "IV", "MAC"):
        header[{"flags": 0, "IV": 4, "MAC": 0x14}[part]] ^= 1
    elif part == "ciphertext":
        data[-1] ^= 0x80
    elif part == "length":
        del data[-16:]
    elif part == "another launch":
        other = at.owner.secret(bytes(64), os.urandom(32))
        header, data = bytearray(other.header), bytearray(other.data)
    else:
        other = Owner().secret(bytes(64), at.measure)
        header, data = bytearray(other.header), bytearray(other.data)
    fields = at.bench.packet_fields(at.handle, bytes(header), at.place, bytes(data))
    assert at.bench.refused(Command.LAUNCH_SECRET, **fields) is MAC


def test_a_compressed_packet_is_unsupported_once_its_mac_is_right() -> None:
    at = Measured()
    iv, size = bytes(16), (64).to_bytes(4, "little")
    for flags in (1, 2):
        message = b"\x01" + flags.to_bytes(4, "little") + iv + size + size + bytes(64) + at.measure
        header = flags.to_bytes(4, "little") + iv + hmac.digest(at.owner.keys.tik, message, "sha256")
        fields = at.bench.packet_fields(at.handle, header, at.place, bytes(64))
        assert at.bench.refused(Command.LAUNCH_SECRET, **fields) is SevStatus.UNSUPPORTED


def test_a_host_can_put_a_packet_where_it_likes_and_twice_but_not_after_the_launch() -> None:
    """What the keep's slot is there for: the MAC covers no address (SEV.md A.11)."""
    at = Measured()
    for offset in (0, PAGE, 2 * PAGE + 48):
        at.bench.ok(Command.LAUNCH_SECRET, **at.fields(guest_address=at.place + offset))
        assert at.bench.plaintext(at.handle, at.place + offset, 64) == bytes(range(64))
    at.bench.ok(Command.LAUNCH_FINISH, handle=at.handle)
    assert at.refused() is SevStatus.INVALID_GUEST_STATE


def test_the_largest_packet_is_taken() -> None:
    at = Measured()
    at.packet = at.owner.secret(bytes(packet.MAX_SECRET_SIZE), at.measure)
    at.bench.ok(Command.LAUNCH_SECRET, **at.fields())
    assert at.bench.plaintext(at.handle, at.place, 0x5000) == bytes(0x5000)
