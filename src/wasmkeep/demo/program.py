"""What the demonstration delivers: 48 bytes that add 3 and 4 and print the sum on the first serial port.

16-bit real mode, all segments at 0, placed and entered at guest address 1000h::

    1000  ba f8 03                       mov   dx, 3f8h               ; COM1
    1003  66 81 3e 24 10 6b 65 65 70     cmp   dword [1024h], "keep"  ; are the data where they belong?
    100c  75 0a                          jne   1018h
    100e  a0 20 10                       mov   al, [1020h]            ; 3
    1011  02 06 21 10                    add   al, [1021h]            ; 4
    1015  04 30                          add   al, '0'
    1017  ee                             out   dx, al                 ; '7'
    1018  f4                             hlt
    1019  eb fd                          jmp   1018h
    101b  00 00 00 00 00
    1020  03 04 00 00 6b 65 65 70 00 …   3, 4, 0, 0, "keep", zeros to 1030h

The comparison is there because nothing in a secret packet says where in the guest it belongs: a host can put
it elsewhere. Then the word at 1024h is not "keep", and nothing is printed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ADDRESS", "MEMORY", "OUTPUT", "PORT", "PROGRAM"]

MEMORY: Final = 64 << 10
"""Bytes of the empty machine."""
ADDRESS: Final = 0x1000
"""Where the program is placed, and where the machine begins to run."""
PORT: Final = 0x3F8
PROGRAM: Final = bytes.fromhex(
    "ba f8 03"
    "66 81 3e 24 10 6b 65 65 70"
    "75 0a"
    "a0 20 10"
    "02 06 21 10"
    "04 30"
    "ee"
    "f4"
    "eb fd"
    "00 00 00 00 00"
    "03 04 00 00 6b 65 65 70 00 00 00 00 00 00 00 00"
)
OUTPUT: Final = b"7"
"""What it prints where it stands at its address."""
