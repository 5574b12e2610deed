"""``python -m tests.vectors_conformance [DIR]``: run every row of the index in DIR, by default the vectors
beside the repository. Exit code 0 when all are as expected, 1 when one is not, 66 without an index."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.evidence.vectors import FOLDER
from tests.vectors_conformance.index import UnusableIndex
from tests.vectors_conformance.runner import run

_NO_INPUT = 66


def main(arguments: list[str]) -> int:
    """The exit code."""
    if len(arguments) > 1:
        print("usage: python -m tests.vectors_conformance [DIR]", file=sys.stderr)
        return 64
    folder = Path(arguments[0]) if arguments else FOLDER
    try:
        return 0 if run(folder, print, beside=(FOLDER,)) else 1
    except UnusableIndex as error:
        print(error, file=sys.stderr)
        return _NO_INPUT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
