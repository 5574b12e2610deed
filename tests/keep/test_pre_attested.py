"""Keeps on SEV and SEV-ES: the slot and what a host may do with the tenant's packet, the proof, the exits."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.keep import packages
from tests.keep.assembly import assemble
from tests.keep.bare_machine import (
    LAUNCH_PAGE,
    MEMORY,
    KvmMachine,
    Stopped,
    configuration_page,
    slot_page,
)
from tests.keep.conftest import GARBAGE, PRE_ATTESTED, MachineOf, image, tee_of
from tests.keep.packages import DATA, PROC_EXIT, TEXT, ProgramPart
from tests.keep.test_host_interface import good, name_of, offered_salt, refused
from tests.keep.test_protection import EXIT, EXIT_SLOT
from tests.keep.wire import CONTROL, Exchange, HostSide, PublicRefusal, Relay
from tests.protocol.firmware_half import POLICIES, FirmwareHalf, proven
from wasmkeep.errors import SessionError
from wasmkeep.hardware.kvm import Kvm
from wasmkeep.image import MachineKind, expected_launch_digest, launch
from wasmkeep.image.elf import load_segments
from wasmkeep.protocol import binding, slot
from wasmkeep.protocol.events import Ended
from wasmkeep.protocol.pre_attested import FRESH_SIZE, FreshLaunch, PreAttestedLaunch
from wasmkeep.protocol.statements import Exited, Trapped

UD = 6
one_kind = pytest.mark.parametrize("kind", ["process-sev"])
guests = pytest.mark.parametrize("kind", ["sev", "sev-es"])


@pytest.fixture(params=PRE_ATTESTED)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_keep_proves_itself_and_states_no_measurement(kind: str, relay: Relay) -> None:
    receipt = relay.run(good()).receipt.receipt
    assert receipt.outcome == Exited(3)
    assert (receipt.launch.tee, receipt.launch.measurement) == (tee_of(kind), b"")
    assert receipt.launch.tenant_key_digest == relay.session.tenant_key_digest


def test_from_certificates_to_the_receipt(kind: str, machine_of: MachineOf) -> None:
    """The whole of a tenant: keys wrapped for a chip, the image's digest measured, the packet injected."""
    tee = tee_of(kind)
    digest = expected_launch_digest(launch(MachineKind(kind), image(kind), MEMORY))
    chip = FirmwareHalf(digest=digest)
    fresh = FreshLaunch.cut(ec.generate_private_key(ec.SECP384R1()), os.urandom(FRESH_SIZE))
    started = PreAttestedLaunch(tee=tee, platform=chip.platform, policy=POLICIES[tee], fresh=fresh)
    said = started.receive_measurement(chip.launch(started.begin()))
    packet = chip.secret(started.accept(proven(started, said, digest)))
    relay = Relay(
        machine_of, tee=tee, inject=lambda _: slot_page((0, packet)), launch_secret=started.launch_secret
    )
    assert relay.run(good()).receipt.receipt.outcome == Exited(3)


# The slot. Whatever a host makes of the packet, the keep takes all of it in its place, or nothing.


def in_slot(*at: int) -> Callable[[bytes], bytes]:
    return lambda packet: slot_page(*((offset, packet) for offset in at))


def spoiled(at: int, value: int) -> Callable[[bytes], bytes]:
    def spoil(packet: bytes) -> bytes:
        page = bytearray(slot_page((0, packet)))
        page[at] = value
        return bytes(page)

    return spoil


