"""A C program, compiled against the kernel's own headers, that says how structures lie.

``ziglang`` carries a C compiler and Linux headers recent enough to have the SNP calls.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

HEADERS = ("stddef.h", "stdio.h", "linux/psp-sev.h", "linux/sev-guest.h", "linux/kvm.h")
_CACHE = Path(__file__).resolve().parents[2] / "build" / "zig-cache"


def ask(
    folder: Path,
    structures: Mapping[str, Sequence[str]],
    constants: Sequence[str],
    headers: Sequence[str] = HEADERS,
) -> dict[str, int]:
    """Values by name: ``sizeof x``, ``x.field`` (offset), and constants, all as unsigned 64-bit integers."""
    lines = [f'printf("{name} %llu\\n", (unsigned long long)({name}));' for name in constants]
    for name, fields in structures.items():
        lines.append(f'printf("sizeof {name} %zu\\n", sizeof(struct {name}));')
        lines += [f'printf("{name}.{field} %zu\\n", offsetof(struct {name}, {field}));' for field in fields]
    includes = "".join(f"#include <{header}>\n" for header in headers)
    source = folder / "probe.c"
    source.write_text(includes + "int main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n")
    program = folder / "probe"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-musl", "-O0"]
    environment = {
        "ZIG_LOCAL_CACHE_DIR": str(_CACHE),
        "ZIG_GLOBAL_CACHE_DIR": str(_CACHE),
        "PATH": "/usr/bin:/bin",
    }
    subprocess.run([*compiler, "-o", str(program), str(source)], check=True, env=environment, timeout=300)
    output = subprocess.run([str(program)], check=True, capture_output=True, text=True, timeout=30).stdout
    values = {}
    for line in output.splitlines():
        name, _, value = line.rpartition(" ")
        values[name] = int(value)
    return values
