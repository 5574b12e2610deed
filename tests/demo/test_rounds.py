"""Whole rounds: an honest host gets its program run, and one that cheats is caught where it is said."""

from __future__ import annotations

import asyncio

import pytest

from tests.demo.fake_machine import FakeMachine
from tests.demo.playing import rounds
from wasmkeep.demo import cheats, tamper
from wasmkeep.demo.client import ChainValid, HostGaveUp, MeasurementValid, Ran, Sealed, SessionMade
from wasmkeep.demo.conversation import Measured
from wasmkeep.demo.program import ADDRESS, OUTPUT, PROGRAM
from wasmkeep.demo.server import Host
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev.measurement import EMPTY_DIGEST
from wasmkeep.hardware.sev_status import SevStatus


def test_an_honest_round_has_six_steps_and_prints_seven() -> None:
    machine = FakeMachine()
    (steps,) = asyncio.run(rounds(Host(machine, machine.vouchers), machine.trust))
    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6]
    facts = [step.fact for step in steps]
    assert [type(fact) for fact in facts] == [
        ChainValid,
        SessionMade,
        Measured,
        MeasurementValid,
        Sealed,
        Ran,
    ]
    chain, _, _, measured, sealed, ran = facts
    assert isinstance(chain, ChainValid)
    assert chain.platform.root.simulated
    assert chain.owner_pinned
    assert isinstance(measured, MeasurementValid)
    assert measured.launch.digest == EMPTY_DIGEST
    assert isinstance(sealed, Sealed)
    assert sealed.plaintext == PROGRAM
    assert sealed.packet.address == ADDRESS
    assert PROGRAM[:8] not in sealed.packet.data
    assert isinstance(ran, Ran)
    assert ran.output == OUTPUT
    assert all(step.elapsed_ns > 0 for step in steps)
    assert not machine.alive


def test_nothing_of_a_round_is_in_the_next() -> None:
    machine = FakeMachine()
    both = asyncio.run(rounds(Host(machine, machine.vouchers), machine.trust, 2))
    seen: list[set[bytes]] = []
    for steps in both:
        made, sealed = steps[1].fact, steps[4].fact
        assert isinstance(made, SessionMade)
        assert isinstance(sealed, Sealed)
        session = made.launch.session
        parts = [session[:16], session[16:48], session[48:64], made.launch.owner[16:], sealed.packet.data]
        seen.append({*parts, sealed.packet.header[4:20], sealed.packet.header[20:]})
    assert not seen[0] & seen[1]


@pytest.mark.parametrize("cheat", cheats.CHEATS, ids=lambda cheat: cheat.name)
def test_each_cheat_is_caught_where_it_says(cheat: cheats.Cheat) -> None:
    machine = FakeMachine()
    host = tamper.HOSTS[cheat.name](machine, machine.vouchers)
    with pytest.raises((Rejected, HostGaveUp)) as caught:
        asyncio.run(rounds(host, machine.trust, cheat.round))
    assert host.round == cheat.round
    error = caught.value
    if isinstance(error, Rejected):
        assert (cheat.by, error.check) == (cheats.CLIENT, cheat.check)
    else:
        assert isinstance(error, HostGaveUp)
        assert (cheat.by, error.step) == (cheats.FIRMWARE, cheat.step)
        assert SevStatus(error.status).name == cheat.check
    assert not machine.alive


def test_every_cheat_has_its_host() -> None:
    assert set(tamper.HOSTS) == set(cheats.BY_NAME)
    assert len(cheats.BY_NAME) == len(cheats.CHEATS)