SLOTS: dict[str, Callable[[bytes], bytes]] = {
    "none": in_slot(),
    "16 bytes on": in_slot(16),
    "in the middle": in_slot(2048),
    "at the end": in_slot(4096 - slot.SLOT_PACKET_SIZE),
    "twice": in_slot(0, slot.SLOT_PACKET_SIZE),
    "twice, apart": in_slot(0, 2048),
    "overlapping itself": in_slot(16, 0),
    "its end in the slot": lambda packet: slot_page((0, packet[16:])),
    "its beginning in the slot": lambda packet: slot_page((0, packet[:112])),
    "another name": spoiled(15, 0x06),
    "another length": spoiled(18, 0x0E),
    "no length": spoiled(18, 0),
    "no symbol": spoiled(20, 0),
    "a symbol that is none": spoiled(127, 0x07),
    "something behind it": spoiled(128, 1),
    "something at the end": spoiled(4095, 1),
    "all ones": lambda _: b"\xff" * 4096,
    "garbage": lambda _: os.urandom(4096),
    "decrypted with another key": lambda _: slot_page((0, os.urandom(128))),
}


@pytest.mark.parametrize("name", SLOTS)
def test_a_slot_without_exactly_one_packet_is_refused(name: str, kind: str, machine_of: MachineOf) -> None:
    relay = Relay(machine_of, tee=tee_of(kind), inject=SLOTS[name])
    assert refused(relay.run(good())) == "launch_slot"


@one_kind
@pytest.mark.parametrize("at", range(0, slot.SLOT_PACKET_SIZE, 9))
def test_a_slot_with_a_flipped_bit_is_refused(at: int, kind: str, machine_of: MachineOf) -> None:
    def flipped(packet: bytes) -> bytes:
        return slot_page((0, packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]))

    relay = Relay(machine_of, tee=tee_of(kind), inject=flipped)
    assert refused(relay.run(good())) == "launch_slot"


def test_a_packet_of_another_launch_proves_nothing_to_this_tenant(kind: str, machine_of: MachineOf) -> None:
    other = slot.slot_packet(os.urandom(slot.RANDOM_SIZE))
    relay = Relay(machine_of, tee=tee_of(kind), inject=lambda _: slot_page((0, other)))
    assert unproven(relay)


def test_a_keep_for_the_other_tee_proves_nothing(kind: str, machine_of: MachineOf) -> None:
    relay = Relay(machine_of, tee={"sev": "sev-es", "sev-es": "sev"}[tee_of(kind)])
    relay.host.tee = tee_of(kind)
    assert unproven(relay)


@pytest.mark.parametrize("at", [0x200, 0x23F])
def test_other_hints_than_the_tenants_are_not_proven_to_it(at: int, relay: Relay) -> None:
    relay.machine.window[CONTROL + at] ^= 1
    assert unproven(relay)


def unproven(relay: Relay) -> bool:
    with pytest.raises(SessionError) as caught:
        relay.run(good())
    return caught.value.check == "session.proof"


def test_a_recorded_launch_gives_keys_that_open_nothing_recorded(kind: str, machine_of: MachineOf) -> None:
    pages: list[bytes] = []
    recorded: list[bytes] = []

    def keep_page(packet: bytes) -> bytes:
        pages.append(slot_page((0, packet)))
        return pages[0]

    relay = Relay(machine_of, tee=tee_of(kind), inject=keep_page)
    relay.on_the_way = lambda _, message: recorded.append(message) or message  # type: ignore[func-returns-value]
    offers = [relay.run(good()).receipt.receipt.launch.tenant_key_digest]

    machine = machine_of(pages[0])
    try:
        host = HostSide(machine, relay.processor, tee_of(kind))
        host.hint(relay.session.nonce, relay.session.tenant_key_digest)
        again = host.step()
        assert isinstance(again, Exchange)
        assert again.outgoing not in offers
        host.answer(recorded[0])
        ending = host.step()
    finally:
        machine.close()
    assert isinstance(ending, PublicRefusal)
    assert name_of(ending.code) == "first_message_authentication"


# Memory that was not launched holds garbage here.


