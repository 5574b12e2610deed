"""The CPUID page of a launch (SNP firmware ABI 8.17.2.6; SEV.md C.9): the firmware checks its form.

A page that is not well-formed comes back corrected, with INVALID_PARAM. What the entries claim of the CPU
is not judged here, since the CPU under the simulation is whatever this computer has; a guest must not
believe it, and the keep's image uses no CPUID page.
"""

from __future__ import annotations

import struct

from wasmkeep.hardware.kvm_sev import PAGE

MAX_ENTRIES = 64
_HEAD = struct.Struct("<IIQ")  # count, rsvd, rsvd
_ENTRY = struct.Struct("<IIQQIIIIQ")  # eax_in, ecx_in, xcr0_in, xss_in, eax, ebx, ecx, edx, rsvd


def correct_cpuid_page(page: bytes | memoryview) -> bytes:
    """`page` as the firmware would have accepted it; the same bytes when it is well-formed."""
    count, _, _ = _HEAD.unpack_from(page)
    count = min(count, MAX_ENTRIES)
    corrected = bytearray(PAGE)
    _HEAD.pack_into(corrected, 0, count, 0, 0)
    for index in range(count):
        offset = _HEAD.size + _ENTRY.size * index
        *fields, _ = _ENTRY.unpack_from(page, offset)
        _ENTRY.pack_into(corrected, offset, *fields, 0)
    return bytes(corrected)
