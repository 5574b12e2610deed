"""Platform commands: initialising, status, identity, chip id; what is refused, and how."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulator.sev.bench import (
    CERTIFICATE,
    CHAIN,
    NOWHERE,
    POLICY,
    TMR,
    Bench,
    OwnerAuthority,
    imported,
)
from wasmkeep.evidence.sev import certificate
from wasmkeep.evidence.sev.certificate import Usage
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_commands import NV_LENGTH, NV_OWN_FLASH, SevPlatformState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.products import SevVersion

LENGTH, ADDRESS = SevStatus.INVALID_LENGTH, SevStatus.INVALID_ADDRESS


def uninitialised(**changes: object) -> Bench:
    return Bench(init=None, **changes)  # type: ignore[arg-type]


# INIT, INIT_EX, SHUTDOWN, PLATFORM_RESET, PLATFORM_STATUS

BAD_INITS = {
    "an unknown flag": ({**TMR, "flags": 3}, SevStatus.INVALID_PARAM),
    "an unknown flag without ES": ({"flags": 2}, SevStatus.INVALID_PARAM),
    "no TMR for ES": ({"flags": 1}, LENGTH),
    "a TMR that is too small": ({**TMR, "tmr_len": 1 << 19}, LENGTH),
    "a TMR beside its alignment": ({**TMR, "tmr_address": (1 << 20) + 4096}, ADDRESS),
    "a TMR of SNP's size beside its alignment": ({**TMR, "tmr_len": 2 << 20}, ADDRESS),
}


@pytest.mark.parametrize("name", BAD_INITS)
def test_init_refuses(name: str) -> None:
    fields, status = BAD_INITS[name]
    bench = uninitialised()
    assert bench.refused(Command.INIT, **fields) is status
    assert bench.refused(Command.INIT_EX, length=0x24, nv_address=NV_OWN_FLASH, **fields) is status


@pytest.mark.parametrize(
    ("fields", "flags"), [({}, 0), (TMR, 0x100), ({**TMR, "tmr_address": 2 << 20, "tmr_len": 2 << 20}, 0x100)]
)
def test_status_says_what_runs(fields: dict[str, int], flags: int) -> None:
    bench = uninitialised(version=SevVersion(0, 24, 15))
    bench.ok(Command.INIT, **fields)
    assert bytes(bench.ok(Command.PLATFORM_STATUS)).hex() == f"00180100{flags >> 8:02x}00000f00000000"
    bench.started()
    bench.started()
    status = bench.ok(Command.PLATFORM_STATUS)
    assert (status.state, status.guest_count, status.flags) == (SevPlatformState.WORKING, 2, flags)


def test_every_byte_of_a_status_is_written() -> None:
    bench = uninitialised()
    _, after = bench.firmware.command(Command.PLATFORM_STATUS, b"\xff" * 12, bench.memory)
    assert after.hex() == "013700000000002800000000"


def test_shutdown_ends_every_guest_and_keeps_the_identity() -> None:
    bench = Bench()
    before = bench.export()
    handle = bench.activated()
    guest = bench.guest(handle)
    bench.ok(Command.SHUTDOWN)
    assert (guest.keys, bench.slots.key(8)) == (None, None)
    assert bench.ok(Command.PLATFORM_STATUS).flags == 0
    bench.ok(Command.SHUTDOWN)  # of nothing
    bench.ok(Command.INIT, **TMR)
    assert bench.ok(Command.GUEST_STATUS, handle=handle).state == 0
    assert bench.export() == before
    again = bench.started()
    assert bench.refused(Command.ACTIVATE, handle=again, asid=8) is SevStatus.DFFLUSH_REQUIRED


def test_a_reset_platform_owns_itself_anew() -> None:
    bench = Bench()
    OwnerAuthority().take(bench)
    before = bench.export()
    assert bench.ok(Command.PLATFORM_STATUS).flags == 0x101
    bench.ok(Command.SHUTDOWN)
    bench.ok(Command.PLATFORM_RESET)
    assert bench.ok(Command.PLATFORM_STATUS).flags == 0
    bench.ok(Command.INIT)
    after = bench.export()
    assert bench.ok(Command.PLATFORM_STATUS).flags == 0
    assert after.cek == before.cek
    for name in ("oca", "pek", "pdh"):
        assert getattr(after, name)[:0x414] != getattr(before, name)[:0x414]


def started_with(bench: Bench, stored: bytes) -> int:
    address = bench.memory.place(stored)
    bench.ok(Command.INIT_EX, length=0x24, nv_address=address, nv_len=NV_LENGTH)
    return address


def test_persistent_state_can_lie_in_the_hosts_memory_and_is_this_chips() -> None:
    blank = b"\xff" * NV_LENGTH
    bench = uninitialised()
    address = started_with(bench, blank)
    OwnerAuthority().take(bench)
    stored = bench.memory.read(address, NV_LENGTH)
    rebooted = uninitialised(secret=bench.secret)
    started_with(rebooted, stored)
    assert rebooted.export().pdh == bench.export().pdh
    assert rebooted.ok(Command.PLATFORM_STATUS).flags == 1
    other = uninitialised()
    fields = {"length": 0x24, "nv_address": other.memory.place(stored), "nv_len": NV_LENGTH}
    assert other.refused(Command.INIT_EX, **fields) is SevStatus.SECURE_DATA_INVALID
    spoilt = bytes((stored[0], stored[1] ^ 1)) + stored[2:]
    again = uninitialised(secret=bench.secret)
    fields["nv_address"] = again.memory.place(spoilt)
    assert again.refused(Command.INIT_EX, **fields) is SevStatus.SECURE_DATA_INVALID


def test_every_new_identity_is_stored() -> None:
    bench = uninitialised()
    address = started_with(bench, b"\xff" * NV_LENGTH)
    for command in (Command.PDH_GEN, Command.PEK_GEN):
        bench.ok(command)
        rebooted = uninitialised(secret=bench.secret)
        started_with(rebooted, bench.memory.read(address, NV_LENGTH))
        assert rebooted.export().pdh == bench.export().pdh


def test_init_ex_refuses() -> None:
    bench = uninitialised()
    blank = bench.memory.place(b"\xff" * NV_LENGTH)
    plain = {"length": 0x24, "nv_address": blank, "nv_len": NV_LENGTH}
    assert bench.refused(Command.INIT_EX, **{**plain, "length": 0x20}) is LENGTH
    assert bench.refused(Command.INIT_EX, **{**plain, "nv_len": NV_LENGTH - 1}) is LENGTH
    assert bench.refused(Command.INIT_EX, **{**plain, "nv_address": NOWHERE}) is ADDRESS
    bench.ok(Command.INIT_EX, length=0x24, nv_address=NV_OWN_FLASH)


# GET_ID, PDH_CERT_EXPORT, PEK_CSR: answers with lengths


def test_get_id_is_the_chips() -> None:
    bench = uninitialised()
    address = bench.memory.room(64)
    for length in (0, 63):
        status, asked = bench.asked_for(Command.GET_ID, address=0, len=length)
        assert (status, asked.len) == (LENGTH, 64)
    assert bench.ok(Command.GET_ID, address=address, len=4096).len == 64
    assert bench.memory.read(address, 64) == bench.chip.chip_id
    assert bench.refused(Command.GET_ID, address=NOWHERE, len=64) is ADDRESS


def test_the_export_asks_for_room_and_writes_all_or_nothing() -> None:
    bench = Bench()
    pdh, chain = bench.memory.room(CERTIFICATE), bench.memory.room(CHAIN)
    for lengths in ((0, 0), (CERTIFICATE - 1, CHAIN), (CERTIFICATE, CHAIN - 1)):
        fields = {"pdh_cert_address": pdh, "cert_chain_address": chain}
        fields |= {"pdh_cert_len": lengths[0], "cert_chain_len": lengths[1]}
        status, asked = bench.asked_for(Command.PDH_CERT_EXPORT, **fields)
        assert (status, asked.pdh_cert_len, asked.cert_chain_len) == (LENGTH, CERTIFICATE, CHAIN)
    fields = {"pdh_cert_address": pdh, "pdh_cert_len": CERTIFICATE + 1}
    fields |= {"cert_chain_address": NOWHERE, "cert_chain_len": CHAIN + 1}
    assert bench.refused(Command.PDH_CERT_EXPORT, **fields) is ADDRESS
    answer = bench.ok(Command.PDH_CERT_EXPORT, **{**fields, "cert_chain_address": chain})
    assert (answer.pdh_cert_len, answer.cert_chain_len) == (CERTIFICATE, CHAIN)


def test_the_exported_cek_is_not_signed_by_anybody() -> None:
    bench = Bench()
    fields = {"pdh_cert_address": bench.memory.room(CERTIFICATE), "pdh_cert_len": CERTIFICATE}
    address = bench.memory.room(CHAIN)
    bench.ok(Command.PDH_CERT_EXPORT, **fields, cert_chain_address=address, cert_chain_len=CHAIN)
    exported = [
        certificate.parse(bench.memory.read(address + at, CERTIFICATE), "exported")
        for at in range(0, CHAIN, CERTIFICATE)
    ]
    assert [one.usage for one in exported] == [Usage.PEK, Usage.OCA, Usage.CEK]
    assert [one.signers for one in exported] == [(Usage.OCA, Usage.CEK), (Usage.OCA,), ()]
    assert [one.api_version for one in exported] == [(1, 55), (1, 55), (0, 14)]


def test_the_signing_request_is_the_pek_without_signatures() -> None:
    bench = Bench()
    pek = certificate.parse(bench.export().pek, "PEK")
    status, asked = bench.asked_for(Command.PEK_CSR, address=0, len=0)
    assert (status, asked.len) == (LENGTH, CERTIFICATE)
    request = bench.request()
    assert (request.body, request.signers) == (pek.body, ())
    bench.started()
    assert bench.request() == request  # also while guests live


@pytest.mark.parametrize("command", [Command.PEK_GEN, Command.PDH_GEN])
def test_new_keys_are_new_and_signed_by_the_old(command: Command) -> None:
    bench = Bench()
    before = bench.export()
    bench.ok(command)
    after = bench.export()
    changed = {name for name in ("pdh", "pek", "oca") if getattr(before, name) != getattr(after, name)}
    assert changed == ({"pdh"} if command is Command.PDH_GEN else {"pdh", "pek", "oca"})
    pek = certificate.parse(after.pek, "PEK")
    assert certificate.parse(after.pdh, "PDH").signed_by(Usage.PEK, pek.key)


# PEK_CERT_IMPORT


@pytest.mark.parametrize("slot", [0, 1])
def test_an_owner_takes_the_platform(slot: int) -> None:
    bench, owner = Bench(), OwnerAuthority()
    before = bench.export()
    pek = owner.sign(bench.request(), slot)
    bench.ok(Command.PEK_CERT_IMPORT, **imported(bench, pek, owner.certificate))
    after = bench.export()
    assert bench.ok(Command.PLATFORM_STATUS).flags & 1
    assert after.oca == owner.certificate.encode()
    signed = certificate.parse(after.pek, "PEK")
    assert signed.slots[slot] == pek.slots[slot]
    assert signed.slots[1 - slot].usage is Usage.CEK
    assert after.pdh != before.pdh
    assert certificate.parse(after.pdh, "PDH").signed_by(Usage.PEK, signed.key)
    bench.ok(Command.PEK_GEN)
    assert not bench.ok(Command.PLATFORM_STATUS).flags & 1


def spoilt(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


SIG1, SIG2 = 0x41C, 0x624


def bad_imports(bench: Bench) -> dict[str, tuple[dict[str, int], SevStatus]]:
    owner, other = OwnerAuthority(), OwnerAuthority()
    request = bench.request()
    pek, oca = owner.sign(request).encode(), owner.certificate.encode()
    foreign = owner.sign(Bench().request())
    malformed, signature = SevStatus.INVALID_CERTIFICATE, SevStatus.BAD_SIGNATURE
    short = {**imported(bench, pek, oca), "oca_cert_len": CERTIFICATE - 1}
    nowhere = {**imported(bench, pek, oca), "pek_cert_address": NOWHERE}
    return {
        "a PEK of another size": (imported(bench, pek + b"\0", oca), LENGTH),
        "an OCA of another size": (short, LENGTH),
        "a PEK from nowhere": (nowhere, ADDRESS),
        "an OCA of another version": (imported(bench, pek, spoilt(oca, 0)), malformed),
        "an OCA with another usage": (imported(bench, pek, pek), malformed),
        "a PEK with another usage": (imported(bench, oca, oca), malformed),
        "an OCA whose key is no point": (imported(bench, pek, spoilt(oca, 0x14)), malformed),
        "an unsigned OCA": (imported(bench, pek, oca[:0x414] + request.encode()[0x414:]), malformed),
        "an unsigned PEK": (imported(bench, request, oca), malformed),
        "an OCA with a wrong signature": (imported(bench, pek, spoilt(oca, SIG1)), signature),
        "a PEK with a wrong signature": (imported(bench, spoilt(pek, SIG1), oca), signature),
        "a PEK that another owner signed": (imported(bench, other.sign(request), oca), signature),
        "another machine's PEK": (imported(bench, foreign, oca), malformed),
        "a PEK without a free slot": (imported(bench, bench.export().pek, oca), malformed),
    }


@pytest.mark.parametrize("name", bad_imports(Bench()))
def test_an_import_is_refused(name: str) -> None:
    bench = Bench()
    fields, status = bad_imports(bench)[name]
    assert bench.refused(Command.PEK_CERT_IMPORT, **fields) is status


def test_an_owned_platform_takes_no_second_owner() -> None:
    bench, owner = Bench(), OwnerAuthority()
    owner.take(bench)
    again = imported(bench, owner.sign(bench.request()), owner.certificate)
    assert bench.refused(Command.PEK_CERT_IMPORT, **again) is SevStatus.ALREADY_OWNED
    assert bench.refused(Command.PEK_CERT_IMPORT) is SevStatus.ALREADY_OWNED


def test_commands_from_many_threads_are_one_at_a_time() -> None:
    bench = Bench()

    def live(_: int) -> None:
        for _ in range(20):
            status, answer = bench.issue(Command.LAUNCH_START, policy=POLICY)
            assert status is SevStatus.SUCCESS
            bench.ok(Command.DECOMMISSION, handle=answer.handle)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(live, range(4)))
    assert bench.ok(Command.PLATFORM_STATUS).guest_count == 0


def test_nothing_secret_shows() -> None:
    bench = Bench(secret=os.urandom(32))
    handle = bench.activated()
    shown = repr(bench.context) + repr(bench.guest(handle)) + repr(bench.firmware)
    assert "PrivateKey" not in shown
    assert "tek" not in shown
    assert "MemoryKey" not in shown
    assert bench.secret.hex() not in shown
