"""The demonstration's screen: each line is a fact that a check established, or what somebody says.

What the server says is shown as its word, and what others saw is compared with the plaintext, not assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block
from wasmkeep.cli.screens import warning
from wasmkeep.cli.text import digest, short, size
from wasmkeep.demo.client import ChainValid, MeasurementValid, Ran, Sealed, SessionMade
from wasmkeep.demo.conversation import Measured
from wasmkeep.demo.program import MEMORY, PORT
from wasmkeep.demo.spy import MemorySeen, Spy
from wasmkeep.evidence.sev.bits import GuestPolicyBit, format_api
from wasmkeep.evidence.sev.lost import inherent
from wasmkeep.evidence.snp.defaults import generation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmkeep.cli.console import Console
    from wasmkeep.demo.conversation import Step
    from wasmkeep.demo.machine import BareGuest
    from wasmkeep.demo.messages import Measurement, Output
    from wasmkeep.demo.spy import RegistersSeen, Seen
    from wasmkeep.evidence.sev.bits import GuestPolicy

__all__ = ["TALK_MS", "Screen", "ServerScreen", "plain_sev", "unencrypted"]

TALK_MS = 50
"""What the talk's demonstration took in all, in milliseconds."""
_NAME_WIDTH = 19  # columns
_SHOWN = 8  # bytes of a view
_WORDS = {
    GuestPolicyBit.NODBG: "debug",
    GuestPolicyBit.NOKS: "key sharing",
    GuestPolicyBit.NOSEND: "sending",
}
"""What each bit of the policy forbids."""


def plain_sev() -> Block:
    """What must be read beside a demonstration on SEV without ES: what the host can still do."""
    lines = ("This is plain SEV, as in the talk. What the host can still do:",)
    return warning("plain-sev", *lines, *(lost.text for lost in inherent("sev")))


def unencrypted() -> Block:
    """Said of a guest on a processor that encrypts nothing."""
    text = (
        "The secure processor is simulated, and this guest's memory is NOT ENCRYPTED:",
        "it is an ordinary virtual machine of /dev/kvm, which its owner reads at will.",
    )
    return warning("unencrypted", *text)


class Screen:
    """One demonstration; rounds after the first are shown as a comparison with it.

    ``encrypted`` is whether the machine's memory holds what it answers to whoever looks.
    """

    def __init__(self, console: Console, *, encrypted: bool = True) -> None:
        self._encrypted = encrypted
        self._console = console
        self._round = 0
        self._sealed: list[Sealed] = []
        self._elapsed: list[int] = []
        self._seen: list[Seen] = []
        self._last_step = 0

    @property
    def step(self) -> int:
        """The step under way: one after the last that succeeded."""
        return self._last_step + 1

    @property
    def round(self) -> int:
        return self._round

    @property
    def sealed(self) -> list[bytes]:
        """What was sealed in each round so far."""
        return [one.packet.data for one in self._sealed]

    def begin(self) -> None:
        """A round begins."""
        self._round += 1
        self._last_step = 0
        self._elapsed.append(0)
        self._seen.clear()

    def saw(self, seen: Seen) -> None:
        """Something to show under the step it belongs to, once that is shown."""
        self._seen.append(seen)

    def __call__(self, step: Step) -> None:
        """A step succeeded."""
        self._last_step = step.number
        self._elapsed[-1] += step.elapsed_ns
        if isinstance(step.fact, Sealed):
            self._sealed.append(step.fact)
        side, name, lines, facts = _described(step)
        facts = {"round": self._round, "step": step.number, "side": side, "name": name, **facts}
        texts = [f"{name:<{_NAME_WIDTH}}{lines[0]}", *(" " * _NAME_WIDTH + line for line in lines[1:])]
        block = Block("step", f"{step.number} {side}", tuple(texts), facts, elapsed_ns=step.elapsed_ns)
        if self._round == 1 or self._console.json:
            self._console.show(block)
            self._show_seen(step)
        if isinstance(step.fact, ChainValid) and self._round == 1:
            self._warn_of_generation(step.fact)

    def _warn_of_generation(self, fact: ChainValid) -> None:
        """A genuine chain, of a generation whose evidence the shipped policy refuses."""
        known = generation(fact.platform.generation)
        if known is not None and known.denied and not fact.platform.root.simulated:
            self._console.show(warning("denied-generation-allowed", f"{known.name}: {known.denied}"))

    def round_ended(self, output: bytes) -> None:
        """The first round's sum; of a later one, how it differs from those before."""
        elapsed, printed = self._elapsed[-1], _printed(output)
        facts: dict[str, object] = {"round": self._round, "output": output, "reference_ms": TALK_MS}
        if self._round == 1:
            text = f"{printed}, from nothing to its answer; the talk's took {TALK_MS} ms"
            self._console.show(Block("round", "in all", (text,), facts, elapsed_ns=elapsed))
            return
        sealed = self.sealed
        differ = len(set(sealed)) == len(sealed)
        word = "differ" if differ else "DO NOT DIFFER"
        text = f"{printed:<{_NAME_WIDTH}}sealed bytes {word}: {_hex(sealed[-1], 3)} (fresh keys)"
        facts |= {"sealed": sealed[-1], "differs": differ}
        self._console.show(Block("round", "again", (text,), facts, elapsed_ns=elapsed, loud=not differ))

    def _show_seen(self, step: Step) -> None:
        """What was seen up to this step, and on the wire at the fifth."""
        if isinstance(step.fact, Sealed) and self._spied:
            self._console.show(_wire(step.fact))
        while self._seen and self._seen[0].step <= step.number:
            seen = self._seen.pop(0)
            plaintext = self._sealed[-1].plaintext if self._sealed and seen.step > 5 else b""
            if isinstance(seen, MemorySeen):
                self._console.show(_memory(seen, plaintext, encrypted=self._encrypted))
            else:
                self._console.show(_registers(seen))

    _spied = False

    def spy(self) -> Callable[[Seen], None]:
        """Show what others saw; where a spy tells it."""
        self._spied = True
        return self.saw


