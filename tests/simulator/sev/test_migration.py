"""A guest moves between two machines through raw commands, as its policy allows, or does not move."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulator.sev.bench import (
    CERTIFICATE,
    CHAIN,
    DOMAIN,
    ES,
    HEADER,
    NOWHERE,
    PAGE,
    SESSION,
    SEV,
    Bench,
    OwnerAuthority,
    policy,
)
from tests.simulator.sev.journey import (
    Packet,
    Source,
    arriving,
    flip,
    incoming_fields,
    outgoing_fields,
    receive,
    receive_fields,
    receive_start,
    send,
    send_fields,
)
from wasmkeep.evidence.sev.packet import Context
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_commands import SevGuestState
from wasmkeep.hardware.sev_status import SevStatus

LENGTH, ADDRESS = SevStatus.INVALID_LENGTH, SevStatus.INVALID_ADDRESS
MALFORMED, SIGNATURE = SevStatus.INVALID_CERTIFICATE, SevStatus.BAD_SIGNATURE
POLICY, MAC = SevStatus.POLICY_FAILURE, SevStatus.BAD_MEASUREMENT
OPEN = policy(0)


# The journey


@pytest.mark.parametrize("context", [Context.UPDATE_VMSA, Context.UPDATE_DATA])
def test_a_guest_arrives_as_it_left(context: int) -> None:
    source = Source(policy(ES | SEV, 1, 55), vmsa_context=context)
    target = Bench(vmsa_context=context)
    handle = arriving(source, target)
    assert (source.bench.state(source.handle), target.state(handle)) == (
        SevGuestState.SUPDATE,
        SevGuestState.RUPDATE,
    )
    packet = source.packet()
    assert packet.data != source.page
    assert target.plaintext(handle, receive(target, handle, packet), PAGE) == source.page
    vmsa = send(source.bench, source.handle, source.address, command=Command.SEND_UPDATE_VMSA)
    there = receive(target, handle, vmsa, Command.RECEIVE_UPDATE_VMSA)
    assert target.memory.sealed == [(target.guest(handle).memory_key, there)]
    source.bench.ok(Command.SEND_FINISH, handle=source.handle)
    target.ok(Command.RECEIVE_FINISH, handle=handle)
    assert target.state(handle) == SevGuestState.RUNNING
    assert target.ok(Command.GUEST_STATUS, handle=handle).policy == source.bits
    for bench, at in ((source.bench, source.handle), (target, handle)):
        assert bench.guest(at).keys is None
    assert target.memory.read(there, PAGE) != source.bench.memory.read(source.address, PAGE)


def test_every_journey_and_packet_has_its_own_keys_and_iv() -> None:
    source, target = Source(OPEN), Bench()
    first = source.start(target)
    packets = [source.packet(), source.packet()]
    source.bench.ok(Command.SEND_CANCEL, handle=source.handle)
    second = source.start(target)
    packets.append(source.packet())
    assert len({packet.data for packet in packets}) == 3
    assert all(first[at : at + 16] != second[at : at + 16] for at in range(0, SESSION, 16))


def test_a_cancelled_journey_leaves_the_guest_where_it_is() -> None:
    source, target = Source(OPEN), Bench()
    handle = arriving(source, target)
    packet = source.packet()
    source.bench.ok(Command.SEND_CANCEL, handle=source.handle)
    assert source.bench.state(source.handle) == SevGuestState.RUNNING
    assert source.bench.guest(source.handle).keys is None
    target.ok(Command.DEACTIVATE, handle=handle)
    target.ok(Command.DECOMMISSION, handle=handle)
    again = arriving(source, target)
    fields = incoming_fields(target, again, packet, target.memory.pages(1))
    assert target.refused(Command.RECEIVE_UPDATE_DATA, **fields) is MAC


def test_a_guest_that_left_is_not_activated_again() -> None:
    source = Source(OPEN)
    source.start(Bench())
    source.bench.ok(Command.SEND_FINISH, handle=source.handle)
    source.bench.ok(Command.DEACTIVATE, handle=source.handle)
    fields = {"handle": source.handle, "asid": 9}
    assert source.bench.refused(Command.ACTIVATE, **fields) is SevStatus.INVALID_GUEST_STATE
    source.bench.ok(Command.DECOMMISSION, handle=source.handle)


def test_a_guest_that_arrived_was_measured_elsewhere() -> None:
    source, target = Source(OPEN), Bench()
    handle = arriving(source, target)
    target.ok(Command.RECEIVE_FINISH, handle=handle)
    address = target.memory.room(208)
    target.ok(Command.ATTESTATION, handle=handle, address=address, len=208)
    assert target.memory.read(address + 16, 32) == bytes(32)


# Wrong target, altered, replayed


def test_a_session_opens_on_its_target_only_and_until_its_pdh_ends() -> None:
    source, target, other = Source(OPEN), Bench(), Bench()
    session, pdh = source.start(target), source.pdh
    assert other.refused(Command.RECEIVE_START, **receive_fields(other, pdh, session, OPEN)) is MAC
    strangers = receive_fields(target, other.export().pdh, session, OPEN)
    assert target.refused(Command.RECEIVE_START, **strangers) is MAC
    receive_start(target, pdh, session, OPEN)
    receive_start(target, pdh, session, OPEN)  # as long as the PDH lives, a host can start it again
    target.ok(Command.PDH_GEN)
    assert target.refused(Command.RECEIVE_START, **receive_fields(target, pdh, session, OPEN)) is MAC


@pytest.mark.parametrize("at", [0, 4, 0x14, HEADER, HEADER + PAGE - 1])
def test_an_altered_page_is_refused(at: int) -> None:
    source, target = Source(OPEN), Bench()
    handle = arriving(source, target)
    packet = source.packet()
    whole = flip(packet.header + packet.data, at)
    altered = Packet(whole[:HEADER], whole[HEADER:])
    fields = incoming_fields(target, handle, altered, target.memory.pages(1))
    assert target.refused(Command.RECEIVE_UPDATE_DATA, **fields) is MAC


def test_a_packet_of_another_journey_is_refused() -> None:
    source, target = Source(OPEN), Bench()
    source.start(target)
    old = source.packet()
    source.bench.ok(Command.SEND_CANCEL, handle=source.handle)
    handle = arriving(source, target)
    fields = incoming_fields(target, handle, old, target.memory.pages(1))
    assert target.refused(Command.RECEIVE_UPDATE_DATA, **fields) is MAC


def test_registers_do_not_arrive_as_memory_nor_memory_as_registers() -> None:
    source, target = Source(policy(ES)), Bench()
    handle = arriving(source, target)
    vmsa = send(source.bench, source.handle, source.address, command=Command.SEND_UPDATE_VMSA)
    place = target.memory.pages(1)
    fields = incoming_fields(target, handle, vmsa, place)
    assert target.refused(Command.RECEIVE_UPDATE_DATA, **fields) is MAC
    fields = incoming_fields(target, handle, source.packet(), place)
    assert target.refused(Command.RECEIVE_UPDATE_VMSA, **fields) is MAC


def test_places_and_repetitions_are_the_hosts() -> None:
    """This API's packets carry no address and no number: within one journey a host can mix them."""
    source, target = Source(OPEN), Bench()
    handle, packet = arriving(source, target), source.packet()
    for _ in range(2):
        assert target.plaintext(handle, receive(target, handle, packet), PAGE) == source.page


