"""The shipped policy ``plain``: is this evidence genuine, whatever it is evidence of?

Genuine signatures that lead to a pinned root, no revoked certificate, no debug, everything in date. It sets
no minimum TCB and no reference measurement; a TCB status other than UpToDate is for the caller to allow. It
is for looking at evidence; whatever it gives up is said wherever it is applied.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from wasmkeep.evidence.policy import (
    SUPPORTED_PLATFORMS,
    Policy,
    RevocationPolicy,
    SevPolicy,
    SgxPolicy,
    SnpPolicy,
    TdxPolicy,
)
from wasmkeep.evidence.sev.bits import GuestPolicyBit as SevGuestPolicyBit
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.bits import GuestPolicyBit
from wasmkeep.evidence.snp.products import MODEL_LINES, PRODUCTS, layout_of
from wasmkeep.evidence.snp.report import VERSIONS
from wasmkeep.evidence.snp.tcb import Tcb, TcbLayout

__all__ = ["NAME", "plain"]

NAME: Final = "plain"
_TEN_YEARS_DAYS = 3660
_LOWEST_VMPL = 3


def plain() -> Policy:
    """The policy; ``replace`` its parts to allow or ask for more."""
    return Policy(
        name=NAME,
        platforms=SUPPORTED_PLATFORMS,
        any_measurement=True,
        # Much evidence comes without a list. One that comes must be in date, and revokes.
        revocation=RevocationPolicy(required=False, max_age_days=_TEN_YEARS_DAYS),
        snp=_snp(),
        sev=SevPolicy(
            generations=tuple(entry.name for entry in defaults.GENERATIONS),
            minimum_api=(0, 0),
            guest_allow=SevGuestPolicyBit.NOKS | SevGuestPolicyBit.NOSEND,
        ),
        tdx=TdxPolicy(any_advisory=True, max_collateral_age_days=_TEN_YEARS_DAYS, perfmon=True),
        sgx=SgxPolicy(any_advisory=True, max_collateral_age_days=_TEN_YEARS_DAYS, provision_key=True),
    )


def _snp() -> SnpPolicy:
    return SnpPolicy(
        generations=PRODUCTS,
        signers=("vcek", "vlek"),
        minimum_report_version=MappingProxyType(dict.fromkeys(PRODUCTS, min(VERSIONS))),
        minimum_abi=(0, 0),
        minimum_tcb=MappingProxyType({line.name: _nothing(line.product) for line in MODEL_LINES}),
        maximum_vmpl=_LOWEST_VMPL,
        guest_allow=GuestPolicyBit.SMT | GuestPolicyBit.CXL_ALLOW | GuestPolicyBit.MIGRATE_MA,
        provisional_firmware=True,
        alias_check=False,
        unknown_platform_bits=True,
        undescribed_version=True,
        masked_chip_id=True,
    )


def _nothing(product: str) -> Tcb:
    with_fmc = layout_of(product) is TcbLayout.FAMILY_1AH
    return Tcb(bootloader=0, tee=0, snp=0, microcode=0, fmc=0 if with_fmc else None)