class ServerScreen:
    """The server's own screen, where it is a program of its own: what its secure processor and its machine
    did. An observer of the host; ``spying`` also shows what could be seen meanwhile."""

    def __init__(self, console: Console, *, spying: bool, encrypted: bool = True) -> None:
        self._encrypted = encrypted
        self._console = console
        self._spy = Spy(self._show_seen) if spying else None

    @property
    def wants_registers(self) -> bool:
        return self._spy is not None

    async def started(self, guest: BareGuest, answer: Measurement, elapsed_ns: int) -> None:
        facts = {"side": "server", "step": 3, "measure": answer.measure}
        text = f"{'empty machine':<{_NAME_WIDTH}}launched and measured: {_hex(answer.measure, 6)}"
        self._console.show(Block("step", "3 server", (text,), facts, elapsed_ns=elapsed_ns))
        if self._spy:
            await self._spy.started(guest, answer, elapsed_ns)

    async def injected(self, guest: BareGuest) -> None:
        if self._spy:
            await self._spy.injected(guest)

    async def at_output(self, registers: Mapping[str, int]) -> None:
        if self._spy:
            await self._spy.at_output(registers)

    async def ended(self, guest: BareGuest, answer: Output, elapsed_ns: int) -> None:  # noqa: ARG002
        facts = {"side": "server", "step": 6, "output": answer.data, "end": answer.end.name.lower()}
        printed = _printed(answer.data) or "nothing"
        text = f"{'injected and run':<{_NAME_WIDTH}}port {PORT:#x} → {printed}, {answer.end.name.lower()}"
        self._console.show(Block("step", "6 server", (text,), facts, elapsed_ns=elapsed_ns))

    def _show_seen(self, seen: Seen) -> None:
        if isinstance(seen, MemorySeen):
            self._console.show(_memory(seen, None, encrypted=self._encrypted))
        else:
            self._console.show(_registers(seen))


