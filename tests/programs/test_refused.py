"""Programs that a keep does not run: each refused by the name of what it needs, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import wasmtime

from tests.programs import packages
from wasmkeep.errors import ProgramError
from wasmkeep.tenant import module
from wasmkeep.tenant.compile import compile_program
from wasmkeep.tenant.source import read_source

COMPONENT = """
(component
  (core module $m (func (export "run") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))
"""


def refusal(wasm: bytes) -> ProgramError:
    with pytest.raises(ProgramError) as refused:
        compile_program(wasm)
    assert refused.value.exit_code == 65
    assert refused.value.meaning == "nothing was sent"
    assert refused.value.remedy
    return refused.value


@pytest.mark.parametrize("wheel", [packages.MICROPYTHON, packages.NEW_YOSYS], ids=lambda x: x.requirement)
def test_a_program_with_exceptions(wheel: packages.Wheel) -> None:
    refused = refusal(packages.module(wheel))
    assert refused.check == "program.unsupported"
    assert "exceptions" in refused.message


def test_a_component(tmp_path: Path) -> None:
    wasm = bytes(wasmtime.wat2wasm(COMPONENT))
    refused = refusal(wasm)
    assert refused.check == "program.component"
    assert "wasmkeep runs core modules with WASI preview 1" in refused.message
    assert "wasm32-wasip1" in refused.remedy
    (tmp_path / "main.wat").write_text(COMPONENT)
    with pytest.raises(ProgramError) as of_text:
        module.parse(read_source(tmp_path / "main.wat").wasm)
    assert of_text.value.check == "program.component"


IMPORTS = {
    "wasi:cli/environment@0.2.3": ("get-environment", "WASI preview 2 or later", "wasm32-wasip1"),
    "wasi:io/streams@0.2.0": ("[method]output-stream.write", "WASI preview 2 or later", "no adapter"),
    "wasi:cli/stdout@0.3.0": ("write-via-stream", "WASI preview 2 or later", "wasm32-wasip1"),
    "wasi_snapshot_preview2": ("fd_write", "WASI preview 2", "wasm32-wasip1"),
    "cm32p2|wasi:cli/run@0.2": ("run", "the component model", "no adapter"),
    "wasi_ephemeral_nn": ("load", "beyond preview 1", "wasm32-wasip1"),
    "wasix_32v1": ("fd_dup", "WASIX", "wasm32-wasip1"),
    "env": ("abort", "AssemblyScript", "wasi-shim"),
    "gojs": ("runtime.wasmExit", "Go's js/wasm", "GOOS=wasip1"),
    "wbg": ("__wbindgen_throw", "wasm-bindgen", "without wasm-bindgen"),
    "extism:host/env": ("length", "functions that are not WASI preview 1", "nothing else to import"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_an_import_of_another_host(name: str) -> None:
    function, words, remedy = IMPORTS[name]
    text = f"""(module (import "{name}" "{function}" (func))
      (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
      (memory (export "memory") 1) (func (export "_start")))"""
    refused = refusal(bytes(wasmtime.wat2wasm(text)))
    assert refused.check == "program.import"
    assert words in refused.message
    assert remedy in refused.remedy
    assert refused.found == f"imports {name}.{function}"
    assert refused.required == "imports from wasi_snapshot_preview1 only"


def test_emscripten_is_known_by_what_comes_after() -> None:
    text = """(module (import "env" "__syscall_openat" (func)) (import "env" "emscripten_resize_heap" (func))
      (memory (export "memory") 1) (func (export "_start")))"""
    refused = refusal(bytes(wasmtime.wat2wasm(text)))
    assert "Emscripten" in refused.message
    assert "STANDALONE_WASM" in refused.remedy
