"""What both tests of mutated quotes share: the accepted real rows, and judging what was spoilt of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.evidence.dcap_rows import at, evidence_of, rows
from tests.evidence.mutations import der_edits, flipped, inserted_extensions, positions, refusal
from wasmkeep.evidence import UNBOUND, Collateral, Policy, Rejected, SgxEvidence, TdxEvidence, verify
from wasmkeep.evidence.dcap import quote
from wasmkeep.evidence.pem import decode_certificates, encode_certificate
from wasmkeep.evidence.plain import plain

Evidence = TdxEvidence | SgxEvidence
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256 (FIPS 186-4, D.1.2.3)."""
_PART = 32
_HEADER = 48
_CHAIN_FIELDS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_LIST_FIELDS = ("root_ca_crl", "pck_crl")
_TEXT_FIELDS = ("tcb_info", "qe_identity")
_SIGNATURE_FIELDS = ("tcb_info_signature", "qe_identity_signature")
_OF_PLATFORM = (*_TEXT_FIELDS, *_SIGNATURE_FIELDS)
FIELDS = (*_CHAIN_FIELDS, *_LIST_FIELDS, *_TEXT_FIELDS, *_SIGNATURE_FIELDS)


def accepted(technology: str) -> list[str]:
    """Rows that a plain policy accepts, or accepts once it allows their TCB status."""
    return [
        name
        for name, row in rows().items()
        if name.startswith(f"{technology}/") and row.expected["policy_verdict"].startswith("accept")
    ]


def policy(name: str) -> Policy:
    """The plain policy, with the row's TCB status allowed: so that only the mutation can be what refuses."""
    status = rows()[name].expected["status"]
    own = plain()
    statuses = tuple(dict.fromkeys((*own.tdx.tcb_statuses, status)))
    return replace(
        own,
        tdx=replace(own.tdx, tcb_statuses=statuses),
        sgx=replace(own.sgx, tcb_statuses=statuses),
    )


def refused(name: str, evidence: Evidence) -> tuple[str, ...]:
    """The checks that refuse; fails when evidence is accepted."""
    moment, chosen = at(rows()[name].expected["verify_at"]), policy(name)
    return refusal(lambda: verify(evidence, chosen, at=moment, binding=UNBOUND, reference_values={}))


def accept(name: str, evidence: Evidence) -> None:
    """The row as it is passes: a mutation's refusal says something."""
    moment = at(rows()[name].expected["verify_at"])
    verify(evidence, policy(name), at=moment, binding=UNBOUND, reference_values={})


def own(name: str) -> tuple[Evidence, quote.Quote]:
    evidence = evidence_of(rows()[name])
    return evidence, quote.parse(evidence.quote)


def every_signed_byte(name: str) -> None:
    """Header and body, in turn: all of the header and some of the body, and all of it in a long run."""
    evidence, parsed = own(name)
    accept(name, evidence)
    body = positions(len(parsed.signed_part) - _HEADER, 160, name)
    for position in (*range(_HEADER), *(_HEADER + position for position in body)):
        checks = refused(name, replace(evidence, quote=flipped(evidence.quote, position)))
        assert checks[0].startswith(
            ("dcap.quote.", "dcap.signature", "dcap.collateral.tee", "dcap.evidence")
        ), (
            position,
            checks,
        )


def every_byte_behind(name: str) -> None:
    """Signature, attestation key, QE report, its signature and the certificates: all of them count."""
    evidence, parsed = own(name)
    start, end = len(parsed.signed_part), len(evidence.quote) - parsed.trailing
    for position in positions(end - start, 100, name):
        spoilt = replace(evidence, quote=flipped(evidence.quote, start + position))
        if quote_says_the_same(evidence.quote, spoilt.quote):
            continue
        assert refused(name, spoilt)[0].startswith("dcap."), start + position


def quote_says_the_same(one: bytes, other: bytes) -> bool:
    """The same values: white space in PEM is nobody's, and neither are the bits that base64 leaves unused."""
    try:
        first, second = quote.parse(one), quote.parse(other)
        chains = [
            decode_certificates(parsed.quoting_enclave.pck_chain.rstrip(b"\0").decode("ascii"))
            for parsed in (first, second)
        ]
    except (Rejected, ValueError):
        return False
    bare = [
        replace(parsed, quoting_enclave=replace(parsed.quoting_enclave, pck_chain=b""))
        for parsed in (first, second)
    ]
    return chains[0] == chains[1] and bare[0] == bare[1]


def signatures_out_of_range(name: str) -> None:
    """r and s zero, or not below the order, in both signatures."""
    evidence, parsed = own(name)
    enclave = parsed.quoting_enclave
    for value in (0, ORDER, ORDER + 1, (1 << 256) - 1):
        number = value.to_bytes(_PART, "big")
        for changed in (number + parsed.signature[_PART:], parsed.signature[:_PART] + number):
            spoilt = replace(parsed, signature=changed).encode()
            assert "dcap.signature" in refused(name, replace(evidence, quote=spoilt))
        for changed in (number + enclave.signature[_PART:], enclave.signature[:_PART] + number):
            spoilt = replace(parsed, quoting_enclave=replace(enclave, signature=changed)).encode()
            assert refused(name, replace(evidence, quote=spoilt))[0].startswith("dcap.")
    for key in (bytes(64), b"\xff" * 64, parsed.attestation_key[32:] + parsed.attestation_key[:32]):
        spoilt = replace(parsed, attestation_key=key).encode()
        assert refused(name, replace(evidence, quote=spoilt))[0].startswith("dcap.")


