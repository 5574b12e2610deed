"""The chip's key slots: which ASID has which memory key, and what must be flushed before one is used again.

Two views of one table. The firmware's: `activate`, `deactivate`, `df_flush` (SEV API 0.24, ACTIVATE,
DEACTIVATE, DF_FLUSH), each refusing with the specification's status and then changing nothing. The kernel's:
`reserve` and `release`, which hand ASIDs out as Linux ``arch/x86/kvm/svm/sev.c`` does: fresh ones first,
used ones after one flush for all of them. The memory controller and the cores ask `key`.

ASIDs from 1 up to below `min_sev_asid` are for SEV-ES and SNP guests, those from there to `count` for plain
SEV: a BIOS setting, shown to the kernel as CPUID 8000_001F ECX and EDX.
"""

from __future__ import annotations

import threading
from collections import deque

from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.status import Refused, require


class KeySlots:
    """`count` slots, ASID 1 to `count`. Without `min_sev_asid` no slot is for plain SEV. Thread safe."""

    def __init__(self, count: int, min_sev_asid: int | None = None) -> None:
        first = count + 1 if min_sev_asid is None else min_sev_asid
        if count < 1 or not 1 <= first <= count + 1:
            raise ValueError("min_sev_asid lies in 1 … slots + 1")
        self.count = count
        self.min_sev_asid = first
        self._lock = threading.Lock()
        self._keys: dict[int, MemoryKey] = {}
        self._dirty: set[int] = set()  # deactivated, and the data fabric's buffers not flushed since
        self._wbinvd_due = False  # deactivated, and the cores' caches not written back since
        self._fresh = {es: deque(self.asids(es=es)) for es in (False, True)}
        self._released: dict[bool, list[int]] = {False: [], True: []}

    def asids(self, *, es: bool) -> range:
        """Those for SEV-ES and SNP guests, or those for plain SEV."""
        return range(1, self.min_sev_asid) if es else range(self.min_sev_asid, self.count + 1)

    def key(self, asid: int) -> MemoryKey | None:
        """What the memory controller uses for accesses with this ASID; None where no guest is active."""
        return self._keys.get(asid)

    # The firmware's view

    def activate(self, asid: int, key: MemoryKey, *, es: bool) -> None:
        """Put `key` into slot `asid`. INVALID_ASID, ASID_OWNED, DFFLUSH_REQUIRED, in this order."""
        with self._lock:
            self._require_usable(asid, es=es)
            self._keys[asid] = key

    def require_usable(self, asid: int, *, es: bool) -> None:
        """Refuse as `activate` would."""
        with self._lock:
            self._require_usable(asid, es=es)

    def _require_usable(self, asid: int, *, es: bool) -> None:
        require(asid in self.asids(es=es), SevStatus.INVALID_ASID)
        require(asid not in self._keys, SevStatus.ASID_OWNED)
        require(asid not in self._dirty, SevStatus.DFFLUSH_REQUIRED)

    def deactivate(self, asid: int) -> None:
        """Take the key out. Cache lines of the guest may still be about: the slot is dirty."""
        with self._lock:
            self._deactivate(asid)

    def _deactivate(self, asid: int) -> None:
        if self._keys.pop(asid, None) is not None:
            self._dirty.add(asid)
            self._wbinvd_due = True

    def wbinvd(self) -> None:
        """WBINVD on every core, as the kernel runs it before DF_FLUSH."""
        with self._lock:
            self._wbinvd_due = False

    def df_flush(self) -> None:
        """DF_FLUSH and SNP_DF_FLUSH: every dirty slot is clean. WBINVD_REQUIRED where cores were not
        flushed.
        """
        with self._lock:
            require(not self._wbinvd_due, SevStatus.WBINVD_REQUIRED)
            self._dirty.clear()

    # The kernel's view

    def reserve(self, *, es: bool) -> int:
        """An ASID that nobody has and that is clean. RESOURCE_LIMIT where all of its range are taken."""
        with self._lock:
            return self._reserve(es=es)

    def take(self, key: MemoryKey, *, es: bool) -> int:
        """`reserve` and `activate` in one step, as a kernel does them for an SNP guest."""
        with self._lock:
            asid = self._reserve(es=es)
            self._keys[asid] = key
            return asid

    def _reserve(self, *, es: bool) -> int:
        asid = self._next_usable(es=es)
        if asid is None and self._released[es]:
            self._reclaim()
            asid = self._next_usable(es=es)
        if asid is None:
            raise Refused(SevStatus.RESOURCE_LIMIT)
        self._fresh[es].remove(asid)
        return asid

    def _next_usable(self, *, es: bool) -> int | None:
        """The first fresh ASID; not one that was activated, or left dirty, without having been reserved."""
        usable = (asid for asid in self._fresh[es] if asid not in self._keys and asid not in self._dirty)
        return next(usable, None)

    def _reclaim(self) -> None:
        """WBINVD everywhere, DF_FLUSH, and what was released may be handed out again."""
        self._wbinvd_due = False
        self._dirty.clear()
        for es, released in self._released.items():
            self._fresh[es].extend(released)
            released.clear()

    def release(self, asid: int) -> None:
        """Give back what `reserve` gave, once; a key still in the slot goes."""
        with self._lock:
            self._deactivate(asid)
            self._released[asid < self.min_sev_asid].append(asid)
