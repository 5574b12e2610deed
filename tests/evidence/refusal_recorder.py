"""A plugin of pytest's that writes down by which checks evidence was refused in each test: ``-p
tests.evidence.refusal_recorder``, into the file that ``REFUSALS_FILE`` names."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

from wasmkeep.evidence.errors import Finding, Rejected

_seen: defaultdict[str, set[str]] = defaultdict(set)
_make = Rejected.__init__


def _recorded(self: Rejected, *findings: Finding) -> None:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0].partition("[")[0]
    _seen[test] |= {finding.check for finding in findings}
    _make(self, *findings)


Rejected.__init__ = _recorded  # type: ignore[method-assign]  # in this process of a test's own only


def pytest_sessionfinish() -> None:
    """Write them."""
    found = {test: sorted(checks) for test, checks in _seen.items()}
    Path(os.environ["REFUSALS_FILE"]).write_text(json.dumps(found), encoding="utf-8")
