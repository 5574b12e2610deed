"""Both kinds of machine, and programs on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from tests.keep.bare_machine import (
    MEMORY,
    KvmMachine,
    Machine,
    ProcessMachine,
    configuration_page,
    secrets_page,
)
from tests.keep.wire import Relay
from wasmkeep.hardware.kvm import Kvm

IMAGES = Path(__file__).resolve().parents[2] / "src" / "wasmkeep" / "image"
KINDS = ("snp", "process")

MachineOf = Callable[[bytes], Machine]


@lru_cache
def image(kind: str) -> bytes:
    path = IMAGES / f"{kind}.elf"
    if not path.is_file():
        pytest.fail("the keep's images are not built: run `make image`")
    return path.read_bytes()


@pytest.fixture(scope="session")
def kvm() -> Iterator[Kvm]:
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("/dev/kvm is absent or not permitted; the process kind is tested instead")
    device = Kvm()
    yield device
    device.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def machine_of(kind: str, request: pytest.FixtureRequest) -> MachineOf:
    """Makes a machine of the kind under test, given the secure processor's key."""
    if kind == "process":
        return lambda key: ProcessMachine(image(kind), secrets_page(key), configuration_page())
    kvm = request.getfixturevalue("kvm")
    return lambda key: KvmMachine(kvm, image(kind), secrets_page(key), configuration_page(), MEMORY)


@pytest.fixture
def relay(machine_of: MachineOf) -> Relay:
    """A well-behaved host and a tenant around one fresh machine."""
    return Relay(machine_of)
