"""Bits of a trust domain: its attributes and extended features (TDX module ABI, TD attributes and XFAM)."""

from __future__ import annotations

from enum import IntFlag
from typing import Final

__all__ = ["UNDER_DEBUG", "TdAttribute", "XfamBit", "unjudged_attributes"]


class TdAttribute(IntFlag):
    """ATTRIBUTES (u64). Bits 0 to 7 put a TD under debug: with any of them it is not to be trusted."""

    DEBUG = 1 << 0
    HGS_PLUS_PROF = 1 << 4
    PERF_PROF = 1 << 5
    PMT_PROF = 1 << 6
    ICSSD = 1 << 16
    SERVTD_EXT = 1 << 17
    LASS = 1 << 27
    SEPT_VE_DISABLE = 1 << 28
    MIGRATABLE = 1 << 29
    PKS = 1 << 30
    KL = 1 << 31
    TPA = 1 << 62
    PERFMON = 1 << 63


class XfamBit(IntFlag):
    """XFAM (u64), laid out as XCR0 and IA32_XSS are."""

    X87 = 1 << 0
    SSE = 1 << 1
    AVX = 1 << 2
    AVX512_OPMASK = 1 << 5
    AVX512_ZMM_HIGH = 1 << 6
    AVX512_HIGH_ZMM = 1 << 7
    PT = 1 << 8
    PKRU = 1 << 9
    PASID = 1 << 10
    CET_U = 1 << 11
    CET_S = 1 << 12
    HDC = 1 << 13
    UINTR = 1 << 14
    LBR = 1 << 15
    HWP = 1 << 16
    AMX_TILECFG = 1 << 17
    AMX_TILEDATA = 1 << 18


UNDER_DEBUG: Final = 0xFF
"""Bits 0 to 7 of ATTRIBUTES, known or not."""

_JUDGED: Final = (
    TdAttribute.LASS
    | TdAttribute.SEPT_VE_DISABLE
    | TdAttribute.MIGRATABLE
    | TdAttribute.PKS
    | TdAttribute.KL
    | TdAttribute.PERFMON
)


def unjudged_attributes(value: int) -> int:
    """Bits of ATTRIBUTES from 8 on for which no rule exists: nobody knows what they give up."""
    return value & ~int(_JUDGED) & ~UNDER_DEBUG
