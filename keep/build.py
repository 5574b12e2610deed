"""Build the keep's images with the pinned ``ziglang``: ``python keep/build.py [--record | --test]``.

Without an option, builds the images, ``src/wasmkeep/image/<kind>.elf``, where a source changed, and says so
loudly where an image is not the recorded one. ``--record`` writes the images' SHA-256 to ``digests.toml``
beside them; ``--test`` runs the keep's own unit tests and short fuzz loops (``WASMKEEP_SOAK=1``: long ones).
An image depends on the sources and the compiler only: not on the folder, the time, or the processor that
builds it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KEEP = Path(__file__).resolve().parent
ROOT = KEEP.parent
IMAGES = ROOT / "src" / "wasmkeep" / "image"
DIGESTS = IMAGES / "digests.toml"
BUILD = ROOT / "build"

ZIG_VERSION = "0.17.1"
# Each kind of image, and the machine that it runs on; the rest is in ``src/options``.
KINDS = {
    "snp": "guest",
    "sev": "guest",
    "sev-es": "guest",
    "process": "process",
    "process-sev": "process",
    "process-sev-es": "process",
}

# What the images need of a processor (docs/host-interface.md); the one that builds them plays no part.
PROCESSOR = "x86_64_v3+aes+pclmul+sha+rdseed+adx"

IMAGE_FLAGS = (
    *("-target", "x86_64-freestanding-none", "-mcpu", PROCESSOR, "-O", "ReleaseSafe"),
    # Frame pointers, for the backtrace of a trap; nothing of the host's toolchain, paths or unwinder.
    *("-fno-omit-frame-pointer", "-fstrip", "-fno-unwind-tables", "-fno-stack-check", "-fno-stack-protector"),
    # Exceptions arrive on another stack, yet nothing may lie below the stack pointer.
    *("-fno-PIE", "-mno-red-zone", "-fsingle-threaded"),
)


class BuildError(Exception):
    """The compiler is not the pinned one, or refused."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Build the keep's images.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--record", action="store_true", help="record the digests of the images")
    choice.add_argument("--test", action="store_true", help="run the keep's unit tests and short fuzz loops")
    chosen = parser.parse_args(arguments)
    try:
        _check_compiler()
        if chosen.test:
            _test()
            return 0
        with ThreadPoolExecutor(max_workers=min(4, len(os.sched_getaffinity(0)))) as compilers:
            list(compilers.map(_build_if_changed, KINDS))
        if chosen.record:
            _record()
        _warn_unless_recorded()
    except BuildError as error:
        print(f"keep/build.py: {error}", file=sys.stderr)
        return 1
    return 0


def image_digests() -> dict[str, str]:
    """SHA-256 of the images as they are built now, in hexadecimal, by kind."""
    return {kind: hashlib.sha256((IMAGES / f"{kind}.elf").read_bytes()).hexdigest() for kind in KINDS}


def build(kind: str, output: Path, cache: Path) -> None:
    """Build one image to ``output``, whatever is there. Raises BuildError."""
    machine = KINDS[kind]
    ring0 = [str(KEEP / "src" / "ring0.s")] if machine == "guest" else []
    _zig(
        "build-exe",
        *IMAGE_FLAGS,
        *("-T", str(KEEP / "link" / f"{machine}.ld"), *ring0),
        *("--dep", "options", f"-Mroot={KEEP / 'src' / 'main.zig'}"),
        f"-Moptions={KEEP / 'src' / 'options' / f'{kind}.zig'}",
        *("--name", "keep", f"-femit-bin={output}"),
        cache=cache,
    )


def _build_if_changed(kind: str) -> None:
    output = IMAGES / f"{kind}.elf"
    stamp = BUILD / "keep" / f"{kind}.stamp"
    inputs = _input_digest(kind)
    if output.is_file() and stamp.is_file() and stamp.read_text() == _stamp(inputs, output):
        return
    print(f"building the keep's {kind} image", file=sys.stderr, flush=True)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    fresh = stamp.with_suffix(".elf")
    build(kind, fresh, BUILD / "zig-cache")
    fresh.chmod(0o644)
    fresh.replace(output)
    stamp.write_text(_stamp(inputs, output))


def _stamp(inputs: str, output: Path) -> str:
    return f"{inputs} {hashlib.sha256(output.read_bytes()).hexdigest()}\n"


def _input_digest(kind: str) -> str:
    """Of everything that an image is made from."""
    digest = hashlib.sha256(repr((ZIG_VERSION, kind, IMAGE_FLAGS)).encode())
    sources = [*(KEEP / "src").rglob("*"), *(KEEP / "link").rglob("*"), Path(__file__)]
    for source in sorted(path for path in sources if path.is_file() and not _is_test(path)):
        content = source.read_bytes()
        digest.update(f"{source.relative_to(ROOT)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _is_test(path: Path) -> bool:
    """Unit tests and their vectors: no part of an image."""
    return path.stem.endswith("_tests") or path.parent.name in ("tests", "vectors")


def _record() -> None:
    lines = ["# SHA-256 of the keep's images: `make image-record` writes it, a test rebuilds and compares."]
    lines += [f'\n[{kind}]\nsha256 = "{digest}"' for kind, digest in image_digests().items()]
    DIGESTS.write_text("\n".join(lines) + "\n")


def _warn_unless_recorded() -> None:
    recorded = tomllib.loads(DIGESTS.read_text()) if DIGESTS.is_file() else {}
    for kind, digest in image_digests().items():
        expected = recorded.get(kind, {}).get("sha256", "none")
        if expected != digest:
            print(
                f"WARNING: the {kind} image is not the recorded one\n"
                f"  built    {digest}\n  recorded {expected}\n"
                "  nobody's policy accepts it; if the change is meant, run `make image-record`",
                file=sys.stderr,
            )


def _test() -> None:
    # Short loops do not earn back the minute that the optimiser takes; all safety checks are in both modes.
    soak = os.environ.get("WASMKEEP_SOAK") == "1"
    count, mode = (20_000, "ReleaseSafe") if soak else (2_000, "Debug")
    options = BUILD / "keep" / "testing.zig"
    options.parent.mkdir(parents=True, exist_ok=True)
    options.write_text(
        f"pub const machine = .testing;\npub const tee = .snp;\npub const fuzz_count = {count};\n"
    )
    for root in sorted((KEEP / "src").glob("*tests.zig")):
        print(f"testing the keep: {root.name}", file=sys.stderr, flush=True)
        _zig(
            "test",
            *("-target", "x86_64-linux-musl", "-mcpu", PROCESSOR, "-O", mode),
            *("--dep", "options", f"-Mroot={root}", f"-Moptions={options}"),
            cache=BUILD / "zig-cache",
        )


def _check_compiler() -> None:
    found = importlib.metadata.version("ziglang")
    if found != ZIG_VERSION:
        raise BuildError(f"found ziglang {found}; an image is reproducible with ziglang {ZIG_VERSION} only")


def _zig(*arguments: str, cache: Path) -> None:
    command = [sys.executable, "-m", "ziglang", *arguments]
    command += ["--cache-dir", str(cache), "--global-cache-dir", str(cache)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZIG_")}
    if subprocess.run(command, cwd=KEEP, env=environment, check=False).returncode != 0:
        raise BuildError(f"zig {arguments[0]} failed")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
