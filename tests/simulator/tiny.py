"""Guests of a few bytes, for both kinds of CPU: launch regions, and the VMSA that enters them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wasmkeep.image.vmsa import ImageHeader, process_state, snp_entry

PAGE = 4096
CODE = 0x10_0000
SECRETS, CONFIGURATION = 0x1_3000, 0x1_4000
MEMORY = 8 << 20
NORMAL, ZERO, UNMEASURED, SECRETS_PAGE = 1, 3, 4, 5

_PML4, _PDPT, _PD, _PT, _GDT, _TSS = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000
_USER = 7  # present, writable, user
_LARGE = 0x80
_STACK = CODE + 0x8000
_TSS_SIZE = 0x68 + 8192 + 1


@dataclass(frozen=True)
class Region:
    gpa: int
    size: int
    page_type: int
    data: bytes = b""


@dataclass(frozen=True)
class Program:
    """The same behaviour as machine code of ring 3 and as a Linux program."""

    bare: bytes
    linux: bytes


# Ring 3: `out 0x10, al` is the exit. Linux: write a byte to descriptor 4, read one, again.
EXIT_FOREVER = Program(
    b"\xe6\x10\xeb\xfc",
    bytes.fromhex("6a01 b801000000 bf04000000 4889e6 ba01000000 0f05 31c0 0f05 ebe6"),
)
SPIN = Program(b"\xeb\xfe", b"\xeb\xfe")
CRASH = Program(b"\x90\x0f\x0b", b"\x90\x0f\x0b")  # nop, ud2
WRONG_PORT = Program(b"\xe6\x11\xeb\xfc", b"\x0f\x0b")
# mov eax, [0x200100]; inc eax; mov [0x200104], eax; then exit, for ever
COUNT = Program(bytes.fromhex("8b042500012000 ffc0 89042504012000 e610 ebec"), b"\x0f\x0b")


def _tables() -> bytes:
    """Page tables (the first 4 MiB, without page 0), a GDT and a TSS that allows every port, from 0x1000
    on.
    """
    memory = bytearray(0x9000 - _PML4)

    def put(form: str, address: int, *values: int) -> None:
        struct.pack_into(form, memory, address - _PML4, *values)

    put("<Q", _PML4, _PDPT | _USER)
    put("<Q", _PDPT, _PD | _USER)
    put("<2Q", _PD, _PT | _USER, 0x20_0000 | _LARGE | _USER)
    put("<512Q", _PT, 0, *(number * PAGE | _USER for number in range(1, 512)))
    put("<5Q", _GDT, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF, 0x00AFFB000000FFFF, 0x00CFF3000000FFFF)
    put("<H", _TSS + 0x66, 0x68)
    put("<B", _TSS + _TSS_SIZE - 1, 0xFF)
    return bytes(memory)


def elf(code: bytes) -> bytes:
    """A static Linux program of one segment."""
    base, header = 0x40_0000, 64 + 56
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    file_header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + header, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = header + len(code)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, PAGE)
    return file_header + segment + code


def pages(data: bytes) -> bytes:
    return data.ljust(-len(data) // PAGE * -PAGE, b"\0")


def launch_regions(program: Program, cpu: str) -> list[Region]:
    if cpu == "kvm":
        tables, code = _tables(), pages(program.bare)
        return [
            Region(_PML4, len(tables), NORMAL, tables),
            Region(CODE, len(code), NORMAL, code),
            Region(CODE + 0x4000, 0x4000, ZERO),
            Region(SECRETS, PAGE, SECRETS_PAGE),
        ]
    return process_regions(elf(program.linux))


def process_regions(program: bytes) -> list[Region]:
    code = pages(program)
    return [
        Region(CODE, len(code), NORMAL, code),
        Region(CONFIGURATION, PAGE, NORMAL, b"configuration".ljust(PAGE, b"\0")),
        Region(SECRETS, PAGE, SECRETS_PAGE),
    ]


def vmsa(cpu: str) -> bytes:
    if cpu != "kvm":
        return process_state(1)
    return snp_entry(ImageHeader(CODE, _STACK, _PML4, _GDT, 0, _TSS, 39, 0, _TSS_SIZE - 1))
