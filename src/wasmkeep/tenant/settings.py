"""How wasmtime's compiler is set: part of what a compiled program is, so part of its key in the cache."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from wasmkeep import __version__
from wasmkeep.tenant import wasmtime_facts
from wasmkeep.tenant.program import LAYOUT_VERSION

__all__ = ["DEFAULT_LEVEL", "SWITCHES", "VALUES", "CpuLevel", "describe"]


class CpuLevel(StrEnum):
    """A level of the x86-64 psABI that programs may be compiled for."""

    V2 = "x86-64-v2"
    V3 = "x86-64-v3"
    V4 = "x86-64-v4"


DEFAULT_LEVEL: Final = CpuLevel.V3

MEMORY_RESERVATION: Final = 4 << 30
"""Addresses the compiled code takes for linear memory; the keep reserves 4 GiB at 0x1_0000_0000."""
MEMORY_GUARD: Final = 32 << 20
"""Unmapped bytes after it that the compiled code relies on; the keep has 4 GiB."""

SWITCHES: Final = {
    # what runs
    "wasm_bulk_memory": True,
    "wasm_multi_value": True,
    "wasm_reference_types": True,
    "wasm_relaxed_simd": True,
    "wasm_relaxed_simd_deterministic": False,
    "wasm_simd": True,
    "wasm_tail_call": True,
    "wasm_wide_arithmetic": True,
    # what does not
    "gc_support": False,
    "shared_memory": False,
    "wasm_component_model": False,
    "wasm_custom_page_sizes": False,
    "wasm_exceptions": False,
    "wasm_function_references": False,
    "wasm_gc": False,
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_stack_switching": False,
    "wasm_threads": False,
    # how it runs
    "consume_fuel": False,
    "cranelift_nan_canonicalization": False,
    "debug_info": False,
    "epoch_interruption": False,
    "memory_init_cow": False,
    "memory_may_move": False,
    "native_unwind_info": False,
    "signals_based_traps": True,
}
"""Every switch of wasmtime's configuration that changes what is accepted or compiled. ``memory_init_cow`` is
off so that runtime data are the module's segments one by one, as the layout expects."""
VALUES: Final = {
    "cranelift_opt_level": "speed",
    "memory_guard_size": MEMORY_GUARD,
    "memory_reservation": MEMORY_RESERVATION,
    "memory_reservation_for_growth": 0,
    "strategy": "cranelift",
    "target": wasmtime_facts.TRIPLE,
}


def describe() -> str:
    """Every setting in one line, with the layout's version and this release: none uses another's programs."""
    listed = " ".join(f"{name}={value}" for name, value in sorted({**SWITCHES, **VALUES}.items()))
    return f"wasmkeep={__version__} layout={LAYOUT_VERSION} {listed}"
