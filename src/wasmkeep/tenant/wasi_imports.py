"""WASI preview 1 as a program imports it: the functions, their numbers in a package, their types.

The functions are those of ``wasi_snapshot_preview1`` (WebAssembly/WASI, legacy/preview1, witx), in
alphabetical order; the position is the builtin number of protocol.md section 4. A type is written as the
parameters, a colon, and the results: ``i`` is i32, ``I`` is i64 (core types after witx lowering).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from wasmkeep.tenant.wasm_types import FunctionType, ValueType

__all__ = ["BEFORE_COMPONENT", "FUNCTIONS", "MODULE", "NUMBERS", "foreign_import"]

MODULE: Final = "wasi_snapshot_preview1"

_SIGNATURES: Final = {
    "args_get": "ii:i",
    "args_sizes_get": "ii:i",
    "clock_res_get": "ii:i",
    "clock_time_get": "iIi:i",
    "environ_get": "ii:i",
    "environ_sizes_get": "ii:i",
    "fd_advise": "iIIi:i",
    "fd_allocate": "iII:i",
    "fd_close": "i:i",
    "fd_datasync": "i:i",
    "fd_fdstat_get": "ii:i",
    "fd_fdstat_set_flags": "ii:i",
    "fd_fdstat_set_rights": "iII:i",
    "fd_filestat_get": "ii:i",
    "fd_filestat_set_size": "iI:i",
    "fd_filestat_set_times": "iIIi:i",
    "fd_pread": "iiiIi:i",
    "fd_prestat_dir_name": "iii:i",
    "fd_prestat_get": "ii:i",
    "fd_pwrite": "iiiIi:i",
    "fd_read": "iiii:i",
    "fd_readdir": "iiiIi:i",
    "fd_renumber": "ii:i",
    "fd_seek": "iIii:i",
    "fd_sync": "i:i",
    "fd_tell": "ii:i",
    "fd_write": "iiii:i",
    "path_create_directory": "iii:i",
    "path_filestat_get": "iiiii:i",
    "path_filestat_set_times": "iiiiIIi:i",
    "path_link": "iiiiiii:i",
    "path_open": "iiiiiIIii:i",
    "path_readlink": "iiiiii:i",
    "path_remove_directory": "iii:i",
    "path_rename": "iiiiii:i",
    "path_symlink": "iiiii:i",
    "path_unlink_file": "iii:i",
    "poll_oneoff": "iiii:i",
    "proc_exit": "i:",
    "proc_raise": "i:i",
    "random_get": "ii:i",
    "sched_yield": ":i",
    "sock_accept": "iii:i",
    "sock_recv": "iiiiii:i",
    "sock_send": "iiiii:i",
    "sock_shutdown": "ii:i",
}

_LETTERS: Final = {"i": ValueType.I32, "I": ValueType.I64}


def _function_type(signature: str) -> FunctionType:
    parameters, results = signature.split(":")
    return FunctionType(tuple(_LETTERS[x] for x in parameters), tuple(_LETTERS[x] for x in results))


FUNCTIONS: Final = MappingProxyType({name: _function_type(text) for name, text in _SIGNATURES.items()})
NUMBERS: Final = MappingProxyType({name: number for number, name in enumerate(_SIGNATURES)})

_PREVIEW1 = "rebuild it for WASI preview 1 (for example the target wasm32-wasip1)"
BEFORE_COMPONENT: Final = f"{_PREVIEW1}; no adapter and no step that makes a component is needed"
"""What to do about a component, or a module on its way to one."""
_NO_BROWSER = "rebuild it for WASI preview 1, without wasm-bindgen"

_FOREIGN_NAMES: Final = {
    "wasi_unstable": ("WASI snapshot 0 (wasi_unstable)", _PREVIEW1),
    "wasi_snapshot_preview2": ("WASI preview 2", BEFORE_COMPONENT),
    "wasi": ("threads (wasi-threads)", "build it without threads"),
    "wbg": ("a JavaScript host (wasm-bindgen)", _NO_BROWSER),
    "gojs": ("a JavaScript host (Go's js/wasm)", "build it with GOOS=wasip1"),
    "go": ("a JavaScript host (Go's js/wasm)", "build it with GOOS=wasip1"),
}
_FOREIGN_PREFIXES: Final = {
    "wasi:": ("WASI preview 2 or later", BEFORE_COMPONENT),
    "cm32p2": ("the component model", BEFORE_COMPONENT),
    "[export]": ("the component model", BEFORE_COMPONENT),
    "wasix_": ("WASIX", _PREVIEW1),
    "wasi_ephemeral_": ("a WASI proposal beyond preview 1", _PREVIEW1),
    "GOT.": ("dynamic linking (imports GOT)", "link the program statically"),
    "__wbindgen": ("a JavaScript host (wasm-bindgen)", _NO_BROWSER),
}


_FOREIGN_FUNCTIONS: Final = {
    "abort": ("AssemblyScript's own host", "build it with @assemblyscript/wasi-shim"),
    "emscripten_": ("Emscripten's JavaScript host", "build it with -sSTANDALONE_WASM, as a command"),
    "invoke_": ("Emscripten's JavaScript host", "build it with -sSTANDALONE_WASM and without exceptions"),
    "_emscripten_": ("Emscripten's JavaScript host", "build it with -sSTANDALONE_WASM, as a command"),
}
"""By the beginning of the name, where the module is ``env``, which says nothing."""


def foreign_import(module: str, name: str) -> tuple[str, str] | None:
    """What an import that is not preview 1's means, where that is known: (name of the feature, remedy)."""
    known = _FOREIGN_NAMES.get(module)
    if known is not None:
        return known
    table, text = (_FOREIGN_FUNCTIONS, name) if module == "env" else (_FOREIGN_PREFIXES, module)
    return next((known for prefix, known in table.items() if text.startswith(prefix)), None)
