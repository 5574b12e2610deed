"""The peer: wasmtime as it comes, with its own precompiled module, in this process."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import wasmtime

__all__ = ["Peer"]


class Peer:
    """A program in plain wasmtime: default settings, this computer's own CPU, WASI with arguments and at most
    one folder.

    Every `run` is what a warm start is there: the precompiled module mapped from its file, a new store, a new
    instance, the program to its end.
    """

    def __init__(self, program: Path, folder: Path, *, root: Path | None = None) -> None:
        """Compiles, unless ``folder`` has it from before. ``root``: what the program sees as ``/``.

        Raises OSError, WasmtimeError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        wasm = program.read_bytes()
        key = hashlib.sha256(wasm + metadata.version("wasmtime").encode()).hexdigest()
        self._engine = wasmtime.Engine()
        self._linker = wasmtime.Linker(self._engine)
        self._linker.define_wasi()
        self._root = root
        self._name = program.name
        self._compiled = folder / f"{key}.cwasm"
        self._output = folder / f"{program.name}.out"
        if not self._compiled.exists():
            partial = self._compiled.with_suffix(".part")
            partial.write_bytes(wasmtime.Module(self._engine, wasm).serialize())
            partial.rename(self._compiled)

    def run(self, *arguments: str) -> bytes:
        """What the program wrote to its standard output. RuntimeError unless it exited with 0."""
        module = wasmtime.Module.deserialize_file(self._engine, str(self._compiled))
        wasi = wasmtime.WasiConfig()
        wasi.argv = (self._name, *arguments)
        wasi.stdout_file = str(self._output)
        if self._root is not None:
            wasi.preopen_dir(str(self._root), "/")
        store = wasmtime.Store(self._engine)
        store.set_wasi(wasi)
        instance = self._linker.instantiate(store, module)
        start = instance.exports(store)["_start"]
        if not isinstance(start, wasmtime.Func):
            raise RuntimeError("the program has no _start")
        try:
            start(store)
        except wasmtime.ExitTrap as exited:
            if exited.code != 0:
                raise RuntimeError(f"the peer exited with {exited.code}") from exited
        store.close()
        return self._output.read_bytes()
