"""An owner's launch: session, measured contents, measurement, secret; each check with its status."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import replace

import pytest

from tests.simulator.sev.bench import (
    BASE,
    CERTIFICATE,
    DOMAIN,
    ES,
    NODBG,
    NOKS,
    NOSEND,
    NOWHERE,
    PAGE,
    POLICY,
    SESSION,
    SEV,
    Bench,
    Owner,
    new_key,
    policy,
)
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev import measurement, session
from wasmkeep.evidence.sev.certificate import Algorithm, Certificate, Usage, ec_key_bytes, ecdsa_slot
from wasmkeep.evidence.sev.measurement import EMPTY_DIGEST, launch_digest
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_commands import SevGuestState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.products import SevVersion

LENGTH, ADDRESS = SevStatus.INVALID_LENGTH, SevStatus.INVALID_ADDRESS
MALFORMED, MAC = SevStatus.INVALID_CERTIFICATE, SevStatus.BAD_MEASUREMENT


# The whole flow


@pytest.mark.parametrize("bits", [POLICY, POLICY | ES])
def test_an_owner_launches_measures_and_gives_a_secret(bits: int) -> None:
    bench, owner = Bench(), Owner()
    handle = bench.activated(bits, owner)
    first, second = os.urandom(3 * PAGE), os.urandom(48)
    where = bench.updated(handle, first)
    bench.updated(handle, second)
    vmsas = []
    if bits & ES:
        vmsas = [os.urandom(PAGE)]
        vmsa = bench.memory.pages(1)
        bench.memory.write(vmsa, vmsas[0])
        bench.ok(Command.LAUNCH_UPDATE_VMSA, handle=handle, address=vmsa, len=PAGE)
        assert bench.memory.sealed == [(bench.guest(handle).memory_key, vmsa)]
        assert bench.plaintext(handle, vmsa, PAGE) == vmsas[0]
    assert bench.memory.read(where, len(first)) != first
    assert bench.plaintext(handle, where, len(first)) == first
    proven = owner.proven(bench, bits, bench.measured(handle), launch_digest([first, second], vmsas))

    secret, place = os.urandom(5 * 16), bench.memory.pages(1)
    sealed = owner.secret(secret, proven)
    bench.ok(Command.LAUNCH_SECRET, **bench.packet_fields(handle, sealed.header, place + 32, sealed.data))
    assert bench.plaintext(handle, place + 32, 80) == secret
    assert secret not in bench.memory.data
    bench.ok(Command.LAUNCH_FINISH, handle=handle)
    assert bench.state(handle) == SevGuestState.RUNNING
    assert bench.guest(handle).keys is None


def test_the_measurement_is_the_specifications_hmac() -> None:
    bench, owner = Bench(version=SevVersion(0, 24, 15)), Owner()
    handle = bench.activated(POLICY, owner)
    bench.updated(handle, bytes(range(16)))
    measured = bench.measured(handle)
    digest = hashlib.sha256(bytes(range(16))).digest()
    message = bytes((4, 0, 24, 15)) + POLICY.to_bytes(4, "little") + digest + measured.mnonce
    assert len(message) == 4 + 4 + 32 + 16
    assert hmac.digest(owner.keys.tik, message, "sha256") == measured.measure


def test_an_empty_guest_has_the_digest_of_nothing_and_each_measurement_its_mnonce() -> None:
    bench, owner = Bench(), Owner()
    seen = set()
    for _ in range(2):
        measured = bench.measured(bench.started(POLICY, owner))
        owner.proven(bench, POLICY, measured, EMPTY_DIGEST)
        seen |= {measured.mnonce, measured.measure}
    assert len(seen) == 4


@pytest.mark.parametrize("change", ["digest", "policy", "version", "another owner"])
def test_a_measurement_of_anything_else_is_not_proven(change: str) -> None:
    bench, owner = Bench(), Owner()
    measured = bench.measured(bench.started(POLICY, owner))
    judge = owner if change != "another owner" else Owner()
    if change == "version":
        bench.version = replace(bench.version, build=bench.version.build + 1)
    bits = POLICY ^ NODBG if change == "policy" else POLICY
    digest = bytes(32) if change == "digest" else EMPTY_DIGEST
    with pytest.raises(Rejected):
        judge.proven(bench, bits, measured, digest)


def test_without_an_owner_the_measurement_is_anybodys() -> None:
    bench = Bench()
    handle = bench.started(POLICY, dh_cert_len=7, session_address=NOWHERE, session_len=9)  # not looked at
    measured = bench.measured(handle)
    version = bench.version
    assert measured.measure == measurement.measure(
        bytes(16), version.major, version.minor, version.build, POLICY, EMPTY_DIGEST, measured.mnonce
    )
    keys = session.LaunchKeys(bytes(16), bytes(16))
    with pytest.raises(Rejected):
        measurement.verify_measurement(
            keys.tik, measured, version.major, version.minor, version.build, POLICY, [EMPTY_DIGEST]
        )


# LAUNCH_START


def test_the_owners_signatures_are_not_looked_at() -> None:
    """The owner authenticates the platform, and not the other way (SEV.md D-11)."""
    bench, owner = Bench(), Owner()
    given = owner.given(bench, POLICY)
    key = owner.key
    plain = Certificate(9, 9, Usage.PDH, Algorithm.ECDH_SHA256, ec_key_bytes(key.public_key()))
    forged = plain.body + ecdsa_slot(Usage.PEK, new_key(), b"something else").encode() + b"\xff" * 520
    bench.memory.write(given["dh_cert_address"], forged)
    bench.ok(Command.LAUNCH_START, policy=POLICY, **given)


def spoil(bench: Bench, address: int, bit: int = 1) -> None:
    bench.memory.write(address, bytes((bench.memory.read(address, 1)[0] ^ bit,)))


BAD_STARTS = {
    "a session that is too short": ({"session_len": SESSION - 1}, None, LENGTH),
    "a session that is too long": ({"session_len": SESSION + 1}, None, LENGTH),
    "a certificate that is too short": ({"dh_cert_len": CERTIFICATE - 1}, None, LENGTH),
    "no session": ({"session_len": 0, "session_address": 0}, None, LENGTH),
    "a certificate from nowhere": ({"dh_cert_address": NOWHERE}, None, ADDRESS),
    "a session from nowhere": ({"session_address": NOWHERE}, None, ADDRESS),
    "another version": ({}, ("dh_cert_address", 0x000), MALFORMED),
    "a reserved field": ({}, ("dh_cert_address", 0x006), MALFORMED),
    "another usage": ({}, ("dh_cert_address", 0x008), MALFORMED),
    "another algorithm": ({}, ("dh_cert_address", 0x00C), MALFORMED),
    "another curve": ({}, ("dh_cert_address", 0x010), MALFORMED),
    "no point of the curve": ({}, ("dh_cert_address", 0x014), MALFORMED),
    "padding of the key": ({}, ("dh_cert_address", 0x413), MALFORMED),
    "another nonce": ({}, ("session_address", 0x00), MAC),
    "other wrapped keys": ({}, ("session_address", 0x10), MAC),
    "another IV": ({}, ("session_address", 0x30), MAC),
    "another WRAP_MAC": ({}, ("session_address", 0x40), MAC),
    "another POLICY_MAC": ({}, ("session_address", 0x60), MAC),
    "another policy": ({"policy": POLICY ^ NODBG}, None, MAC),
    "a stricter policy": ({"policy": POLICY | DOMAIN}, None, MAC),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_a_launch_is_not_started_with(name: str) -> None:
    changes, place, status = BAD_STARTS[name]
    bench = Bench()
    fields = {"policy": POLICY, **Owner().given(bench, POLICY), **changes}
    if place is not None:
        spoil(bench, fields[place[0]] + place[1])
    assert bench.refused(Command.LAUNCH_START, **fields) is status


def test_a_session_for_another_platform_or_an_old_pdh_opens_nothing() -> None:
    bench, owner = Bench(), Owner()
    elsewhere = Bench()
    own, wrapped = owner.made(elsewhere, POLICY)
    fields = {"policy": POLICY, "dh_cert_address": bench.memory.place(own), "dh_cert_len": CERTIFICATE}
    fields |= {"session_address": bench.memory.place(wrapped), "session_len": SESSION}
    assert bench.refused(Command.LAUNCH_START, **fields) is MAC
    replayed = {"policy": POLICY, **owner.given(bench, POLICY)}
    bench.ok(Command.LAUNCH_START, **replayed)
    bench.ok(Command.LAUNCH_START, **replayed)  # as long as the PDH lives, a host can launch it again
    bench.ok(Command.PDH_GEN)
    assert bench.refused(Command.LAUNCH_START, **replayed) is MAC


@pytest.mark.parametrize("with_owner", [False, True])
@pytest.mark.parametrize(
    ("bits", "status"),
    [
        *((policy(1 << bit), SevStatus.POLICY_FAILURE) for bit in range(6, 16)),
        (policy(0, 1, 56), SevStatus.POLICY_FAILURE),
        (policy(0, 2, 0), SevStatus.POLICY_FAILURE),
        (policy(ES, 2, 0), SevStatus.POLICY_FAILURE),
        (policy(ES), SevStatus.UNSUPPORTED),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(bits: int, status: SevStatus, with_owner: bool) -> None:
    bench = Bench(init={})
    given = Owner().given(bench, bits) if with_owner else {}
    assert bench.refused(Command.LAUNCH_START, policy=bits, **given) is status


@pytest.mark.parametrize("bits", [policy(0, 1, 55), policy(0, 0, 255), policy(0), POLICY | DOMAIN | SEV])
def test_a_policy_that_can_be_kept_is_taken(bits: int) -> None:
    bench = Bench(init={})
    assert bench.ok(Command.GUEST_STATUS, handle=bench.started(bits)).policy == bits


def test_the_last_owners_checks_come_before_those_of_the_policy() -> None:
    bench = Bench()
    fields = Owner().given(bench, POLICY)
    assert bench.refused(Command.LAUNCH_START, policy=policy(0, 9), **fields) is MAC


# Key sharing


def test_guests_that_may_share_a_key_read_each_other() -> None:
    bench = Bench()
    shared = NODBG | NOSEND
    first = bench.activated(shared)
    second = bench.started(shared, handle=first)
    assert second != first
    bench.ok(Command.ACTIVATE, handle=second, asid=bench.slots.reserve(es=False))
    where = bench.updated(first, b"shared by choice" * 4)
    assert bench.plaintext(second, where, 64) == b"shared by choice" * 4


def test_a_key_is_not_shared_against_a_policy() -> None:
    bench = Bench()
    private, shared = bench.started(NODBG | NOKS), bench.started(NODBG)
    refused = SevStatus.POLICY_FAILURE
    assert bench.refused(Command.LAUNCH_START, handle=99, policy=NODBG) is SevStatus.INVALID_GUEST
    assert bench.refused(Command.LAUNCH_START, handle=private, policy=NODBG | NOKS) is refused
    assert bench.refused(Command.LAUNCH_START, handle=private, policy=NODBG) is refused
    assert bench.refused(Command.LAUNCH_START, handle=shared, policy=NODBG | NOKS) is refused
    assert bench.refused(Command.LAUNCH_START, handle=shared, policy=policy(NODBG, 0, 17)) is refused


def test_every_guest_has_a_key_of_its_own() -> None:
    bench = Bench()
    first, second = bench.activated(), bench.activated()
    where = bench.updated(first, bytes(PAGE))
    assert bench.plaintext(second, where, PAGE) != bytes(PAGE)


# LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA


@pytest.mark.parametrize("command", [Command.LAUNCH_UPDATE_DATA, Command.LAUNCH_UPDATE_VMSA])
def test_an_update_is_of_whole_blocks_of_memory(command: Command) -> None:
    bench = Bench()
    handle = bench.started(POLICY | ES)
    where = bench.memory.pages(2)
    plain = {"handle": handle, "address": where, "len": PAGE}
    assert bench.refused(command, **plain) is SevStatus.INACTIVE
    bench.ok(Command.ACTIVATE, handle=handle, asid=1)
    assert bench.refused(command, **{**plain, "address": where + 8}) is ADDRESS
    assert bench.refused(command, **{**plain, "address": NOWHERE}) is ADDRESS
    assert bench.refused(command, **{**plain, "address": (1 << 64) - 16}) is ADDRESS
    for size in (0, 15, 17, PAGE - 8):
        assert bench.refused(command, **{**plain, "len": size}) is LENGTH
    bench.ok(command, **{**plain, "address": where + 16})


def test_a_vmsa_is_of_an_es_guest_and_a_page() -> None:
    bench = Bench()
    plain, protected = bench.activated(POLICY), bench.activated(POLICY | ES)
    fields = {"address": bench.memory.pages(2), "len": PAGE}
    assert bench.refused(Command.LAUNCH_UPDATE_VMSA, handle=plain, **fields) is SevStatus.UNSUPPORTED
    fields["len"] = 2 * PAGE
    assert bench.refused(Command.LAUNCH_UPDATE_VMSA, handle=protected, **fields) is LENGTH


def test_a_page_launched_twice_is_measured_as_the_ciphertext_it_is() -> None:
    bench = Bench()
    handle = bench.activated()
    where = bench.updated(handle, bytes(PAGE))
    ciphertext = bench.memory.read(where, PAGE)
    bench.ok(Command.LAUNCH_UPDATE_DATA, handle=handle, address=where, len=PAGE)
    assert bench.guest(handle).launch_digest == launch_digest([bytes(PAGE), ciphertext])


# LAUNCH_MEASURE


def test_the_measurement_asks_for_room() -> None:
    bench = Bench()
    handle = bench.started()
    for size in (0, 47):
        status, asked = bench.asked_for(Command.LAUNCH_MEASURE, handle=handle, address=0, len=size)
        assert (status, asked.len) == (LENGTH, 48)
    assert bench.refused(Command.LAUNCH_MEASURE, handle=handle, address=NOWHERE, len=48) is ADDRESS
    address = bench.memory.room(48)
    assert bench.ok(Command.LAUNCH_MEASURE, handle=handle, address=address, len=4096).len == 48


def test_launching_over_what_no_longer_is_memory_changes_nothing() -> None:
    bench = Bench()
    handle = bench.activated()
    fields = {"handle": handle, "address": BASE + 0x7_0000, "len": 0x2_0000}
    assert bench.refused(Command.LAUNCH_UPDATE_DATA, **fields) is ADDRESS
