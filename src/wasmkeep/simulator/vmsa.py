"""The initial state of a vCPU as its VMSA says it (architecture manual, SEV-ES state save area; SEV.md
B.5).
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.simulator.save_area import CONTROL, GENERAL, SEGMENTS, SaveArea, Segment

SEV_FEATURE_SNP_ACTIVE = 1 << 0
EFER_SVME = 1 << 12  # set in every VMSA by rule; the guest does not see nested virtualisation from it
# Model-specific registers and what the VMSA calls them.
_MSRS = {
    0x174: "sysenter_cs",
    0x175: "sysenter_esp",
    0x176: "sysenter_eip",
    0xC000_0081: "star",
    0xC000_0082: "lstar",
    0xC000_0083: "cstar",
    0xC000_0084: "sfmask",
    0xC000_0102: "kernel_gs_base",
}
_PAT = 0x277
MSR_RESET = {_PAT: 0x0007_0406_0007_0406}
"""Registers that are not zero at reset."""


@dataclass(frozen=True, slots=True)
class InitialState:
    """What the machine's CPU takes from a VMSA; `msrs` only those that differ from their reset value."""

    segments: dict[str, Segment]
    general: dict[str, int]
    control: dict[str, int]
    msrs: tuple[tuple[int, int], ...]
    fcw: int
    mxcsr: int
    sev_features: int
    vmpl: int


def parse_vmsa(page: bytes) -> InitialState:
    """`page` is 4096 bytes. Every bit pattern parses; the CPU decides whether it can run from it."""
    area = SaveArea(page)
    msrs = [(index, area[name]) for index, name in _MSRS.items() if area[name]]
    if area["g_pat"] != MSR_RESET[_PAT]:
        msrs.append((_PAT, area["g_pat"]))
    return InitialState(
        segments={name: area.segment(name) for name in SEGMENTS},
        general={name: area[name] for name in GENERAL},
        control={name: area[name] for name in CONTROL},
        msrs=tuple(msrs),
        fcw=area["fcw"],
        mxcsr=area["mxcsr"],
        sev_features=area["sev_features"],
        vmpl=area["vmpl"],
    )


class InvalidVmsa(Exception):
    """VMRUN would fail: the guest ends in KVM_EXIT_FAIL_ENTRY before its first instruction."""


def require_runnable(state: InitialState, *, sev_features: int = SEV_FEATURE_SNP_ACTIVE) -> None:
    """A guest has exactly the features its kind has here (SNP: SNP and no other; SEV and SEV-ES: none), and
    starts at VMPL 0. Raises `InvalidVmsa`.
    """
    if state.sev_features != sev_features:
        raise InvalidVmsa(f"SEV_FEATURES {state.sev_features:#x}, and this guest has {sev_features:#x}")
    if state.vmpl != 0:
        raise InvalidVmsa("a vCPU starts at VMPL 0")
