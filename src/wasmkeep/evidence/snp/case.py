"""What the rules judge: a genuine report beside what the tenant requires, and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from wasmkeep.evidence.binding import Unbound
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.snp import defaults
from wasmkeep.evidence.snp.tcb import Tcb

if TYPE_CHECKING:
    from wasmkeep.evidence.snp.checks import Genuine

__all__ = ["Case", "is_provisional", "minimum_report_version", "minimum_tcb", "reference", "short"]


class Case(NamedTuple):
    """A genuine report and what the tenant requires of it."""

    genuine: Genuine
    policy: Policy
    binding: bytes | Unbound
    host_data: bytes | Unbound
    reference_values: Mapping[bytes, str]


def reference(case: Case) -> str | None:
    """The policy's name for the launch digest, None when it accepts no such digest. A reference value counts
    only under a name that the policy lists."""
    measured = case.genuine.report.measurement
    name = case.reference_values.get(measured)
    if name is not None and name in case.policy.runtime_names:
        return name
    if measured in case.policy.runtime_digests:
        return f"launch digest {short(measured)}"
    return None


def minimum_tcb(case: Case) -> Tcb:
    """The minimum of the report's model line; a version 2 report does not say which, so its product's."""
    return case.policy.snp.minimum_tcb[case.genuine.line or case.genuine.product]


def minimum_report_version(case: Case) -> int:
    """The floor of the report's generation, the shipped one where the policy does not say."""
    product = case.genuine.product
    return case.policy.snp.minimum_report_version.get(product, defaults.MINIMUM_REPORT_VERSION[product])


def is_provisional(genuine: Genuine) -> bool:
    """Something runs that is not committed (N-3.3)."""
    report = genuine.report
    older = bool(genuine.committed_tcb.below(genuine.current_tcb))
    return older or report.committed_version < report.current_version


def short(value: bytes) -> str:
    """First and last bytes in hexadecimal, for lines that people read."""
    return f"{value[:4].hex()}…{value[-2:].hex()}"
