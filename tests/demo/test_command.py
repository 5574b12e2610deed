"""The command's screen, its standard output and its exit codes, on a machine that is there at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.demo.fake_machine import FakeGuest, FakeMachine
from wasmkeep.cli import __main__ as entry
from wasmkeep.demo import cheats, client, tamper
from wasmkeep.demo.program import PROGRAM
from wasmkeep.demo.server import Host
from wasmkeep.hardware.connection import MachineGone


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_standard_output_is_the_programs_alone(fake: FakeMachine, capfd: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["demo", "sev"]) == 0
    captured = capfd.readouterr()
    assert captured.out == "7\n"
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert all(line.startswith("  ") for line in lines)
    firsts = [line.split()[0] for line in lines if line[2:3].strip()]
    assert firsts == ["1", "2", "3", "4", "5", "6", "in", "again"]
    assert "ms" in captured.err
    assert "\x1b" not in captured.err
    assert not fake.alive


def test_every_fact_is_there_for_machines(fake: FakeMachine, capfd: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["demo", "sev", "--json", "--spy", "--rounds", "3"]) == 0
    captured = capfd.readouterr()
    assert captured.out == "7\n"
    said = objects(captured.err)
    steps = [one for one in said if one["event"] == "step"]
    assert [(one["round"], one["step"]) for one in steps] == [(r, s) for r in (1, 2, 3) for s in range(1, 7)]
    assert all(one["elapsed_ns"] > 0 for one in steps)
    assert {one["side"] for one in steps} == {"client", "server"}
    assert steps[0]["root"] == fake.pins["simulated"]
    assert steps[0]["owner"] == fake.pins["owner"]
    ended = [one for one in said if one["event"] == "round"]
    assert [one["output"] for one in ended] == [b"7".hex()] * 3
    assert all(one["differs"] for one in ended[1:])
    sealed = {one["sealed"] for one in steps if one["step"] == 5}
    assert len(sealed) == 3
    seen = [one for one in said if one["event"] == "seen" and one["step"] == 6]
    assert all(one["plaintext"] == PROGRAM.hex() and one["ciphertext"] for one in seen)
    assert any(one["event"] == "registers" for one in said)


def test_the_spy_shows_what_was_read_beside_the_plaintext(
    fake: FakeMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["demo", "sev", "--spy"]) == 0
    text = capfd.readouterr().err
    assert text.count("hypervisor  ") == 2
    assert text.count("device        ") == 2
    assert text.count("cold boot     ") == 2
    assert f"the guest     {PROGRAM[:8].hex(' ')}" in text
    assert "nothing yet" in text
    assert "PLAINTEXT" not in text


def test_unencrypted_memory_is_said_to_be_that(
    fake: FakeMachine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(self: FakeGuest, view: str, gpa: int, size: int) -> bytes:
        return bytes(self.memory[gpa : gpa + size])

    monkeypatch.setattr(FakeGuest, "look", look)
    assert entry.main(["demo", "sev", "--spy", "--quiet"]) == 0
    assert "the PLAINTEXT: this memory is not encrypted" in capfd.readouterr().err


@pytest.mark.parametrize("cheat", cheats.CHEATS, ids=lambda cheat: cheat.name)
def test_a_caught_cheat_is_77_and_named(
    cheat: cheats.Cheat, fake: FakeMachine, capfd: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["demo", "sev", "--json", "--tamper", cheat.name]) == 77
    captured = capfd.readouterr()
    assert captured.out == ("" if cheat.round == 1 else "7\n")
    said = objects(captured.err)
    (caught,) = [one for one in said if one["event"] == "caught"]
    assert (caught["cheat"], caught["step"], caught["by"]) == (cheat.name, cheat.step, cheat.by)
    assert caught["check"] == cheat.check
    assert said[-1]["event"] == "error"
    assert said[-1]["exit_code"] == 77
    assert not fake.alive


def test_a_caught_cheat_reads_well(fake: FakeMachine, capfd: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["demo", "sev", "--tamper", "packet"]) == 77
    text = capfd.readouterr().err
    assert "  caught      at step 6 by the secure processor, by its check BAD_MEASUREMENT\n" in text
    assert "refused: the secure processor refused LAUNCH_SECRET" in text


@pytest.mark.parametrize("name", ["measurement", "packet", "owner", "address"])
def test_a_cheat_that_nobody_catches_is_a_failure_of_ours(
    name: str, fake: FakeMachine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is not carried out, which looks the same to whoever watches."""
    monkeypatch.setitem(tamper.HOSTS, name, Host)
    assert entry.main(["demo", "sev", "--tamper", name]) == 70
    assert "and was not caught" in capfd.readouterr().err


def test_a_cheat_caught_elsewhere_is_a_failure_too(
    fake: FakeMachine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tamper.HOSTS, "packet", tamper.AlteredMeasurement)
    assert entry.main(["demo", "sev", "--tamper", "packet"]) == 70
    assert "step 4 by the client: sev.measurement" in capfd.readouterr().err


def test_keys_used_twice_are_a_failure(
    fake: FakeMachine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = iter(
        [b"k", b"i", b"n", b"v", b"p"] * 2
    )  # TEK, TIK, nonce and the two IVs, as in the round before
    defaults = client.Client.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "random", lambda size: next(kinds) * size)
    assert entry.main(["demo", "sev"]) == 70
    text = capfd.readouterr().err
    assert "DO NOT DIFFER" in text
    assert "a key was used twice" in text


def test_a_machine_that_is_gone_is_said_as_that(
    fake: FakeMachine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(self: FakeGuest, *_: object) -> None:
        raise MachineGone("it closed the connection")

    monkeypatch.setattr(FakeGuest, "launch_start", gone)
    assert entry.main(["demo", "sev"]) == 69
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "the simulated machine is not there" in captured.err
    assert not fake.alive


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--tamper nothing", "argument --tamper: invalid choice"),
        ("--rounds 0", "argument --rounds"),
        ("--rounds 100000", "argument --rounds"),
        ("--machine none", "argument --machine: invalid choice"),
        ("--listen a/b --connect a/b", "--listen and --connect do not go together"),
        ("--connect a/b --spy", "--connect and --spy do not go together"),
        ("--connect a/b --tamper root", "--connect and --tamper do not go together"),
        ("--simulated sha256:00", "--simulated is for --connect"),
        ("--tamper replay --rounds 1", "--tamper replay needs something to replay"),
        ("-- 3 4", "arguments are for a program"),
        ("--wasm a.wat --spy", "--wasm and --spy do not go together"),
        ("--wasm a.wat --rounds 2", "--wasm and --rounds do not go together"),
        ("--wasm a.wat --connect a/b", "--wasm and --connect do not go together"),
        ("--connect 10.0.0.1:7", "10.0.0.1:7: not an address to meet at"),
        ("--connect 7", "7: not an address to meet at"),
        ("--connect a/b --simulated sha256:0", "--simulated sha256:0"),
        ("--listen example.org:1", "example.org:1: not an address to meet at"),
    ],
)
def test_a_wrong_command_line_is_64(
    line: str, message: str, capfd: pytest.CaptureFixture[str], fake: FakeMachine
) -> None:
    assert entry.main(["demo", "sev", *line.split()]) == 64
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {message}")
