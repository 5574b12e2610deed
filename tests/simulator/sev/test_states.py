"""The two state machines, in full: every command in every state of the platform, and of a guest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.simulator.sev import journey
from tests.simulator.sev.bench import BASE, ES, PAGE, POLICY, TMR, Bench, Owner, policy
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_commands import COMMAND_BUFFERS, SevGuestState, SevPlatformState
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.sev.processor import COMMANDS
from wasmkeep.simulator.sev.states import GUEST_COMMANDS, PLATFORM_COMMANDS

# SEV API 0.24, 5.1.2, as a person reads it there.
PLATFORM = """
UNINIT   INIT INIT_EX PLATFORM_RESET PLATFORM_STATUS DOWNLOAD_FIRMWARE GET_ID SHUTDOWN
INIT     SHUTDOWN PLATFORM_STATUS PEK_GEN PEK_CSR PEK_CERT_IMPORT PDH_GEN PDH_CERT_EXPORT DF_FLUSH GET_ID
INIT     LAUNCH_START RECEIVE_START GUEST_STATUS
WORKING  SHUTDOWN PLATFORM_STATUS PDH_GEN PDH_CERT_EXPORT DF_FLUSH GET_ID PEK_CSR
WORKING  LAUNCH_START LAUNCH_UPDATE_DATA LAUNCH_UPDATE_VMSA LAUNCH_MEASURE LAUNCH_SECRET LAUNCH_FINISH
WORKING  ACTIVATE ACTIVATE_EX DEACTIVATE DECOMMISSION GUEST_STATUS ATTESTATION COPY DBG_DECRYPT DBG_ENCRYPT
WORKING  SEND_START SEND_UPDATE_DATA SEND_UPDATE_VMSA SEND_FINISH SEND_CANCEL
WORKING  RECEIVE_START RECEIVE_UPDATE_DATA RECEIVE_UPDATE_VMSA RECEIVE_FINISH
"""
AFTER = {
    ("INIT", "UNINIT"): "INIT",
    ("INIT_EX", "UNINIT"): "INIT",
    ("SHUTDOWN", "INIT"): "UNINIT",
    ("SHUTDOWN", "WORKING"): "UNINIT",
    ("LAUNCH_START", "INIT"): "WORKING",
    ("RECEIVE_START", "INIT"): "WORKING",
}
# 6.1.1: command, states it is legal in, state after it ("=" where it stays).
ALL = "LUPDATE LSECRET RUNNING SUPDATE RUPDATE SENT"
GUEST = {
    "LAUNCH_START": ("UNINIT", "LUPDATE"),
    "LAUNCH_UPDATE_DATA": ("LUPDATE", "="),
    "LAUNCH_UPDATE_VMSA": ("LUPDATE", "="),
    "LAUNCH_MEASURE": ("LUPDATE", "LSECRET"),
    "LAUNCH_SECRET": ("LSECRET", "="),
    "LAUNCH_FINISH": ("LSECRET", "RUNNING"),
    "ATTESTATION": ("LSECRET RUNNING SUPDATE SENT", "="),
    "SEND_START": ("RUNNING", "SUPDATE"),
    "SEND_UPDATE_DATA": ("SUPDATE", "="),
    "SEND_UPDATE_VMSA": ("SUPDATE", "="),
    "SEND_FINISH": ("SUPDATE", "SENT"),
    "SEND_CANCEL": ("SUPDATE", "RUNNING"),
    "RECEIVE_START": ("UNINIT", "RUPDATE"),
    "RECEIVE_UPDATE_DATA": ("RUPDATE", "="),
    "RECEIVE_UPDATE_VMSA": ("RUPDATE", "="),
    "RECEIVE_FINISH": ("RUPDATE", "RUNNING"),
    "ACTIVATE": ("LUPDATE LSECRET RUNNING SUPDATE RUPDATE", "="),
    "DEACTIVATE": (ALL, "="),
    "GUEST_STATUS": ("UNINIT " + ALL, "="),
    "DBG_DECRYPT": (ALL, "="),
    "DBG_ENCRYPT": (ALL, "="),
    "DECOMMISSION": (ALL, "UNINIT"),
}


def test_the_platforms_table_is_the_specifications() -> None:
    expected: dict[tuple[str, str], str] = {}
    for line in PLATFORM.strip().splitlines():
        state, *commands = line.split()
        expected |= {(command, state): AFTER.get((command, state), state) for command in commands}
    found = {
        (command.name, state.name): after.name
        for command, moves in PLATFORM_COMMANDS.items()
        for state, after in moves.items()
    }
    assert found == expected
    assert set(PLATFORM_COMMANDS) == set(COMMAND_BUFFERS)


def test_the_guests_table_is_the_specifications() -> None:
    expected = {
        (command, state): state if after == "=" else after
        for command, (states, after) in GUEST.items()
        for state in states.split()
    }
    found = {
        (command.name, state.name): after.name
        for command, moves in GUEST_COMMANDS.items()
        for state, after in moves.items()
    }
    assert found == expected


def platform_in(state: SevPlatformState) -> Bench:
    bench = Bench(init=None if state is SevPlatformState.UNINIT else dict(TMR))
    if state is SevPlatformState.WORKING:
        bench.started()
    assert bench.ok(Command.PLATFORM_STATUS).state == state
    return bench


@pytest.mark.parametrize("state", SevPlatformState, ids=lambda state: state.name)
@pytest.mark.parametrize("command", COMMAND_BUFFERS, ids=lambda command: command.name)
def test_a_command_out_of_the_platforms_order_is_refused_and_changes_nothing(
    command: Command, state: SevPlatformState
) -> None:
    bench = platform_in(state)
    if state not in PLATFORM_COMMANDS[command]:
        assert bench.refused(command) is SevStatus.INVALID_PLATFORM_STATE
        return
    fields = TMR if command is Command.INIT else {"policy": POLICY} if command is Command.LAUNCH_START else {}
    status, _ = bench.issue(command, **fields)
    assert status is not SevStatus.INVALID_PLATFORM_STATE
    if status is SevStatus.SUCCESS:
        assert bench.context.state is PLATFORM_COMMANDS[command][state]


@pytest.mark.parametrize("command", set(COMMAND_BUFFERS) - set(COMMANDS), ids=lambda command: command.name)
def test_what_this_firmware_lacks_is_unsupported(command: Command) -> None:
    uninitialised = command is Command.DOWNLOAD_FIRMWARE
    bench = platform_in(SevPlatformState.UNINIT if uninitialised else SevPlatformState.WORKING)
    assert bench.refused(command) is SevStatus.UNSUPPORTED


@pytest.mark.parametrize("number", [0x00, 0x0E, 0x0F, 0x10, 0x37, 0x70, 0x81, 0xA0, 0xFFFF, -1])
def test_no_other_number_is_a_command(number: int) -> None:
    bench = Bench()
    before = bench.everything()
    assert bench.firmware.command(number, bytes(64), bench.memory) == (SevStatus.INVALID_COMMAND, bytes(64))
    assert bench.everything() == before


@pytest.mark.parametrize("change", [-1, 1])
def test_a_buffer_of_another_size_is_no_commands(change: int) -> None:
    bench = Bench()
    buffer = bytes(0x24 + change)
    answer = bench.firmware.command(Command.LAUNCH_START, buffer, bench.memory)
    assert answer == (SevStatus.INVALID_LENGTH, buffer)


# Every guest command in every guest state, with a buffer that is right in all else.

BITS = policy(ES)


class Travelled:
    """A machine, a guest of it in some state, and an owner's or a sender's packets for it."""

    def __init__(self, state: SevGuestState) -> None:
        self.bench, self.owner = Bench(), Owner()
        self.bench.memory.pages(1)
        self.incoming = journey.Packet(bytes(52), bytes(PAGE))
        self.vmsa = self.incoming
        if state is SevGuestState.RUPDATE:
            self.handle = self._arriving()
        else:
            self.handle = self._launched(state)
        assert self.bench.state(self.handle) == state

    def _arriving(self) -> int:
        source = Bench()
        handle = source.running(BITS)
        page = source.memory.pages(1)
        session = journey.send_start(source, handle, self.bench.export())
        self.incoming = journey.send(source, handle, page)
        self.vmsa = journey.send(source, handle, page, command=Command.SEND_UPDATE_VMSA)
        return journey.receive_start(self.bench, source.export().pdh, session, BITS)

    def _launched(self, state: SevGuestState) -> int:
        bench = self.bench
        handle = bench.activated(BITS, self.owner)
        if state is SevGuestState.LUPDATE:
            return handle
        self.measure = bench.measured(handle).measure
        sealed = self.owner.secret(bytes(PAGE), self.measure)
        self.incoming = journey.Packet(sealed.header, sealed.data)
        if state is SevGuestState.LSECRET:
            return handle
        bench.ok(Command.LAUNCH_FINISH, handle=handle)
        if state in (SevGuestState.SUPDATE, SevGuestState.SENT):
            journey.send_start(bench, handle, bench.export())
        if state is SevGuestState.SENT:
            bench.ok(Command.SEND_FINISH, handle=handle)
        return handle

    def fields(self, command: Command) -> dict[str, int]:
        bench, handle = self.bench, self.handle
        region = {"handle": handle, "address": BASE, "len": PAGE}
        incoming = journey.incoming_fields(
            bench, handle, self.vmsa if command is Command.RECEIVE_UPDATE_VMSA else self.incoming, BASE
        )
        debug = {"handle": handle, "src_address": BASE, "dst_address": BASE, "len": 16}
        outgoing = partial(journey.outgoing_fields, bench, handle, BASE, PAGE)
        special: dict[Command, Callable[[], dict[str, int]]] = {
            Command.LAUNCH_UPDATE_DATA: lambda: region,
            Command.LAUNCH_UPDATE_VMSA: lambda: region,
            Command.LAUNCH_MEASURE: lambda: region,
            Command.ATTESTATION: lambda: region,
            Command.LAUNCH_SECRET: lambda: incoming,
            Command.RECEIVE_UPDATE_DATA: lambda: incoming,
            Command.RECEIVE_UPDATE_VMSA: lambda: incoming,
            Command.SEND_UPDATE_DATA: outgoing,
            Command.SEND_UPDATE_VMSA: outgoing,
            Command.SEND_START: lambda: journey.send_fields(bench, handle, bench.export()),
            Command.DBG_DECRYPT: lambda: debug,
            Command.DBG_ENCRYPT: lambda: debug,
            Command.ACTIVATE: lambda: {"handle": handle, "asid": bench.slots.reserve(es=True)},
        }
        return special.get(command, lambda: {"handle": handle})()


LIVING = [state for state in SevGuestState if state is not SevGuestState.UNINIT]
OF_A_GUEST = [one for one in GUEST_COMMANDS if one not in (Command.LAUNCH_START, Command.RECEIVE_START)]


@pytest.mark.parametrize("state", LIVING, ids=lambda state: state.name)
@pytest.mark.parametrize("command", OF_A_GUEST, ids=lambda command: command.name)
def test_a_command_out_of_a_guests_order_is_refused_and_changes_nothing(
    command: Command, state: SevGuestState
) -> None:
    at = Travelled(state)
    if command in (Command.ACTIVATE, Command.DECOMMISSION):
        at.bench.ok(Command.DEACTIVATE, handle=at.handle)
    fields = at.fields(command)
    after = GUEST_COMMANDS[command].get(state)
    if after is None:
        assert at.bench.refused(command, **fields) is SevStatus.INVALID_GUEST_STATE
    else:
        at.bench.ok(command, **fields)
        assert at.bench.state(at.handle) == after


@pytest.mark.parametrize("command", OF_A_GUEST, ids=lambda command: command.name)
def test_an_unknown_handle_is_no_guest(command: Command) -> None:
    at = Travelled(SevGuestState.LUPDATE)
    at.handle += 1
    if command is Command.GUEST_STATUS:
        answer = at.bench.ok(command, handle=at.handle, policy=7, asid=8, state=9)
        assert (answer.policy, answer.asid, answer.state) == (0, 0, SevGuestState.UNINIT)
    else:
        assert at.bench.refused(command, **at.fields(command)) is SevStatus.INVALID_GUEST


def test_the_last_guests_end_takes_the_platform_back_to_init() -> None:
    bench = Bench()
    first, second = bench.started(), bench.started()
    bench.ok(Command.DECOMMISSION, handle=first)
    assert bench.ok(Command.PLATFORM_STATUS).state == SevPlatformState.WORKING
    bench.ok(Command.DECOMMISSION, handle=second)
    status = bench.ok(Command.PLATFORM_STATUS)
    assert (status.state, status.guest_count) == (SevPlatformState.INIT, 0)
    bench.ok(Command.PEK_GEN)
