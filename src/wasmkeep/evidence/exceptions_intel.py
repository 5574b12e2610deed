"""Which rules of the shipped policy a policy lifts for TDX and SGX (`exceptions` says what that means)."""

from __future__ import annotations

from collections.abc import Iterator

from wasmkeep.evidence.dcap.policy import DcapPolicy
from wasmkeep.evidence.sgx.policy import SgxPolicy
from wasmkeep.evidence.tdx.policy import TdxPolicy

__all__ = ["of_sgx", "of_tdx"]


def of_tdx(tdx: TdxPolicy) -> Iterator[tuple[str, str]]:
    """Word and text of each."""
    yield from _of_the_platform(tdx, "TDX")
    lifted = (
        (tdx.debug, "debug-allowed", "TDs whose memory the host may read and write"),
        (tdx.sept_ve, "sept-ve-allowed", "TDs that the host can make take exceptions on private memory"),
        (tdx.migratable, "migration-allowed", "TDs that may be migrated"),
        (tdx.perfmon, "perfmon-allowed", "TDs that use performance counters"),
        (tdx.key_locker, "key-locker-allowed", "TDs that use Key Locker"),
        (tdx.unknown_attributes, "unknown-attributes", "TD attributes that this verifier does not know"),
        (tdx.service_td, "service-td", "service TDs that nobody judges"),
    )
    yield from ((what, f"accepts {text}") for allowed, what, text in lifted if allowed)
    if TdxPolicy().xfam_require & ~tdx.xfam_require:
        yield "xfam-lowered", f"requires fewer processor features: XFAM {tdx.xfam_require:#x}"


def of_sgx(sgx: SgxPolicy) -> Iterator[tuple[str, str]]:
    """Word and text of each."""
    yield from _of_the_platform(sgx, "SGX")
    lifted = (
        (sgx.debug, "debug-allowed", "enclaves whose memory the host may read and write"),
        (sgx.provision_key, "provision-key-allowed", "enclaves that may derive keys of the platform"),
        (sgx.by_signer, "by-signer", "whatever a listed signer signs: MRENCLAVE is not compared"),
    )
    yield from ((what, f"accepts {text}") for allowed, what, text in lifted if allowed)


def _of_the_platform(policy: DcapPolicy, tee: str) -> Iterator[tuple[str, str]]:
    shipped = DcapPolicy()
    further = [status for status in policy.tcb_statuses if status not in shipped.tcb_statuses]
    if further:
        yield "tcb-status", f"accepts {tee} platforms of TCB status {', '.join(further)}"
    if policy.any_advisory:
        yield "advisories", f"accepts {tee} platforms whatever security advisories apply to them"
    elif policy.advisories:
        yield "advisories", f"accepts that {', '.join(sorted(policy.advisories))} apply to {tee} platforms"
    days, by_default = policy.max_collateral_age_days, shipped.max_collateral_age_days
    if days > by_default:
        yield "collateral-age-raised", f"accepts collateral of {days} days for {tee}, {by_default} by default"
