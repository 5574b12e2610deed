"""What this computer's kernel says of processor, modules and mounts: it explains a device that is not there.

Read from ``/proc`` and ``/sys``; nothing is opened for writing, and what cannot be read counts as absent.
"""

from __future__ import annotations

import grp
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wasmkeep.hardware.devices import DEVICES

__all__ = ["AMD", "INTEL", "Surroundings", "look"]

AMD = "AuthenticAMD"
INTEL = "GenuineIntel"
_PARAMETERS = ("kvm_amd/sev", "kvm_amd/sev_es", "kvm_amd/sev_snp")
_MODULES = ("ccp", "configfs", "kvm_amd", "kvm_intel", "sev_guest", "tdx_guest", "tsm", "tsm_report")
_READ_MAX = 1 << 20  # bytes of any of these files
_RELEASE = re.compile(r"(\d{1,3})\.(\d{1,3})")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`vendor` and `flags` as in ``/proc/cpuinfo`` (``sev``, ``sev_snp``, ``svm``, ``hypervisor`` …).

    `kernel` is its release; `modules` those of interest that are loaded, or built in with something to set;
    `parameters` ``module/name`` → value; `groups` device path → the group it belongs to; `vmpl` of an SNP
    guest whose kernel tells it (Linux 6.11).
    """

    vendor: str = ""
    flags: frozenset[str] = frozenset()
    kernel: tuple[int, int] = (0, 0)
    modules: frozenset[str] = frozenset()
    parameters: Mapping[str, str] = field(default_factory=dict)
    configfs_mounted: bool = False
    groups: Mapping[str, str] = field(default_factory=dict)
    vmpl: int | None = None

    @property
    def in_guest(self) -> bool:
        """Whether this is a virtual machine."""
        return "hypervisor" in self.flags


def look(root: Path = Path("/")) -> Surroundings:
    """Look around below `root`."""
    processor = _text(root / "proc/cpuinfo")
    release = _RELEASE.match(_text(root / "proc/sys/kernel/osrelease"))
    level = _text(root / "sys/devices/system/cpu/sev/vmpl").strip()
    return Surroundings(
        vendor=_first(processor, "vendor_id"),
        flags=frozenset(_first(processor, "flags").split()),
        kernel=(int(release[1]), int(release[2])) if release else (0, 0),
        modules=frozenset(name for name in _MODULES if (root / "sys/module" / name).is_dir()),
        parameters={
            name: _text(root / "sys/module" / name.replace("/", "/parameters/")).strip()
            for name in _PARAMETERS
        },
        configfs_mounted=any(
            line.split()[1:3] == ["/sys/kernel/config", "configfs"]
            for line in _text(root / "proc/mounts").splitlines()
        ),
        groups={device.path: _group(root / device.path[1:]) for device in DEVICES},
        vmpl=int(level) if level.isdecimal() and len(level) == 1 else None,
    )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_READ_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


def _first(processor: str, name: str) -> str:
    """The value of the first line of that name in ``/proc/cpuinfo``."""
    found = re.search(rf"^{name}\s*:\s*(.*)$", processor, re.MULTILINE)
    return found[1].strip() if found else ""


def _group(path: Path) -> str:
    """The name of the group that `path` belongs to, or its number; empty where there is no such file."""
    try:
        number = path.stat().st_gid
    except OSError:
        return ""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
