"""``python -m tests.fuzz [--seconds N] [TARGET…]``: each target for so long, one after the other.

Corpora are kept in ``build/fuzz/TARGET``. An input that breaks a target is written beside them, as
``TARGET-crash-…``, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

_CORPORA = Path("build", "fuzz")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all of them by default")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.targets) - set(TARGETS))
    if unknown:
        parser.error(f"no target {unknown[0]}; there are {', '.join(TARGETS)}")
    command = [
        sys.executable,
        *("-m", "tests.fuzz.run_target", ",".join(arguments.targets or TARGETS), str(_CORPORA)),
        f"-max_total_time={arguments.seconds}",
        "-verbosity=0",
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
