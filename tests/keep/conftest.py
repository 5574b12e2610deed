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
)
from tests.keep.wire import Relay
from wasmkeep.hardware.kvm import Kvm

IMAGES = Path(__file__).resolve().parents[2] / "src" / "wasmkeep" / "image"
KINDS = ("snp", "process")
PRE_ATTESTED = ("sev", "sev-es", "process-sev", "process-sev-es")
ALL_KINDS = KINDS + PRE_ATTESTED
GARBAGE = bytes(range(1, 256)) + b"\xff"
"""What lies in memory that was not launched, where that is not zero."""

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
    """Makes a machine of the kind under test, given the page that its launch gives the keep alone."""
    if kind.startswith("process"):
        return lambda page: ProcessMachine(image(kind), page, configuration_page())
    kvm = request.getfixturevalue("kvm")
    garbage = GARBAGE if kind in PRE_ATTESTED else b""
    return lambda page: KvmMachine(kvm, image(kind), page, configuration_page(), MEMORY, garbage=garbage)


def tee_of(kind: str) -> str:
    return "snp" if kind == "process" else kind.removeprefix("process-")


@pytest.fixture
def relay(machine_of: MachineOf, kind: str) -> Relay:
    """A well-behaved host and a tenant around one fresh machine."""
    return Relay(machine_of, tee=tee_of(kind))
