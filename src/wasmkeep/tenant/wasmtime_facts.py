"""The private facts of wasmtime 50.0.1 that the layout of an instance rests on. All of them, and only here.

wasmtime promises none of this between versions, so exactly one version is accepted (`VERSION`), and
``tests/tenant/test_wasmtime_facts.py`` with the programs of ``tests/tenant/`` would notice a change: they
decode what that version emits and run it. Names are wasmtime's own; the files named are its source files.

Calling convention of "array calls" (``crates/environ/src/vmtypes.rs``, VMArrayCallFunction): System V,
``(callee vmctx, caller vmctx, values, count of values) -> bool``, each value 16 bytes; false means that a
trap was raised. Entry and start function are called this way with both vmctx the instance's own, and WASI
functions are called this way by the program. Builtins are called System V as ``(vmctx, ...)``.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

VERSION: Final = "50.0.1"
TRIPLE: Final = "x86_64-unknown-linux-gnu"

# --- VMContext: crates/environ/src/vmctxtypes.rs, in the order of its declaration -------------------------
VMCTX_MAGIC: Final = 0x65726F63
"""``core`` in ASCII: crates/environ/src/vmoffsets.rs, VMCONTEXT_MAGIC."""
VMCTX_STORE_CONTEXT: Final = 0x08
VMCTX_BUILTINS: Final = 0x10
VMCTX_TYPE_IDS: Final = 0x28
VMCTX_DYNAMIC: Final = 0x30
"""End of the fixed part. After it, each array directly after the one before: pointers to defined memories,
memory definitions, imported functions, tables, (aligned to 16) globals, func refs of escaping functions,
func ref of the startup function if there is one, pointers to runtime data, lengths of runtime data."""
VMCTX_GLOBALS_ALIGNMENT: Final = 16

# --- crates/environ/src/vmtypes.rs ------------------------------------------------------------------------
MEMORY_POINTER_SIZE: Final = 8
MEMORY_DEFINITION_SIZE: Final = 16
"""VMMemoryDefinition: {base u64, length in bytes u64}."""
FUNCTION_IMPORT_SIZE: Final = 32
FUNC_REF_SIZE: Final = 32
"""VMFunctionImport and VMFuncRef alike: {array call u64, wasm call u64, type u32, zero u32, vmctx u64}."""
TABLE_DEFINITION_SIZE: Final = 16
"""VMTableDefinition: {base u64, elements u64}."""
GLOBAL_SIZE: Final = 16
RUNTIME_DATA_POINTER_SIZE: Final = 8
RUNTIME_DATA_LENGTH_SIZE: Final = 4

STORE_STACK_LIMIT: Final = 0x18
"""VMStoreContext.stack_limit: compiled code traps before its frame would go below this address."""
STORE_CONTEXT_SIZE: Final = 0x100
"""VMStoreContext ends before this; the rest of it is scratch that trampolines write."""

HOST_FUNCTION_MAGIC: Final = 0x46484341
"""``ACHF``: crates/environ/src/vmoffsets.rs, VM_ARRAY_CALL_HOST_FUNC_MAGIC."""
HOST_FUNCTION_ARRAY_CALL: Final = 0x08
"""VMArrayCallHostFuncContext: {magic u32, zero u32, VMFuncRef}: the callee vmctx of an imported function,
whose first field after the magic is what the wasm-to-array trampoline calls."""
HOST_FUNCTION_SIZE: Final = 0x28

# --- references -------------------------------------------------------------------------------------------
TABLE_ENTRY_SIZE: Final = 8
TABLE_ENTRY_INITIALIZED: Final = 1
"""Set in every entry that needs no lazy initialization; a null reference is this bit alone
(crates/environ/src/ref_bits.rs). The layout fills tables whole, so nothing is ever lazy."""
PASSIVE_ELEMENT_SIZE: Final = 16
"""One element of a passive segment, a ValRaw (crates/cranelift/src/func_environ.rs)."""

# --- builtins: crates/environ/src/builtin.rs, position in foreach_builtin_function ------------------------
BUILTIN_COUNT: Final = 64
"""Entries laid out; wasmtime 50.0.1 has fewer."""
BUILTINS: Final = MappingProxyType(
    {
        "memory_grow": 0,
        "memory_copy": 1,
        "memory_fill": 2,
        "passive_elem_segment_len": 3,
        "passive_elem_segment_base": 4,
        "passive_elem_segment_drop": 5,
        "ref_func": 6,
        "table_get_lazy_init_func_ref": 7,
        "table_grow": 8,
        "raise": 41,
    }
)

# --- the compiled object: an ELF file, crates/environ/src/obj.rs ------------------------------------------
SECTION_TEXT: Final = ".text"
SECTION_TRAPS: Final = ".wasmtime.traps"
SYMBOL_FUNCTION: Final = "wasm[0]::function["
"""A function's body, ``wasm[0]::function[N]`` and perhaps ``::name``; N counts imports first."""
SYMBOL_ARRAY_TO_WASM: Final = "wasm[0]::array_to_wasm_trampoline["
"""One for each function that escapes (is exported or referred to): its array call."""
SYMBOL_WASM_TO_ARRAY: Final = "signatures["
"""``signatures[T]::wasm_to_array_trampoline``: how wasm calls a host function of type T, where T counts
distinct types in the order they first appear (crates/environ/src/compile/module_types.rs)."""
SYMBOL_BUILTIN: Final = "wasmtime_builtin_"
SYMBOL_STARTUP_WASM: Final = "module_start[0]::Wasm"
SYMBOL_STARTUP_ARRAY: Final = "module_start[0]::Array"
"""The startup function: evaluates initializers again (to the same values), then calls the start function."""

# --- traps: crates/environ/src/trap_encoding.rs -----------------------------------------------------------
TRAP_BLOCK_ENTRIES: Final = 128
TRAP_STACK_OVERFLOW: Final = 0
TRAP_MEMORY_OUT_OF_BOUNDS: Final = 1
TRAP_NAMES: Final = MappingProxyType(
    {
        0: "call stack exhausted",
        1: "out of bounds memory access",
        2: "unaligned atomic",
        3: "undefined element: out of bounds table access",
        4: "uninitialized element",
        5: "indirect call type mismatch",
        6: "integer overflow",
        7: "integer divide by zero",
        8: "invalid conversion to integer",
        9: "wasm `unreachable` instruction executed",
        10: "interrupt",
        11: "all fuel consumed by WebAssembly",
        13: "null reference",
    }
)
