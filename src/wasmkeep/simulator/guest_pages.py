"""DRAM of a guest on the real processor, by system physical address: which pages are private.

A real CPU runs on this memory, so private pages lie in this process in plaintext; that is the simulation's
limit. Everyone who looks or writes *through the machine* meets what DRAM would hold: a private page reads as
ciphertext under the guest's key with its address as tweak, and what is stored there is taken as ciphertext.

A page is private from the moment the firmware encrypts any of it. Once the guest runs all of its memory is,
but for its window, as if its page tables had the C-bit everywhere: what the host put there and nobody
encrypted turns into garbage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.guest import GuestMemory
from wasmkeep.simulator.memory_encryption import BLOCK, MemoryKey
from wasmkeep.simulator.status import require

_SMALL = 1 << 20
"""Up to so many bytes, memory that nobody ever wrote becomes garbage too. Beyond, a guest finds zeros there:
DRAM held their ciphertext, as good as any, and pages that are never touched cost nothing."""


class _Piece(NamedTuple):
    """A part of one page: its number, and `start` to `end` inside it."""

    page: int
    start: int
    end: int

    @property
    def whole(self) -> bool:
        return self.end - self.start == PAGE


class GuestPages:
    """A `SystemMemory` of one guest, whose guest-physical address 0 is at system physical address `base`."""

    vmsa_address: int | None = None

    def __init__(self, memory: GuestMemory, base: int) -> None:
        self.base = base
        self._memory = memory
        self._key: MemoryKey | None = None
        self._private: set[int] = set()  # page numbers
        self._written: set[int] = set()  # by the host, while they were not private
        self._started = False

    def spa(self, gpa: int, size: int) -> int:
        """Where the guest's memory lies. Raises `Refused` (INVALID_ADDRESS) outside it."""
        require(0 <= gpa <= self._memory.size - size, SevStatus.INVALID_ADDRESS)
        return self.base + gpa

    def start(self, key: MemoryKey, asid: int, *, es: bool) -> None:  # noqa: ARG002 - the CPU asks no slots
        """The guest runs under `key` from now on, and all memory but its window is private."""
        if self._started:
            return
        self._key = key
        if self._memory.size <= _SMALL:
            self._written.update(range(self._memory.size // PAGE))
        for page in self._written - self._private:
            if not self._memory.is_shared(page * PAGE, PAGE):
                self._make_private(page)
        self._started = True

    # What DRAM holds

    def read(self, spa: int, size: int) -> bytes:
        gpa = self._gpa(spa, size)
        if self._is_raw(gpa, size):
            return self._memory.read(gpa, size)
        return b"".join(self._raw(piece.page)[piece.start : piece.end] for piece in _pieces(gpa, size))

    def write(self, spa: int, data: bytes) -> None:
        gpa = self._gpa(spa, len(data))
        if gpa % PAGE == len(data) % PAGE == 0 and self._is_raw(gpa, len(data)):
            self._written.update(_pages(gpa, len(data)))
            self._memory.write(gpa, data)
            return
        for piece, part in _parts(gpa, data):
            raw = part if piece.whole else _spliced(self._raw(piece.page), piece, part)
            if self._key is not None and self._is_private(piece.page):
                raw = self._key.decrypt_page(self.base + piece.page * PAGE, raw)
            else:
                self._written.add(piece.page)
            self._store(piece.page, raw)

    # Through a guest's key

    def encrypt_in_place(self, key: MemoryKey, spa: int, size: int) -> bytes:
        gpa = self._encryptable(spa, size)
        raw = self.read(spa, size)
        if self._is_own(key) and gpa % PAGE == size % PAGE == 0 and self._is_raw(gpa, size):
            self._private.update(_pages(gpa, size))  # what is held is the plaintext already
        else:
            self.private_write(key, spa, raw)
        return raw

    def private_read(self, key: MemoryKey, spa: int, size: int) -> bytes:
        self._encryptable(spa, size)
        return key.decrypt(spa, self.read(spa, size))

    def private_write(self, key: MemoryKey, spa: int, data: bytes) -> None:
        gpa = self._encryptable(spa, len(data))
        if not self._is_own(key):
            self.write(spa, key.encrypt(spa, data))
            return
        for piece, part in _parts(gpa, data):
            if not piece.whole:
                self._make_private(piece.page)
                part = _spliced(self._held(piece.page), piece, part)
            self._store(piece.page, part)
            self._private.add(piece.page)

    def seal_vmsa(self, key: MemoryKey, spa: int) -> None:
        """This CPU takes its registers before the launch and keeps them: it has no VMSA in memory."""

    # One page

    def _gpa(self, spa: int, size: int) -> int:
        gpa = spa - self.base
        require(0 <= gpa <= self._memory.size - size and size > 0, SevStatus.INVALID_ADDRESS)
        return gpa

    def _encryptable(self, spa: int, size: int) -> int:
        gpa = self._gpa(spa, size)
        aligned = spa % BLOCK == 0 and size % BLOCK == 0
        require(aligned and not self._memory.is_shared(gpa, size), SevStatus.INVALID_ADDRESS)
        return gpa

    def _is_own(self, key: MemoryKey) -> bool:
        """Whether `key` is what this guest's memory is held under. The first that is used is."""
        if self._key is None:
            self._key = key
        return key is self._key

    def _is_raw(self, gpa: int, size: int) -> bool:
        """Whether no page of the range is private."""
        return not self._started and self._private.isdisjoint(_pages(gpa, size))

    def _is_private(self, page: int) -> bool:
        if self._started:
            return not self._memory.is_shared(page * PAGE, PAGE)
        return page in self._private

    def _held(self, page: int) -> bytes:
        """As it lies in this process: plaintext where the page is private, else raw."""
        return self._memory.read(page * PAGE, PAGE)

    def _store(self, page: int, held: bytes) -> None:
        self._memory.write(page * PAGE, held)

    def _raw(self, page: int) -> bytes:
        held = self._held(page)
        if self._key is None or not self._is_private(page):
            return held
        return self._key.encrypt_page(self.base + page * PAGE, held)

    def _make_private(self, page: int) -> None:
        """What DRAM holds stays; the guest sees what that decrypts to."""
        if self._key is not None and not self._is_private(page):
            self._store(page, self._key.decrypt_page(self.base + page * PAGE, self._held(page)))
            self._private.add(page)


def _pages(gpa: int, size: int) -> range:
    """Numbers of the pages that a range touches."""
    return range(gpa // PAGE, -(-(gpa + size) // PAGE))


def _pieces(gpa: int, size: int) -> Iterator[_Piece]:
    end = gpa + size
    for page in _pages(gpa, size):
        yield _Piece(page, max(gpa - page * PAGE, 0), min(end - page * PAGE, PAGE))


def _parts(gpa: int, data: bytes) -> Iterator[tuple[_Piece, bytes]]:
    at = 0
    for piece in _pieces(gpa, len(data)):
        size = piece.end - piece.start
        yield piece, data[at : at + size]
        at += size


def _spliced(page: bytes, piece: _Piece, part: bytes) -> bytes:
    return b"".join((page[: piece.start], part, page[piece.end :]))
