"""The few builtins that live in the program's own text: tables and function references.

wasmtime's compiled code calls these builtins for ``ref.func``, ``table.grow``, ``table.init`` and
``elem.drop``. They read and write nothing but the instance's own data, whose addresses the layout knows; so
each is a handful of machine instructions placed after the compiled text, and the keep needs to know nothing
of tables. Calling convention: System V, rdi = vmctx, esi and rdx the arguments, result in rax; only
registers that a callee may change are changed. Every address lies below 2 GiB, as a sign-extended
32-bit displacement.
"""

from __future__ import annotations

import struct

__all__ = ["element_base", "element_drop", "element_length", "function_reference", "table_grow"]


def _displacement(address: int) -> bytes:
    if not 0 <= address < 1 << 31:
        raise ValueError("an address that does not fit a displacement")
    return struct.pack("<I", address)


def function_reference(pointers: int) -> bytes:
    """``ref_func(vmctx, function u32) -> pointer``: entry of the array of u64 pointers at ``pointers``."""
    return (
        b"\x89\xf0"  # mov eax, esi
        b"\x48\x8b\x04\xc5" + _displacement(pointers) +  # mov rax, [rax*8 + pointers]
        b"\xc3"  # ret
    )  # fmt: skip


def _element_field(descriptors: int, field: int) -> bytes:
    return (
        b"\x89\xf0"  # mov eax, esi
        b"\x48\xc1\xe0\x04"  # shl rax, 4
        b"\x48\x8b\x80" + _displacement(descriptors + field) +  # mov rax, [rax + descriptors + field]
        b"\xc3"  # ret
    )  # fmt: skip


def element_base(descriptors: int) -> bytes:
    """``passive_elem_segment_base(vmctx, segment u32) -> pointer``. A descriptor: {base u64, length u64}."""
    return _element_field(descriptors, 0)


def element_length(descriptors: int) -> bytes:
    """``passive_elem_segment_len(vmctx, segment u32) -> size``, in elements."""
    return _element_field(descriptors, 8)


def element_drop(descriptors: int) -> bytes:
    """``passive_elem_segment_drop(vmctx, segment u32) -> bool``: the length becomes 0; never fails."""
    return (
        b"\x89\xf0"  # mov eax, esi
        b"\x48\xc1\xe0\x04"  # shl rax, 4
        b"\x48\xc7\x80" + _displacement(descriptors + 8) + b"\0\0\0\0"  # mov qword [rax + length], 0
        b"\xb8\x01\0\0\0"  # mov eax, 1
        b"\xc3"  # ret
    )  # fmt: skip


def table_grow(descriptors: int) -> bytes:
    """``table_grow(vmctx, table u32, delta u64) -> u64``: the old size, or all ones where it cannot grow.

    A descriptor is {address of the table's definition u64, greatest number of elements u64}.
    """
    return (
        b"\x89\xf0"  # mov eax, esi
        b"\x48\xc1\xe0\x04"  # shl rax, 4
        b"\x4c\x8b\x80" + _displacement(descriptors) +  # mov r8, [rax + definition]
        b"\x4c\x8b\x88" + _displacement(descriptors + 8) +  # mov r9, [rax + greatest]
        b"\x49\x8b\x40\x08"  # mov rax, [r8 + 8]        elements now
        b"\x49\x29\xc1"  # sub r9, rax                   room
        b"\x4c\x39\xca"  # cmp rdx, r9
        b"\x77\x08"  # ja no
        b"\x48\x01\xc2"  # add rdx, rax
        b"\x49\x89\x50\x08"  # mov [r8 + 8], rdx
        b"\xc3"  # ret
        b"\x48\xc7\xc0\xff\xff\xff\xff"  # no: mov rax, -1
        b"\xc3"  # ret
    )  # fmt: skip
