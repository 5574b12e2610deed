"""Blocking work in a thread that nobody has to wait for: who cancels, or presses Ctrl-C, is free at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["abandonable"]

T = TypeVar("T")


async def abandonable(work: Callable[[], T]) -> T:
    """The result of ``work``, or the error that it raised.

    `asyncio.to_thread` would not do: the loop waits for such a thread when it closes.
    """
    future: Future[T] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()  # from now on nobody's cancelling concerns this thread
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is awaited
            future.set_exception(error)
        finally:
            if not future.done():  # SystemExit: nothing that work does
                future.set_exception(
                    RuntimeError(f"{threading.current_thread().name} ended without a result")
                )

    threading.Thread(target=run, name="wasmkeep-work", daemon=True).start()
    return await asyncio.wrap_future(future)
