"""What ``run`` and ``deploy`` do alike once they know the host: deploy, stream, keep the receipt."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wasmkeep.cli.screens import DeploymentScreen, closing
from wasmkeep.errors import OutputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine

    from wasmkeep.cli.console import Console
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.tenant.request import DeploymentRequest

__all__ = ["EXIT_TRAPPED", "deploy_to", "request_for", "run_to_end"]

EXIT_TERMINATED = 143  # 128 + SIGTERM
EXIT_TRAPPED = 134  # what a shell reports of an aborted local command: 128 + SIGABRT


def request_for(
    options: argparse.Namespace, *, host: str, token: str, policy: Policy, ca_file: str | None = None
) -> DeploymentRequest:
    """What the command line asks for, at ``host``. Raises UsageError, InputError."""
    from wasmkeep.cli import flags
    from wasmkeep.tenant.request import DeploymentRequest

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
        ca_file=Path(ca_file) if ca_file else None,
    )


def receipt_path(options: argparse.Namespace) -> Path:
    """Where the receipt will go. Raises OutputError now, not after the program has run."""
    if options.receipt:
        path = Path(options.receipt)
    else:
        name = Path(options.program).resolve().stem or "program"
        path = Path(f"{name}.receipt")
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            "output.receipt",
            f"the receipt cannot be written to {path}",
            found="a directory" if path.is_dir() else f"{folder} is no folder that you may write",
            required="a file name in a folder that you may write",
            remedy="name another place with --receipt FILE",
        )
    return path


def salts_path(receipt: Path) -> Path:
    """Beside a receipt: what lets its owner disclose single fields of it."""
    return receipt.with_name(receipt.name + ".salts")


def write_private(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by its owner alone. Raises OutputError."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            "output.receipt", f"{path} cannot be written", found=error.strerror or "an error"
        ) from error


async def deploy_to(
    request: DeploymentRequest, receipt: Path, console: Console, *, banner_shown: bool = False
) -> int:
    """Run the request with this process's standard streams; the program's exit code, 134 for a trap."""
    from wasmkeep.cli.outputs import ProgramOutput, program_error_output
    from wasmkeep.tenant.deployment import Deployment
    from wasmkeep.tenant.streams import FileInput

    screen = DeploymentScreen(console, banner_shown=banner_shown)
    stdout, stderr = ProgramOutput(1, "standard output", console), program_error_output(console)
    try:
        async with Deployment(request, on_event=screen) as deployment:
            await deployment.run(FileInput(0), stdout, stderr)
    finally:
        screen.close()
    finished = screen.finished
    if finished is None:
        raise RuntimeError("a deployment ended without a receipt and without an error")
    write_private(salts_path(receipt), finished.disclosures)
    write_private(receipt, finished.receipt)
    console.show(closing(finished, str(receipt)))
    return EXIT_TRAPPED if finished.exit_code is None else finished.exit_code & 0xFF


def run_to_end(main: Coroutine[object, object, int]) -> int:
    """Run ``main``; Ctrl-C and SIGTERM cancel it, so that every ``finally`` clears away what it made.

    Raises KeyboardInterrupt after Ctrl-C; returns 143 after SIGTERM.
    """
    terminated = False

    async def shell() -> int:
        nonlocal terminated
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, terminate)
        return await main

    try:
        return asyncio.run(shell())
    except asyncio.CancelledError:
        if terminated:
            return EXIT_TERMINATED
        raise
