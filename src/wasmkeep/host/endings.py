"""How a keep's life ends, and what its tenant is told: a WebSocket close code and a short reason.

1000 is the keep's own end; 4001 the keep refused; 4002 the keep misbehaved; 4003 a time limit. Of the
registered codes (RFC 6455, section 7.4.1, and IANA's registry of close codes): 1001 the host stops or the
keep was stopped, 1003 and 1007 the tenant sent what is not a message, 1011 the machine or the host failed,
1013 the machine has no key slot now.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EndKeep", "Ending"]

_MAX_REASON = 123
"""Bytes of a close reason (RFC 6455, section 5.5)."""


@dataclass(frozen=True, slots=True)
class Ending:
    """``code`` is a WebSocket close code, ``reason`` printable ASCII. ``notable`` ones go to the log."""

    code: int
    reason: str
    notable: bool = False

    def __post_init__(self) -> None:
        if not self.reason.isascii() or not self.reason.isprintable() or len(self.reason) > _MAX_REASON:
            raise ValueError("a close reason is at most 123 printable ASCII characters")


class EndKeep(Exception):
    """Unwinds a keep's life. Never leaves the keep's own task."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


DONE = Ending(1000, "")
TENANT_LEFT = Ending(1000, "the tenant left")
STOPPED = Ending(1001, "stopped by request")
HOST_STOPPING = Ending(1001, "the host is stopping")
NOT_BINARY = Ending(1003, "messages are binary")
EMPTY_MESSAGE = Ending(1007, "a message is not empty")
NO_SLOT = Ending(1013, "no key slot is free now")
INTERNAL = Ending(1011, "the host failed", notable=True)


def refused(code: int, detail: int) -> Ending:
    """The keep refused. ``detail`` is an address of its public image, or 0."""
    return Ending(4001, f"keep refused: {code}" + (f" at {detail:#x}" if detail else ""), notable=True)


def misbehaved(what: str) -> Ending:
    """The keep did what the host interface does not have; ``what`` holds numbers, no text of the keep's."""
    return Ending(4002, f"keep misbehaved: {what}"[:_MAX_REASON], notable=True)


def timed_out(what: str, seconds: float) -> Ending:
    return Ending(4003, f"{what} ({seconds:g} s)"[:_MAX_REASON], notable=True)


def malformed(what: str) -> Ending:
    """The tenant's message is not ``what`` it must be."""
    return Ending(1007, f"malformed: {what}")


def machine_failed(what: str) -> Ending:
    """The machine could not; ``what`` is escaped here, because it may quote the machine."""
    escaped = what.encode("unicode_escape").decode("ascii")
    return Ending(1011, f"machine failed: {escaped}"[:_MAX_REASON], notable=True)
