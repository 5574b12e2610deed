"""Playing rounds as the client, and judging how they ended: well, refused, or a cheat that was caught."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wasmkeep.cli.console import Block
from wasmkeep.demo import cheats
from wasmkeep.demo.client import Client, HostGaveUp, Ran
from wasmkeep.demo.conversation import play
from wasmkeep.errors import WasmkeepError
from wasmkeep.evidence.errors import Finding, Kind, Rejected
from wasmkeep.hardware.sev_status import SevStatus

if TYPE_CHECKING:
    from wasmkeep.cli.demo_screen import Screen
    from wasmkeep.cli.outputs import ProgramOutput
    from wasmkeep.demo.channel import Exchange
    from wasmkeep.demo.cheats import Cheat
    from wasmkeep.demo.client import Trust
    from wasmkeep.demo.conversation import Step

__all__ = ["caught", "play_rounds", "unnoticed"]


async def play_rounds(
    trust: Trust, channel: Exchange, count: int, screen: Screen, output: ProgramOutput
) -> None:
    """That many rounds. What the first machine printed goes to ``output``, as a line; the others
    print the same.

    Raises what a round raises, and WasmkeepError ``demo.repeated`` where two rounds sealed the same bytes.
    """
    for number in range(count):
        screen.begin()
        printed = await _play(trust, channel, screen)
        if number == 0:
            await output.write(printed if printed.endswith(b"\n") else printed + b"\n")
        screen.round_ended(printed)
    if len(set(screen.sealed)) != count:
        raise WasmkeepError(
            "demo.repeated",
            "two rounds sealed the same bytes: a key was used twice",
            required="fresh keys and initialisation vectors in each round",
        )


async def _play(trust: Trust, channel: Exchange, screen: Screen) -> bytes:
    printed: list[bytes] = []

    def told(step: Step) -> None:
        screen(step)
        if isinstance(step.fact, Ran):
            printed.append(step.fact.output)

    await play(Client(trust), channel, told)
    return b"".join(printed)


def caught(cheat: Cheat, error: Rejected | HostGaveUp, screen: Screen) -> tuple[Block, Rejected]:
    """The line that says who caught the cheat, and the refusal. Raises WasmkeepError ``demo.unnoticed`` where
    something else than its check ended the round."""
    step = error.step if isinstance(error, HostGaveUp) else screen.step
    by, check = _caught_by(error)
    if (screen.round, step, by, check) != (cheat.round, cheat.step, cheat.by, cheat.check):
        raise unnoticed(cheat, f"round {screen.round} ended at step {step} by {by}: {check}")
    again = f" of round {screen.round}" if screen.round > 1 else ""
    lines = (f"at step {step}{again} by {by}, by its check {check}", f"the host {cheat.does}")
    facts = {"cheat": cheat.name, "does": cheat.does, "round": screen.round, "step": step, "by": by,
             "check": check}  # fmt: skip
    refusal = error if isinstance(error, Rejected) else _refusal(cheat, error)
    return Block("caught", "caught", lines, facts), refusal


def unnoticed(cheat: Cheat, found: str = "every round went well") -> WasmkeepError:
    """A cheat that nobody caught where it must be caught: a failure of wasmkeep's."""
    return WasmkeepError(
        "demo.unnoticed",
        f"the host {cheat.does}, and was not caught",
        found=found,
        required=f"round {cheat.round}, step {cheat.step}, {cheat.by}: {cheat.check}",
        meaning="a protection of this demonstration failed",
        remedy="report it, with this output",
    )


def _caught_by(error: Rejected | HostGaveUp) -> tuple[str, str]:
    if isinstance(error, Rejected):
        return cheats.CLIENT, error.check
    known = error.status in SevStatus.__members__.values()
    return cheats.FIRMWARE, SevStatus(error.status).name if known else str(error.status)


def _refusal(cheat: Cheat, error: HostGaveUp) -> Rejected:
    return Rejected(
        Finding(
            f"demo.firmware.{cheat.name}",
            Kind.REFUSED,
            error.text,
            found=cheat.check,
            required="SUCCESS",
            meaning="what the host passed on is not what the client made: nothing was run",
        )
    )
