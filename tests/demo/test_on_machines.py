"""The demonstration on machines: memory that holds ciphertext, unencrypted guests, and what is not here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import EXAMPLES, MACHINE, User, require_images, user
from tests.demo.playing import rounds
from tests.machines import HAS_KVM, machine
from wasmkeep.cli import __main__ as entry
from wasmkeep.cli import demo_machines
from wasmkeep.cli.demo_real import product_of
from wasmkeep.demo import cheats, tamper
from wasmkeep.demo.client import Client, HostGaveUp
from wasmkeep.demo.conversation import Step
from wasmkeep.demo.program import ADDRESS, OUTPUT, PROGRAM
from wasmkeep.demo.server import Host
from wasmkeep.demo.spy import MemorySeen, RegistersSeen, Seen, Spy, View
from wasmkeep.endorsements import SevProduct
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.evidence.errors import Rejected
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.simulated import Platform

__all__ = ["user"]

HAS_EMULATOR = importlib.util.find_spec("unicorn") is not None
EACH = [
    pytest.param("simulated", marks=pytest.mark.skipif(not HAS_EMULATOR, reason="no emulator here")),
    pytest.param("kvm", marks=[pytest.mark.kvm, pytest.mark.skipif(not HAS_KVM, reason="no /dev/kvm here")]),
]


def on(kind: str, work: Callable[[demo_machines.Opened], Coroutine[Any, Any, None]]) -> None:
    """Do it with a machine that is booted; afterwards it has no guest any more."""
    booted = machine(product="naples", cpu="kvm" if kind == "kvm" else "auto")

    async def whole() -> None:
        async with await Platform.open(booted.socket) as platform:
            await work(await demo_machines.simulated(platform, emulated=kind == "simulated"))
            assert (await platform.sev_status()).guest_count == 0

    asyncio.run(whole())


@pytest.mark.parametrize("kind", EACH)
def test_it_prints_seven_each_time(kind: str) -> None:
    async def work(there: demo_machines.Opened) -> None:
        both: list[list[Step]] = await rounds(Host(there.machine, there.vouchers), there.trust, 2)
        assert [len(steps) for steps in both] == [6, 6]

    on(kind, work)


@pytest.mark.parametrize("kind", EACH)
def test_others_see_ciphertext_and_the_hypervisor_sees_registers(kind: str) -> None:
    async def work(there: demo_machines.Opened) -> None:
        seen: list[Seen] = []
        for _ in range(2):
            await rounds(Host(there.machine, there.vouchers, Spy(seen.append)), there.trust)
        memory = [one for one in seen if isinstance(one, MemorySeen)]
        assert [one.step for one in memory] == [3, 6, 3, 6]
        for one in memory:
            assert set(one.views) == set(View)
            assert len(set(one.views.values())) == 1  # DRAM is the same to all
        injected = [one.views[View.COLD_BOOT] for one in memory if one.step == 6]
        assert len(set(injected)) == 2
        assert all(PROGRAM[at : at + 4] not in data for data in injected for at in range(0, 48, 4))
        registers = [one.registers for one in seen if isinstance(one, RegistersSeen)]
        assert [one["rax"] & 0xFF for one in registers] == [OUTPUT[0]] * 2

    on(kind, work)


@pytest.mark.parametrize("kind", EACH)
def test_each_cheat_is_caught_where_it_says(kind: str) -> None:
    async def caught(there: demo_machines.Opened, cheat: cheats.Cheat) -> tuple[str, str]:
        host = tamper.HOSTS[cheat.name](there.machine, there.vouchers)
        with pytest.raises((Rejected, HostGaveUp)) as refused:
            await rounds(host, there.trust, cheat.round)
        assert host.round == cheat.round
        if isinstance(refused.value, HostGaveUp):
            assert refused.value.step == cheat.step
            return cheats.FIRMWARE, SevStatus(refused.value.status).name
        return cheats.CLIENT, refused.value.check

    async def work(there: demo_machines.Opened) -> None:
        for cheat in cheats.CHEATS:
            assert await caught(there, cheat) == (cheat.by, cheat.check), cheat.name

    on(kind, work)


@pytest.mark.parametrize("kind", EACH)
def test_a_packet_put_elsewhere_finds_none_of_its_data(kind: str) -> None:
    """It is the machine that notices nothing, and the program that does."""

    async def work(there: demo_machines.Opened) -> None:
        host = tamper.Elsewhere(there.machine, there.vouchers)
        with pytest.raises(Rejected) as refused:
            await rounds(host, there.trust)
        assert refused.value.found == "nothing, and the machine halted"
        assert host.entry != ADDRESS

    on(kind, work)


@pytest.mark.parametrize("kind", EACH)
def test_a_program_that_never_ends_is_stopped(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmkeep.demo.server.RUN_SECONDS", 0.2)
    endless = bytes.fromhex("ebfe").ljust(16, b"\x90")
    monkeypatch.setitem(Client.__init__.__kwdefaults__ or {}, "program", endless)

    async def work(there: demo_machines.Opened) -> None:
        with pytest.raises(Rejected) as refused:
            await rounds(Host(there.machine, there.vouchers), there.trust)
        assert refused.value.found == "nothing, and the machine stopped"

    on(kind, work)


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize("kind", EACH)
def test_the_whole_command(user: User, kind: str) -> None:
    done = user.run("demo", "sev", "--machine", kind, "--name", MACHINE, "--spy", "--json")
    assert (done.returncode, done.stdout) == (0, b"7\n"), done.stderr.decode()
    said = objects(done)
    warned = [one["what"] for one in said if one["event"] == "protection-lost"]
    assert warned == (["plain-sev"] if kind == "simulated" else ["unencrypted", "plain-sev"])
    assert said[0]["event"] == "simulated"
    assert len([one for one in said if one["event"] == "step"]) == 12
    seen = [one for one in said if one["event"] == "seen" and one["step"] == 6]
    assert seen
    assert all(one["ciphertext"] and one["encrypted"] == (kind == "simulated") for one in seen)
    assert [one["output"] for one in said if one["event"] == "round"] == [OUTPUT.hex()] * 2


@pytest.mark.kvm
@pytest.mark.skipif(not HAS_KVM, reason="no /dev/kvm here")
def test_an_unencrypted_guest_is_said_to_be_one_even_quietly(user: User) -> None:
    done = user.run("demo", "sev", "--machine", "kvm", "--name", MACHINE, "--spy", "--quiet")
    assert (done.returncode, done.stdout) == (0, b"7\n")
    text = done.stderr.decode()
    assert "NOT ENCRYPTED" in text
    assert "COMPUTED for the answer: this memory really holds the plaintext" in text
    assert "This is plain SEV" in text
    assert "certificate chain" not in text


@pytest.mark.skipif(os.path.exists("/dev/sev"), reason="there is a /dev/sev here")
def test_real_sev_is_not_here(user: User) -> None:
    done = user.run("demo", "sev", "--machine", "sev")
    assert (done.returncode, done.stdout) == (69, b"")
    assert done.stderr.startswith(b"error: this computer has no /dev/sev\n")


def test_without_the_emulator_its_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def nowhere(name: str) -> None:
        assert name == "unicorn"

    monkeypatch.setattr(importlib.util, "find_spec", nowhere)
    assert entry.main(["demo", "sev"]) == 69
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "pip install 'wasmkeep[emulator]'" in captured.err
    assert "--machine kvm" in captured.err


def started(user: User, *words: str) -> subprocess.Popen[bytes]:
    kind = "simulated" if HAS_EMULATOR else "kvm"
    return user.popen("demo", "sev", "--machine", kind, "--name", MACHINE, *words)


@pytest.mark.skipif(not (HAS_EMULATOR or HAS_KVM), reason="no machine for bare guests here")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_interrupts_finds_nothing_left(user: User, number: signal.Signals) -> None:
    process = started(user, "--rounds", "10000", "--json")
    assert process.stderr is not None
    said = [json.loads(process.stderr.readline())["event"]]
    while said[-1] != "round":
        said.append(json.loads(process.stderr.readline())["event"])
    children = descendants(process.pid)
    assert children
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert output == b"7\n"
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]


def descendants(pid: int) -> list[int]:
    own = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return own + [further for child in own for further in descendants(child)]


@pytest.mark.skipif(not (HAS_EMULATOR or HAS_KVM), reason="no machine for bare guests here")
def test_two_programs_over_a_socket(user: User) -> None:
    where = user.home / "meet"
    server = started(user, "--listen", str(where), "--json")
    assert server.stderr is not None
    line: dict[str, Any] = {}
    while line.get("event") != "client":
        line = json.loads(server.stderr.readline())
    pins = ["--simulated", line["simulated"], "--owner", line["owner"]]
    try:
        first = user.run("demo", "sev", "--connect", where, *pins, "--json")
        again = user.run("demo", "sev", "--connect", where, *pins, "--rounds", "1")
        unpinned = user.run("demo", "sev", "--connect", where)
    finally:
        server.send_signal(signal.SIGINT)
        _, rest = server.communicate(timeout=30)
    assert (first.returncode, first.stdout) == (0, b"7\n"), first.stderr.decode()
    assert (again.returncode, again.stdout) == (0, b"7\n"), again.stderr.decode()
    assert (unpinned.returncode, unpinned.stdout) == (77, b"")
    assert server.returncode == 0
    events = [json.loads(text) for text in rest.splitlines()]
    assert [one["output"] for one in events if one["event"] == "step" and one["step"] == 6] == [
        b"7".hex()
    ] * 3
    assert events[-1]["event"] == "stopped"
    assert not where.exists()


@pytest.mark.skipif(not (HAS_EMULATOR or HAS_KVM), reason="no machine for bare guests here")
def test_output_that_nobody_takes_is_73(user: User) -> None:
    process = started(user)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    process.communicate(timeout=60)
    assert process.returncode == 73


def test_webassembly_in_place_of_machine_code(user: User) -> None:
    require_images()
    done = user.run(
        "demo", "sev", "--name", MACHINE, "--wasm", EXAMPLES / "add.wat", "--json", "--", "3", "4"
    )
    assert (done.returncode, done.stdout.strip()) == (0, b"7"), done.stderr.decode()
    said = objects(done)
    assert said[0] == {"event": "demonstration", "program": str(EXAMPLES / "add.wat"), "tee": "sev"}
    (platform,) = [one for one in said if one["event"] == "platform"]
    assert (platform["tee"], platform["simulated"]) == ("sev", True)


@pytest.mark.skipif(os.path.exists("/dev/sev"), reason="there is a /dev/sev here")
def test_webassembly_on_real_sev_is_not_here(user: User) -> None:
    done = user.run("demo", "sev", "--machine", "sev", "--wasm", EXAMPLES / "add.wat")
    assert (done.returncode, done.stdout) == (69, b"")


CPUINFO = "processor\t: 0\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: a processor\n"


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [(23, 1, "naples"), (23, 49, "rome"), (25, 1, "milan"), (25, 17, "genoa"), (26, 2, "turin")],
)
def test_processors_are_known_by_family_and_model(family: int, model: int, product: str) -> None:
    assert product_of(CPUINFO.format("AuthenticAMD", family, model)) is SevProduct(product)


@pytest.mark.parametrize(
    ("vendor", "family", "model"),
    [("GenuineIntel", 25, 1), ("AuthenticAMD", 21, 1), ("AuthenticAMD", "x", "")],
)
def test_other_processors_have_no_sev(vendor: str, family: object, model: object) -> None:
    with pytest.raises(PlatformUnavailable):
        product_of(CPUINFO.format(vendor, family, model))
    with pytest.raises(PlatformUnavailable):
        product_of("")


def test_nothing_heavy_is_loaded_for_help() -> None:
    program = (
        "import sys, contextlib\n"
        "from wasmkeep.cli.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['demo', 'sev', '--help'])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"cryptography", "unicorn", "asyncio", "wasmtime"}
