"""What a tenant requires of a trust domain."""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.dcap.policy import DcapPolicy

__all__ = ["TdxPolicy"]


@dataclass(frozen=True, slots=True)
class TdxPolicy(DcapPolicy):
    """TDX. Empty sets mean that MRTD alone decides (it must be in the policy's ``runtime``). Digests are 48
    bytes; ``xfam_allow`` is a mask of bits that may be set (u64), the rest must be clear, None for any;
    ``xfam_require`` bits that must be set. ``debug``, ``migratable``, ``sept_ve`` (SEPT_VE_DISABLE may be
    clear), ``perfmon``, ``key_locker``, ``unknown_attributes`` and ``service_td`` lift one rule each.
    ``minimum_module_svn`` is of the TDX module that launched the TD (TEE_TCB_SVN, byte 0)."""

    debug: bool = False
    migratable: bool = False
    sept_ve: bool = False
    perfmon: bool = False
    key_locker: bool = False
    unknown_attributes: bool = False
    service_td: bool = False
    xfam_allow: int | None = None
    xfam_require: int = 0x3
    rtmr0: frozenset[bytes] = frozenset()
    rtmr1: frozenset[bytes] = frozenset()
    rtmr2: frozenset[bytes] = frozenset()
    rtmr3: frozenset[bytes] = frozenset()
    mrseam: frozenset[bytes] = frozenset()
    mrconfigid: frozenset[bytes] = frozenset()
    mrowner: frozenset[bytes] = frozenset()
    mrownerconfig: frozenset[bytes] = frozenset()
    minimum_module_svn: int = 0
