"""A guest's linear addresses as its core reaches them: by its own tables, the nested ones, and the key."""

from __future__ import annotations

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.simulator.core.engine import EXECUTE, READ, WRITE, Access, Grant
from wasmkeep.simulator.core.lines import Lines
from wasmkeep.simulator.core.page_walk import Paging, walk
from wasmkeep.simulator.memory_controller import C_BIT
from wasmkeep.simulator.nested_paging import NestedFault, NestedTable

_PERMISSION = {Access.READ: READ, Access.WRITE: READ | WRITE, Access.FETCH: EXECUTE}


class NestedTableFault(Exception):
    """The same as `NestedFault`, of a page that holds the guest's page tables."""

    def __init__(self, fault: NestedFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class AddressSpace:
    """`sev`: the guest has a key, so that C-bits mean it. Otherwise only the host's own C-bits count."""

    def __init__(self, lines: Lines, nested: NestedTable, *, sev: bool) -> None:
        self._lines = lines
        self._nested = nested
        self._sev = sev
        self._granted: dict[tuple[int, bool], Grant] = {}

    def forget(self) -> None:
        """What was granted, since the emulator forgets it too."""
        self._granted.clear()

    def grant(self, page: int, access: Access, paging: Paging) -> Grant:
        """A linear page for the emulator, with what was granted of it before where it still lies there.

        Raises `PageFault`, `NestedFault`, `NestedTableFault`, `Full`.
        """
        offset = self._lines.offset(self._find(page, access, paging), writing=access is Access.WRITE)
        permissions = _PERMISSION[access]
        before = self._granted.get((page, paging.user))
        if before is not None and before.offset == offset:
            permissions |= before.permissions
        grant = self._granted[page, paging.user] = Grant(offset, permissions)
        return grant

    def read(self, linear: int, size: int, paging: Paging, access: Access = Access.READ) -> bytes:
        """Bytes across pages, as an access would get them. Raises as `grant` does."""
        parts = []
        while size:
            within = linear % PAGE
            part = min(size, PAGE - within)
            parts.append(self._lines.read(self._find(linear - within, access, paging) + within, part))
            linear, size = linear + part, size - part
        return b"".join(parts)

    def write(self, linear: int, data: bytes, paging: Paging) -> None:
        """Raises as `grant` does, and then some of it may have been written."""
        while data:
            within = linear % PAGE
            part = min(len(data), PAGE - within)
            page = self._find(linear - within, Access.WRITE, paging)
            self._lines.write(page + within, data[:part])
            linear, data = linear + part, data[part:]

    def _find(self, page: int, access: Access, paging: Paging) -> int:
        """The system physical page, with C-bit where a key is used. Instructions are always encrypted."""
        walked = walk(page, access, paging, self._entry)
        return self._behind(walked.gpa, encrypted=walked.encrypted or access is Access.FETCH)

    def _behind(self, gpa: int, *, encrypted: bool) -> int:
        spa = self._nested.lookup(gpa)
        if not self._sev:
            return spa
        return spa & ~C_BIT | C_BIT if encrypted else spa & ~C_BIT

    def _entry(self, address: int, size: int) -> int:
        try:
            page = self._behind(address - address % PAGE, encrypted=True)
        except NestedFault as fault:
            raise NestedTableFault(fault) from None
        return int.from_bytes(self._lines.read(page + address % PAGE, size), "little")