@guests
def test_a_program_finds_zeros_in_memory_that_was_not_launched(relay: Relay) -> None:
    """Behind its text, in whole blocks, which are executable; in its data; in all of its linear memory."""
    text_block, data_end, linear = TEXT + (2 << 20), DATA + (1 << 20), 0x1_001F_0000
    code = assemble({"scan": scan(TEXT + 4096, text_block) + scan(DATA + 4096, data_end)
                     + scan(linear, linear + (1 << 16)) + f"mov eax, 5\n {EXIT}"})["scan"]  # fmt: skip
    outcome = relay.run(packages.raw(ProgramPart.of_code(code, relocations=[(EXIT_SLOT, PROC_EXIT, 0)])))
    assert outcome.receipt.receipt.outcome == Exited(5)


def scan(start: int, end: int) -> str:
    """Traps unless all is zero."""
    return f"""
        movabs rdi, {start:#x}
        mov ecx, {end - start:#x}
        xor eax, eax
        repe scasb
        je 1f
        ud2
        1:
    """


# A packet somewhere else in the guest: LAUNCH_SECRET takes any address in units of 16 bytes.


@guests
def test_each_byte_of_a_packet_traps_where_the_processor_arrives(kind: str, machine_of: MachineOf) -> None:
    packet = slot.slot_packet(os.urandom(slot.RANDOM_SIZE))
    for offset in range(0, len(packet), 5):
        jump = b"\xe9" + struct.pack("<i", 11 + offset) + bytes(11)
        relay = Relay(machine_of, tee=tee_of(kind))
        trap = relay.run(packages.raw(ProgramPart.of_code(jump + packet))).trap
        assert (trap.vector, trap.instruction) == (UD, TEXT + 16 + offset)


def machine_with(kvm: Kvm, kind: str, at: int, *, slot_too: bool) -> MachineOf:
    """A machine whose host has the packet injected at ``at``, in the slot too or not."""

    def make(page: bytes) -> KvmMachine:
        packet = page[: slot.SLOT_PACKET_SIZE]
        given = page if slot_too else slot_page()
        machine = KvmMachine(kvm, image(kind), given, configuration_page(), MEMORY, garbage=GARBAGE)
        machine.memory.view[at : at + len(packet)] = packet
        return machine

    return make


def addresses(count: int, seed: int) -> list[int]:
    """In the image, unit by unit of 16 bytes at random, and each page of ring 0's."""
    chosen = random.Random(seed)
    segments = load_segments(image("sev"))
    spread = [
        chosen.randrange(segment.address, segment.address + segment.size, 16) & ~15
        for segment in chosen.choices(segments, [segment.size for segment in segments], k=count)
    ]
    ring0 = [page << 12 for page in range(0x100, 0x110)]
    entry = struct.unpack_from("<Q", segments[0].data, 8)[0] & ~15
    return [entry, *ring0, *spread]


SPREAD = 200 if os.environ.get("WASMKEEP_SOAK") == "1" else 30


@pytest.mark.parametrize("at", addresses(SPREAD, seed=1))
@pytest.mark.parametrize("kind", ["sev"])
def test_a_packet_somewhere_else_makes_no_keep(at: int, kind: str, kvm: Kvm) -> None:
    """Nothing is accepted: no offer leaves, whatever the packet destroys."""
    ending = Relay(machine_with(kvm, kind, at, slot_too=False), tee="sev").run(good()).ending
    if isinstance(ending, PublicRefusal):
        assert name_of(ending.code) in ("launch_slot", "configuration_page", "trap_outside_program")
    else:
        assert isinstance(ending, Stopped)


@pytest.mark.parametrize("at", addresses(SPREAD, seed=2))
@pytest.mark.parametrize("kind", ["sev"])
def test_a_packet_in_the_slot_and_somewhere_else_changes_no_result(at: int, kind: str, kvm: Kvm) -> None:
    """The keep ends, or the tenant refuses it, or what was destroyed was not needed: never another result."""
    try:
        outcome = Relay(machine_with(kvm, kind, at, slot_too=True), tee="sev").run(good())
    except SessionError:
        return
    ended = outcome.last(Ended)
    if isinstance(ended, Ended) and not isinstance(ended.receipt.outcome, Trapped):
        assert ended.receipt.outcome == Exited(3)


# The exits.


