"""Random walks over a small file tree give, step by step, what they give in plain wasmtime."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from tests.conformance.keeps import Given, ended, in_keep, in_wasmtime
from tests.programs.calls import FILES, WRITABLE, Mount
from tests.tenant.bare import built, compiled
from wasmkeep.image import MachineKind

SOURCE = Path(__file__).with_name("walk") / "walk.c"
SEEDS = range(100 if os.environ.get("WASMKEEP_SOAK") else 4)
STEPS = 4_000
KNOWN = {
    ("open", "20", "31"),  # a directory opened to be created: EISDIR in a keep, as Linux says of `.`
    ("rename", "55", "31"),  # a file over a directory above it: Linux says ENOTEMPTY before it looks closer
}
"""What is done, wasmtime's errno, the keep's."""


@cache
def program() -> bytes:
    wasi = (SOURCE.parents[1] / "probe" / "wasi.h").read_text()
    return built("walk", SOURCE, "-O1", "-s", "-target", "wasm32-wasi", also=wasi).read_bytes()


def given(mount: Mount, seed: int) -> Given:
    return Given((mount.path, str(seed), str(STEPS)), files=FILES, memory=64 << 20, machine=160 << 20)


@cache
def in_peer(seed: int) -> list[str]:
    result = in_wasmtime(program(), given(WRITABLE[0], seed))
    assert result.code == 0
    return result.stdout.decode().splitlines()


def agree(peer: str, keep: str) -> bool:
    if peer == keep:
        return True
    (theirs, _, step), (ours, _, same) = peer.partition(" "), keep.partition(" ")
    return step == same and (step.split()[0], theirs, ours) in KNOWN


def walk(kind: MachineKind, mount: Mount, seed: int) -> None:
    result = ended(in_keep(kind, compiled(program()), given(mount, seed)))
    keep, peer = result.stdout.decode().splitlines(), in_peer(seed)
    for number, (theirs, ours) in enumerate(zip(peer, keep, strict=True)):
        assert agree(theirs, ours), f"step {number} after {peer[max(0, number - 5) : number]}"
    assert sum(line.startswith("0 ") for line in peer) > STEPS / 5


@pytest.mark.parametrize("mount", WRITABLE, ids=str)
def test_of_many_seeds(mount: Mount) -> None:
    for seed in SEEDS:
        walk(MachineKind.PROCESS, mount, seed)


def test_on_each_kind_of_machine(kind: MachineKind) -> None:
    walk(kind, WRITABLE[1], 0)