# Lengths, addresses, order


def test_send_start_asks_for_room_and_right_lengths() -> None:
    owner, target = OwnerAuthority(), Bench()
    owner.take(target)
    source, exported = Source(policy(SEV | DOMAIN), owner), target.export()
    fields = send_fields(source.bench, source.handle, exported)
    status, asked = source.bench.asked_for(Command.SEND_START, **{**fields, "session_len": 0})
    assert (status, asked.session_len, asked.policy) == (LENGTH, SESSION, 0)
    for change in (
        {"pdh_cert_len": CERTIFICATE - 1},
        {"plat_certs_len": CHAIN + 1},
        {"amd_certs_len": 1663},
        {"amd_certs_len": 0},
    ):
        assert source.refused(exported, **change) is LENGTH
    for name in ("pdh_cert_address", "plat_certs_address", "amd_certs_address"):
        assert source.refused(exported, **{name: NOWHERE}) is ADDRESS
    assert source.refused(exported, session_address=NOWHERE) is ADDRESS


def test_a_pdh_of_no_form_is_refused_whatever_the_policy() -> None:
    source, target = Source(OPEN), Bench().export()
    for at in (0x000, 0x008, 0x00C, 0x010, 0x014):
        assert source.refused(replace(target, pdh=flip(target.pdh, at))) is MALFORMED


