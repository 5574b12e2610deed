"""Every function of WASI preview 1, called well and badly: what plain wasmtime gives, a keep gives.

Where the two differ, `differences` names the case, both results and the reason; a difference that is not
listed fails, and so does one that is listed and no longer there.
"""

from __future__ import annotations

import pytest

from tests.programs.calls import (
    DELIVERED,
    GROUPS,
    READ_ONLY,
    WRITABLE,
    Mount,
    Table,
    program,
    table_in_keep,
    table_in_wasmtime,
)
from tests.programs.differences import DIFFERENCES
from wasmkeep.image import MachineKind
from wasmkeep.tenant import module
from wasmkeep.tenant.wasi_imports import FUNCTIONS

PATHS = ("process.args_sizes_get", "process.arguments")
"""Cases that show the arguments, and so the place."""


def differing(keep: Table, peer: Table) -> dict[str, tuple[str | None, str | None]]:
    return {
        case: (keep.get(case), peer.get(case))
        for case in {**peer, **keep}
        if keep.get(case) != peer.get(case) and case not in PATHS
    }


def listed(*groups: str) -> dict[str, tuple[str | None, str | None]]:
    return {one.case: (one.keep, one.wasmtime) for one in DIFFERENCES if one.case.partition(".")[0] in groups}


def test_every_function_is_called() -> None:
    assert {imported.name for imported in module.parse(program()).imports} == set(FUNCTIONS)


def test_each_difference_is_listed_once_and_with_its_reason() -> None:
    assert len({one.case for one in DIFFERENCES}) == len(DIFFERENCES) > 0
    assert all(len(one.reason) > 20 for one in DIFFERENCES)


@pytest.mark.parametrize("mount", WRITABLE, ids=str)
def test_calls_give_what_they_give_in_wasmtime(mount: Mount, kind: MachineKind) -> None:
    found = differing(table_in_keep(kind, mount, *GROUPS), table_in_wasmtime(WRITABLE[0], *GROUPS))
    assert found == listed(*GROUPS)


def test_nothing_changes_a_delivered_tree(kind: MachineKind) -> None:
    found = differing(table_in_keep(kind, DELIVERED, READ_ONLY), table_in_wasmtime(DELIVERED, READ_ONLY))
    assert found == listed(READ_ONLY)
