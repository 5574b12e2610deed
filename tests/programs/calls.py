"""The program of `probe/`, which calls every function of WASI: built, run in a keep and in plain wasmtime.

It prints a table, a line a case: ``group.case: errno values``. wasmtime ends a program that passes it an
address outside memory or an unknown flag; the case is known then by being announced and not answered, counts
as `TRAP`, and the program is run again without it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import wasmtime

from tests.conformance.keeps import Given, ended, in_keep, start_in_wasmtime
from tests.tenant.bare import built, compiled
from wasmkeep.image import MachineKind
from wasmkeep.tenant.package import DeliveredFile

TRAP = "trap"
INPUT = b"input\n"
ENVIRONMENT = (("FIRST", "1"), ("SECOND", "two"))
GROUPS = (
    "process", "streams", "files", "seeking", "attributes", "rights", "directories", "paths", "renaming",
    "links", "descriptors", "polling", "sockets", "pointers",
)  # fmt: skip
READ_ONLY = "read_only"
_SOURCES = Path(__file__).with_name("probe")
_MOST_TRAPS = 100

Table = Mapping[str, str]
"""What each case gave, in the order they ran."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A kind of place that a program works in: its name for people, and its path from the root."""

    name: str
    path: str

    def __str__(self) -> str:
        return self.name


WRITABLE = (
    Mount("root", "."),
    Mount("tmp", "tmp"),
    Mount("copy", "copy"),
    Mount("below a copy", "copy/deep"),
)
DELIVERED = Mount("delivered", "delivered")


def _delivered(path: str, content: bytes | None = None, *, writable: bool = False) -> DeliveredFile:
    return DeliveredFile(path.encode(), content is None, writable, 1_700_000_000 * 10**9, content or b"")


FILES = (
    _delivered("delivered"),
    _delivered("delivered/file", b"contents"),
    _delivered("delivered/folder"),
    _delivered("delivered/folder/inner", b"inside"),
    _delivered("copy", writable=True),
    _delivered("copy/deep", writable=True),
)


@cache
def program() -> bytes:
    """The program, compiled once."""
    main, *others = sorted(_SOURCES.glob("*.c"), key=lambda path: path.name != "main.c")
    headers = "".join(path.read_text() for path in (*others, *sorted(_SOURCES.glob("*.h"))))
    flags = ("-O1", "-s", "-target", "wasm32-wasi", *map(str, others))
    return built("probe", main, *flags, also=headers).read_bytes()


def _table(output: str) -> Table:
    lines = [line.partition(": ") for line in output.splitlines()]
    if not lines or lines[-1][0] != "end":
        raise AssertionError(f"the program did not reach its end: {output[-300:]}")
    table = {name: value for name, colon, value in lines if colon}
    if len(table) != len(lines) - 1:
        raise AssertionError("two cases have one name, or a line is no case")
    return table


def table_in_keep(kind: MachineKind, mount: Mount, *groups: str) -> Table:
    """All groups in one run."""
    given = Given((mount.path, ",".join(groups)), ENVIRONMENT, FILES, INPUT, 64 << 20, 160 << 20)
    result = ended(in_keep(kind, compiled(program()), given))
    if result.code != 0:
        raise AssertionError(f"exit code {result.code}: {result.stdout[-300:]!r}")
    return _table(result.stdout.decode())


@cache
def table_in_wasmtime(mount: Mount, *groups: str) -> Table:
    """A run for each group, and one more for each case that traps."""
    table: dict[str, str] = {}
    for group in groups:
        traps: list[str] = []
        for _ in range(_MOST_TRAPS):
            output, trapped = _wasmtime_run(mount, group, traps)
            if not trapped:
                break
            traps.append(output.splitlines()[-1].removesuffix(": "))
        table |= {**dict.fromkeys(traps, TRAP), **_table(output)}
    return table


def _wasmtime_run(mount: Mount, group: str, skipped: list[str]) -> tuple[str, bool]:
    """What it printed, and whether it trapped."""
    with tempfile.TemporaryDirectory() as name:
        root, standard, output, errors = (Path(name) / part for part in ("root", "in", "out", "err"))
        (root / "tmp").mkdir(parents=True)
        for file in FILES:
            path = root / file.path.decode()
            path.mkdir() if file.directory else path.write_bytes(file.content)
        standard.write_bytes(INPUT)
        wasi = wasmtime.WasiConfig()
        wasi.argv = ["program", mount.path, group, f",{','.join(skipped)},"]
        wasi.env = ENVIRONMENT
        wasi.stdin_file, wasi.stdout_file, wasi.stderr_file = map(str, (standard, output, errors))
        wasi.preopen_dir(str(root), "/", mount is not DELIVERED)
        try:
            code = start_in_wasmtime(program(), wasi)
        except (wasmtime.Trap, wasmtime.WasmtimeError):
            return output.read_text(), True
        assert code == 0, output.read_text()
        return output.read_text(), False
