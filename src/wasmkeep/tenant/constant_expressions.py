"""Constant expressions: evaluated while reading, for globals and the offsets of segments.

Source: WebAssembly core specification, "Constant Expressions", with the extended-const proposal (integer
add, subtract, multiply). A global may be read if it was defined before and is immutable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wasmkeep.errors import ProgramError
from wasmkeep.tenant.binary import Reader, malformed, unsupported
from wasmkeep.tenant.wasm_types import Global, Value, ValueType

__all__ = ["read_constant"]

MAX_OPERATORS: Final = 10_000
"""Longest constant expression, in operators: far beyond what any toolchain emits."""

_END: Final = 0x0B
_ADD_SUB_MUL: Final = {
    0x6A: (ValueType.I32, "add"),
    0x6B: (ValueType.I32, "sub"),
    0x6C: (ValueType.I32, "mul"),
    0x7C: (ValueType.I64, "add"),
    0x7D: (ValueType.I64, "sub"),
    0x7E: (ValueType.I64, "mul"),
}
_WIDTH: Final = {ValueType.I32: 32, ValueType.I64: 64}


def read_constant(
    reader: Reader, expected: ValueType, globals_before: Sequence[Global], function_count: int
) -> Value:
    """Read one expression up to its ``end`` and give its value.

    :raises ProgramError: malformed, of another type than ``expected``, or using an unsupported operator.
    """
    stack: list[Value] = []
    for _ in range(MAX_OPERATORS):
        operator = reader.byte()
        if operator == _END:
            if len(stack) != 1 or stack[0].type is not expected:
                raise malformed(f"a constant expression in the {reader.what} does not give one {expected}")
            return stack[0]
        if operator in _ADD_SUB_MUL:
            stack.append(_arithmetic(reader, operator, stack))
        else:
            stack.append(_operand(reader, operator, globals_before, function_count))
    raise malformed(f"a constant expression in the {reader.what} has more than {MAX_OPERATORS} operators")


def _arithmetic(reader: Reader, operator: int, stack: list[Value]) -> Value:
    kind, operation = _ADD_SUB_MUL[operator]
    if len(stack) < 2 or stack[-1].type is not kind or stack[-2].type is not kind:
        raise malformed(f"a constant expression in the {reader.what} lacks operands of type {kind}")
    right, left = stack.pop().bits, stack.pop().bits
    result = {"add": left + right, "sub": left - right, "mul": left * right}[operation]
    return Value(kind, result % (1 << _WIDTH[kind]))


def _operand(reader: Reader, operator: int, globals_before: Sequence[Global], function_count: int) -> Value:
    match operator:
        case 0x41:
            return Value(ValueType.I32, reader.s32() % (1 << 32))
        case 0x42:
            return Value(ValueType.I64, reader.s64() % (1 << 64))
        case 0x43:
            return Value(ValueType.F32, int.from_bytes(reader.take(4), "little"))
        case 0x44:
            return Value(ValueType.F64, int.from_bytes(reader.take(8), "little"))
        case 0x23:
            return _read_global(reader, globals_before)
        case 0xD0:
            return _null(reader)
        case 0xD2:
            function = reader.u32()
            if function >= function_count:
                raise malformed(f"the {reader.what} names function {function}, which does not exist")
            return Value(ValueType.FUNCREF, function=function)
        case 0xFD if reader.u32() == 12:
            return Value(ValueType.V128, int.from_bytes(reader.take(16), "little"))
        case 0xFB:
            raise unsupported("garbage collection (GC)", found=f"in the {reader.what}")
        case _:
            raise _not_constant(reader, operator)


def _read_global(reader: Reader, globals_before: Sequence[Global]) -> Value:
    index = reader.u32()
    if index >= len(globals_before) or globals_before[index].mutable:
        raise malformed(f"a constant expression in the {reader.what} reads global {index}")
    return globals_before[index].value


def _null(reader: Reader) -> Value:
    heap_type = reader.byte()
    if heap_type == 0x6F:
        raise unsupported("externref (references to a host's objects)", found=f"in the {reader.what}")
    if heap_type != ValueType.FUNCREF:
        raise unsupported("reference types beyond funcref (GC)", found=f"in the {reader.what}")
    return Value(ValueType.FUNCREF, function=None)


def _not_constant(reader: Reader, operator: int) -> ProgramError:
    return malformed(f"operator 0x{operator:02x} in a constant expression in the {reader.what}")
