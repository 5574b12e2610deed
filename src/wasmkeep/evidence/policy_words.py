"""A policy in plain words: one sentence a rule, for the platforms that it names, made from its keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wasmkeep.evidence.platforms import PLATFORM_NAMES
from wasmkeep.evidence.policy import SEV_PLATFORMS, Policy
from wasmkeep.evidence.policy_keys import Table, owner
from wasmkeep.evidence.policy_keys_snp_parts import MINIMUM_TCB
from wasmkeep.evidence.policy_toml import TABLES
from wasmkeep.evidence.snp.products import MODEL_LINES

__all__ = ["Rule", "rules"]

_GENERAL = "every platform"
_LISTS = "revocation"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule in force. ``subject`` is whom it is about; ``text`` a sentence without its full stop;
    ``changed`` is True where the policy says something else than the shipped one."""

    subject: str
    key: str
    text: str
    changed: bool


def rules(policy: Policy) -> tuple[Rule, ...]:
    """Every rule of a policy, in the order of its keys, without those of platforms that it does not name."""
    shipped = Policy()
    return tuple(rule for table in TABLES for rule in _of_table(policy, shipped, table))


def _of_table(policy: Policy, shipped: Policy, table: Table) -> Iterator[Rule]:
    subject = _subject(policy, table.path)
    if not subject:
        return
    if table.path.startswith(MINIMUM_TCB):
        yield from _minimum(policy, shipped, table.path, subject)
        return
    part, by_default = owner(policy, table.path), owner(shipped, table.path)
    for key in table.keys:
        value = getattr(part, key.field)
        yield Rule(subject, table.dotted(key), key.says(value), value != getattr(by_default, key.field))


def _subject(policy: Policy, path: str) -> str:
    """Whom the rules of a table are about, empty where the policy does not name it."""
    first = path.partition(".")[0]
    if first == "sev":
        return " and ".join(PLATFORM_NAMES[kind] for kind in SEV_PLATFORMS if kind in policy.platforms)
    if first == _LISTS:
        return PLATFORM_NAMES["snp"] if "snp" in policy.platforms else ""
    if first in PLATFORM_NAMES:
        return PLATFORM_NAMES[first] if first in policy.platforms else ""
    return _GENERAL


def _minimum(policy: Policy, shipped: Policy, path: str, subject: str) -> Iterator[Rule]:
    """One sentence a model line, of the generations that the policy accepts."""
    name = path.rpartition(".")[2]
    (product,) = (line.product for line in MODEL_LINES if line.name == name)
    if product not in policy.snp.generations:
        return
    minimum = policy.snp.minimum_tcb[name]
    parts = "FMC." * (minimum.fmc is not None) + "boot loader.TEE.SNP.microcode"
    text = f"{name}: the TCB must be at least {minimum} ({parts}), as reported and at launch"
    yield Rule(subject, path, text, minimum != shipped.snp.minimum_tcb[name])
