"""The client's steps by themselves: their order, what belongs to one round, what a host says besides."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.demo.fake_machine import FakeMachine
from tests.demo.playing import channels
from wasmkeep.cli.console import Console
from wasmkeep.cli.demo_screen import Screen
from wasmkeep.demo import client
from wasmkeep.demo.channel import Channel, Handover
from wasmkeep.demo.client import ChainValid, Client, HostGaveUp
from wasmkeep.demo.conversation import Step, play
from wasmkeep.demo.messages import (
    AnyMessage,
    Certificates,
    End,
    Hello,
    Launch,
    Measurement,
    MessageError,
    Output,
    Packet,
    Refused,
)
from wasmkeep.demo.program import ADDRESS, PORT, PROGRAM
from wasmkeep.demo.server import Host, Service
from wasmkeep.errors import SessionError, TimedOut
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit


def certificates(machine: FakeMachine) -> Certificates:
    return asyncio.run(Host(machine, machine.vouchers).certificates())


def test_the_program_is_what_its_listing_says() -> None:
    assert len(PROGRAM) == 48
    assert PROGRAM[:3] == b"\xba" + PORT.to_bytes(2, "little")
    assert (PROGRAM[0x20], PROGRAM[0x21]) == (3, 4)
    for at in (0x0F, 0x13):  # the operands of its two loads
        assert PROGRAM[int.from_bytes(PROGRAM[at : at + 2], "little") - ADDRESS] in (3, 4)
    assert PROGRAM[0x08:0x0C] == PROGRAM[0x24:0x28]
    assert PROGRAM[0x0E + PROGRAM[0x0D]] == 0xF4  # hlt


def test_the_policy_is_the_talks() -> None:
    decoded = GuestPolicy.decode(client.POLICY.encode())
    assert decoded.bits == GuestPolicyBit.NODBG | GuestPolicyBit.NOKS | GuestPolicyBit.NOSEND
    assert decoded.minimum_api == (0, 24)


def test_no_step_comes_before_the_one_it_needs() -> None:
    machine = FakeMachine()
    one = Client(machine.trust)
    one.hello()
    with pytest.raises(RuntimeError):
        one.make_session()
    one.validate_chain(certificates(machine))
    with pytest.raises(RuntimeError):
        one.validate_measurement(Measurement(0, 24, 15, bytes(32), bytes(16)))
    one.make_session()
    with pytest.raises(RuntimeError):
        one.seal()


def test_a_refused_chain_gives_no_session() -> None:
    machine = FakeMachine()
    one = Client(replace(machine.trust, owners=frozenset({bytes(32)})))
    one.hello()
    with pytest.raises(Rejected):
        one.validate_chain(certificates(machine))
    with pytest.raises(RuntimeError):
        one.make_session()


def test_one_packet_for_one_measurement() -> None:
    async def work() -> None:
        machine = FakeMachine()
        host, one = Host(machine, machine.vouchers), Client(machine.trust)
        host.prepare()
        one.hello()
        one.validate_chain(await host.certificates())
        measured = await host.start(one.make_session().launch)
        one.validate_measurement(measured)
        one.seal()
        with pytest.raises(RuntimeError):
            one.seal()
        with pytest.raises(RuntimeError):
            one.validate_measurement(measured)
        await host.clear()

    asyncio.run(work())


def test_without_owners_any_owner_will_do() -> None:
    machine = FakeMachine()
    fact = Client(replace(machine.trust, owners=frozenset())).validate_chain(certificates(machine))
    assert not fact.owner_pinned


@pytest.mark.parametrize("printed", [b"", b"8", b"77", b"7\n", b"\x1b[2J", b"7" * 4096])
def test_other_output_is_refused(printed: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        Client(FakeMachine().trust).accept(Output(End.HALTED, printed))
    assert refused.value.check == "demo.output"
    assert len(refused.value.found) < 300
    assert refused.value.found.isprintable()


async def answered(*messages: AnyMessage) -> None:
    """A client whose server answers so, whatever it is asked; one with no answer hangs up."""
    async with channels() as (mine, its):
        for message in messages:
            await its.send(message)
        if not messages:
            its.hang_up()
        await play(Client(FakeMachine().trust), mine, lambda _step: None)


def test_a_host_that_gives_up_says_why() -> None:
    with pytest.raises(HostGaveUp) as gave_up:
        asyncio.run(answered(Refused(3, 0x17, "every key slot is taken")))
    assert (gave_up.value.step, gave_up.value.status) == (3, 0x17)
    assert gave_up.value.exit_code == 71
    assert "every key slot is taken" in str(gave_up.value)


def test_a_message_out_of_turn_ends_the_talk() -> None:
    with pytest.raises(MessageError):
        asyncio.run(answered(Output(End.HALTED, b"7")))
    with pytest.raises(MessageError):
        asyncio.run(answered(certificates(FakeMachine()), Output(End.HALTED, b"7")))
    with pytest.raises(MessageError):
        asyncio.run(answered(Hello()))


def test_a_host_that_hangs_up_or_says_nothing() -> None:
    async def silence(channel: Channel) -> None:
        await channel.receive(0.01)

    async def work() -> None:
        async with channels() as (mine, its):
            with pytest.raises(TimedOut):
                await silence(mine)
            await its.send(Refused(1, 0, "x"))
            its._writer.write(b"\1")
            await its.close()
            assert isinstance(await mine.receive(), Refused)
            with pytest.raises(SessionError):
                await mine.receive()

    asyncio.run(work())
    with pytest.raises(SessionError):
        asyncio.run(answered())


def test_in_one_process_the_same_rules_are_for_messages() -> None:
    answers: list[AnyMessage] = [Refused(1, 0, "x"), Output(End.HALTED, b"7"), Hello()]

    async def answer(_message: AnyMessage) -> AnyMessage:
        return answers.pop(0)

    async def work() -> None:
        over = Handover(answer)
        with pytest.raises(SessionError):
            await over.receive()
        for expected in answers[:2]:
            await over.send(Hello())
            assert await over.receive() == expected
        await over.send(Hello())
        with pytest.raises(MessageError):  # no server says hello
            await over.receive()
        await over.send(Refused(1, 0, "x"))
        with pytest.raises(MessageError):  # nor does a client refuse
            await over.receive()

    asyncio.run(work())


def test_a_server_answers_in_the_order_of_a_round() -> None:
    async def work() -> None:
        machine = FakeMachine()
        host = Host(machine, machine.vouchers)
        service = Service(host)
        launch, packet = Launch(0, bytes(2084), bytes(128)), Packet(0, bytes(52), bytes(16))
        for wrong in (launch, packet, Output(End.HALTED, b"7"), Refused(1, 0, "x")):
            with pytest.raises(MessageError):
                await service.answer(wrong)
        assert isinstance(await service.answer(Hello()), Certificates)
        assert service.midway
        for early in (Hello(), packet):
            with pytest.raises(MessageError):
                await service.answer(early)
        await host.clear()
        assert not machine.alive

    asyncio.run(work())


def test_a_genuine_chain_of_a_denied_generation_is_said_to_be_one(capfd: pytest.CaptureFixture[str]) -> None:
    import sys

    fact = Client(FakeMachine().trust).validate_chain(certificates(FakeMachine()))
    genuine = next(root for root in AMD_ROOTS.values() if root.product == "Naples")
    for root, loud in ((fact.platform.root, False), (genuine, True)):
        screen = Screen(Console(sys.stderr, quiet=True))
        screen.begin()
        screen(Step(1, ChainValid(replace(fact.platform, root=root), True), 1))
        assert ("Naples: root secrets" in capfd.readouterr().err) is loud
