"""``wasmkeep image build``: build the keep image from its source, where the source is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from wasmkeep.cli.console import Console

__all__ = ["configure", "execute"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--record", action="store_true", help="write the new digests into the source tree")
    parser.epilog = (
        "Works in a checkout only: an installed package carries the built images and not their source."
    )


def execute(options: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - the build speaks for itself
    """Run the build of the source tree; its exit code, or 66 where there is no source."""
    import subprocess
    import sys

    script = _build_script()
    command = [sys.executable, str(script), *(["--record"] if options.record else [])]
    return subprocess.run(command, check=False, cwd=script.parent.parent).returncode


def _build_script() -> Path:
    from pathlib import Path

    import wasmkeep
    from wasmkeep.errors import InputError

    checkout = Path(wasmkeep.__file__).resolve().parents[2]
    script = checkout / "keep" / "build.py"
    if not script.is_file() or not (checkout / "pyproject.toml").is_file():
        raise InputError(
            "image.source",
            "the source of the keep image is not here",
            found=f"an installation at {checkout}",
            required="a checkout of wasmkeep with its keep/ folder",
            remedy="`wasmkeep image show` lists the images that came with this installation",
        )
    return script
