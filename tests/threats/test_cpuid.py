"""Who answers CPUID? Not a keep's host: a keep never asks.

What a bare guest makes of a lying answer under SEV-ES is in ``tests/simulator/machine``.
"""

from __future__ import annotations

import pytest

from tests.hostile.lying_host import prepared
from wasmkeep.image import MachineKind, read_image
from wasmkeep.image.elf import load_segments

CPUID = b"\x0f\xa2"


@pytest.mark.parametrize("kind", MachineKind, ids=lambda kind: kind.value)
def test_no_keep_has_the_instruction(kind: MachineKind) -> None:
    """Nowhere in the image, at whatever offset one would begin to execute."""
    segments = load_segments(read_image(kind))
    assert sum(len(segment.data) for segment in segments) > 100_000
    assert not [segment for segment in segments if CPUID in segment.data]


@pytest.mark.parametrize("example", ["add.wat", "cat.wat", "primes.wat", "trap.wat"])
def test_no_compiled_program_has_it(example: str) -> None:
    """WebAssembly has nothing like it, and the compiler adds none."""
    assert CPUID not in prepared(example).program.part
