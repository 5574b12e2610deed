"""The package's own description is true."""

from __future__ import annotations

import pkgutil
import re

from wasmkeep import hardware


def test_every_module_that_the_package_names_exists() -> None:
    named = set(re.findall(r"``(\w+)``", hardware.__doc__ or ""))
    assert len(named) > 5
    assert named <= {module.name for module in pkgutil.iter_modules(hardware.__path__)}