@pytest.mark.parametrize("command", [Command.SEND_UPDATE_DATA, Command.SEND_UPDATE_VMSA])
def test_a_packet_asks_for_room(command: Command) -> None:
    source = Source(policy(ES))
    source.start(Bench())
    plain = outgoing_fields(source.bench, source.handle, source.address, PAGE)
    for change in ({"hdr_len": 0}, {"hdr_len": HEADER - 1}, {"trans_len": PAGE - 1}):
        status, asked = source.bench.asked_for(command, **{**plain, **change})
        assert (status, asked.hdr_len, asked.trans_len) == (LENGTH, HEADER, PAGE)
    status, asked = source.bench.asked_for(command, handle=source.handle)  # as KVM asks
    assert (status, asked.hdr_len, asked.trans_len) == (LENGTH, HEADER, 0)
    for name in ("hdr_address", "guest_address", "trans_address"):
        assert source.bench.refused(command, **{**plain, name: NOWHERE}) is ADDRESS
    assert source.bench.refused(command, **{**plain, "guest_address": source.address + 8}) is ADDRESS
    answer = source.bench.ok(command, **{**plain, "hdr_len": 99})
    assert (answer.hdr_len, answer.trans_len) == (HEADER, PAGE)


@pytest.mark.parametrize("size", [0, 8, 0x5010])
def test_a_packet_carries_whole_blocks_and_not_too_many(size: int) -> None:
    source = Source(OPEN)
    source.start(Bench())
    fields = outgoing_fields(source.bench, source.handle, source.address, 0x6000)
    fields["guest_len"] = size
    assert source.bench.refused(Command.SEND_UPDATE_DATA, **fields) is LENGTH


def test_registers_are_a_page_of_an_es_guest() -> None:
    for bits, size, status in ((OPEN, PAGE, SevStatus.UNSUPPORTED), (policy(ES), PAGE - 16, LENGTH)):
        source, target = Source(bits), Bench()
        handle = arriving(source, target)
        fields = outgoing_fields(source.bench, source.handle, source.address, size)
        assert source.bench.refused(Command.SEND_UPDATE_VMSA, **fields) is status
        packet = send(source.bench, source.handle, source.address, size)
        fields = incoming_fields(target, handle, packet, target.memory.pages(1))
        assert target.refused(Command.RECEIVE_UPDATE_VMSA, **fields) is status


def test_memory_is_sent_and_received_while_the_guest_has_its_key_in_a_slot() -> None:
    source, target = Source(OPEN), Bench()
    handle = arriving(source, target)
    packet = source.packet()
    source.bench.ok(Command.DEACTIVATE, handle=source.handle)
    fields = outgoing_fields(source.bench, source.handle, source.address, PAGE)
    assert source.bench.refused(Command.SEND_UPDATE_DATA, **fields) is SevStatus.INACTIVE
    target.ok(Command.DEACTIVATE, handle=handle)
    fields = incoming_fields(target, handle, packet, target.memory.pages(1))
    assert target.refused(Command.RECEIVE_UPDATE_DATA, **fields) is SevStatus.INACTIVE


BAD_RECEIVES = {
    "a shorter header": ({"hdr_len": HEADER - 1}, LENGTH),
    "unequal lengths": ({"guest_len": PAGE - 16}, LENGTH),
    "part of a block": ({"guest_len": PAGE - 8, "trans_len": PAGE - 8}, LENGTH),
    "nothing": ({"guest_len": 0, "trans_len": 0}, LENGTH),
    "a header from nowhere": ({"hdr_address": NOWHERE}, ADDRESS),
    "a packet from nowhere": ({"trans_address": NOWHERE}, ADDRESS),
    "to nowhere": ({"guest_address": NOWHERE}, ADDRESS),
    "to part of a block": ({"guest_address": 8}, ADDRESS),
}


@pytest.mark.parametrize("name", BAD_RECEIVES)
def test_receiving_refuses(name: str) -> None:
    changes, status = BAD_RECEIVES[name]
    source, target = Source(OPEN), Bench()
    handle = arriving(source, target)
    fields = incoming_fields(target, handle, source.packet(), target.memory.pages(1))
    assert target.refused(Command.RECEIVE_UPDATE_DATA, **{**fields, **changes}) is status


def test_receive_start_refuses() -> None:
    source, target = Source(OPEN), Bench()
    fields = receive_fields(target, source.pdh, source.start(target), OPEN)
    for change, status in (
        ({"session_len": SESSION - 1}, LENGTH),
        ({"pdh_cert_len": CERTIFICATE + 1}, LENGTH),
        ({"pdh_cert_address": 0}, ADDRESS),  # there is no journey without a sender
        ({"session_address": NOWHERE}, ADDRESS),
        ({"handle": 99}, SevStatus.INVALID_GUEST),
    ):
        assert target.refused(Command.RECEIVE_START, **{**fields, **change}) is status
    target.memory.write(fields["pdh_cert_address"], b"\2")
    assert target.refused(Command.RECEIVE_START, **fields) is MALFORMED
