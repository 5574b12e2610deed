"""Memory of a guest on the real processor, as everybody else meets it: like DRAM that really is encrypted."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.guest_pages import GuestPages
from wasmkeep.simulator.kernel_memory import KERNEL_BASE, KernelMemory
from wasmkeep.simulator.memory_encryption import BLOCK, MemoryKey
from wasmkeep.simulator.status import Refused

PAGE = 4096
SIZE = 4 * PAGE
BASE = 0x40_0000


class Flat:
    """The CPU's memory: what the guest sees."""

    size = SIZE

    def __init__(self, shared: range = range(0)) -> None:
        self.data = bytearray(SIZE)
        self._shared = shared

    def read(self, gpa: int, size: int) -> bytes:
        return bytes(self.data[gpa : gpa + size])

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        self.data[gpa : gpa + len(data)] = data

    def zero(self, gpa: int, size: int) -> None:
        pass

    def is_shared(self, gpa: int, size: int) -> bool:
        return gpa < self._shared.stop and gpa + size > self._shared.start


class Encrypted:
    """The control: raw bytes, and a key over them wherever somebody goes through it."""

    def __init__(self) -> None:
        self.raw = bytearray(SIZE)

    def read(self, spa: int, size: int) -> bytes:
        return bytes(self.raw[spa - BASE : spa - BASE + size])

    def write(self, spa: int, data: bytes) -> None:
        self.raw[spa - BASE : spa - BASE + len(data)] = data

    def encrypt_in_place(self, key: MemoryKey, spa: int, size: int) -> bytes:
        plain = self.read(spa, size)
        self.write(spa, key.encrypt(spa, plain))
        return plain

    def private_read(self, key: MemoryKey, spa: int, size: int) -> bytes:
        return key.decrypt(spa, self.read(spa, size))

    def private_write(self, key: MemoryKey, spa: int, data: bytes) -> None:
        self.write(spa, key.encrypt(spa, data))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "encrypt", "private", "raw", "start"]),
        st.integers(0, SIZE // BLOCK - 1),
        st.sampled_from([1, 2, 5, 256, 300, 512]),
        st.integers(0, 15),
        st.sampled_from([0, 0, 0, 1]),
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(STEPS)
def test_it_is_indistinguishable_from_encrypted_memory(steps: list[tuple[str, int, int, int, int]]) -> None:
    """Whatever host and firmware do, with the guest's key or another's: same raw bytes, same plaintext."""
    keys = (MemoryKey(), MemoryKey())
    memory, control = GuestPages(Flat(), BASE), Encrypted()
    memory.private_read(keys[0], BASE, BLOCK)
    memory._key = keys[0]
    for kind, block, count, shift, chosen in steps:
        at = BASE + block * BLOCK
        size = min(count * BLOCK, BASE + SIZE - at)
        key = keys[chosen]
        if kind == "write":
            at, data = at + shift, os.urandom(max(1, size - shift))
            data = data[: BASE + SIZE - at]
            memory.write(at, data)
            control.write(at, data)
        elif kind == "encrypt":
            assert memory.encrypt_in_place(key, at, size) == control.encrypt_in_place(key, at, size)
        elif kind == "private":
            data = os.urandom(size)
            memory.private_write(key, at, data)
            control.private_write(key, at, data)
        elif kind == "raw":
            assert memory.read(at, size) == control.read(at, size)
        else:
            memory.start(keys[0], 1, es=False)
        assert memory.private_read(key, at - at % BLOCK, BLOCK) == control.private_read(
            key, at - at % BLOCK, BLOCK
        )
    assert memory.read(BASE, SIZE) == bytes(control.raw)
    memory.start(keys[0], 1, es=False)
    assert bytes(memory._memory.read(0, SIZE)) == keys[0].decrypt(BASE, bytes(control.raw))


def test_the_window_stays_in_the_open() -> None:
    key, flat = MemoryKey(), Flat(range(PAGE, 2 * PAGE))
    memory = GuestPages(flat, BASE)
    memory.write(BASE + PAGE, b"hello")
    memory.start(key, 1, es=False)
    assert memory.read(BASE + PAGE, 5) == flat.read(PAGE, 5) == b"hello"
    memory.write(BASE + PAGE, b"HELLO")
    assert flat.read(PAGE, 5) == b"HELLO"
    with pytest.raises(Refused) as refused:
        memory.encrypt_in_place(key, BASE + PAGE - 16, 32)
    assert refused.value.status is SevStatus.INVALID_ADDRESS


@pytest.mark.parametrize(("spa", "size"), [(BASE - 16, 32), (BASE + SIZE - 16, 32), (BASE, 0), (0, 16)])
def test_what_is_no_memory_is_refused(spa: int, size: int) -> None:
    memory = KernelMemory(GuestPages(Flat(), BASE))
    key = MemoryKey()
    for action in (
        lambda: memory.read(spa, size),
        lambda: memory.encrypt_in_place(key, spa, size),
        lambda: memory.private_read(key, spa, size),
        lambda: memory.write(spa, bytes(size)),
        lambda: memory.private_write(key, spa, bytes(size)),
    ):
        with pytest.raises(Refused) as refused:
            action()
        assert refused.value.status is SevStatus.INVALID_ADDRESS


def test_kernel_memory_is_apart_from_the_guests_and_from_itself() -> None:
    memory, key = KernelMemory(GuestPages(Flat(), BASE)), MemoryKey()
    first, second = memory.place(b"a" * 48), memory.room(PAGE + 1)
    assert first % PAGE == second % PAGE == 0
    assert first >= KERNEL_BASE
    assert memory.place(b"") == 0
    assert memory.taken(0) == b""
    memory.write(second + PAGE, b"x")
    assert memory.taken(second)[-1:] == b"x"
    assert memory.encrypt_in_place(key, first, 48) == b"a" * 48
    assert b"a" * 16 not in memory.taken(first)
    assert memory.private_read(key, first, 48) == b"a" * 48
    memory.private_write(key, first, b"b" * 16)
    assert memory.private_read(key, first, 48) == b"b" * 16 + b"a" * 32
    for spa, size in ((first, 49), (first + 40, 16), (second + PAGE, 2), (KERNEL_BASE + (1 << 40), 1)):
        with pytest.raises(Refused):
            memory.read(spa, size)
    with pytest.raises(Refused):
        KernelMemory().read(BASE, 1)
