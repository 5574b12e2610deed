"""The keep's images: what a launch of one looks like, and what it must measure.

``elf`` (checked reading) · ``vmsa`` (initial registers) · ``pages`` (regions in order) · ``reference``
(names). The images themselves, one ``.elf`` a kind of machine and TEE, are built by ``keep/build.py``.
"""

from __future__ import annotations

from wasmkeep.image.pages import Launch, MachineKind, Region, expected_launch_digest, launch
from wasmkeep.image.reference import OWN_NAME, Reference, read_image, reference_values, resolve

__all__ = [
    "OWN_NAME",
    "Launch",
    "MachineKind",
    "Reference",
    "Region",
    "expected_launch_digest",
    "launch",
    "read_image",
    "reference_values",
    "resolve",
]
