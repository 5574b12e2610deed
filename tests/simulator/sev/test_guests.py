"""A guest's report, and a debugger's window into it: only where its owner left one."""

from __future__ import annotations

import os

import pytest

from tests.simulator.sev.bench import ES, NODBG, NOSEND, NOWHERE, PAGE, POLICY, Bench, Owner
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev import certificate, report
from wasmkeep.evidence.sev.measurement import launch_digest
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_status import SevStatus

LENGTH, ADDRESS = SevStatus.INVALID_LENGTH, SevStatus.INVALID_ADDRESS


def attested(bench: Bench, handle: int, mnonce: bytes) -> bytes:
    fields = {"handle": handle, "address": bench.memory.room(208)}
    answer = bench.ok(Command.ATTESTATION, **fields, mnonce=tuple(mnonce), len=4096)
    assert answer.len == 208
    return bench.memory.read(fields["address"], 208)


def test_a_report_is_signed_by_the_pek_for_the_callers_nonce() -> None:
    bench = Bench()
    handle = bench.activated(POLICY, Owner())
    bench.updated(handle, b"contents" * 4)
    bench.measured(handle)
    bench.ok(Command.LAUNCH_FINISH, handle=handle)
    mnonce = os.urandom(16)
    found = report.parse(attested(bench, handle, mnonce))
    assert (found.digest, found.policy) == (launch_digest([b"contents" * 4]), POLICY)
    pek = certificate.parse(bench.export().pek, "PEK").public_key
    found.verify(pek, mnonce)
    with pytest.raises(Rejected):
        found.verify(pek, bytes(16))
    with pytest.raises(Rejected):
        found.verify(certificate.parse(Bench().export().pek, "PEK").public_key, mnonce)


def test_the_report_asks_for_room() -> None:
    bench = Bench()
    handle = bench.running()
    for size in (0, 207):
        status, asked = bench.asked_for(Command.ATTESTATION, handle=handle, address=0, len=size)
        assert (status, asked.len) == (LENGTH, 208)
    assert bench.refused(Command.ATTESTATION, handle=handle, address=NOWHERE, len=208) is ADDRESS


def debug_fields(handle: int, source: int, destination: int, size: int = 64) -> dict[str, int]:
    return {"handle": handle, "src_address": source, "dst_address": destination, "len": size}


@pytest.mark.parametrize("bits", [NOSEND, NOSEND | ES])
def test_a_host_reads_and_writes_a_guest_whose_policy_lets_it(bits: int) -> None:
    bench = Bench()
    handle = bench.activated(bits)
    private = bench.updated(handle, b"private contents" * 4)
    shown = bench.memory.room(64)
    bench.ok(Command.DBG_DECRYPT, **debug_fields(handle, private, shown))
    assert bench.memory.read(shown, 64) == b"private contents" * 4
    bench.memory.write(shown, b"other contents !" * 4)
    bench.ok(Command.DBG_ENCRYPT, **debug_fields(handle, shown, private))
    assert bench.plaintext(handle, private, 64) == b"other contents !" * 4


@pytest.mark.parametrize("command", [Command.DBG_DECRYPT, Command.DBG_ENCRYPT])
def test_nodbg_shuts_the_window(command: Command) -> None:
    bench = Bench()
    handle = bench.activated(NODBG)
    where = bench.updated(handle, bytes(64))
    assert bench.refused(command, **debug_fields(handle, where, where)) is SevStatus.POLICY_FAILURE


@pytest.mark.parametrize("command", [Command.DBG_DECRYPT, Command.DBG_ENCRYPT])
def test_debugging_is_of_whole_blocks_of_an_active_guest(command: Command) -> None:
    bench = Bench()
    handle = bench.started(NOSEND)
    first, second = bench.memory.pages(1), bench.memory.pages(1)
    assert bench.refused(command, **debug_fields(handle, first, second)) is SevStatus.INACTIVE
    bench.ok(Command.ACTIVATE, handle=handle, asid=8)
    for source, destination in (
        (first + 8, second),
        (first, second + 1),
        (NOWHERE, second),
        (first, NOWHERE),
    ):
        assert bench.refused(command, **debug_fields(handle, source, destination)) is ADDRESS
    for size in (0, 15, PAGE + 1):
        assert bench.refused(command, **debug_fields(handle, first, second, size)) is LENGTH
