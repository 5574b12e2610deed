"""Guest memory: large pages where it is used in bulk, and nowhere else."""

from __future__ import annotations

import pytest

from wasmkeep.hardware.memory import Memory

SIZE = 64 << 20
BULK = 18 << 20


def test_large_pages_change_nothing_but_speed() -> None:
    memory = Memory(SIZE)
    memory.prefer_large_pages(BULK)
    memory.prefer_large_pages(SIZE)
    memory.view[BULK : BULK + 4] = b"data"
    memory.view[SIZE - 4 :] = b"last"
    assert bytes(memory.view[BULK - 4 : BULK + 8]) == b"\0\0\0\0data\0\0\0\0"
    assert bytes(memory.view[SIZE - 8 :]) == b"\0\0\0\0last"
    memory.close()


@pytest.mark.parametrize("offset", [-4096, SIZE + 4096, 1])
def test_outside_the_memory_is_our_own_mistake(offset: int) -> None:
    memory = Memory(SIZE)
    with pytest.raises(ValueError, match="outside"):
        memory.prefer_large_pages(offset)
    memory.close()