@pytest.mark.parametrize("kind", ["sev", "process-sev"])
def test_on_sev_nothing_is_written_to_the_ghcb_page(relay: Relay) -> None:
    exits: list[bytes] = []
    relay.host.tamper = lambda host: exits.append(bytes(host.machine.window[:0x1000]))
    assert relay.run(good()).receipt
    assert exits == [bytes(0x1000)] * 3


@pytest.mark.parametrize("kind", ["sev-es", "process-sev-es"])
def test_on_sev_es_each_exit_states_its_fields_and_nothing_else(relay: Relay) -> None:
    stated = bytearray(0x1000)
    struct.pack_into("<QQQ", stated, 0x390, 0x7B, 0x0010_0210, 0)
    struct.pack_into("<QQ", stated, 0x3F0, 1 << 63, 0b111 << (114 - 64))  # rax; exit code, both infos
    struct.pack_into("<H", stated, 0xFFA, 2)
    exits: list[bytes] = []
    relay.host.tamper = lambda host: exits.append(bytes(host.machine.window[:0x1000]))
    assert relay.run(good()).receipt
    assert exits == [bytes(stated)] * 3


def test_no_guest_message_leaves(relay: Relay) -> None:
    window = relay.machine.window
    window[0x2000:0x4000] = b"\xa5" * 0x2000
    exits: list[bytes] = []
    relay.host.tamper = lambda host: exits.append(bytes(host.machine.window[0x2000:0x4000]))
    assert relay.run(good()).receipt
    assert exits == [b"\xa5" * 0x2000] * 3
    assert not relay.processor.requests


@pytest.mark.parametrize("kind", ["sev"])
def test_on_sev_registers_hold_nothing_at_an_exit(relay: Relay) -> None:
    seen = 0

    def look(host: HostSide) -> None:
        nonlocal seen
        assert isinstance(host.machine, KvmMachine)
        registers = host.machine.registers()
        values = {name: getattr(registers, name) for name, *_ in registers._fields_}
        kept = {name: value for name, value in values.items() if value}
        assert kept.keys() <= {"rip", "rsp", "rflags"}, kept
        assert 0x80_0000 <= kept["rsp"] < 0xA0_0000
        assert not any(host.machine.vector_registers())
        seen += 1

    relay.host.tamper = look
    assert relay.run(good()).receipt.receipt.outcome == Exited(3)
    assert seen == 3


# Secrets.


@guests
def test_the_launch_secret_is_gone_when_it_was_used(kind: str, machine_of: MachineOf) -> None:
    packets: list[bytes] = []

    def inject(packet: bytes) -> bytes:
        packets.append(packet)
        return slot_page((0, packet))

    secret = os.urandom(32)
    relay = Relay(machine_of, tee=tee_of(kind), seed=secret, inject=inject)
    machine = relay.machine
    assert isinstance(machine, KvmMachine)
    exits: list[bytes] = []
    relay.host.tamper = lambda _: exits.append(bytes(machine.memory.view))
    salts: list[bytes] = []
    relay.on_the_way = lambda _, message: salts.append(offered_salt(machine)) or message  # type: ignore[func-returns-value]
    assert relay.run(good()).receipt
    offered, *_, last = exits
    launch_secret = slot.launch_secret(packets[0], tee_of(kind))
    assert not any(offered[LAUNCH_PAGE : LAUNCH_PAGE + 0x1000])
    assert packets[0][20:52] not in offered
    assert launch_secret in offered  # the control: it is still needed there
    session, both = relay.session.session_id, secret + launch_secret
    gone = {
        "launch secret": launch_secret,
        "proof key": slot.proof_key(launch_secret),
        "tenant's secret": secret,
        "receiving key": binding.to_keep_key(both, session).key,
        "sending key": binding.to_tenant_key(both, session, salts[0]).key,
    }
    assert not [name for name, value in gone.items() if value in last]
    assert not [
        name for name in ("launch secret", "proof key") if any(gone[name] in one for one in exits[1:])
    ]
    assert session in last
