"""A guest's journey between two machines: what hosts hand the two firmwares, and what they carry between
them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from tests.simulator.sev.bench import CERTIFICATE, CHAIN, HEADER, PAGE, SESSION, Bench, OwnerAuthority
from wasmkeep.evidence.sev.chain import PlatformCertificates
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_status import SevStatus


@dataclass(frozen=True)
class Packet:
    """As it travels."""

    header: bytes
    data: bytes


def send_fields(source: Bench, handle: int, target: PlatformCertificates) -> dict[str, int]:
    """Of SEND_START, with room for the session."""
    memory = source.memory
    platform = target.pek + target.oca + target.cek
    amd = target.ask + target.ark
    return {
        "handle": handle,
        "pdh_cert_address": memory.place(target.pdh),
        "pdh_cert_len": CERTIFICATE,
        "plat_certs_address": memory.place(platform),
        "plat_certs_len": CHAIN,
        "amd_certs_address": memory.place(amd),
        "amd_certs_len": len(amd),
        "session_address": memory.room(SESSION),
        "session_len": SESSION,
    }


def send_start(source: Bench, handle: int, target: PlatformCertificates) -> bytes:
    """The session, 128 bytes."""
    fields = send_fields(source, handle, target)
    answer = source.ok(Command.SEND_START, **fields)
    assert answer.policy == source.guest(handle).policy.encode()
    return source.memory.read(fields["session_address"], SESSION)


def outgoing_fields(source: Bench, handle: int, address: int, size: int) -> dict[str, int]:
    """Of SEND_UPDATE_DATA and _VMSA, with room for header and packet."""
    return {
        "handle": handle,
        "hdr_address": source.memory.room(HEADER),
        "hdr_len": HEADER,
        "guest_address": address,
        "guest_len": size,
        "trans_address": source.memory.room(size),
        "trans_len": size,
    }


def send(
    source: Bench, handle: int, address: int, size: int = PAGE, command: Command = Command.SEND_UPDATE_DATA
) -> Packet:
    fields = outgoing_fields(source, handle, address, size)
    source.ok(command, **fields)
    header = source.memory.read(fields["hdr_address"], HEADER)
    return Packet(header, source.memory.read(fields["trans_address"], size))


def receive_fields(target: Bench, pdh: bytes, session: bytes, bits: int) -> dict[str, int]:
    """Of RECEIVE_START; `pdh` is the sender's certificate."""
    return {
        "policy": bits,
        "pdh_cert_address": target.memory.place(pdh),
        "pdh_cert_len": len(pdh),
        "session_address": target.memory.place(session),
        "session_len": len(session),
    }


def receive_start(target: Bench, pdh: bytes, session: bytes, bits: int) -> int:
    """The handle of the guest, active."""
    handle = int(target.ok(Command.RECEIVE_START, **receive_fields(target, pdh, session, bits)).handle)
    es = target.guest(handle).es
    target.ok(Command.ACTIVATE, handle=handle, asid=target.slots.reserve(es=es))
    return handle


def incoming_fields(target: Bench, handle: int, packet: Packet, address: int) -> dict[str, int]:
    """Of RECEIVE_UPDATE_DATA and _VMSA."""
    return target.packet_fields(handle, packet.header, address, packet.data)


def receive(
    target: Bench, handle: int, packet: Packet, command: Command = Command.RECEIVE_UPDATE_DATA
) -> int:
    """Where it now is."""
    address = target.memory.pages(-(-len(packet.data) // PAGE))
    target.ok(command, **incoming_fields(target, handle, packet, address))
    return address


def flip(data: bytes, at: int) -> bytes:
    """`data` with a bit changed."""
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


class Source:
    """A machine with a running guest that holds one page."""

    def __init__(self, bits: int, owner: OwnerAuthority | None = None, **machine: object) -> None:
        self.bench = Bench(**machine)  # type: ignore[arg-type]
        if owner is not None:
            owner.take(self.bench)
        self.page = os.urandom(PAGE)
        self.handle = self.bench.activated(bits)
        self.address = self.bench.updated(self.handle, self.page)
        self.bench.measured(self.handle)
        self.bench.ok(Command.LAUNCH_FINISH, handle=self.handle)
        self.bits = bits

    @property
    def pdh(self) -> bytes:
        return self.bench.export().pdh

    def refused(self, target: PlatformCertificates, **changes: int) -> SevStatus:
        return self.bench.refused(
            Command.SEND_START, **{**send_fields(self.bench, self.handle, target), **changes}
        )

    def start(self, target: Bench) -> bytes:
        return send_start(self.bench, self.handle, target.export())

    def packet(self) -> Packet:
        return send(self.bench, self.handle, self.address)


def arriving(source: Source, target: Bench) -> int:
    """The handle on `target`, after both START commands."""
    return receive_start(target, source.pdh, source.start(target), source.bits)