def _described(step: Step) -> tuple[str, str, tuple[str, ...], dict[str, object]]:
    """(side, name, lines, facts) of a step."""
    fact = step.fact
    if isinstance(fact, ChainValid):
        return "client", "certificate chain", *_chain(fact)
    if isinstance(fact, SessionMade):
        return "client", "session, policy", (_policy(fact.policy),), {"policy": fact.policy.encode()}
    if isinstance(fact, Measured):
        text = f"{size(MEMORY)} of nothing, measured, it says"
        return "server", "empty machine", (text,), {"memory": MEMORY, "measure": fact.answer.measure}
    if isinstance(fact, MeasurementValid):
        return "client", "measurement", *_measurement(fact)
    if isinstance(fact, Sealed):
        data = fact.packet.data
        text = f"{len(data)} bytes sealed for this machine: {_hex(data, 3)}"
        return "client", "code and data", (text,), {"sealed": data, "address": fact.packet.address}
    return "server", "injected and run", *_ran(fact)


def _chain(fact: ChainValid) -> tuple[tuple[str, ...], dict[str, object]]:
    platform = fact.platform
    owner = "the one you named" if fact.owner_pinned else "any is accepted"
    lines = (
        "ARK → ASK → CEK → PEK → PDH and OCA → PEK: valid",
        f"root {short(platform.root.spki_sha256)} ({platform.root.name}), {platform.generation}",
        f"owner {short(platform.oca_digest)} ({owner})",
    )
    facts: dict[str, object] = {
        "root": digest(platform.root.spki_sha256),
        "simulated": platform.root.simulated,
        "generation": platform.generation,
        "owner": digest(platform.oca_digest),
        "owner_pinned": fact.owner_pinned,
        "chip": platform.cek_digest,
    }
    return lines, facts


def _policy(policy: GuestPolicy) -> str:
    *most, last = (word for bit, word in _WORDS.items() if policy.bits & bit)
    return f"no {', '.join(most)} or {last}; API ≥ {format_api(policy.minimum_api)}"


def _measurement(fact: MeasurementValid) -> tuple[tuple[str, ...], dict[str, object]]:
    launch = fact.launch
    api = format_api((launch.api_major, launch.api_minor))
    text = f"HMAC valid: digest of nothing, API {api}, build {launch.build}"
    facts: dict[str, object] = {"digest": launch.digest, "api": api, "build": launch.build}
    return (text,), facts


def _ran(fact: Ran) -> tuple[tuple[str, ...], dict[str, object]]:
    text = f"port {PORT:#x} → {_printed(fact.output)}"
    return (text,), {"output": fact.output, "end": fact.end.name.lower()}


def _wire(sealed: Sealed) -> Block:
    data = sealed.packet.data
    text = f"on the wire   {_hex(data)}   the client    {_hex(sealed.plaintext)}"
    facts = {"step": 5, "wire": data, "plaintext": sealed.plaintext}
    return Block("seen", "  seen at 5", (text,), facts)


def _memory(seen: MemorySeen, plaintext: bytes | None, *, encrypted: bool) -> Block:
    """Side by side: each view, and what the guest sees there; None where a host can only wonder."""
    clear = bool(plaintext) and seen.same_as(plaintext or b"")
    cells = [f"{view:<14}{_hex(data)}" for view, data in seen.views.items()]
    guest = "unknown here" if plaintext is None else _hex(plaintext) or "nothing yet"
    cells.append(f"{'the guest':<14}{guest}")
    lines = ["   ".join(cells[at : at + 2]) for at in range(0, len(cells), 2)]
    if clear:
        lines.append("the PLAINTEXT: this memory is not encrypted")
    computed = not encrypted and not clear and seen.step > 3
    if computed:
        lines.append("COMPUTED for the answer: this memory really holds the plaintext")
    facts = {
        "step": seen.step,
        "address": seen.address,
        **{view.replace(" ", "_"): data for view, data in seen.views.items()},
        "plaintext": plaintext,
        "ciphertext": None if not plaintext else not clear,
        "encrypted": encrypted,
    }
    return Block("seen", f"  seen at {seen.step}", tuple(lines), facts, loud=clear or computed)


def _registers(seen: RegistersSeen) -> Block:
    shown = "   ".join(f"{name} {value:x}" for name, value in seen.registers.items())
    lines = (f"registers     {shown}", "the hypervisor reads them, and could set them: SEV without ES")
    return Block("registers", "", lines, {"step": seen.step, **seen.registers})


def _printed(output: bytes) -> str:
    return output.decode("ascii", "backslashreplace").rstrip("\n")


def _hex(data: bytes, count: int = _SHOWN) -> str:
    return data[:count].hex(" ") + (" …" if len(data) > count else "")
