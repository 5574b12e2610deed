"""``python -m tests.fuzz.run_target NAME[,NAME…] FOLDER [libFuzzer's options]``: each in its own process.

FOLDER/NAME is a target's corpus, seeded first; what libFuzzer finds is kept there. A target ends at the first
input that breaks it; the others still run.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import atheris  # type: ignore[import-untyped]  # no types

with atheris.instrument_imports(include=["wasmkeep.evidence"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> int:
    """The exit code. Modules are instrumented once; each target then gets a fork of this process."""
    names, folder, *options = arguments
    broken = 0
    for name in names.split(","):
        child = os.fork()
        if not child:
            _fuzz(name, Path(folder) / name, options)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(f"{name}: {'held' if not code else f'broken ({code})'}", flush=True)
        broken += code != 0
    return 1 if broken else 0


def _fuzz(name: str, corpus: Path, options: list[str]) -> NoReturn:
    """libFuzzer ends the process."""
    target = TARGETS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        if len(seed) <= target.max_size:
            (corpus / sha256(seed).hexdigest()).write_bytes(seed)
    bounds = [f"-max_len={target.max_size}", "-timeout=10", "-rss_limit_mb=1024"]
    prefix = f"-artifact_prefix={corpus.parent}/{name}-"
    atheris.Setup([sys.argv[0], *bounds, prefix, *options, str(corpus)], target.run)
    atheris.Fuzz()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
