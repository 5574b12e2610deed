"""The ways in which the demonstration's host can cheat, and where each must be caught. Data only.

`tamper` carries them out. Whoever adds one says here who catches it, at which step and by which check; the
command compares that with what happened.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BY_NAME", "CHEATS", "Cheat"]

CLIENT, FIRMWARE = "the client", "the secure processor"


class Cheat:
    """``does`` is what the host does, in a person's words; ``check`` of a client's refusal begins the id of
    the finding, of the secure processor's it is the name of its status. ``round`` is the first round in which
    it can be done: some need something to replay."""

    __slots__ = ("by", "check", "does", "name", "round", "step")

    def __init__(self, name: str, does: str, step: int, by: str, check: str, first_round: int = 1) -> None:
        self.name = name
        self.does = does
        self.step = step
        self.by = by
        self.check = check
        self.round = first_round


CHEATS: Final = (
    Cheat("certificate", "alters one bit of the PEK on the way", 1, CLIENT, "sev.chain.pek"),
    Cheat("cek", "passes on a chip key that AMD did not sign", 1, CLIENT, "sev.chain.cek"),
    Cheat("root", "is a counterfeit: a whole chain of its own making", 1, CLIENT, "sev.root"),
    Cheat("pdh", "puts a key of its own where the platform's is", 1, CLIENT, "sev.chain.pdh"),
    Cheat("owner", "has the platform owned by somebody else", 1, CLIENT, "sev.owner"),
    Cheat("policy", "leaves debugging on", 3, FIRMWARE, "BAD_MEASUREMENT"),
    Cheat("session", "alters the wrapped keys", 3, FIRMWARE, "BAD_MEASUREMENT"),
    Cheat("own-keys", "launches with session keys of its own", 4, CLIENT, "sev.measurement"),
    Cheat("ownerless", "launches without an owner, whose keys are zeros", 4, CLIENT, "sev.measurement"),
    Cheat("no-sev", "starts an ordinary machine and makes the rest up", 4, CLIENT, "sev.measurement"),
    Cheat("not-empty", "puts code of its own into the machine first", 4, CLIENT, "sev.measurement"),
    Cheat("measurement", "alters one bit of the measurement", 4, CLIENT, "sev.measurement"),
    Cheat("api", "says that its firmware is newer than it is", 4, CLIENT, "sev.measurement"),
    Cheat("old-measurement", "shows the measurement of the round before", 4, CLIENT, "sev.measurement", 2),
    Cheat("packet", "alters one bit of the sealed program", 6, FIRMWARE, "BAD_MEASUREMENT"),
    Cheat("replay", "injects the packet of the round before", 6, FIRMWARE, "BAD_MEASUREMENT", 2),
    Cheat("other-guest", "injects into a second machine of the same session", 6, FIRMWARE, "BAD_MEASUREMENT"),
    Cheat("address", "injects elsewhere, and starts the machine there", 6, CLIENT, "demo.output"),
)

BY_NAME: Final = {cheat.name: cheat for cheat in CHEATS}
