"""``python -m benchmarks [--only start,cpu]``: measure, print a table, write ``build/bench.json``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from benchmarks import cli, cpu, demo, files, idle, python, start, verify, wasi
from benchmarks.hosting import BUILD, own_folders
from benchmarks.results import Result, table, write
from wasmkeep.cli.console import Console
from wasmkeep.cli.deploying import run_to_end
from wasmkeep.errors import UsageError, WasmkeepError

__all__ = ["BENCHES", "chosen", "main"]

Bench = Callable[[], Awaitable[list[Result]]]

BENCHES: Mapping[str, Bench] = {
    "start": start.measure,
    "idle": idle.measure,
    "cpu": cpu.measure,
    "python": python.measure,
    "wasi": wasi.measure,
    "files": files.measure,
    "cli": cli.measure,
    "demo": demo.measure,
    "verify": verify.measure,
}
_OUTPUT = Path(__file__).parents[1] / "build" / "bench.json"
_INTERRUPTED = 130


def chosen(only: str | None, benches: Mapping[str, Bench] = BENCHES) -> dict[str, Bench]:
    """The benches that ``only`` names, separated by commas; all without it. Raises UsageError."""
    if only is None:
        return dict(benches)
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in benches]
    if unknown or not names:
        raise UsageError(
            "bench.only",
            f"there is no bench {', '.join(unknown)}" if unknown else "no bench is named",
            required=", ".join(benches),
        )
    return {name: benches[name] for name in benches if name in names}


async def _measure(benches: Mapping[str, Bench], output: Path) -> int:
    results: list[Result] = []
    for name, bench in benches.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        results += await bench()
        write(results, output)
    print(table(results))
    return 0


def main(
    arguments: list[str] | None = None,
    *,
    benches: Mapping[str, Bench] = BENCHES,
    output: Path = _OUTPUT,
    build: Path = BUILD,
) -> int:
    """Exit code 0 where everything was measured, whatever the figures; a goal that is missed is printed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", allow_abbrev=False)
    parser.add_argument("--only", metavar="NAMES", help=f"some of {', '.join(benches)}; default: all")
    options = parser.parse_args(arguments)
    console = Console(sys.stderr)
    try:
        selected = chosen(options.only, benches)
        own_folders(build)
        return run_to_end(_measure(selected, output))
    except WasmkeepError as error:
        return console.error(error)
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
