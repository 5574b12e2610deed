"""Compiling: the same everywhere, progress, and each thing a computer can lack by its name."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tenant.bare import REPOSITORY, c_program, wat
from wasmkeep import __version__
from wasmkeep.errors import PlatformUnavailable, ProgramError
from wasmkeep.tenant import compiler
from wasmkeep.tenant.compile import compile_program, level_of_target, target_name
from wasmkeep.tenant.program import LAYOUT_VERSION
from wasmkeep.tenant.settings import SWITCHES, VALUES, CpuLevel, describe

TEXT = '(module (memory (export "memory") 1) (func (export "_start")))'

ELSEWHERE = """
import sys
from pathlib import Path
from wasmkeep.tenant.compile import compile_program
print(compile_program(Path(sys.argv[1]).read_bytes()).digest.hex())
"""


def test_two_compilations_give_the_same_bytes() -> None:
    wasm = c_program(REPOSITORY / "examples" / "hello.c")
    assert compile_program(wasm) == compile_program(wasm)


def test_another_process_folder_and_environment_give_the_same_bytes(tmp_path: Path) -> None:
    wasm = tmp_path / "hello.wasm"
    wasm.write_bytes(c_program(REPOSITORY / "examples" / "hello.c"))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY / "src"),
        "PYTHONHASHSEED": "7",
        "HOME": str(tmp_path),
        "TZ": "Pacific/Chatham",
        "LC_ALL": "C",
        "RAYON_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", ELSEWHERE, str(wasm)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == compile_program(wasm.read_bytes()).digest.hex()


def test_levels_differ_and_are_named() -> None:
    wasm = c_program(REPOSITORY / "examples" / "hello.c")
    programs = [compile_program(wasm, level=level) for level in (CpuLevel.V2, CpuLevel.V3)]
    assert programs[0].digest != programs[1].digest
    assert [x.target.split()[-1] for x in programs] == ["x86-64-v2", "x86-64-v3"]


@pytest.mark.parametrize("level", CpuLevel)
def test_target_names_its_level(level: CpuLevel) -> None:
    assert level_of_target(target_name(level)) is level


@pytest.mark.parametrize(
    "target", ["", "wasmtime 50.0.2 x86_64-unknown-linux-gnu x86-64-v3", target_name(CpuLevel.V3) + "9"]
)
def test_foreign_target_is_refused(target: str) -> None:
    with pytest.raises(PlatformUnavailable) as refused:
        level_of_target(target)
    assert refused.value.check == "program.target"


def test_progress_is_called_while_compiling() -> None:
    seen: list[float] = []
    program = compile_program(wat(TEXT), progress=seen.append)
    assert program == compile_program(wat(TEXT))
    assert seen
    assert seen[0] >= 0
    assert seen == sorted(seen)


def test_refusals_pass_through_the_progress_thread() -> None:
    invalid = wat('(module (memory (export "memory") 1) (func (export "_start") (i32.const 1)))')
    with pytest.raises(ProgramError, match="validation failed"):
        compile_program(invalid, progress=lambda _: None)


def test_another_wasmtime_is_an_error_that_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "51.0.0")
    with pytest.raises(PlatformUnavailable) as refused:
        compile_program(wat(TEXT))
    assert refused.value.check == "program.wasmtime"
    assert refused.value.found == "wasmtime 51.0.0"
    assert refused.value.required == "wasmtime 50.0.1"


@pytest.mark.parametrize(
    ("system", "machine"), [("darwin", "x86_64"), ("linux", "aarch64"), ("win32", "AMD64")]
)
def test_another_platform_is_an_error(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(PlatformUnavailable) as refused:
        compiler.check_platform()
    assert refused.value.check == "program.platform"
    assert system in refused.value.found
    assert refused.value.exit_code == 69


def test_processor_below_the_level_is_an_error() -> None:
    words = "compilation settings of module incompatible with native host"
    error = compiler._not_compiled(words, CpuLevel.V4)
    assert isinstance(error, PlatformUnavailable)
    assert (error.check, error.required) == ("program.level", "a processor of level x86-64-v4")
    flags = Path("/proc/cpuinfo").read_text()
    if "avx512f" not in flags:
        with pytest.raises(PlatformUnavailable) as refused:
            compile_program(wat(TEXT), level=CpuLevel.V4)
        assert refused.value.check == "program.level"


def test_refused_modules_never_reach_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        pytest.fail("a refused module was compiled")

    monkeypatch.setattr(compiler, "machine_code", never)
    with pytest.raises(ProgramError):
        compile_program(b"\0asm\x0d\0\1\0")


@pytest.mark.parametrize(
    "text", ["(module", "(module (func $f (unknown.instruction)))", "", "\0", "(component)"]
)
def test_text_that_does_not_parse(text: str) -> None:
    with pytest.raises(ProgramError) as refused:
        compile_program(compiler.text_to_binary(text))
    assert refused.value.exit_code == 65


def test_every_setting_of_wasmtime_is_decided() -> None:
    """A switch that a new wasmtime brings must be decided on, not defaulted."""
    import wasmtime

    left_alone = {
        "cache",  # wasmtime's own cache: never
        "cranelift_debug_verifier",  # checks only
        "cranelift_flag_enable",  # the level
        "cranelift_flag_set",
        "macos_use_mach_ports",
        "max_wasm_stack",  # run time only; the layout's stack limit takes its place
        "parallel_compilation",  # changes nothing but the time
        "profiler",
        "wasm_component_model_implements",  # parts of the component model, which is off
        "wasm_component_model_map",
    }
    known = {x for x in vars(wasmtime.Config) if not x.startswith("_")}
    assert known == SWITCHES.keys() | VALUES.keys() | left_alone


def test_settings_are_part_of_the_key() -> None:
    for name, value in {**SWITCHES, **VALUES}.items():
        assert f"{name}={value}" in describe()
    assert f"layout={LAYOUT_VERSION} " in describe()
    assert f"wasmkeep={__version__} " in describe()
