"""What a program may leave of its stack is enough for whatever the keep does on it.

wasm code checks that its frames stay 64 KiB above the end of the stack (0x81_0000); a builtin is called below
that. Each is called here with less, on its longest way, and would run into the guard if it needed more.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.keep import packages
from tests.keep.assembly import assemble
from tests.keep.packages import DATA, FLAG_DIRECTORY, FileEntry, InvocationPart, ProgramPart
from tests.keep.wire import Relay
from wasmkeep.protocol.statements import Exited

STACK, ENOUGH = 0x80_0000, 40 << 10
SLOTS, VALUES = DATA + 0x800, DATA + 0x400
OUT, NAME, IOVEC, BUFFER, SUBSCRIPTION = 0x100, 0x200, 0x300, 0x1000, 0x400


@dataclass(frozen=True)
class Call:
    number: int
    arguments: tuple[int, ...]
    errno: int = 0


CALLS = (
    Call(0, (OUT, BUFFER)),
    Call(4, (BUFFER, BUFFER + 4096)),
    Call(3, (0, 1, OUT)),
    Call(14, (3, 0), 31),  # EISDIR
    Call(21, (3, BUFFER, 4096, 0, OUT)),
    Call(26, (1, IOVEC, 2, OUT)),
    Call(26, (2, IOVEC, 2, OUT)),
    Call(27, (3, NAME, 5)),
    Call(28, (3, 0, NAME, 5, BUFFER)),
    Call(34, (3, NAME, 5, 3, NAME + 16, 5)),
    Call(31, (3, 0, NAME + 32, 6, 9, 0x1FFF_FFFF, 0, 0, OUT)),
    Call(26, (4, IOVEC, 2, OUT)),
    Call(19, (4, IOVEC, 2, 300_000, OUT)),
    Call(16, (4, IOVEC, 2, 0, OUT)),
    Call(23, (4, 0, 0, OUT)),
    Call(20, (4, IOVEC, 2, OUT)),
    Call(15, (4, 1, 1, 5)),
    Call(8, (4,)),
    Call(36, (3, NAME + 32, 6)),
    Call(33, (3, NAME + 16, 5)),
    Call(37, (SUBSCRIPTION, BUFFER, 1, OUT)),
    Call(40, (BUFFER, 30_000)),
    Call(20, (0, IOVEC, 2, OUT)),
    Call(44, (3, IOVEC, 1, 0, OUT), 8),  # EBADF: a directory
)


def linear() -> list[tuple[int, bytes]]:
    subscription = struct.pack("<QB7xI4xQQH", 1, 0, 1, 1_000_000, 0, 0)
    return [
        (NAME, b"tmp/a".ljust(16) + b"tmp/b".ljust(16) + b"tmp/cc"),
        (IOVEC, struct.pack("<IIII", BUFFER, 40_000, BUFFER, 20_000)),
        (SUBSCRIPTION, subscription),
    ]


def call_code(index: int, call: Call) -> str:
    stores = "".join(
        f"mov rax, {argument}\n mov [{VALUES + 16 * at:#x}], rax\n"
        for at, argument in enumerate(call.arguments)
    )
    return f"""
        {stores}
        mov esp, {STACK + ENOUGH:#x}
        mov edx, {VALUES:#x}
        mov ecx, {max(1, len(call.arguments))}
        call [{SLOTS + 8 * call.number:#x}]
        mov eax, [{VALUES:#x}]
        cmp eax, {call.errno}
        je 1f
        mov dword ptr [{VALUES:#x}], {100 + index}
        jmp exit
    1:
    """


def test_every_builtin_fits_below_the_stack_limit(relay: Relay) -> None:
    code = "\n".join(call_code(index, call) for index, call in enumerate(CALLS))
    code += f"""
        mov dword ptr [{VALUES:#x}], 7
    exit:
        mov esp, {STACK + ENOUGH:#x}
        mov edx, {VALUES:#x}
        mov ecx, 1
        call [{SLOTS + 8 * packages.PROC_EXIT:#x}]
        ud2
    """
    part = ProgramPart.of_code(
        assemble({"calls": code})["calls"],
        relocations=[(SLOTS + 8 * number, number, 0) for number in range(46)],
        runs=linear(),
    )
    invocation = InvocationPart(variables=[b"A=1"] * 100, files=[FileEntry(b"d", FLAG_DIRECTORY)])
    outcome = relay.run(packages.raw(part, invocation), b"input")
    assert outcome.receipt.receipt.outcome == Exited(7)
    assert len(outcome.stdout) == len(outcome.stderr) == 60_000
