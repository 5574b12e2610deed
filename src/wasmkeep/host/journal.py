"""The daemon's log: one line an event, control characters escaped; no payloads, tokens or URLs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = ["EscapingFormatter", "journal", "silence"]

_LOGGERS = ("wasmkeep.host", "uvicorn.error", "asyncio")


class EscapingFormatter(logging.Formatter):
    """Whatever a line quotes, it stays one line and moves no cursor."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname.lower()} {escaped(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n  {escaped(part)}" for part in trace)
        return line


def escaped(text: str) -> str:
    """``text`` with everything that is not printable ASCII as a Python escape."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")


@contextmanager
def journal(stream: TextIO) -> Iterator[None]:
    """Write the daemon's log to ``stream`` meanwhile."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(EscapingFormatter())
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)


def silence() -> None:
    """Without a journal nothing is written anywhere; uvicorn's lines about requests, with URLs, never are."""
    # uvicorn's warnings are what any stranger can cause, without end.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            logger.addHandler(logging.NullHandler())
