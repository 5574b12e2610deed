"""What a core holds decrypted while its guest runs: pages of memory as the key in use shows them.

A page is loaded through the memory controller when it is first touched, and what changed in it is stored when
the guest stops; then nothing of it is left here. Changes are found by comparison, by cache line, so that what
a device wrote to the rest of the page meanwhile stays. An encrypted and a plain view of the same page are two
entries, as they are in caches: neither sees what the other changed before the next exit.
"""

from __future__ import annotations

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.simulator.core.engine import LINES_BASE
from wasmkeep.simulator.memory_controller import MemoryController

LINE = 64


class Full(Exception):
    """No room for another page: the core writes back what it has, and goes on."""


class Lines:
    """`pool` is the engine's memory; offsets count from its beginning."""

    def __init__(self, pool: memoryview, controller: MemoryController) -> None:
        self._pool = pool
        self._controller = controller
        self._room = (len(pool) - LINES_BASE) // PAGE
        self._asid = 0
        self._offsets: dict[int, int] = {}  # by page address with C-bit
        self._clean: dict[int, bytes] = {}  # what was loaded, of pages that may be written

    def use(self, asid: int) -> None:
        """Whose key the encrypted views go through, from here to `write_back`."""
        self._asid = asid

    def offset(self, page: int, *, writing: bool = False) -> int:
        """Where the page at this address (with C-bit) lies in the pool. Raises `Full`, `NoKey`, `Refused`."""
        offset = self._offsets.get(page)
        if offset is None:
            if len(self._offsets) == self._room:
                raise Full
            offset = LINES_BASE + len(self._offsets) * PAGE
            self._pool[offset : offset + PAGE] = self._controller.load(page, PAGE, self._asid)
            self._offsets[page] = offset
        if writing and page not in self._clean:
            self._clean[page] = bytes(self._pool[offset : offset + PAGE])
        return offset

    def read(self, address: int, size: int) -> bytes:
        """Within one page."""
        offset = self.offset(address - address % PAGE) + address % PAGE
        return bytes(self._pool[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        """Within one page."""
        offset = self.offset(address - address % PAGE, writing=True) + address % PAGE
        self._pool[offset : offset + len(data)] = data

    def write_back(self) -> None:
        """Store what changed."""
        for page, clean in self._clean.items():
            offset = self._offsets[page]
            held = bytes(self._pool[offset : offset + PAGE])
            if held != clean:
                self._store(page, clean, held)

    def drop(self) -> None:
        """Hold nothing any more."""
        used = len(self._offsets) * PAGE
        self._pool[LINES_BASE : LINES_BASE + used] = bytes(used)
        self._offsets.clear()
        self._clean.clear()

    def _store(self, page: int, clean: bytes, held: bytes) -> None:
        starts = range(0, PAGE, LINE)
        changed = [at for at in starts if clean[at : at + LINE] != held[at : at + LINE]]
        begin = changed[0]
        for at, following in zip(changed, [*changed[1:], -1], strict=True):
            if following != at + LINE:
                self._controller.store(page + begin, held[begin : at + LINE], self._asid)
                begin = following
