"""Each key says in words what its value does: another value, another sentence."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.evidence.test_policy import every_key as every_key
from wasmkeep.evidence.plain import plain
from wasmkeep.evidence.policy import SUPPORTED_PLATFORMS, Policy
from wasmkeep.evidence.policy_keys import owner
from wasmkeep.evidence.policy_keys_snp_parts import MINIMUM_TCB
from wasmkeep.evidence.policy_toml import TABLES
from wasmkeep.evidence.policy_words import rules
from wasmkeep.evidence.snp.policy import SnpPolicy


def everything(policy: Policy) -> Policy:
    return replace(policy, platforms=SUPPORTED_PLATFORMS, denied_platforms=())


def test_another_value_is_another_sentence(every_key: str) -> None:
    changed, shipped = Policy.from_toml(every_key, name="p"), Policy()
    for table in TABLES:
        if table.path.startswith(MINIMUM_TCB):
            continue
        one, other = owner(shipped, table.path), owner(changed, table.path)
        for key in table.keys:
            sentences = {key.says(getattr(part, key.field)) for part in (one, other)}
            assert len(sentences) == 2, table.dotted(key)


def test_sentences_are_words(every_key: str) -> None:
    for policy in (Policy(), plain(), Policy.from_toml(every_key, name="p")):
        for rule in rules(everything(policy)):
            assert rule.text
            assert not rule.text.endswith(".")
            assert not re.search(r"[{}]|frozenset|mappingproxy|None|\\x|<", rule.text), rule


def test_minima_are_of_the_generations_named() -> None:
    said = [rule.key for rule in rules(Policy(snp=SnpPolicy(generations=("Milan",))))]
    assert [key for key in said if key.startswith(MINIMUM_TCB)] == ["snp.minimum_tcb.Milan"]


@pytest.mark.parametrize("kind", SUPPORTED_PLATFORMS)
def test_only_the_platforms_named_are_spoken_of(kind: str) -> None:
    first = {"sev-es": "sev"}.get(kind, kind)
    tables = {rule.key.partition(".")[0] for rule in rules(Policy(platforms=(kind,)))}
    assert first in tables
    others = {"snp", "tdx", "sgx", "sev"} - {first}
    assert tables.isdisjoint(others)
    assert ("revocation" in tables) == (kind == "snp")


def test_a_changed_rule_is_marked() -> None:
    policy = Policy.from_toml("[snp.minimum_tcb.Turin]\nsnp = 9\n[snp]\nmaximum_vmpl = 2\n", name="p")
    assert [rule.key for rule in rules(policy) if rule.changed] == [
        "snp.maximum_vmpl",
        "snp.minimum_tcb.Turin",
    ]
