"""The few instructions that a core must know by their bytes: how long those are that exit, and VMMCALL."""

from __future__ import annotations

_LEGACY_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")
_REP = 0xF3
_HLT, _TWO_BYTES = 0xF4, 0x0F
_VMMCALL = b"\x0f\x01\xd9"
_STRING_PORT = frozenset(b"\x6c\x6d\x6e\x6f")
MAX_INSTRUCTION = 15
GENERAL: tuple[str, ...] = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")
GENERAL += ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")


def prefixes(code: bytes, *, long_mode: bool) -> int:
    """How many bytes of prefix."""
    count = 0
    while count < len(code) and (
        code[count] in _LEGACY_PREFIXES or (long_mode and code[count] & 0xF0 == 0x40)
    ):
        count += 1
    return count


def length(code: bytes, *, long_mode: bool) -> int:
    """Of an instruction that exits: HLT is one byte, 0F 01 xx three, the others two, and prefixes."""
    start = prefixes(code, long_mode=long_mode)
    opcode = code[start : start + 2]
    if opcode[:1] == bytes([_HLT]):
        return start + 1
    return start + (3 if opcode == b"\x0f\x01" else 2)


def is_vmmcall(code: bytes, *, long_mode: bool) -> bool:
    start = prefixes(code, long_mode=long_mode)
    return code[start : start + 3] == _VMMCALL


def is_vmgexit(code: bytes, *, long_mode: bool) -> bool:
    """REP VMMCALL, which a guest without SEV-ES executes as VMMCALL."""
    return is_vmmcall(code, long_mode=long_mode) and _REP in code[: prefixes(code, long_mode=long_mode)]


def is_string_port(code: bytes, *, long_mode: bool) -> bool:
    """INS or OUTS."""
    start = prefixes(code, long_mode=long_mode)
    return start < len(code) and code[start] in _STRING_PORT


def debug_register(code: bytes, *, long_mode: bool) -> tuple[int, str, bool, int]:
    """Of a MOV with one (0F 21, 0F 23): its number, the other register, whether it is written, the length."""
    start = prefixes(code, long_mode=long_mode)
    rex = code[start - 1] if long_mode and start and code[start - 1] & 0xF0 == 0x40 else 0
    operands = code[start + 2]
    return operands >> 3 & 7, GENERAL[operands & 7 | (rex & 1) << 3], code[start + 1] == 0x23, start + 3
