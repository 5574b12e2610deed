"""What a guest with a virtual firmware (OVMF) must measure: its image, a kernel's hashes, each vCPU's state.

A firmware image ends with a table of entries, read backwards from 32 bytes before its end: data ‖ length u16
of the entry ‖ GUID (mixed-endian). The last entry is the footer, whose length covers the table. For SEV-ES
it holds where further vCPUs start.

A plain SEV launch measures no register state, so that its digest says nothing about where the guest starts.
"""

from __future__ import annotations

import struct
import uuid

from wasmkeep.evidence.sev.measurement import launch_digest

__all__ = ["MAX_VCPUS", "firmware_digest", "firmware_table", "reset_vmsa"]

VMSA_SIZE = 4096
MAX_VCPUS = 512
AP_RESET = uuid.UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
"""u32: where vCPUs but the first start; the code segment's base is its high half, RIP its low one."""
_FOOTER = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
_FROM_END = 32
_ENTRY_HEAD = 18
_RESET_VECTOR = 0xFFFF_FFF0

_SEGMENT = struct.Struct("<H H I Q")  # selector, attributes, limit, base
_DATA, _CODE, _LDT, _TSS, _TABLE = 0x93, 0x9B, 0x82, 0x8B, 0
_SEGMENTS = {
    # offset: attributes (APM volume 2, table B-4, and what KVM and QEMU start a vCPU with)
    **dict.fromkeys((0x000, 0x020, 0x030, 0x040, 0x050), _DATA),  # es, ss, ds, fs, gs
    **dict.fromkeys((0x060, 0x080), _TABLE),  # gdtr, idtr
    0x070: _LDT,
    0x090: _TSS,
}
_FIELDS = (
    (0x0D0, "<Q", 0x1000),  # EFER: SVME
    (0x148, "<Q", 0x40),  # CR4: MCE
    (0x158, "<Q", 0x10),  # CR0: ET
    (0x160, "<Q", 0x400),  # DR7
    (0x168, "<Q", 0xFFFF_0FF0),  # DR6
    (0x170, "<Q", 2),  # RFLAGS
    (0x268, "<Q", 0x0007_0406_0007_0406),  # G_PAT
    (0x3E8, "<Q", 1),  # XCR0
    (0x408, "<I", 0x1F80),  # MXCSR
    (0x410, "<H", 0x37F),  # x87 control word
)
_CS, _RIP, _RDX = 0x010, 0x178, 0x310


def firmware_digest(
    firmware: bytes, kernel_hashes: bytes = b"", *, vcpus: int = 0, cpuid_signature: int = 0
) -> bytes:
    """The launch digest, 32 bytes, of a firmware image and, for a direct boot with ``kernel-hashes=on``, of
    `measurement.kernel_hash_table`. ``vcpus`` is 0 for SEV; for SEV-ES their exact number, each with EAX of
    CPUID leaf 1 as ``cpuid_signature``. ``ValueError`` for an image that no guest can have, or without the
    table that SEV-ES needs."""
    if not 0 <= vcpus <= MAX_VCPUS:
        raise ValueError(f"a guest has at most {MAX_VCPUS} vCPUs")
    regions = (firmware, kernel_hashes) if kernel_hashes else (firmware,)
    starts = [_RESET_VECTOR] * bool(vcpus)
    if vcpus > 1:
        starts += [_ap_start(firmware)] * (vcpus - 1)
    return launch_digest(regions, (reset_vmsa(start, cpuid_signature) for start in starts))


def reset_vmsa(start: int, cpuid_signature: int) -> bytes:
    """The 4096 bytes of a vCPU that starts in real mode at ``start`` (u32), as KVM and QEMU measure it for
    SEV-ES (no SEV features)."""
    page = bytearray(VMSA_SIZE)
    for at, attributes in _SEGMENTS.items():
        _SEGMENT.pack_into(page, at, 0, attributes, 0xFFFF, 0)
    _SEGMENT.pack_into(page, _CS, 0xF000, _CODE, 0xFFFF, start & 0xFFFF_0000)
    for at, layout, value in (*_FIELDS, (_RIP, "<Q", start & 0xFFFF), (_RDX, "<Q", cpuid_signature)):
        struct.pack_into(layout, page, at, value)
    return bytes(page)


def firmware_table(firmware: bytes) -> dict[uuid.UUID, bytes]:
    """The entries of a firmware image's table; empty where it has none. ``ValueError`` where it is broken."""
    end = len(firmware) - _FROM_END
    footer = _entry(firmware, end)
    if footer is None or footer[0] != _FOOTER:
        return {}
    start, at = end - footer[1], end - _ENTRY_HEAD
    entries: dict[uuid.UUID, bytes] = {}
    while at > start:
        entry = _entry(firmware, at)
        if entry is None or not _ENTRY_HEAD <= entry[1] <= at - start or entry[0] in entries:
            raise ValueError("the firmware's table is broken")
        guid, size = entry
        entries[guid] = firmware[at - size : at - _ENTRY_HEAD]
        at -= size
    if start < 0 or at != start:
        raise ValueError("the firmware's table is broken")
    return entries


def _entry(firmware: bytes, end: int) -> tuple[uuid.UUID, int] | None:
    """GUID and length of the entry that ends there."""
    if end < _ENTRY_HEAD:
        return None
    size = int.from_bytes(firmware[end - 18 : end - 16], "little")
    return uuid.UUID(bytes_le=firmware[end - 16 : end]), size


def _ap_start(firmware: bytes) -> int:
    data = firmware_table(firmware).get(AP_RESET, b"")
    if len(data) < 4:
        raise ValueError("the firmware does not say where further vCPUs start: it is not made for SEV-ES")
    return int.from_bytes(data[:4], "little")
