"""Rows of SEV and SEV-ES: chains, roots, sessions, measurements, secrets. Digests are in `digest_rows`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tests.vectors_conformance import digest_rows, verdicts
from tests.vectors_conformance.index import UnusableIndex, VectorRow
from tests.vectors_conformance.outcome import Facts, Outcome
from tests.vectors_conformance.sev_chain_facts import PARTS, authority_facts, chain_facts, platform_of
from tests.vectors_conformance.verdicts import Answer
from wasmkeep.evidence import Policy, SevEvidence
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.sev import ca_certificate, chain, checks, measurement, packet, session
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.ca_certificate import CaCertificate
from wasmkeep.evidence.sev.evidence import SevKind
from wasmkeep.evidence.sev.measurement import LaunchMeasurement
from wasmkeep.evidence.sev.session import LaunchKeys

__all__ = ["judge"]

Json = Mapping[str, Any]  # Any: JSON
_NO_ROOTS: Mapping[bytes, Any] = MappingProxyType({})


def judge(row: VectorRow, policy: Policy, outcome: Outcome) -> None:
    """Facts and verdict of one row."""
    if row.entry:
        _judge_entry(row, policy, outcome)
    elif row.file("ark-without-signature.cert"):
        _judge_legacy(row, outcome)
    elif all(file.name.endswith(("-ark.cert", "-ask.cert")) for file in row.files):
        _judge_roots(row, outcome)
    else:
        _judge_chain(row, policy, outcome)


def _judge_entry(row: VectorRow, policy: Policy, outcome: Outcome) -> None:
    inputs = row.entries()
    if "firmware" in inputs:
        digest_rows.judge(row, outcome)
    elif "z" in inputs:
        outcome.compare(row.expected, _session_facts(inputs))
    elif "secrets" in inputs:
        outcome.compare(row.expected, _secret_facts(inputs))
    elif "mnonce" in inputs:
        _judge_measurement(row, inputs, policy, outcome)
    else:
        raise UnusableIndex("an entry of a kind that is not known here")


def _unhex(inputs: Json, *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(str(inputs[name])) for name in names)


def _session_facts(inputs: Json) -> Facts:
    z, nonce, iv, tek, tik = _unhex(inputs, "z", "nonce", "iv", "tek", "tik")
    keys = LaunchKeys(tek, tik)
    made = session.wrap(z, inputs["policy"], nonce=nonce, iv=iv, keys=keys)
    return {
        "wrap_tk": lambda: made.wrap_tk,
        "wrap_mac": lambda: made.wrap_mac,
        "policy_mac": lambda: made.policy_mac,
        "valid": lambda: session.open_session(made, z, inputs["policy"]) == keys,
    }


def _secret_facts(inputs: Json) -> Facts:
    tek, tik, iv, measure = _unhex(inputs, "tek", "tik", "iv", "launch_measure")
    keys = LaunchKeys(tek, tik)
    table = packet.secret_table([(uuid.UUID(one["guid"]), one["data"].encode()) for one in inputs["secrets"]])
    made = packet.seal_secret(keys, iv, table, measure)
    return {
        "packet_header": lambda: made.header,
        "packet_data": lambda: made.data,
        "valid": lambda: packet.open_secret(keys, made, measure) == table,
    }


def _judge_measurement(row: VectorRow, inputs: Json, policy: Policy, outcome: Outcome) -> None:
    tik, digest, mnonce = _unhex(inputs, "tik", "launch_digest", "mnonce")
    version = inputs["api_major"], inputs["api_minor"], inputs["build_id"]
    stated = bytes.fromhex(row.expected["measurement_hmac"])
    bits = GuestPolicy.decode(inputs["policy"]).bits

    def valid() -> bool:
        measured = LaunchMeasurement(stated, mnonce)
        proven = measurement.verify_measurement(tik, measured, *version, inputs["policy"], [digest])
        return proven.digest == digest

    outcome.compare(
        verdicts.facts_in(row.expected),
        {
            "measurement_hmac": lambda: measurement.measure(tik, *version, inputs["policy"], digest, mnonce),
            "hmac_valid": valid,
            "policy_nodbg": lambda: bool(bits & GuestPolicyBit.NODBG),
            "policy_noks": lambda: bool(bits & GuestPolicyBit.NOKS),
            "policy_es": lambda: bool(bits & GuestPolicyBit.ES),
        },
    )

    platform = _chain_beneath(row)
    if "policy_verdict" not in row.expected:
        return
    if platform is None:
        outcome.notes.append("not checkable: its verdict (no platform of SEV's is among the vectors)")
        return
    authentic = chain.authenticate(platform, AMD_ROOTS)
    kind: SevKind = "sev-es" if bits & GuestPolicyBit.ES else "sev"
    launch = SevEvidence(kind, platform, *version, inputs["policy"], stated + mnonce, bytes(32))
    named = replace(policy, runtime=(digest.hex(),))

    def verify() -> None:
        checks.judge_launch(launch, authentic, named, {}, tik)

    verdicts.judge_all(outcome, row.expected, lambda moment: verify, lambda what: verify)


def _judge_chain(row: VectorRow, policy: Policy, outcome: Outcome) -> None:
    platform = platform_of(row)
    outcome.compare(verdicts.facts_in(row.expected), chain_facts(platform))

    def verify() -> None:
        checks.judge_platform("sev", platform, policy)

    if "policy_verdict" in row.expected:
        verdicts.judge_all(outcome, row.expected, lambda moment: verify, lambda what: verify)


def _judge_legacy(row: VectorRow, outcome: Outcome) -> None:
    """A root without its signature: right by its pinned key alone, whatever surrounds it."""
    without, detached = row.file("ark-without-signature.cert"), row.file("ark-signature.bin")
    if without is None or detached is None:
        raise UnusableIndex("the row lacks the root or its signature")
    parsed = ca_certificate.parse(without.data, "ARK")
    whole = replace(parsed, signature=detached.data)
    root = AMD_ROOTS.get(parsed.spki_sha256)
    outcome.compare(
        verdicts.facts_in(row.expected),
        {
            "certificate_length": lambda: len(without.data),
            "has_signature": lambda: bool(parsed.signature) or parsed.signed_by(parsed),
            "key_equal_to_naples_ark": lambda: root is not None and root.product == "Naples",
            "detached_signature_valid": lambda: _hash_of(parsed) if whole.signed_by(whole) else None,
        },
    )
    words = row.expected.get("policy_verdict")
    if words is None:
        return
    if verdicts.read(words).answer is not Answer.ONLY_IF_PINNED:
        raise UnusableIndex(f"no verdict for a root without a signature: {words!r}")
    beneath = _chain_beneath(row)
    if beneath is None:
        outcome.notes.append("not checkable: its verdict (no chain beneath this root is among the vectors)")
        return
    platform = replace(beneath, ark=without.data)
    verdicts.accepted(outcome, lambda: _authenticate(platform, AMD_ROOTS), " where the key is pinned")
    verdicts.refused(outcome, "root not pinned", lambda: _authenticate(platform, _NO_ROOTS))


def _authenticate(platform: chain.PlatformCertificates, roots: Mapping[bytes, Any]) -> None:
    chain.authenticate(platform, roots)


def _chain_beneath(row: VectorRow) -> chain.PlatformCertificates | None:
    """A Naples platform of the same vectors, or of those beside them."""
    for folder in row.authorities:
        parts = {part: folder / "sev" / "naples-chain" / f"{part}.cert" for part in PARTS}
        if all(path.is_file() for path in parts.values()):
            return chain.PlatformCertificates(**{part: path.read_bytes() for part, path in parts.items()})
    return None


def _hash_of(one: CaCertificate) -> str:
    return "sha256" if one.bits == 2048 else "sha384"


def _judge_roots(row: VectorRow, outcome: Outcome) -> None:
    """``PRODUCT-ark.cert`` and ``PRODUCT-ask.cert``: keys, signatures, and that the root is a pinned one."""
    products = sorted({file.name.partition("-")[0] for file in row.files})
    facts: dict[str, Callable[[], object]] = {}
    for product in products:
        ark, ask = row.file(f"{product}-ark.cert"), row.file(f"{product}-ask.cert")
        if ark is None or ask is None:
            raise UnusableIndex(f"the row lacks a certificate of {product}")
        facts[product] = _computed(authority_facts(ark.data, ask.data))
        root = AMD_ROOTS.get(ca_certificate.parse(ark.data, "ARK").spki_sha256)
        if root is None or root.product.lower() != product:
            outcome.problems.append(f"{product}: its root is not the pinned one")
    outcome.compare(row.expected, facts)


def _computed(facts: Facts) -> Callable[[], object]:
    return lambda: {name: compute() for name, compute in facts.items()}
