"""Every test here runs on each kind of machine that this computer has."""

from __future__ import annotations

import pytest

from tests.conformance.keeps import KINDS, has_kvm
from wasmkeep.image import MachineKind


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> MachineKind:
    chosen = MachineKind(request.param)
    if not chosen.process and not has_kvm():
        pytest.skip("/dev/kvm is absent or not permitted: the keep cannot run in a virtual machine here")
    return chosen
