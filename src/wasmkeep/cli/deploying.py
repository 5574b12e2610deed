"""What ``run`` and ``deploy`` do alike once they know the host: deploy, stream, keep the receipt."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.cli import outputs
from wasmkeep.cli.screens import closing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine, Sequence
    from types import FrameType

    from wasmkeep.cli.receipt_place import ReceiptPlace
    from wasmkeep.cli.screens import DeploymentScreen
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.tenant.preparation import Prepared
    from wasmkeep.tenant.request import DeploymentRequest

__all__ = [
    "EXIT_TERMINATED",
    "EXIT_TRAPPED",
    "deploy_to",
    "exit_code",
    "prepare",
    "request_for",
    "run_to_end",
]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_TERMINATED = 143  # 128 + SIGTERM
EXIT_TRAPPED = 134  # what a shell reports of an aborted local command: 128 + SIGABRT


def request_for(
    options: argparse.Namespace,
    *,
    host: str,
    token: str,
    policy: Policy,
    ca_file: str | None = None,
    other_hosts: Sequence[tuple[str, str]] = (),
) -> DeploymentRequest:
    """What the command line asks for, at ``host``, or else one of the others (address and token).

    Raises UsageError, InputError.
    """
    from wasmkeep.cli import flags
    from wasmkeep.tenant.request import DeploymentRequest, OtherHost

    certificates = Path(ca_file) if ca_file else None
    return DeploymentRequest(
        program=Path(options.program),
        host=host,
        policy=policy,
        token=token,
        configuration=Path(options.config) if options.config else None,
        arguments=None if options.arguments is None else tuple(options.arguments),
        environment=flags.environment(options.env),
        directories=flags.directories(options.dir),
        timeout=options.timeout,
        ca_file=certificates,
        other_hosts=tuple(OtherHost(url, its_token, certificates) for url, its_token in other_hosts),
    )


async def prepare(request: DeploymentRequest, screen: DeploymentScreen) -> Prepared:
    """Read, check and compile, before anybody else is asked for anything."""
    from wasmkeep.tenant import preparation
    from wasmkeep.tenant.threads import abandonable

    return await abandonable(lambda: preparation.prepare(request, screen))


async def deploy_to(
    request: DeploymentRequest, prepared: Prepared, receipt: ReceiptPlace, screen: DeploymentScreen
) -> int:
    """Run the request with this process's standard streams; the program's exit code, 134 for a trap."""
    from wasmkeep.tenant.deployment import Deployment
    from wasmkeep.tenant.streams import FileInput

    console = screen.console
    stdout, stderr = (
        outputs.ProgramOutput(1, "standard output", console),
        outputs.program_error_output(console),
    )
    async with Deployment(request, on_event=screen, prepared=prepared) as deployment:
        await deployment.run(FileInput(0), stdout, stderr)
    screen.close()
    finished = screen.finished
    if finished is None:
        raise RuntimeError("a deployment ended without a receipt and without an error")
    receipt.keep(finished)
    console.show(closing(finished, str(receipt.path), receipt.verification(request.policy)))
    return EXIT_TRAPPED if finished.exit_code is None else exit_code(finished.exit_code)


def exit_code(code: int) -> int:
    """A program's code as a process can pass it on: 8 bits, and what is not zero stays so."""
    return code if code <= 0xFF else code & 0xFF or 0xFF


def run_to_end(main: Coroutine[object, object, int]) -> int:
    """Run ``main``; Ctrl-C, SIGTERM and SIGHUP cancel it, so that every ``finally`` clears away what it made.

    Raises KeyboardInterrupt after Ctrl-C; returns 143 after the others. A second signal does not wait.
    """
    received: list[int] = []

    async def shell() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def stop(number: int, _frame: FrameType | None) -> None:
            received.append(number)
            # While output is written the loop does not run: unwind from there. It is the same way out.
            if task is None or len(received) > 1 or outputs.writing():
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(task.cancel)

        for number in _SIGNALS:
            signal.signal(number, stop)
        return await main

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        return asyncio.run(shell())
    except (asyncio.CancelledError, KeyboardInterrupt):
        if not received:
            raise
        if received[0] == signal.SIGINT:
            raise KeyboardInterrupt from None
        return EXIT_TERMINATED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