def truncated_and_extended(name: str) -> None:
    """Whatever is cut off is missed; what follows a whole quote is counted, and nothing is read from it."""
    evidence, parsed = own(name)
    whole = evidence.quote[: len(evidence.quote) - parsed.trailing]
    cuts = {0, 1, 47, 48, 100, len(parsed.signed_part), len(parsed.signed_part) + 4, len(whole) - 1}
    for size in (*sorted(cuts), *positions(len(whole), 24, name)):
        assert refused(name, replace(evidence, quote=whole[:size]))[0].startswith("dcap.quote.")
    for size in (1, 2, 48):
        assert refused(name, replace(evidence, quote=evidence.quote[size:]))[0].startswith("dcap.quote.")
    assert refused(name, replace(evidence, quote=whole * 20))[0] == "dcap.quote.length"
    for tail in (b"\0", b"\xff" * 300, whole):
        longer = quote.parse(whole + tail)
        assert (longer.trailing, replace(longer, trailing=0)) == (len(tail), replace(parsed, trailing=0))


def lengths(name: str) -> None:
    """Every length and size of the format, claimed as something else: none is believed."""
    evidence, parsed = own(name)
    start = len(parsed.signed_part)
    for value in (0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF, len(evidence.quote)):
        spoilt = evidence.quote[:start] + value.to_bytes(4, "little") + evidence.quote[start + 4 :]
        assert refused(name, replace(evidence, quote=spoilt))[0].startswith("dcap.quote.")
    chain_size = len(parsed.quoting_enclave.pck_chain).to_bytes(4, "little")
    place = evidence.quote.index(chain_size + parsed.quoting_enclave.pck_chain[:16])
    for value in (0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF):
        spoilt = evidence.quote[:place] + value.to_bytes(4, "little") + evidence.quote[place + 4 :]
        assert refused(name, replace(evidence, quote=spoilt))[0].startswith("dcap.quote.")


def certificates(name: str) -> None:
    """The PCK's chain: malformed DER, extensions twice and unknown, others' certificates, another order."""
    evidence, parsed = own(name)
    enclave = parsed.quoting_enclave
    chain = list(decode_certificates(enclave.pck_chain.rstrip(b"\0").decode("ascii")))

    def judge(ders: list[bytes], what: str) -> None:
        text = "".join(encode_certificate(der) for der in ders).encode()
        spoilt = replace(parsed, quoting_enclave=replace(enclave, pck_chain=text)).encode()
        assert refused(name, replace(evidence, quote=spoilt))[0].startswith("dcap."), what

    for index, der in enumerate(chain):
        for what, edited in (*der_edits(der, 12, f"{name}{index}"), *inserted_extensions(der)):
            if what != "nested deeply":
                judge([*chain[:index], edited, *chain[index + 1 :]], what)
    for other in rows():
        theirs = list(_chain_of(other))
        if theirs[0] != chain[0]:
            judge([theirs[0], *chain[1:]], other)
    for wrong in ([], chain[:1], chain[:2], [*chain, chain[-1]], chain[::-1], [chain[1], *chain[1:]]):
        judge(wrong, f"{len(wrong)} certificates")
    spoilt = replace(parsed, quoting_enclave=replace(enclave, pck_chain=b"")).encode()
    assert refused(name, replace(evidence, quote=spoilt))[0].startswith("dcap.")


def _chain_of(name: str) -> tuple[bytes, ...]:
    text = own(name)[1].quoting_enclave.pck_chain.rstrip(b"\0").decode("ascii")
    return decode_certificates(text)


def collateral(name: str) -> None:
    """Each member spoilt, cut, emptied, doubled, and taken from another row."""
    evidence, _ = own(name)
    material = evidence.collateral
    assert material is not None
    for field in FIELDS:
        value = getattr(material, field)
        data = value.encode() if isinstance(value, str) else value
        changed = [flipped(data, position) for position in positions(len(data), 6, name + field)]
        changed += [b"", data[:-2], data[: len(data) // 2], data + data, b"\0" + data]
        for spoilt in changed:
            _judge_member(name, evidence, material, field, spoilt)
    for crl in _LIST_FIELDS:
        for _, edited in der_edits(getattr(material, crl), 10, name + crl):
            _judge_member(name, evidence, material, crl, edited)
    for other in rows():
        theirs = own(other)[0].collateral
        assert theirs is not None
        for field in FIELDS:
            # Another row's list or chain may be as good as one's own: Intel signs one for all platforms.
            if getattr(theirs, field) != getattr(material, field) and field in _OF_PLATFORM:
                foreign = replace(material, **{field: getattr(theirs, field)})
                refused(name, replace(evidence, collateral=foreign))


def _judge_member(name: str, evidence: Evidence, material: Collateral, field: str, data: bytes) -> None:
    value: Any = data  # Any: text or bytes, as the member is
    if isinstance(getattr(material, field), str):
        if not data.isascii():
            return
        value = data.decode("ascii")
        if field in _CHAIN_FIELDS and _same_certificates(value, getattr(material, field)):
            return
    spoilt = replace(material, **{field: value})
    assert refused(name, replace(evidence, collateral=spoilt))[0].startswith("dcap."), field


def _same_certificates(one: str, other: str) -> bool:
    try:
        return decode_certificates(one) == decode_certificates(other)
    except Rejected:
        return False
